import CLinux
import Glibc
import Primitives

/// Messages from any thread to one event loop, woken through an eventfd.
///
/// Many messages between two turns of the receiver cost one wake-up. The queue is unbounded by
/// itself: every kind of message in it must be bounded by what it speaks about.
public final class Mailbox<Message: Sendable>: Sendable {
  /// What the receiving loop polls; -1 where the process had no descriptor left.
  public let descriptor: Int32
  private let messages = Lock<[Message]>([])

  public init() {
    descriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
  }

  deinit { close(descriptor) }

  public func post(_ message: Message) {
    let wasEmpty = messages.withLock { queue in
      queue.append(message)
      return queue.count == 1
    }
    guard wasEmpty else { return }
    var one: UInt64 = 1
    _ = write(descriptor, &one, 8)
  }

  /// Everything posted so far, in order; called by the receiver when its descriptor is readable.
  public func take() -> [Message] {
    var count: UInt64 = 0
    _ = read(descriptor, &count, 8)
    return messages.withLock { queue in
      let taken = queue
      queue = []
      return taken
    }
  }
}
