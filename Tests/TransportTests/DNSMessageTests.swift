import Primitives
import Testing

@testable import Transport

/// Messages of DNS as octets, whole and cut at every place.
@Suite struct DNSMessageTests {
  /// Head, the question `a.b`, and two records with a pointer and a whole name.
  private func message(_ first: [UInt8], _ second: [UInt8]) -> [UInt8] {
    let head: [UInt8] = [0, 1, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]
    let question: [UInt8] = [1, 0x61, 1, 0x62, 0, 0, 33, 0, 1]
    return head + question + [0xC0, 12, 0, 33, 0, 1] + first + [0, 2, 9, 9]
      + [1, 0x61, 0xC0, 14, 0, 33, 0, 1] + second + [0, 0]
  }

  @Test(
    arguments: [
      ([0, 0, 0, 60], [0, 0, 0, 30], 30), ([0, 0, 0, 7], [0, 1, 0, 0], 7),
      ([0, 0, 0, 7], [0x80, 0, 0, 1], 0), ([0x7F, 0xFF, 0xFF, 0xFF], [0, 0, 1, 0], 256),
    ] as [([UInt8], [UInt8], Int64)])
  func `the shortest TTL counts`(first: [UInt8], second: [UInt8], wanted: Int64) {
    #expect(DNSMessage.shortestTTL(message(first, second)) == .seconds(wanted))
  }

  @Test func `one that is cut anywhere, or says more than it has, counts as 0`() {
    let whole = message([0, 0, 0, 60], [0, 0, 0, 30])
    for length in 0..<(whole.count - 1) {
      #expect(DNSMessage.shortestTTL(whole[..<length]) == .zero, "\(length)")
    }
    var random = SeededRandom(seed: 3)
    for _ in 0..<20_000 {
      var octets = whole
      for _ in 0..<3 {
        octets[Int(random.next() % UInt64(octets.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      #expect(DNSMessage.shortestTTL(octets) <= .seconds(Int64(Int32.max)))
    }
  }

  @Test func `one without an answer counts as 0`() {
    #expect(DNSMessage.shortestTTL([0, 1, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]) == .zero)
  }
}
