import Primitives
import Resilience
import Testing

@Suite struct `A budget of retries` {
  /// What is allowed of as many retries as could be wanted, at one instant.
  private func granted(_ budget: inout RetryBudget, _ now: MonotonicTime) -> Int {
    (0..<10_000).count { _ in budget.take(now: now) }
  }

  @Test(arguments: [(0, 30), (1, 30), (100, 50), (1000, 230), (5000, 1030)])
  func `is a share of the requests and a floor`(requests: Int, expected: Int) {
    var budget = RetryBudget(share: 20)
    let now = MonotonicTime(nanoseconds: 5_000_000_000)
    for _ in 0..<requests { budget.requestBegan(now: now) }
    #expect(granted(&budget, now) == expected)
    #expect(granted(&budget, now) == 0)
  }

  @Test func `forgets after ten seconds, second by second`() {
    var budget = RetryBudget(share: 20)
    var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
    for _ in 0..<1000 { budget.requestBegan(now: now) }
    #expect(granted(&budget, now) == 230)
    now = now + TimeAmount.seconds(9)
    #expect(granted(&budget, now) == 0)
    now = now + TimeAmount.seconds(1)
    #expect(granted(&budget, now) == 30)
  }

  @Test func `with every attempt failing, attempts stay within the share plus the floor`() {
    var budget = RetryBudget(share: 20)
    var now = MonotonicTime(nanoseconds: 1)
    var requests = 0
    var retries = 0
    for _ in 0..<60_000 {
      now = now + TimeAmount.milliseconds(1)
      budget.requestBegan(now: now)
      requests += 1
      for _ in 0..<2 where budget.take(now: now) { retries += 1 }
    }
    #expect(retries <= requests / 5 + 60 * RetryBudget.floorPerSecond + 30)
    #expect(retries >= requests / 6)
  }
}
