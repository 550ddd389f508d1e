import Primitives
import Resilience
import Synchronization
import Testing

/// The same rules, told by lists of everything that happened.
private struct NaiveBreaker {
  var options: BreakerOptions
  var state = CircuitBreaker.State.closed
  var epoch = 0
  /// Of this epoch: outcome and time, judged ones only.
  var history: [(outcome: CircuitBreaker.Outcome, at: MonotonicTime)] = []
  var probesOut = 0

  func fails(_ outcome: CircuitBreaker.Outcome) -> Bool {
    outcome == .gatewayFailed || outcome == .serverError && options.countsServerErrors
  }

  mutating func enter(_ next: CircuitBreaker.State) {
    state = next
    epoch += 1
    history = []
    probesOut = 0
  }

  mutating func record(_ outcome: CircuitBreaker.Outcome, epoch: Int, at now: MonotonicTime) {
    guard epoch == self.epoch else { return }
    if state == .halfOpen { probesOut -= 1 }
    guard outcome != .abandoned else { return }
    history.append((outcome, now))
    switch state {
    case .halfOpen:
      if fails(outcome) { return enter(.open) }
      if history.count == options.successes { enter(.closed) }
    case .closed:
      let row = history.reversed().prefix { fails($0.outcome) }.count
      if row >= options.failures { enter(.open) }
    case .open: break
    }
  }
}

@Suite struct `Any sequence of outcomes` {
  /// Rates have tests of their own: here the row, the probes and the epochs meet all orders.
  @Test(arguments: 0..<40)
  func `leads a breaker where its rules lead`(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    var options = BreakerOptions()
    options.failures = 1 + random.below(6)
    options.errorRate = 0
    options.probes = 1 + random.below(3)
    options.successes = 1 + random.below(4)
    options.countsServerErrors = random.below(2) == 0
    var breaker = CircuitBreaker(options)
    var model = NaiveBreaker(options: options)
    var now = MonotonicTime(nanoseconds: 1)
    var under: [(ticket: CircuitBreaker.Ticket, epoch: Int)] = []
    for step in 0..<4000 {
      now = now + TimeAmount.milliseconds(Int64(random.below(120)))
      switch random.below(10) {
      case 0: breaker.healthFailed()
      case 1:
        let recovered = breaker.healthRecovered(now: now)
        #expect((recovered == .halfOpened) == (model.state == .open))
        if model.state == .open { model.enter(.halfOpen) }
      case 2..<6:
        if breaker.coolDownEnded(now: now) != nil { model.enter(.halfOpen) }
        switch breaker.admit(now: now) {
        case .allow(let ticket):
          #expect(model.state == .closed)
          under.append((ticket, model.epoch))
        case .probe(let ticket):
          model.probesOut += 1
          #expect(model.state == .halfOpen && model.probesOut <= options.probes)
          under.append((ticket, model.epoch))
        case .reject: #expect(model.state != .closed)
        }
      default:
        guard !under.isEmpty else { continue }
        let one = under.remove(at: random.below(under.count))
        let outcome = CircuitBreaker.Outcome.allCases[random.below(5)]
        if !breaker.recordHealthy(one.ticket, outcome, now: now) {
          _ = breaker.record(
            one.ticket, outcome, now: now, mayOpenByRate: true, random: &random)
        }
        model.record(outcome, epoch: one.epoch, at: now)
      }
      breaker.checkInvariants()
      guard breaker.state == model.state else {
        Issue.record("seed \(seed), step \(step): \(breaker.state), should be \(model.state)")
        return
      }
    }
  }
}
