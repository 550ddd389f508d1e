import CLinux
import Glibc
import Primitives

/// One nonblocking socket with what has been received and not consumed, and what was to be sent
/// and not taken: the part that client and backend connections have in common.
///
/// Registered edge-triggered: `mayRead` and `mayWrite` remember the last edge, so that no call is
/// made whose answer is known to be EAGAIN.
public struct Wire: BitwiseCopyable {
  public let descriptor: Int32
  public var mayRead = true
  public var mayWrite = true
  /// The kernel reported the peer's end; octets may still be unread.
  public var peerClosed = false
  /// The connection is dead in both directions.
  public var hasFailed = false
  /// `receive` has returned `.ended`.
  public var hasEnded = false
  /// Octets the socket has taken over the connection's life.
  public var sentOctets = 0
  /// No socket: a stream of an HTTP/2 connection (StreamWire.swift).
  public let isStream: Bool
  /// Set: `input` holds what was opened and `output` what was sealed (SealedWire.swift).
  public internal(set) var tls: TLSChannel?
  public var input = InputBuffer()
  public var output = OutputQueue()

  var inbox = OutputQueue()
  var inboxEnded = false
  var creditOwed = 0
  /// Octets at the end of `inbox` and `output` that are no content, but trailer lines.
  var inboxTrailers = 0
  var outputTrailers = 0
  /// Nothing will be sent behind what `output` holds; and that has been said to the peer.
  public var outputEnds = false
  public var outputEnded = false

  public init(descriptor: Int32) {
    self.descriptor = descriptor
    isStream = false
  }

  /// A stream's wire.
  public static var stream: Wire { Wire() }

  private init() {
    descriptor = -1
    isStream = true
  }

  /// Octets go between the socket and the buffers as they are.
  public var isPlainSocket: Bool { tls == nil && !isStream }

  @inlinable @inline(__always)
  public mutating func note(_ readiness: Readiness) {
    if !readiness.isDisjoint(with: [.readable, .peerClosed, .failed, .hungUp]) { mayRead = true }
    if !readiness.isDisjoint(with: [.writable, .failed, .hungUp]) { mayWrite = true }
    if !readiness.isDisjoint(with: [.peerClosed, .hungUp]) { peerClosed = true }
    if !readiness.isDisjoint(with: [.failed, .hungUp]) { hasFailed = true }
  }

  /// Whether `receive` may bring something: false saves the call.
  @inlinable @inline(__always)
  public var mayHaveMore: Bool { mayRead || tls != nil || isStream }

  /// Receives once into the input buffer. A full buffer or an exhausted pool reads nothing and
  /// reports `.failed(ENOBUFS)`: callers leave room or stop before.
  public mutating func receive(_ pool: inout BufferPool) -> ReceiveResult {
    if isStream { return receiveDelivered(&pool) }
    if tls != nil { return receiveSealed(&pool) }
    guard mayRead else { return .wouldBlock }
    if hasEnded { return .ended }
    guard input.attach(&pool) else { return .failed(ENOBUFS) }
    if input.room < BufferPool.blockBytes / 4 { input.moveToFront() }
    let room = input.room
    guard room > 0 else { return .failed(ENOBUFS) }
    let result = SocketCalls.receive(descriptor, input.writePointer, room)
    switch result {
    case .octets(let count):
      input.didReceive(count)
      // A short read means drained: the next edge will tell (peerClosed: the end is still due).
      if count < room, !peerClosed { mayRead = false }
    case .wouldBlock: mayRead = false
    case .ended: hasEnded = true
    case .failed: hasFailed = true
    }
    return result
  }

  /// Sends two parts in order, now if nothing is queued, and queues what the kernel does not take.
  /// False where the connection has failed or no buffer is left.
  public mutating func send(
    _ first: ByteView, _ second: ByteView, _ pool: inout BufferPool
  ) -> Bool {
    if isStream { return sendToStream(first, second, &pool) }
    if tls != nil { return sendSealed(first, second, &pool) }
    var sent = 0
    if output.isEmpty, mayWrite {
      let result =
        second.isEmpty
        ? SocketCalls.send(descriptor, first)
        : first.isEmpty
          ? SocketCalls.send(descriptor, second)
          : SocketCalls.send(descriptor, first, second)
      switch result {
      case .octets(let count):
        sent = count
        sentOctets += count
      case .wouldBlock: break
      case .failed:
        hasFailed = true
        return false
      }
      if sent == first.count + second.count { return true }
      mayWrite = false
    }
    if sent < first.count {
      return output.append(first.slice(from: sent), &pool) && output.append(second, &pool)
    }
    return output.append(second.slice(from: sent - first.count), &pool)
  }

  /// Sends a head and pieces of content that stay where they are. Returns how many octets of the
  /// content were taken; what is left of the head is queued. `nil` where the connection has failed
  /// or no buffer is left. For plain sockets with nothing queued; `parts` has room for one more.
  public mutating func send(
    _ head: ByteView, _ parts: UnsafeMutablePointer<iovec>, _ count: Int,
    _ pool: inout BufferPool
  ) -> Int? {
    guard mayWrite else { return output.append(head, &pool) ? 0 : nil }
    var due = head.count
    for index in 0..<count { due += parts[index].iov_len }
    let result = SocketCalls.send(descriptor, head, parts, count)
    switch result {
    case .octets(let sent):
      sentOctets += sent
      if sent < due { mayWrite = false }
      if sent >= head.count { return sent - head.count }
      return output.append(head.slice(from: sent), &pool) ? 0 : nil
    case .wouldBlock:
      mayWrite = false
      return output.append(head, &pool) ? 0 : nil
    case .failed:
      hasFailed = true
      return nil
    }
  }

  /// Sends what is queued. True once nothing is left; look at `hasFailed` when false.
  public mutating func flush(_ pool: inout BufferPool) -> Bool {
    if isStream { return isStreamFlushed }
    while !output.isEmpty, mayWrite {
      switch SocketCalls.send(descriptor, output.front) {
      case .octets(let count):
        output.consume(count, &pool)
        sentOctets += count
      case .wouldBlock: mayWrite = false
      case .failed:
        hasFailed = true
        return false
      }
    }
    return output.isEmpty
  }

  public mutating func releaseBuffers(_ pool: inout BufferPool) {
    if let tls {
      tls.free(&pool)
      self.tls = nil
    }
    input.detach(&pool)
    output.removeAll(&pool)
    inbox.removeAll(&pool)
  }
}
