import Primitives
import Resilience
import Testing

/// A breaker with a clock that only moves when told.
private struct Bench {
  var breaker: CircuitBreaker
  var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
  var random = SeededRandom(seed: 7)
  var mayOpenByRate = true

  init(_ change: (inout BreakerOptions) -> Void = { _ in }) {
    var options = BreakerOptions()
    change(&options)
    breaker = CircuitBreaker(options)
  }

  mutating func pass(_ time: TimeAmount) { now = now + time }

  mutating func admit() -> CircuitBreaker.Ticket? {
    switch breaker.admit(now: now) {
    case .allow(let ticket), .probe(let ticket): ticket
    case .reject: nil
    }
  }

  @discardableResult
  mutating func record(
    _ ticket: CircuitBreaker.Ticket, _ outcome: CircuitBreaker.Outcome
  ) -> CircuitBreaker.Transition? {
    if breaker.recordHealthy(ticket, outcome, now: now) { return nil }
    let transition = breaker.record(
      ticket, outcome, now: now, mayOpenByRate: mayOpenByRate, random: &random)
    breaker.checkInvariants()
    return transition
  }

  /// One request from beginning to end.
  @discardableResult
  mutating func serve(_ outcome: CircuitBreaker.Outcome) throws -> CircuitBreaker.Transition? {
    let ticket = admit()
    return record(try #require(ticket, "rejected in \(breaker.state)"), outcome)
  }

  mutating func open() throws {
    while breaker.state == .closed { try serve(.gatewayFailed) }
  }

  mutating func halfOpen() throws {
    try open()
    now = breaker.openUntil
    #expect(breaker.coolDownEnded(now: now) == .halfOpened)
  }
}

@Suite struct `A circuit breaker` {
  // MARK: closed

