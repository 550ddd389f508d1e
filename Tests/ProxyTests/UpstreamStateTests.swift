import Balancing
import Glibc
import Primitives
import Resilience
import Synchronization
import Testing

@testable import Proxy

@Suite struct `The live state of an upstream` {
  @Test func `sends nothing to a backend whose breaker is open, and tells of it`() {
    let bench = Bench(["a", "b", "c"])
    for _ in 0..<15 { _ = bench.serve { $0 == "b" ? .gatewayFailed : .succeeded } }
    #expect(bench.breakers == ["a": .closed, "b": .open, "c": .closed])
    #expect(bench.changes == ["b failures_in_a_row"])
    for _ in 0..<30 { #expect(bench.serve { _ in .succeeded } != "b") }
  }

  @Test func `lets one request in to try it out, and closes after three`() throws {
    let bench = Bench(["a", "b"])
    for _ in 0..<10 { _ = bench.serve { $0 == "b" ? .gatewayFailed : .succeeded } }
    _ = bench.changes
    bench.now = bench.now + TimeAmount.seconds(2)
    var probes = 0
    while bench.breakers["b"] != .closed {
      let places = try (0..<6).map { _ in try #require(bench.reserve()) }
      let onB = places.filter { bench.name(Int($0.backend)) == "b" }
      #expect(onB.count == 1 && onB[0].ticket.isProbe)
      probes += 1
      for place in places { bench.end(place, .succeeded) }
    }
    #expect(probes == 3)
    #expect(bench.changes == ["b half open", "b closed"])
  }

  @Test func `tries out with requests that may be sent twice first`() throws {
    let bench = Bench(["a", "b"])
    for _ in 0..<10 { _ = bench.serve { $0 == "b" ? .gatewayFailed : .succeeded } }
    bench.now = bench.now + TimeAmount.seconds(2)
    for _ in 0..<6 {
      let place = try #require(bench.reserve(isIdempotent: false))
      #expect(bench.name(Int(place.backend)) == "a")
      bench.end(place, .succeeded)
    }
    // Where no such request comes for a second, any will do.
    bench.now = bench.now + UpstreamState.idempotentProbeTime
    let names = try (0..<2).map { _ in
      let place = try #require(bench.reserve(isIdempotent: false))
      bench.end(place, .succeeded)
      return bench.name(Int(place.backend))
    }
    #expect(names.contains("b"))
  }

  @Test func `tries out with any request rather than refuse it`() throws {
    let bench = Bench(["a"])
    for _ in 0..<5 { _ = bench.serve { _ in .gatewayFailed } }
    #expect(bench.reserve() == nil)
    bench.now = bench.now + TimeAmount.seconds(2)
    let place = try #require(bench.reserve(isIdempotent: false))
    #expect(place.ticket.isProbe && bench.reserve(isIdempotent: false) == nil)
    bench.end(place, .succeeded)
  }

  @Test func `has nobody to offer when every breaker is open`() {
    let bench = Bench(["a", "b", "c", "d"])
    for _ in 0..<20 { _ = bench.serve { _ in .gatewayFailed } }
    #expect(bench.reserve() == nil)
    #expect(Set(bench.breakers.values) == [.open])
  }

  @Test func `rates keep out half of the backends at most, and never the last`() {
    let bench = Bench(["a", "b", "c", "d"]) { $0.breaker.failures = 0 }
    for _ in 0..<400 { _ = bench.serve { _ in .gatewayFailed } }
    #expect(bench.breakers.values.count { $0 == .open } == 2)
    let one = Bench(["a"]) {
      $0.breaker.failures = 0
      $0.breaker.maxOut = 100
    }
    for _ in 0..<100 { _ = one.serve { _ in .gatewayFailed } }
    #expect(one.breakers == ["a": .closed])
  }

  @Test func `steers around a backend that refused, but not at the price of an answer`() throws {
    let bench = Bench(["a", "b"])
    let place = try #require(bench.reserve())
    bench.state.connectFailed(place.slot, now: bench.now)
    bench.end(place, .gatewayFailed)
    let held = bench.name(Int(place.backend))
    for _ in 0..<4 { #expect(bench.serve { _ in .succeeded } != held) }
    bench.now = bench.now + UpstreamState.connectFailureHold
    let names = (0..<4).map { _ in bench.serve { _ in .succeeded } }
    #expect(names.contains(held))
    let alone = Bench(["a"])
    let only = try #require(alone.reserve())
    alone.state.connectFailed(only.slot, now: alone.now)
    alone.end(only, .gatewayFailed)
    #expect(alone.serve { _ in .succeeded } == "a")
  }

  @Test func `spares a backend retries until the time that it named, not new requests`() throws {
    let bench = Bench(["a", "b"])
    let place = try #require(bench.reserve())
    bench.state.pause(place.slot, for: TimeAmount.seconds(5), now: bench.now)
    bench.end(place, .succeeded)
    let paused = bench.name(Int(place.backend))
    func retries() -> Set<String> {
      Set(
        (0..<40).compactMap { _ in
          let found = bench.state.reserve(
            hash: 0, tried: TriedBackends(), isIdempotent: true, isFirst: false, now: bench.now)
          guard let found else { return nil }
          bench.end(found, .succeeded)
          return bench.name(Int(found.backend))
        })
    }
    #expect(retries().count == 1 && !retries().contains(paused))
    #expect(Set((0..<4).compactMap { _ in bench.serve { _ in .succeeded } }) == ["a", "b"])
    var tried = TriedBackends()
    tried.insert(place.slot == 0 ? 1 : 0)
    let none = bench.state.reserve(
      hash: 0, tried: tried, isIdempotent: true, isFirst: false, now: bench.now)
    #expect(none == nil, "rather none than one that asked to be spared")
    bench.now = bench.now + TimeAmount.seconds(5)
    #expect(retries() == ["a", "b"])
    bench.state.pause(place.slot, for: .max, now: bench.now)
    bench.now = bench.now + UpstreamState.longestPause
    #expect(retries() == ["a", "b"])
    #expect(bench.state.views(now: bench.now).map(\.inFlight) == [0, 0])
  }

  @Test func `remembers across a reload, but not for another address`() {
    let bench = Bench(["a", "b", "c"])
    for _ in 0..<15 { _ = bench.serve { $0 == "b" ? .gatewayFailed : .succeeded } }
    bench.options.backends.reverse()
    bench.options.breaker.failures = 7
    bench.reload()
    #expect(bench.breakers["b"] == .open)
    bench.options.backends[1].address = .ip(IPAddress(v4: 0x7F00_0001), port: 2000)
    bench.reload()
    #expect(bench.breakers["b"] == .closed)
    #expect((0..<6).contains { _ in bench.serve { _ in .succeeded } == "b" })
  }

  @Test func `sends nothing to a backend that is down, and asks its breaker when it is up`() {
    let bench = Bench(["a", "b"]) { $0.healthCheck = HealthCheckOptions(kind: .tcp) }
    for _ in 0..<10 { _ = bench.serve { $0 == "b" ? .gatewayFailed : .succeeded } }
    let b = bench.state.views(now: bench.now).first { bench.name($0.backend) == "b" }!.backend
    bench.state.healthChanged(b, .wentDown, .status(500), now: bench.now)
    bench.now = bench.now + TimeAmount.seconds(600)
    for _ in 0..<6 { #expect(bench.serve { _ in .succeeded } == "a") }
    #expect(bench.breakers["b"] == .open, "frozen")
    bench.state.healthChanged(b, .cameUp, .timedOut, now: bench.now)
    #expect(bench.breakers["b"] == .halfOpen)
    while bench.breakers["b"] != .closed { _ = bench.serve { _ in .succeeded } }
    #expect(
      bench.changes == [
        "b failures_in_a_row", "b down: status 500", "b up", "b half open", "b closed",
      ])
  }

  @Test func `a backend added to a running upstream is down until checked, at the start up`() {
    let bench = Bench(["a"]) { $0.healthCheck = HealthCheckOptions(kind: .tcp) }
    #expect(bench.serve { _ in .succeeded } == "a")
    bench.options.backends.append(
      BackendOptions(address: .ip(IPAddress(v4: 0x7F00_0001), port: 9), name: "new"))
    bench.reload()
    for _ in 0..<4 { #expect(bench.serve { _ in .succeeded } == "a") }
    #expect(bench.state.views(now: bench.now).compactMap(\.isUp) == [true, false])
    // Without a check there is nobody to bring it up.
    bench.options.healthCheck = nil
    bench.reload()
    #expect(Set((0..<4).compactMap { _ in bench.serve { _ in .succeeded } }) == ["a", "new"])
  }

  @Test func `a failed connect asks for one check at a time`() throws {
    let bench = Bench(["a", "b"]) { $0.healthCheck = HealthCheckOptions(kind: .tcp) }
    func asked() -> Int {
      bench.shared.watch.take().count { if case .checkSoon = $0 { true } else { false } }
    }
    var tried = TriedBackends()
    for round in 0..<3 {
      let place = try #require(bench.reserve(round == 1 ? tried : TriedBackends()))
      tried.insert(Int(place.slot))
      bench.state.connectFailed(place.slot, now: bench.now)
      bench.end(place, .abandoned)
      bench.now = bench.now + TimeAmount.seconds(1)
    }
    #expect(asked() == 2)
    for view in bench.state.views(now: bench.now) { bench.state.checkBegins(view.backend) }
    let place = try #require(bench.reserve())
    bench.state.connectFailed(place.slot, now: bench.now)
    #expect(asked() == 1)
  }

  @Test(arguments: [BackendMode.drain, .maint])
  func `people take a backend out and in, for as long as its name is there`(mode: BackendMode) {
    let bench = Bench(["a", "b", "c"])
    #expect(bench.state.setMode("b", mode, now: bench.now))
    #expect(!bench.state.setMode("x", mode, now: bench.now))
    #expect(!bench.state.setMode("", mode, now: bench.now))
    func names() -> Set<String> { Set((0..<9).compactMap { _ in bench.serve { _ in .succeeded } }) }
    #expect(names() == ["a", "c"])
    bench.options.backends.reverse()
    bench.options.backends[1].address = .ip(IPAddress(v4: 0x7F00_0001), port: 7)
    bench.reload()
    #expect(names() == ["a", "c"])
    #expect(bench.state.setMode("b", .ready, now: bench.now))
    #expect(names() == ["a", "b", "c"])
    #expect(bench.changes == ["b \(mode)", "b ready"])
    // A name that was away is another backend when it comes back, and so is who took its slot.
    _ = bench.state.setMode("b", mode, now: bench.now)
    bench.options.backends[1].name = "d"
    bench.reload()
    #expect(names() == ["a", "c", "d"])
    bench.options.backends[1].name = "b"
    bench.reload()
    #expect(names() == ["a", "b", "c"])
  }

  @Test func `a breaker switched off never opens`() {
    let bench = Bench(["a", "b"]) {
      $0.breaker.failures = 0
      $0.breaker.errorRate = 0
    }
    for _ in 0..<200 { _ = bench.serve { _ in .gatewayFailed } }
    #expect(Set(bench.breakers.values) == [.closed])
  }

  /// Must show 3: threads that hammer one upstream never have more probes out than allowed.
  @Test(arguments: [1, 2, 3])
  func `is exact over threads`(probes: Int) {
    let shared = SharedState(seed: 9)
    var options = UpstreamOptions(name: "app")
    options.breaker.probes = probes
    options.breaker.successes = 1_000_000
    options.backends = [
      BackendOptions(address: .ip(IPAddress(v4: 0x7F00_0001), port: 1), name: "a")
    ]
    let state = shared.upstream(options)
    let start = MonotonicTime(nanoseconds: 1_000_000_000)
    for _ in 0..<5 {
      let place = state.reserve(
        hash: 0, tried: TriedBackends(), isIdempotent: true, now: start)!
      state.release(place.slot, place.ticket, .gatewayFailed, now: start)
    }
    let later = start + TimeAmount.seconds(5)
    let out = Atomic<Int>(0)
    let most = Atomic<Int>(0)
    let served = Atomic<Int>(0)
    withThreads(4) { index in
      // Bounded by tries, not by successes: a breaker that lets nobody in ends the test as well.
      for attempt in 0..<4000 {
        guard
          let place = state.reserve(
            hash: 0, tried: TriedBackends(), isIdempotent: index % 2 == 0, now: later)
        else { continue }
        let now = out.add(1, ordering: .sequentiallyConsistent).newValue
        most.max(now, ordering: .relaxed)
        if attempt % 8 == 0 { sched_yield() }
        out.subtract(1, ordering: .sequentiallyConsistent)
        state.release(place.slot, place.ticket, .succeeded, now: later)
        served.add(1, ordering: .relaxed)
      }
    }
    #expect(most.load(ordering: .relaxed) <= probes)
    #expect(served.load(ordering: .relaxed) > 0)
    #expect(state.views(now: later)[0].inFlight == 0)
  }
}

/// Runs the body on threads of their own and waits for all.
private func withThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  final class Box {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }
  var threads: [pthread_t] = []
  for index in 0..<count {
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box { body(index) })
    let main: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
      Unmanaged<Box>.fromOpaque($0!).takeRetainedValue().body()
      return nil
    }
    pthread_create(&thread, nil, main, box.toOpaque())
    threads.append(thread)
  }
  for thread in threads { pthread_join(thread, nil) }
}
