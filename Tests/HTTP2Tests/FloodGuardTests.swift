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
    let count = charges(&account, at: start)
    #expect(count == 100 && account.isExhausted)
    let later = account.charge(now: start + .seconds(3600))
    let update = account.answer(now: start)
    #expect(!later && !update)
  }

  @Test func `refills by two a second, up to what it held at first`() {
    var account = FloodGuard(now: start)
    for _ in 0..<90 { _ = account.charge(now: start) }
    var later = account
    let soon = charges(&later, at: start + .seconds(5))
    let muchLater = charges(&account, at: start + .seconds(3600))
    #expect(soon == 20 && muchLater == 100)
  }

  @Test func `is refunded by completed responses`() {
    var account = FloodGuard(now: start)
    for _ in 0..<1000 {
      let isCharged = account.charge(now: start)
      #expect(isCharged)
      account.refund()
    }
    let left = charges(&account, at: start)
    #expect(left == 100)
  }

  @Test func `lets window updates and pings pass that answer streams and frames`() {
    var account = FloodGuard(now: start)
    for _ in 0..<10_000 {
      account.expectAnswers()
      let isFree = account.answer(now: start) && account.answer(now: start)
      #expect(isFree)
    }
    var free = 0
    while free < 1000, account.answer(now: start) { free += 1 }
    #expect(free == 100)
  }

  @Test func `an instant that lies before the last one adds nothing`() {
    var account = FloodGuard(now: start)
    for _ in 0..<99 { _ = account.charge(now: start) }
    let count = charges(&account, at: .zero)
    #expect(count == 1)
  }
}
