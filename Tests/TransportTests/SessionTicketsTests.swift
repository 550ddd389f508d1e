import Primitives
import Testing

@testable import Transport

@Suite struct `A ring of ticket keys` {
  /// Keys that differ in every octet, and how many were made.
  private final class Source {
    private(set) var made: UInt8 = 0

    func next() -> [UInt8] {
      made += 1
      return [UInt8](repeating: made, count: TicketKeyRing.Key.octets)
    }
  }

  private let start = MonotonicTime(nanoseconds: 1_000_000_000)

  @Test func `seals with one key until its hour is over`() {
    var ring = TicketKeyRing()
    let source = Source()
    let first = ring.sealing(now: start, source.next)
    #expect(ring.sealing(now: start + .seconds(3599), source.next) == first)
    #expect(source.made == 1)
    let second = ring.sealing(now: start + .seconds(3600), source.next)
    #expect(second != first && source.made == 2)
  }

  @Test func `opens what an old key sealed, and asks for a new ticket then`() {
    var ring = TicketKeyRing()
    let source = Source()
    let first = ring.sealing(now: start, source.next)
    #expect(ring.opening(name: first.name, now: start + .seconds(10))?.isOld == false)
    _ = ring.sealing(now: start + .seconds(4000), source.next)
    let found = ring.opening(name: first.name, now: start + .seconds(4000))
    #expect(found?.key == first && found?.isOld == true)
  }

  @Test func `forgets a key when its last ticket has expired, and not before`() {
    var ring = TicketKeyRing()
    let source = Source()
    let first = ring.sealing(now: start, source.next)
    for hour in 1...2 { _ = ring.sealing(now: start + .seconds(3600 * Int64(hour)), source.next) }
    #expect(ring.opening(name: first.name, now: start + .seconds(3 * 3600 - 1)) != nil)
    #expect(ring.opening(name: first.name, now: start + .seconds(3 * 3600)) == nil)
    #expect(ring.keys.count == 2)
  }

  @Test func `knows no key but its own`() {
    var ring = TicketKeyRing()
    #expect(ring.opening(name: [UInt8](repeating: 0, count: 16), now: start) == nil)
    _ = ring.sealing(now: start, Source().next)
    #expect(ring.opening(name: [UInt8](repeating: 9, count: 16), now: start) == nil)
    #expect(ring.opening(name: [], now: start) == nil)
  }

  @Test func `a process that served nobody for a day begins anew`() {
    var ring = TicketKeyRing()
    let source = Source()
    let first = ring.sealing(now: start, source.next)
    let later = start + .seconds(86_400)
    #expect(ring.opening(name: first.name, now: later) == nil && ring.keys.isEmpty)
    #expect(ring.sealing(now: later, source.next) != first)
  }
}
