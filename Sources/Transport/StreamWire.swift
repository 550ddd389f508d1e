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

  /// The peer has said that it sends no more; some of what it sent may wait in the inbox.
  public var hasDeliveredEnd: Bool { inboxEnded }

  /// The peer takes no more of what is sent; what it has sent itself can still be received.
  public mutating func stopSending(_ pool: inout BufferPool) {
    output.removeAll(&pool)
    outputTrailers = 0
    outputEnds = true
    outputEnded = true
  }

  /// The peer has sent all that it will.
  public mutating func deliverEnd() {
    inboxEnded = true
    mayRead = true
  }

  /// The trailer section that came behind the content, in the form of HTTP/1.1, with the empty line
  /// that ends it. False where no buffer is left.
  public mutating func deliver(trailers: ByteView, _ pool: inout BufferPool) -> Bool {
    inboxTrailers = trailers.count
    return inbox.append(trailers, &pool)
  }

  /// Moves the trailer section to the input, once everything before it has been received. False
  /// where there is none, or no room for it.
  public mutating func receiveTrailers(_ pool: inout BufferPool) -> Bool {
    guard inboxTrailers > 0, inbox.count == inboxTrailers, input.attach(&pool) else { return false }
    input.moveToFront()
    guard inboxTrailers <= input.room else { return false }
    inboxTrailers = 0
    while !inbox.isEmpty {
      let front = inbox.front
      memcpy(input.writePointer, front.pointer, front.count)
      input.didReceive(front.count)
      inbox.consume(front.count, &pool)
    }
    return true
  }

  /// The last `octets` of what was sent are trailer lines.
  public mutating func markTrailers(_ octets: Int) { outputTrailers = octets }

  /// Moves the trailer lines to `sink`, behind the last content.
  public mutating func takeTrailers(into sink: inout ByteSink, _ pool: inout BufferPool) {
    guard outputTrailers > 0, output.count == outputTrailers else { return }
    outputTrailers = 0
    while !output.isEmpty {
      let front = output.front
      sink.append(front)
      output.consume(front.count, &pool)
    }
  }

  /// The stream was reset or its connection is gone.
  public mutating func deliverReset() {
    hasFailed = true
    mayRead = true
  }

  /// Puts `octets` (a head) in front of all content. False where no buffer is left.
  public mutating func preload(_ octets: ByteView, _ pool: inout BufferPool) -> Bool {
    guard input.attach(&pool) else { return false }
    input.moveToFront()
    guard octets.count <= input.room else { return false }
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
    if inbox.count == inboxTrailers {
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
    let count = min(front.count, input.room, inbox.count - inboxTrailers)
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
    while count < room, output.count > outputTrailers {
      let front = output.front
      let length = min(front.count, room - count, output.count - outputTrailers)
      memcpy(target + count, front.pointer, length)
      output.consume(length, &pool)
      count += length
    }
    if output.count == outputTrailers, outputEnds { outputEnded = true }
    return count
  }

  /// All content has been taken, and trailers have not.
  public var hasOnlyTrailers: Bool {
    outputEnds && outputTrailers > 0 && output.count == outputTrailers
  }

  /// Nothing waits any more: neither octets nor the end, where that has to be said.
  var isStreamFlushed: Bool { outputEnds ? outputEnded : output.isEmpty }

  /// Content waits to be made into frames.
  public var hasContent: Bool { output.count > outputTrailers }
}
