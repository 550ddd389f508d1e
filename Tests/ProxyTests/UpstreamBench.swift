import Balancing
import Primitives
import Resilience
import Transport

@testable import Proxy

/// An upstream of backends a, b, c, … and a clock that only moves when told.
final class Bench {
  let shared = SharedState(seed: 3)
  let state: UpstreamState
  var options = UpstreamOptions(name: "app")
  var now = MonotonicTime(nanoseconds: 1_000_000_000_000)

  init(_ names: [String], _ change: (inout UpstreamOptions) -> Void = { _ in }) {
    options.balance = .roundRobin
    for (index, name) in names.enumerated() {
      options.backends.append(
        BackendOptions(
          address: .ip(IPAddress(v4: 0x7F00_0001), port: UInt16(1000 + index)), name: name))
    }
    change(&options)
    state = shared.upstream(options, now: now)
  }

  func reload() { _ = shared.upstream(options, now: now) }

  func name(_ backend: Int) -> String { shared.backend(backend)?.name ?? "?" }

  func reserve(
    _ tried: TriedBackends = TriedBackends(), isIdempotent: Bool = true
  ) -> ReservedBackend? {
    state.reserve(hash: 0, tried: tried, isIdempotent: isIdempotent, now: now)
  }

  func end(_ place: ReservedBackend, _ outcome: CircuitBreaker.Outcome) {
    state.release(place.slot, place.ticket, outcome, now: now)
  }

  /// One request; the backend's name.
  func serve(_ outcome: (String) -> CircuitBreaker.Outcome) -> String? {
    guard let place = reserve() else { return nil }
    let name = name(Int(place.backend))
    end(place, outcome(name))
    return name
  }

  var breakers: [String: CircuitBreaker.State] {
    Dictionary(
      state.views(now: now).map { (name($0.backend), $0.breaker) },
      uniquingKeysWith: { a, _ in a })
  }

  /// What the watch thread was told, in words.
  var changes: [String] {
    shared.watch.take().compactMap { message in
      guard case .changed(let change) = message else { return nil }
      switch change.kind {
      case .breaker(.opened(let reason, _)): return "\(name(change.backend)) \(reason.text)"
      case .breaker(.halfOpened): return "\(name(change.backend)) half open"
      case .breaker(.closed): return "\(name(change.backend)) closed"
      case .wentDown(let failure): return "\(name(change.backend)) down: \(failure.text)"
      case .cameUp: return "\(name(change.backend)) up"
      case .mode(let mode): return "\(name(change.backend)) \(mode)"
      case .panic(let begins): return "panic \(begins)"
      case .handshakeFailed: return "\(name(change.backend)) TLS"
      }
    }
  }
}
