import Balancing
import Primitives
import Resilience
import Testing
import Transport

@testable import Proxy

/// What gives a waiting request its place, beside the end of another one.
@Suite struct `A request that waits for a place` {
  /// Backends a and b with a place each; a's is taken, b is away, and request 7 waits.
  private final class Waiting {
    let bench: Bench
    let mailbox = Mailbox<WorkerMessage>()
    let request = Handle(kind: 3, generation: 1, index: 7)

    init(_ change: (inout UpstreamOptions) -> Void = { _ in }) {
      bench = Bench(["a", "b"]) {
        $0.maxRequests = 1
        $0.queueSize = 10
        change(&$0)
      }
      bench.shared.setMailboxes([mailbox])
    }

    func wait() -> Bool {
      let request = QueuedRequest(
        worker: 0, exchange: request, hash: 0, isIdempotent: true, isRetry: false)
      guard case .queued = bench.state.queue(request, now: bench.now) else { return false }
      return true
    }

    /// Names of the backends whose places were given to request 7.
    var granted: [String] {
      mailbox.take().compactMap { message in
        guard case .granted(let grant) = message, grant.exchange == request else { return nil }
        return grant.reserved.map { bench.name(Int($0.backend)) } ?? "none"
      }
    }

    /// When the watch thread was asked to look.
    var alarms: [MonotonicTime] {
      bench.shared.watch.take().compactMap { message in
        guard case .wake(_, let time) = message else { return nil }
        return time
      }
    }

    var b: Int {
      bench.state.views(now: bench.now).first { bench.name($0.backend) == "b" }?.backend ?? -1
    }
  }

  @Test(arguments: [BackendMode.drain, .maint])
  func `gets it when somebody sets a backend ready`(mode: BackendMode) throws {
    let waiting = Waiting()
    #expect(waiting.bench.state.setMode("b", mode, now: waiting.bench.now))
    let first = try #require(waiting.bench.reserve())
    #expect(waiting.bench.name(Int(first.backend)) == "a")
    #expect(waiting.wait() && waiting.granted == [])
    #expect(waiting.bench.state.setMode("b", .ready, now: waiting.bench.now))
    #expect(waiting.granted == ["b"])
    #expect(waiting.bench.state.queuedCount == 0)
  }

  @Test func `gets it when a health check passes again`() throws {
    let waiting = Waiting { $0.healthCheck = HealthCheckOptions(kind: .tcp) }
    let bench = waiting.bench
    bench.state.healthChanged(waiting.b, .wentDown, .timedOut, now: bench.now)
    _ = try #require(bench.reserve())
    #expect(waiting.wait() && waiting.granted == [])
    bench.state.healthChanged(waiting.b, .cameUp, .timedOut, now: bench.now)
    #expect(waiting.granted == ["b"])
  }

  @Test func `is told at once that there will be none, when nobody is left to have one`() throws {
    let waiting = Waiting { $0.healthCheck = HealthCheckOptions(kind: .tcp) }
    let bench = waiting.bench
    #expect(bench.state.setMode("b", .maint, now: bench.now))
    let place = try #require(bench.reserve())
    #expect(waiting.wait() && waiting.granted == [])
    bench.state.healthChanged(Int(place.backend), .wentDown, .timedOut, now: bench.now)
    #expect(waiting.granted == ["none"] && bench.state.queuedCount == 0)
    bench.end(place, .succeeded)
    #expect(waiting.granted == [])
  }

  @Test func `gets it when a breaker lets probes through, without any other request`() throws {
    let waiting = Waiting()
    let bench = waiting.bench
    openB(bench)
    #expect(bench.breakers["b"] == .open)
    _ = try #require(bench.reserve())
    #expect(waiting.wait() && waiting.granted == [])
    let alarm = try #require(waiting.alarms.first)
    #expect(alarm > bench.now)
    // Too early is no harm, and asks again.
    bench.state.alarmRang(now: bench.now)
    #expect(waiting.granted == [] && waiting.alarms == [alarm])
    bench.now = alarm
    bench.state.alarmRang(now: bench.now)
    #expect(waiting.granted == ["b"])
    #expect(bench.breakers["b"] == .halfOpen)
  }

  @Test func `gets the place of a backend that was only steered around`() throws {
    let waiting = Waiting()
    let bench = waiting.bench
    let places = try [#require(bench.reserve()), #require(bench.reserve())]
    #expect(waiting.wait() && waiting.alarms == [])
    bench.state.connectFailed(places[1].slot, now: bench.now)
    bench.end(places[1], .gatewayFailed)
    #expect(waiting.granted == [], "held")
    #expect(waiting.alarms == [bench.now + UpstreamState.connectFailureHold])
    bench.now = bench.now + UpstreamState.connectFailureHold
    bench.state.alarmRang(now: bench.now)
    #expect(waiting.granted == [bench.name(Int(places[1].backend))])
  }

  @Test func `nobody is asked to look where nobody waits`() {
    let waiting = Waiting()
    openB(waiting.bench)
    #expect(waiting.bench.breakers["b"] == .open && waiting.alarms == [])
  }

  /// Whoever a kept connection's end has met goes on where he is (`placeAfterRace`), but not at a
  /// backend that gets no new requests.
  @Test func `does not stay at a backend that the configuration has taken out`() throws {
    let bench = Bench(["a", "b"]) { $0.maxRequests = 1 }
    let place = try #require(bench.reserve())
    #expect(bench.state.mayStay(place.slot))
    bench.options.backends.removeAll { $0.name == bench.name(Int(place.backend)) }
    bench.reload()
    #expect(!bench.state.mayStay(place.slot))
    bench.end(place, .abandoned)
  }

  private func openB(_ bench: Bench) {
    #expect(bench.state.setMode("a", .drain, now: bench.now))
    for _ in 0..<5 { _ = bench.serve { _ in .gatewayFailed } }
    #expect(bench.state.setMode("a", .ready, now: bench.now))
  }
}
