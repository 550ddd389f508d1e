import Glibc
import Proxy
import Telemetry

/// The thread of `BackendWatch`, seen from the control thread.
final class WatchThread {
  private let shared: SharedState
  private let thread: pthread_t

  init(shared: SharedState, log: EventLog) {
    self.shared = shared
    thread = Thread.start(name: "weir-watch") { BackendWatch(shared: shared, log: log).run() }
  }

  /// What was reported before is still told.
  func stop() {
    shared.watch.post(.stop)
    pthread_join(thread, nil)
  }
}
