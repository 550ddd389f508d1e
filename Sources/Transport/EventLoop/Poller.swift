import CLinux
import Glibc
import Primitives

/// Readiness, as the kernel reports it.
public struct Readiness: OptionSet, Sendable, BitwiseCopyable {
  public let rawValue: UInt32
  @inlinable
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  @inlinable
  public static var readable: Readiness { Readiness(rawValue: WEIR_EPOLLIN) }
  @inlinable
  public static var writable: Readiness { Readiness(rawValue: WEIR_EPOLLOUT) }
  /// The peer will send no more.
  @inlinable
  public static var peerClosed: Readiness { Readiness(rawValue: WEIR_EPOLLRDHUP) }
  @inlinable
  public static var failed: Readiness { Readiness(rawValue: WEIR_EPOLLERR) }
  /// Both directions are closed.
  @inlinable
  public static var hungUp: Readiness { Readiness(rawValue: WEIR_EPOLLHUP) }
}

/// The epoll instance of one event loop.
///
/// Connections are registered once, for everything and edge-triggered, so the data path makes no
/// epoll_ctl call; listeners and event descriptors are level-triggered.
public struct Poller: ~Copyable {
  /// Events taken from the kernel in one turn.
  public static let eventsPerTurn = 512
  /// Can itself be polled: readable while an event waits here.
  public let descriptor: Int32
  private let events: UnsafeMutablePointer<epoll_event>

  /// `nil` where the process has no descriptor left.
  public init?() {
    descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
    events = .allocate(capacity: Poller.eventsPerTurn)
    guard descriptor >= 0 else { return nil }
  }

  deinit {
    close(descriptor)
    events.deallocate()
  }

  /// Registers a connection for its whole life.
  public func add(connection: Int32, _ handle: Handle) -> Bool {
    control(
      EPOLL_CTL_ADD, connection,
      WEIR_EPOLLIN | WEIR_EPOLLOUT | WEIR_EPOLLRDHUP | WEIR_EPOLLET, handle)
  }

  /// Registers a listener, level-triggered. Where several loops wait for the same socket
  /// (`isShared`), a connection wakes one of them, not all.
  public func add(listener: Int32, _ handle: Handle, isShared: Bool = false) -> Bool {
    control(
      EPOLL_CTL_ADD, listener, isShared ? WEIR_EPOLLIN | WEIR_EPOLLEXCLUSIVE : WEIR_EPOLLIN,
      handle)
  }

  /// Registers what a library reads and writes by itself, level-triggered, for exactly this, or
  /// changes for what it is registered. Neither: it is removed.
  func watch(_ descriptor: Int32, readable: Bool, writable: Bool, _ handle: Handle) {
    guard readable || writable else { return remove(descriptor) }
    let interest = (readable ? WEIR_EPOLLIN : 0) | (writable ? WEIR_EPOLLOUT : 0)
    if control(EPOLL_CTL_MOD, descriptor, interest, handle) { return }
    _ = control(EPOLL_CTL_ADD, descriptor, interest, handle)
  }

  public func remove(_ descriptor: Int32) {
    _ = epoll_ctl(self.descriptor, EPOLL_CTL_DEL, descriptor, nil)
  }

  /// Waits until something is ready or `timeoutMs` pass (-1: without limit). Returns how many
  /// events `event(_:)` can be asked for; a signal counts as none.
  public func wait(timeoutMs: Int32) -> Int {
    Int(max(0, weir_epoll_wait(descriptor, events, Int32(Poller.eventsPerTurn), timeoutMs)))
  }

  /// Lets events gather, so that the next `wait` finds many of them at once. Less than a second.
  public static func pause(_ time: TimeAmount) {
    usleep(UInt32(clamping: min(time.nanoseconds / 1000, 999_999)))
  }

  @inline(__always)
  public func event(_ index: Int) -> (handle: Handle, readiness: Readiness) {
    let event = events[index]
    return (Handle(raw: event.data.u64), Readiness(rawValue: event.events))
  }

  private func control(
    _ operation: Int32, _ target: Int32, _ interest: UInt32, _ handle: Handle
  ) -> Bool {
    var event = epoll_event()
    event.events = interest
    event.data.u64 = handle.raw
    return epoll_ctl(descriptor, operation, target, &event) == 0
  }
}
