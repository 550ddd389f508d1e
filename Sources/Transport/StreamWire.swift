import Glibc
import Primitives

/// A wire without a socket: one stream of an HTTP/2 connection.
///
/// Content that came for the stream waits in `inbox` until it is received from there, which is what
/// gives the peer its window back; what is sent waits in `output` until the session makes frames of
/// it. So whoever moves content between wires moves it between protocols.
extension Wire {
  /// Octets have come for the stream. False where no buffer is left.
  public mutating func deliver(_ octets: ByteView, _ pool: inout BufferPool) -> Bool {
    mayRead = true
    return inbox.append(octets, &pool)
  }

  /// The peer has sent all that it will.
  public mutating func deliverEnd() {
    inboxEnded = true
    mayRead = true
  }

  /// The stream was reset or its connection is gone.
  public mutating func deliverReset() {
    hasFailed = true
    mayRead = true
  }

  /// Puts `octets` (a request's head) in front of everything. False where no buffer is left.
  public mutating func preload(_ octets: ByteView, _ pool: inout BufferPool) -> Bool {
    guard input.attach(&pool), octets.count <= input.room else { return false }
    memcpy(input.writePointer, octets.pointer, octets.count)
    input.didReceive(octets.count)
    return true
  }

  /// Octets received since the last call: the window that the peer is owed.
  public mutating func takeCredit() -> Int {
    defer { creditOwed = 0 }
    return creditOwed
  }

  mutating func receiveDelivered(_ pool: inout BufferPool) -> ReceiveResult {
    if inbox.isEmpty {
      if hasFailed { return .failed(ECONNRESET) }
      if inboxEnded {
        hasEnded = true
        return .ended
      }
      mayRead = false
      return .wouldBlock
    }
    guard input.attach(&pool) else { return .failed(ENOBUFS) }
    if input.room < BufferPool.blockBytes / 4 { input.moveToFront() }
    let front = inbox.front
    let count = min(front.count, input.room)
    guard count > 0 else { return .failed(ENOBUFS) }
    memcpy(input.writePointer, front.pointer, count)
    input.didReceive(count)
    inbox.consume(count, &pool)
    creditOwed += count
    return .octets(count)
  }

  mutating func sendToStream(
    _ first: ByteView, _ second: ByteView, _ pool: inout BufferPool
  ) -> Bool {
    guard !hasFailed, output.append(first, &pool), output.append(second, &pool) else {
      return false
    }
    sentOctets += first.count + second.count
    return true
  }

  /// Moves up to `room` octets of the output to `target`, for a frame.
  public mutating func takeOutput(
    _ target: UnsafeMutablePointer<UInt8>, _ room: Int, _ pool: inout BufferPool
  ) -> Int {
    var count = 0
    while count < room, !output.isEmpty {
      let front = output.front
      let length = min(front.count, room - count)
      memcpy(target + count, front.pointer, length)
      output.consume(length, &pool)
      count += length
    }
    if output.isEmpty, outputEnds { outputEnded = true }
    return count
  }

  /// Nothing waits any more: neither octets nor the end, where that has to be said.
  var isStreamFlushed: Bool { output.isEmpty && (!outputEnds || outputEnded) }
}
