import Balancing
import Primitives
import Resilience
import Testing

@testable import Proxy

/// What an upstream makes of the backend that a request's cookie names.
@Suite struct `A sticky request` {
  private func bench(_ change: (inout UpstreamOptions) -> Void = { _ in }) -> Bench {
    Bench(["a", "b", "c"]) {
      $0.sticky = StickyOptions(cookie: "s")
      $0.healthCheck = HealthCheckOptions(kind: .tcp)
      change(&$0)
    }
  }

  private func number(_ name: String, _ bench: Bench) throws -> UInt64 {
    let plan = try #require(bench.shared.stickyPlan(bench.options))
    return Array(name.utf8).withByteView { plan.number(ofBackend: $0) }
  }

  private func ask(
    _ bench: Bench, _ number: UInt64, tried: TriedBackends = TriedBackends(),
    isIdempotent: Bool = true, ends: Bool = true
  ) throws -> (name: String, stickiness: Stickiness) {
    let place = try #require(
      bench.state.reserve(
        hash: 0, tried: tried, isIdempotent: isIdempotent, sticky: number, now: bench.now))
    if ends { bench.end(place, .succeeded) }
    return (bench.name(Int(place.backend)), place.stickiness)
  }

  private func id(_ name: String, _ bench: Bench) -> Int {
    bench.state.views(now: bench.now).first { bench.name($0.backend) == name }?.backend ?? -1
  }

  @Test(arguments: [
    BalancePolicy.roundRobin, .leastConnections, .twoChoices, .hash(HashOptions(key: .path)),
  ])
  func `goes to its backend, every time, drained or not`(policy: BalancePolicy) throws {
    let bench = bench { $0.balance = policy }
    let b = try number("b", bench)
    for round in 0..<30 {
      if round == 10 { #expect(bench.state.setMode("b", .drain, now: bench.now)) }
      let found = try ask(bench, b, ends: round % 2 == 0)
      #expect(found.name == "b" && found.stickiness == .kept)
      #expect(try ask(bench, 0).stickiness == .none)
    }
    #expect(bench.state.views(now: bench.now).map(\.inFlight).sorted() == [0, 0, 15])
    for _ in 0..<9 { #expect(try ask(bench, 0).name != "b", "drained: nobody new") }
  }

  @Test func `loses its backend to maintenance, a failed check and its removal`() throws {
    let bench = bench()
    let b = try number("b", bench)
    #expect(bench.state.setMode("b", .maint, now: bench.now))
    #expect(try ask(bench, b).stickiness == .broken)
    #expect(bench.state.setMode("b", .ready, now: bench.now))
    #expect(try ask(bench, b) == ("b", .kept))
    bench.state.healthChanged(id("b", bench), .wentDown, .timedOut, now: bench.now)
    let found = try ask(bench, b)
    #expect(found.stickiness == .broken && found.name != "b")
    bench.state.healthChanged(id("b", bench), .cameUp, .timedOut, now: bench.now)
    bench.options.backends.reverse()
    bench.reload()
    #expect(try ask(bench, b) == ("b", .kept), "order in the file means nothing")
    bench.options.backends.removeAll { $0.name == "b" }
    bench.reload()
    #expect(try ask(bench, b).stickiness == .broken)
  }

  @Test func `goes elsewhere once where its backend is full, held, tried or not admitting`()
    throws
  {
    let bench = bench { $0.maxRequests = 1 }
    let b = try number("b", bench)
    let first = try #require(
      bench.state.reserve(
        hash: 0, tried: TriedBackends(), isIdempotent: true, sticky: b, now: bench.now))
    #expect(try ask(bench, b).stickiness == .elsewhere)
    bench.state.connectFailed(first.slot, now: bench.now)
    bench.end(first, .gatewayFailed)
    #expect(try ask(bench, b).stickiness == .elsewhere)
    bench.now = bench.now + UpstreamState.connectFailureHold
    #expect(try ask(bench, b) == ("b", .kept))
    var tried = TriedBackends()
    tried.insert(Int(first.slot))
    #expect(try ask(bench, b, tried: tried).stickiness == .elsewhere)
    for _ in 0..<5 {
      let place = try #require(
        bench.state.reserve(
          hash: 0, tried: TriedBackends(), isIdempotent: true, sticky: b, now: bench.now))
      bench.end(place, .gatewayFailed)
    }
    #expect(bench.breakers["b"] == .open)
    #expect(try ask(bench, b).stickiness == .elsewhere)
    // Its requests try it out first, but only those that may be sent twice.
    bench.now = bench.now + TimeAmount.seconds(2)
    #expect(try ask(bench, b, isIdempotent: false).stickiness == .elsewhere)
    #expect(try ask(bench, b) == ("b", .kept))
  }

  @Test func `names of other upstreams, and other keys, make other numbers`() throws {
    let bench = bench()
    var other = bench.options
    other.name = "other"
    let plans = try [
      #require(bench.shared.stickyPlan(bench.options)), #require(bench.shared.stickyPlan(other)),
      StickyPlan(StickyOptions(cookie: "s"), upstream: "app", key: Array("another key".utf8)),
    ]
    let name = Array("a".utf8)
    #expect(Set(plans.map { plan in name.withByteView { plan.number(ofBackend: $0) } }).count == 3)
    let cookie = plans[0].sealed(7, now: 1000)
    #expect(plans[0].isSealed(cookie) && plans[1].isSealed(cookie) && !plans[2].isSealed(cookie))
    var forged = cookie
    forged.backend = 8
    #expect(!plans[0].isSealed(forged))
    forged = cookie
    forged.expires += 1
    #expect(!plans[0].isSealed(forged))
  }
}
