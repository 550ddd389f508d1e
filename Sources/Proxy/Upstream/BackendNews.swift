import Primitives
import Resilience
import Telemetry

/// What operators are told of backends, in the event log.
extension BackendWatch {
  func tell(_ change: BackendChange) {
    if case .panic(let begins) = change.kind { return tellPanic(change.upstream, begins) }
    guard let backend = shared.backend(change.backend) else { return }
    let name = "backend \(change.upstream)/\(backend.name)"
    switch change.kind {
    case .breaker(let transition):
      backend.tally.count(transition)
      switch transition {
      case .opened(let reason, let until):
        log.warning(
          "\(name): circuit breaker open",
          ["reason": "\(reason.text)", "for_ms": "\((until - change.at).milliseconds)"])
      case .halfOpened: log.info("\(name): circuit breaker half open, trying it out")
      case .closed: log.info("\(name): circuit breaker closed")
      }
    case .wentDown(let failure):
      log.warning("\(name): health check failed, down", ["reason": failure.text])
    case .cameUp: log.info("\(name): health check passes, up")
    case .mode(let mode): log.info("\(name): set to \(mode.rawValue)")
    case .panic: break
    case .handshakeFailed(let failure):
      let what =
        if case .certificate = failure { "its certificate is refused" } else { "TLS fails" }
      log.error("\(name): \(what): \(failure.text)")
    }
  }

  private func tellPanic(_ upstream: String, _ begins: Bool) {
    if begins {
      log.error("upstream \(upstream): panic: too few backends serve, health checks are ignored")
    } else {
      log.info("upstream \(upstream): panic is over, health checks are believed again")
    }
  }
}

extension CircuitBreaker.Reason {
  /// As in logs and in the label `reason`.
  public var text: StaticString {
    switch self {
    case .failuresInARow: "failures_in_a_row"
    case .failureRate: "error_rate"
    case .slowRate: "slow_rate"
    case .probeFailed: "probe_failed"
    }
  }
}
