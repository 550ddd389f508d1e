import HTTP2
import Primitives
import Testing

@Suite struct `The abuse account` {
  private let start = MonotonicTime(nanoseconds: 1_000_000_000)

  private func charges(_ account: inout FloodGuard, at time: MonotonicTime, max: Int = 500) -> Int {
    var count = 0
    while count < max, account.charge(now: time) { count += 1 }
    return count
  }

  @Test func `holds a hundred events, then is exhausted for good`() {
    var account = FloodGuard(now: start)
    #expect(charges(&account, at: start) == 100)
    #expect(account.isExhausted)
    #expect(!account.charge(now: start + .seconds(3600)))
    #expect(!account.windowUpdate(now: start))
  }

  @Test func `refills by two a second, up to what it held at first`() {
    var account = FloodGuard(now: start)
    for _ in 0..<90 { _ = account.charge(now: start) }
    var later = account
    #expect(charges(&later, at: start + .seconds(5)) == 20)
    #expect(charges(&account, at: start + .seconds(3600)) == 100)
  }

  @Test func `is refunded by completed responses`() {
    var account = FloodGuard(now: start)
    for _ in 0..<1000 {
      #expect(account.charge(now: start))
      account.refund()
    }
    #expect(charges(&account, at: start) == 100)
  }

  @Test func `lets window updates pass that answer streams and frames`() {
    var account = FloodGuard(now: start)
    for _ in 0..<10_000 {
      account.expectWindowUpdates()
      #expect(account.windowUpdate(now: start) && account.windowUpdate(now: start))
    }
    var free = 0
    while free < 1000, account.windowUpdate(now: start) { free += 1 }
    #expect(free == 116)
  }

  @Test func `an instant that lies before the last one adds nothing`() {
    var account = FloodGuard(now: start)
    for _ in 0..<99 { _ = account.charge(now: start) }
    #expect(charges(&account, at: .zero) == 1)
  }
}
