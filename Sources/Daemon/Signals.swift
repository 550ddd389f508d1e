import CLinux
import Glibc

/// The process's signals as a descriptor, read by the control thread alone.
final class Signals {
  enum Signal: Sendable {
    /// SIGTERM, SIGINT
    case stop
    /// SIGHUP
    case reload
    /// SIGUSR1
    case reopenLogs
    /// SIGUSR2
    case upgrade
  }

  let descriptor: Int32

  /// Blocks the signals in this thread and in every thread started after it, so it must come
  /// before any of them. SIGPIPE is ignored: sends say so themselves, but splice cannot.
  init() {
    signal(SIGPIPE, SIG_IGN)
    var set = sigset_t()
    sigemptyset(&set)
    for number in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2] { sigaddset(&set, number) }
    pthread_sigmask(SIG_BLOCK, &set, nil)
    descriptor = weir_signalfd(&set)
  }

  deinit { close(descriptor) }

  /// The next signal, or `nil` where there is none.
  func next() -> Signal? {
    switch weir_signalfd_read(descriptor) {
    case SIGTERM, SIGINT: .stop
    case SIGHUP: .reload
    case SIGUSR1: .reopenLogs
    case SIGUSR2: .upgrade
    default: nil
    }
  }
}
