import Glibc
import Primitives
import Proxy
import Telemetry
import Transport

/// The thread of `BackendWatch`, seen from the control thread.
final class WatchThread {
  private let shared: SharedState
  private var thread = pthread_t()

  init(shared: SharedState, log: EventLog) {
    self.shared = shared
    thread = Thread.start(name: "weir-watch", isPrompt: true) {
      BackendWatch(shared: shared, log: log)?.run()
    }
  }

  /// Has the names of this configuration kept resolved from now on, those of `old` too, and waits
  /// until something can be said of each of them, but for no longer than `time`.
  func resolve(_ options: ProxyOptions, and old: ProxyOptions? = nil, within time: TimeAmount) {
    let heard = Arrivals()
    let wishes = NameWishes(options, and: old)
    shared.watch.post(.resolve(wishes, heard))
    guard !wishes.queries.isEmpty else { return }
    _ = heard.wait(for: 1, until: MonotonicTime.now() + time)
  }

  /// Has no other names resolved any more than those of this configuration.
  func forgetOtherNames(than options: ProxyOptions) {
    var wishes = NameWishes(options)
    wishes.isFresh = false
    shared.watch.post(.resolve(wishes, Arrivals()))
  }

  /// Has the backends of this configuration checked from now on.
  func adopt(_ snapshot: Snapshot) { shared.watch.post(.adopt(snapshot)) }

  /// What was reported before is still told.
  func stop() {
    shared.watch.post(.stop)
    pthread_join(thread, nil)
  }
}