  @Test func `opens at the fifth failure in a row and not before`() throws {
    var bench = Bench()
    for _ in 0..<4 { #expect(try bench.serve(.gatewayFailed) == nil) }
    let transition = try bench.serve(.gatewayFailed)
    #expect(transition == .opened(.failuresInARow, until: bench.breaker.openUntil))
    let rejected = bench.admit()
    #expect(rejected == nil)
  }

  @Test(arguments: [CircuitBreaker.Outcome.succeeded, .slow, .serverError])
  func `forgets a row that another outcome ends`(outcome: CircuitBreaker.Outcome) throws {
    var bench = Bench { $0.errorRate = 0 }
    for _ in 0..<20 {
      for _ in 0..<4 { try bench.serve(.gatewayFailed) }
      try bench.serve(outcome)
    }
    #expect(bench.breaker.state == .closed)
  }

  @Test func `does not count what was abandoned, for or against`() throws {
    var bench = Bench()
    for _ in 0..<4 { try bench.serve(.gatewayFailed) }
    for _ in 0..<100 { try bench.serve(.abandoned) }
    #expect(bench.breaker.state == .closed)
    try bench.serve(.gatewayFailed)
    #expect(bench.breaker.state == .open)
  }

  @Test func `opens at half of twenty requests failing, in no order`() throws {
    var bench = Bench { $0.failures = 0 }
    for _ in 0..<10 { try bench.serve(.succeeded) }
    for _ in 0..<9 { try bench.serve(.gatewayFailed) }
    #expect(bench.breaker.state == .closed)
    let transition = try bench.serve(.gatewayFailed)
    #expect(transition == .opened(.failureRate, until: bench.breaker.openUntil))
  }

  @Test func `does not open by rate below the least number of requests`() throws {
    var bench = Bench { $0.failures = 0 }
    for _ in 0..<19 { try bench.serve(.gatewayFailed) }
    #expect(bench.breaker.state == .closed)
    try bench.serve(.gatewayFailed)
    #expect(bench.breaker.state == .open)
  }

  @Test func `does not open by rate where too many backends are out`() throws {
    var bench = Bench { $0.failures = 0 }
    bench.mayOpenByRate = false
    for _ in 0..<100 { try bench.serve(.gatewayFailed) }
    #expect(bench.breaker.state == .closed)
    bench.mayOpenByRate = true
    try bench.serve(.gatewayFailed)
    #expect(bench.breaker.state == .open)
  }

  @Test func `forgets failures older than the window`() throws {
    var bench = Bench { $0.failures = 0 }
    for _ in 0..<19 { try bench.serve(.gatewayFailed) }
    bench.pass(.seconds(11))
    for _ in 0..<19 { try bench.serve(.gatewayFailed) }
    #expect(bench.breaker.state == .closed)
    // Nine seconds on, those are still within the window.
    bench.pass(.seconds(9))
    try bench.serve(.gatewayFailed)
    #expect(bench.breaker.state == .open)
  }

  @Test func `slides its window by buckets of a tenth`() throws {
    var bench = Bench { $0.failures = 0 }
    // 19 failures in the first second, then a success each second: at the tenth all 19 are gone.
    for _ in 0..<19 { try bench.serve(.gatewayFailed) }
    for _ in 0..<10 {
      bench.pass(.seconds(1))
      try bench.serve(.succeeded)
    }
    for _ in 0..<9 { try bench.serve(.gatewayFailed) }
    #expect(bench.breaker.state == .closed)
  }

  @Test func `opens by slow answers only where it is told what is slow`() throws {
    var bench = Bench { $0.slowCall = .milliseconds(100) }
    for _ in 0..<4 { try bench.serve(.succeeded) }
    for _ in 0..<15 { try bench.serve(.slow) }
    let transition = try bench.serve(.slow)
    #expect(transition == .opened(.slowRate, until: bench.breaker.openUntil))
    var other = Bench()
    for _ in 0..<100 { try other.serve(.slow) }
    #expect(other.breaker.state == .closed)
  }

  @Test func `counts server errors only where it is told to`() throws {
    var bench = Bench()
    for _ in 0..<100 { try bench.serve(.serverError) }
    #expect(bench.breaker.state == .closed)
    var other = Bench { $0.countsServerErrors = true }
    for _ in 0..<5 { try other.serve(.serverError) }
    #expect(other.breaker.state == .open)
  }

  // MARK: open

  @Test func `lets nothing through until its time is over`() throws {
    var bench = Bench()
    try bench.open()
    let end = bench.breaker.openUntil
    #expect(bench.breaker.admit(now: bench.now) == .reject(until: end))
    bench.now = MonotonicTime(nanoseconds: end.nanoseconds - 1)
    #expect(bench.breaker.coolDownEnded(now: bench.now) == nil)
    bench.now = end
    #expect(bench.breaker.coolDownEnded(now: bench.now) == .halfOpened)
  }

  @Test func `doubles its open time up to the limit, within a quarter`() throws {
    var bench = Bench { $0.maxOpen = .seconds(20) }
    try bench.open()
    for expected in [1, 2, 4, 8, 16, 20, 20, 20] as [Int64] {
      let seconds = Double((bench.breaker.openUntil - bench.now).nanoseconds) / 1e9
      #expect(seconds >= Double(expected) * 0.75 && seconds <= min(20, Double(expected) * 1.25))
      bench.now = bench.breaker.openUntil
      _ = bench.breaker.coolDownEnded(now: bench.now)
      try bench.serve(.gatewayFailed)
      #expect(bench.breaker.state == .open && bench.breaker.reason == .probeFailed)
    }
  }

  @Test func `halves its open time again for each quiet five minutes`() throws {
    func openTime(afterQuiet quiet: TimeAmount) throws -> Double {
      var bench = Bench()
      try bench.halfOpen()
      // Failing three probes takes it to eight seconds.
      for _ in 0..<2 {
        try bench.serve(.gatewayFailed)
        bench.now = bench.breaker.openUntil
        _ = bench.breaker.coolDownEnded(now: bench.now)
      }
      for _ in 0..<3 { try bench.serve(.succeeded) }
      bench.pass(quiet)
      try bench.open()
      return Double((bench.breaker.openUntil - bench.now).nanoseconds) / 1e9
    }
    for (minutes, expected) in [(0, 8), (4, 8), (6, 4), (11, 2), (16, 1), (100, 1)] {
      let seconds = try openTime(afterQuiet: .seconds(Int64(minutes) * 60))
      #expect(seconds >= Double(expected) * 0.75 && seconds <= Double(expected) * 1.25)
    }
  }

  @Test func `a recovered health check ends the cool-down, and closes nothing`() throws {
    var bench = Bench()
    try bench.open()
    bench.breaker.healthFailed()
    #expect(bench.breaker.healthRecovered(now: bench.now) == .halfOpened)
    #expect(bench.breaker.state == .halfOpen)
    try bench.serve(.gatewayFailed)
    #expect(bench.breaker.state == .open)
  }

  @Test func `stays open, frozen, while the health check fails`() throws {
    var bench = Bench()
    try bench.open()
    bench.breaker.healthFailed()
    bench.pass(.seconds(3600))
    #expect(bench.breaker.coolDownEnded(now: bench.now) == nil)
    let rejected = bench.admit()
    #expect(rejected == nil)
    #expect(bench.breaker.healthRecovered(now: bench.now) == .halfOpened)
  }

  @Test func `a recovered health check changes nothing of a closed one`() throws {
    var bench = Bench()
    for _ in 0..<4 { try bench.serve(.gatewayFailed) }
    bench.breaker.healthFailed()
    #expect(bench.breaker.healthRecovered(now: bench.now) == nil)
    try bench.serve(.gatewayFailed)
    #expect(bench.breaker.state == .open)
  }

  // MARK: half open

  @Test(arguments: [1, 2, 5])
  func `lets as many probes through at once as it is told`(probes: Int) throws {
    var bench = Bench {
      $0.probes = probes
      $0.successes = 100
    }
    try bench.halfOpen()
    var tickets: [CircuitBreaker.Ticket] = []
    while let ticket = bench.admit() { tickets.append(ticket) }
    #expect(tickets.count == probes && tickets.allSatisfy(\.isProbe))
    #expect(bench.breaker.admit(now: bench.now) == .reject(until: .never))
    bench.record(tickets.removeLast(), .succeeded)
    #expect(bench.breaker.mayAdmit)
    let next = bench.admit()
    #expect(next?.isProbe == true && !bench.breaker.mayAdmit)
  }

  @Test func `closes after the probes it needs, and starts afresh`() throws {
    var bench = Bench()
    try bench.halfOpen()
    #expect(try bench.serve(.succeeded) == nil)
    #expect(try bench.serve(.slow) == nil)
    #expect(try bench.serve(.serverError) == .closed)
    for _ in 0..<4 { try bench.serve(.gatewayFailed) }
    #expect(bench.breaker.state == .closed)
  }

  @Test func `opens again at one failed probe, whatever came before`() throws {
    var bench = Bench()
    try bench.halfOpen()
    for _ in 0..<2 { try bench.serve(.succeeded) }
    let transition = try bench.serve(.gatewayFailed)
    #expect(transition == .opened(.probeFailed, until: bench.breaker.openUntil))
  }

  @Test func `an abandoned probe frees its place and judges nothing`() throws {
    var bench = Bench()
    try bench.halfOpen()
    for _ in 0..<50 { #expect(try bench.serve(.abandoned) == nil) }
    #expect(bench.breaker.state == .halfOpen && bench.breaker.mayAdmit)
  }

  // MARK: epochs

  @Test func `an outcome admitted before a transition judges nothing after it`() throws {
    var bench = Bench()
    let early = (0..<10).compactMap { _ in bench.admit() }
    #expect(early.count == 10)
    try bench.open()
    for ticket in early.prefix(3) { #expect(bench.record(ticket, .succeeded) == nil) }
    bench.now = bench.breaker.openUntil
    _ = bench.breaker.coolDownEnded(now: bench.now)
    for ticket in early.dropFirst(3) { #expect(bench.record(ticket, .gatewayFailed) == nil) }
    #expect(bench.breaker.state == .halfOpen && bench.breaker.mayAdmit)
  }

  @Test func `switched off, is closed at once and opens no more`() throws {
    var off = BreakerOptions()
    off.failures = 0
    off.errorRate = 0
    #expect(!off.isOn && BreakerOptions().isOn)
    var bench = Bench()
    try bench.halfOpen()
    let admitted = bench.admit()
    let probe = try #require(admitted)
    bench.breaker.update(off)
    #expect(bench.breaker.state == .closed)
    bench.record(probe, .gatewayFailed)
    for _ in 0..<100 { #expect(try bench.serve(.gatewayFailed) == nil) }
  }

  @Test func `is another one after a reset`() throws {
    var bench = Bench()
    let ticket = bench.admit()
    let early = try #require(ticket)
    for _ in 0..<4 { try bench.serve(.gatewayFailed) }
    bench.breaker.reset(BreakerOptions())
    bench.record(early, .gatewayFailed)
    for _ in 0..<4 { try bench.serve(.gatewayFailed) }
    #expect(bench.breaker.state == .closed)
  }
}
