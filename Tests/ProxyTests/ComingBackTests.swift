import Balancing
import Primitives
import Resilience
import Testing

@testable import Proxy

/// Backends that come and go: slow start and panic.
@Suite struct `A backend that comes` {
  private func shares(_ bench: Bench) -> [String: Int] {
    Dictionary(
      bench.state.views(now: bench.now).map { (bench.name($0.backend), $0.share) },
      uniquingKeysWith: { a, _ in a })
  }

  private func bench(
    _ names: [String], _ change: (inout UpstreamOptions) -> Void = { _ in }
  ) -> Bench {
    Bench(names) {
      $0.slowStart = SlowStartOptions(window: TimeAmount.seconds(10))
      change(&$0)
    }
  }

  /// Requests that b gets of `count`.
  private func requestsOfB(_ bench: Bench, _ count: Int) -> Int {
    (0..<count).count { _ in bench.serve { _ in .succeeded } == "b" }
  }

  private func id(_ name: String, _ bench: Bench) -> Int {
    bench.state.views(now: bench.now).first { bench.name($0.backend) == name }?.backend ?? -1
  }

  @Test func `starts slowly when it is set ready, and has its whole share in the end`() {
    let bench = bench(["a", "b", "c"])
    #expect(shares(bench) == ["a": 128, "b": 128, "c": 128], "nobody at the start")
    #expect(bench.state.setMode("b", .drain, now: bench.now))
    #expect(bench.state.setMode("b", .ready, now: bench.now))
    #expect(shares(bench)["b"] == 13)
    let first = requestsOfB(bench, 269)
    #expect((12...14).contains(first), "\(first)")
    bench.now = bench.now + TimeAmount.seconds(5)
    _ = bench.serve { _ in .succeeded }
    #expect(shares(bench)["b"] == 64)
    bench.now = bench.now + TimeAmount.seconds(5)
    _ = bench.serve { _ in .succeeded }
    #expect(shares(bench) == ["a": 128, "b": 128, "c": 128])
    let last = requestsOfB(bench, 300)
    #expect((99...101).contains(last), "\(last)")
  }

  @Test func `starts slowly when a health check brings it back, or a reload brings it`() {
    let bench = bench(["a", "b", "c"]) { $0.healthCheck = HealthCheckOptions(kind: .tcp) }
    bench.state.healthChanged(id("b", bench), .wentDown, .timedOut, now: bench.now)
    bench.state.healthChanged(id("b", bench), .cameUp, .timedOut, now: bench.now)
    #expect(shares(bench) == ["a": 128, "b": 13, "c": 128])
    bench.now = bench.now + TimeAmount.seconds(60)
    bench.options.backends.append(
      BackendOptions(address: .ip(IPAddress(v4: 0x7F00_0001), port: 9), name: "new"))
    bench.reload()
    // Its time begins when its first check has passed.
    bench.now = bench.now + TimeAmount.seconds(60)
    bench.state.healthChanged(id("new", bench), .cameUp, .timedOut, now: bench.now)
    #expect(shares(bench) == ["a": 128, "b": 128, "c": 128, "new": 13])
    bench.options.slowStart = nil
    bench.reload()
    #expect(shares(bench)["new"] == 128)
  }

  @Test func `starts slowly when its breaker closes`() {
    let bench = bench(["a", "b"])
    for _ in 0..<10 { _ = bench.serve { $0 == "b" ? .gatewayFailed : .succeeded } }
    bench.now = bench.now + TimeAmount.seconds(2)
    while bench.breakers["b"] != .closed { _ = bench.serve { _ in .succeeded } }
    #expect(shares(bench) == ["a": 128, "b": 13])
  }

  @Test func `has its whole share at once where more than half are new`() {
    let bench = bench(["a", "b", "c"]) { $0.healthCheck = HealthCheckOptions(kind: .tcp) }
    for name in ["a", "b", "c"] {
      bench.state.healthChanged(id(name, bench), .wentDown, .timedOut, now: bench.now)
    }
    #expect(bench.reserve() == nil)
    for name in ["a", "b", "c"] {
      bench.state.healthChanged(id(name, bench), .cameUp, .timedOut, now: bench.now)
      #expect(Set(shares(bench).values) == [128])
    }
  }

  // MARK: Panic

  @Test func `a health check is not believed while too few can serve`() {
    let bench = Bench(["a", "b", "c", "d"]) {
      $0.healthCheck = HealthCheckOptions(kind: .tcp)
      $0.panicBelow = 50
    }
    func names() -> Set<String> { Set((0..<8).compactMap { _ in bench.serve { _ in .succeeded } }) }
    func down(_ name: String) {
      bench.state.healthChanged(id(name, bench), .wentDown, .timedOut, now: bench.now)
    }
    down("a")
    down("b")
    #expect(names() == ["c", "d"] && !bench.state.isPanicking, "half is enough")
    down("c")
    #expect(names() == ["a", "b", "c", "d"] && bench.state.isPanicking)
    #expect(bench.state.needsChecks && !bench.state.isUp(id("c", bench)))
    bench.state.healthChanged(id("c", bench), .cameUp, .timedOut, now: bench.now)
    #expect(names() == ["c", "d"] && !bench.state.isPanicking)
    down("c")
    down("d")
    #expect(names() == ["a", "b", "c", "d"], "with nobody left, too")
    let told = bench.changes.filter { $0.hasPrefix("panic") }
    #expect(told == ["panic true", "panic false", "panic true"])
    bench.options.panicBelow = 0
    bench.reload()
    #expect(bench.reserve() == nil)
  }

  @Test func `panic opens no breaker's door, and none that people have closed`() {
    let bench = Bench(["a", "b", "c", "d"]) {
      $0.healthCheck = HealthCheckOptions(kind: .tcp)
      $0.panicBelow = 100
    }
    while bench.breakers["a"] == .closed {
      _ = bench.serve { $0 == "a" ? .gatewayFailed : .succeeded }
    }
    #expect(!bench.state.isPanicking, "no check has failed: there is nothing to ignore")
    #expect(bench.state.setMode("b", .maint, now: bench.now))
    bench.state.healthChanged(id("c", bench), .wentDown, .timedOut, now: bench.now)
    #expect(bench.state.isPanicking)
    let names = Set((0..<20).compactMap { _ in bench.serve { _ in .succeeded } })
    #expect(names == ["c", "d"])
  }
}
