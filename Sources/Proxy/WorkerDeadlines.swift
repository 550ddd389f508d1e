import Primitives
import Transport

/// When connections are looked at though nothing happens on them.
extension Worker {
  /// Sets the connection's deadline. The wheel is touched only where its timer would fire too
  /// late; a timer that fires early finds the later deadline and is armed anew.
  func setDeadline(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>,
    _ time: MonotonicTime
  ) {
    connection.pointee.deadline = time
    guard time < wheel.dueTime(connection.pointee.timer) else { return }
    wheel.arm(&connection.pointee.timer, handle, at: time)
  }

  func setDeadline(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>,
    _ time: MonotonicTime
  ) {
    connection.pointee.deadline = time
    guard time < wheel.dueTime(connection.pointee.timer) else { return }
    wheel.arm(&connection.pointee.timer, handle, at: time)
  }

  /// After so long without a call OpenSSL's connection may rest; at the latest after twice this.
  private static let restTime = TimeAmount.seconds(1)

  /// `setDeadline` for a connection that nobody uses from now on: one in TLS is looked at sooner.
  @inline(__always)
  func setIdleDeadline(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>,
    _ time: MonotonicTime
  ) {
    setDeadline(handle, connection, time)
    if connection.pointee.wire.isSealed { lookSoon(handle, &connection.pointee.timer, time) }
  }

  @inline(__always)
  func setIdleDeadline(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>,
    _ time: MonotonicTime
  ) {
    setDeadline(handle, connection, time)
    if connection.pointee.wire.isSealed { lookSoon(handle, &connection.pointee.timer, time) }
  }

  @inline(never)
  private func lookSoon(
    _ handle: Handle, _ timer: inout TimerWheel.Timer, _ deadline: MonotonicTime
  ) {
    let time = min(deadline, now + Worker.restTime)
    if time < wheel.dueTime(timer) { wheel.arm(&timer, handle, at: time) }
  }

  /// The timer of a connection came before its deadline: armed anew. One that idles in TLS is laid
  /// to rest, or looked at again where it was used since the last look.
  func rearm(
    _ handle: Handle, _ timer: inout TimerWheel.Timer, _ wire: inout Wire, isIdle: Bool,
    _ deadline: MonotonicTime
  ) {
    let isSettled = !isIdle || wire.rest()
    let time = isSettled ? deadline : min(deadline, now + Worker.restTime)
    if time != .never { wheel.arm(&timer, handle, at: time) }
  }
}
