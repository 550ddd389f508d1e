import CLinux
import Glibc
import Primitives
import Synchronization

/// Counts threads that have arrived somewhere (ended, taken over a configuration), for one thread
/// that polls for it or waits.
public final class Arrivals: Sendable {
  /// Readable after an arrival, until `collect`; -1 where the process had no descriptor left.
  public let descriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
  private let total = Atomic<Int>(0)

  public init() {}

  deinit { close(descriptor) }

  /// On any thread.
  public func signal() {
    total.add(1, ordering: .acquiringAndReleasing)
    var one: UInt64 = 1
    _ = write(descriptor, &one, 8)
  }

  /// How many have arrived in all.
  public func collect() -> Int {
    var count: UInt64 = 0
    _ = read(descriptor, &count, 8)
    return total.load(ordering: .acquiring)
  }

  /// Blocks until `count` have arrived; false where the deadline came first.
  public func wait(for count: Int, until deadline: MonotonicTime) -> Bool {
    while collect() < count {
      let left = (deadline - MonotonicTime.now()).milliseconds
      guard left > 0 else { return false }
      var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&wanted, 1, Int32(clamping: left))
    }
    return true
  }
}
