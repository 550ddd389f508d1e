import CLinux
import Glibc
import Primitives
import Resilience
import Telemetry
import Transport

/// What the watch thread is told.
public enum WatchMessage: Sendable {
  /// A worker or a check changed a backend's condition: say so.
  case changed(BackendChange)
  case stop
}

/// The thread that looks after backends off the data path: it tells operators of every change of a
/// backend's condition, so that no worker ever writes to the event log.
public final class BackendWatch {
  private let shared: SharedState
  private let log: EventLog

  /// Made on the thread that will call `run`.
  public init(shared: SharedState, log: EventLog) {
    self.shared = shared
    self.log = log
  }

  /// Serves until told to stop.
  public func run() {
    while true {
      var wanted = pollfd(fd: shared.watch.descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&wanted, 1, -1)
      for message in shared.watch.take() {
        switch message {
        case .changed(let change): tell(change)
        case .stop: return
        }
      }
    }
  }

  private func tell(_ change: BackendChange) {
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
