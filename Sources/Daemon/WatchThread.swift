import Glibc
import Proxy
import Telemetry

/// The thread of `BackendWatch`, seen from the control thread.
final class WatchThread {
  private let shared: SharedState
  private var thread = pthread_t()

  init(_ snapshot: Snapshot, shared: SharedState, log: EventLog) {
    self.shared = shared
    adopt(snapshot)
    thread = Thread.start(name: "weir-watch") {
      BackendWatch(shared: shared, log: log)?.run()
    }
  }

  /// Has the backends of this configuration checked from now on.
  func adopt(_ snapshot: Snapshot) { shared.watch.post(.adopt(snapshot)) }

  /// What was reported before is still told.
  func stop() {
    shared.watch.post(.stop)
    pthread_join(thread, nil)
  }
}
