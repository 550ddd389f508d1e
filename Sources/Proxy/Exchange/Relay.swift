import CLinux
import Glibc
import HTTP
import HTTP1
import Primitives
import Transport

/// Why `Relay.pump` returned.
enum RelayOutcome: Equatable {
  /// All content has been handed to the sink; it may still be queued there.
  case complete
  /// The source has no more for now; its next edge continues.
  case needsSource
  /// The sink takes no more for now.
  case needsSink
  /// Much has been moved and more is ready: others first, then again.
  case yields
  /// The source ended or failed before the content was complete.
  case sourceEnded
  case sinkFailed
  /// The content breaks its framing.
  case malformed
  /// The content is longer than `Content.limit`; nothing beyond it was handed on.
  case overLimit
  /// No buffer left.
  case exhausted
}

/// Moves a message's content from one wire to another, framed as the receiver needs it, holding at
/// most one input block and what one send left over: the same code for requests, responses and
/// tunnels.
struct Relay: ~Copyable {
  /// Content at least this long, known in advance, is spliced: below it, copying costs less.
  static let spliceThreshold = 64 * 1024
  /// Content up to this goes behind the head in one part; a second part costs more than the copy.
  private static let copyThreshold = 4 * 1024
  /// Reads before other connections get their turn.
  private static let roundsPerTurn = 64
  /// As much as that many reads, for splices: one moves many times what a read does.
  private static let octetsPerTurn = roundsPerTurn * BufferPool.blockBytes
  /// Room in front of collected chunk data for its size line.
  private static let sizeLineRoom = 16

  private let frame: UnsafeMutablePointer<UInt8>
  private static let frameBytes = BufferPool.blockBytes + 20 * 1024
  var pipes: PipePool
  private var trailers = Fields()

  init(pipes: consuming PipePool) {
    frame = .allocate(capacity: Relay.frameBytes)
    self.pipes = pipes
  }

  deinit { frame.deallocate() }

  /// Moves what can be moved. `head` holds octets that go before any content (a rendered head, or
  /// nothing) and is empty afterwards.
  @inline(__always)
  mutating func pump(
    from source: UnsafeMutablePointer<Wire>, to sink: UnsafeMutablePointer<Wire>,
    content: inout Content, head: inout ByteSink, pool: inout BufferPool
  ) -> RelayOutcome {
    // Most requests are a head, and most responses a head and content that is here: the first round
    // of what follows, without the call.
    if !content.replay.isDue, sink.pointee.output.isEmpty, !sink.pointee.isStream {
      if content.isComplete {
        return send(head.view, .empty, to: sink, &head, &pool) ? .complete : .sinkFailed
      }
      if content.source == .length, !source.pointee.input.isEmpty {
        let outcome = moveAsIs(from: source, to: sink, &content, &head, &pool)
        if outcome != .yields { return outcome }
      }
    }
    return pumpContent(from: source, to: sink, content: &content, head: &head, pool: &pool)
  }

  private mutating func pumpContent(
    from source: UnsafeMutablePointer<Wire>, to sink: UnsafeMutablePointer<Wire>,
    content: inout Content, head: inout ByteSink, pool: inout BufferPool
  ) -> RelayOutcome {
    let octetsBefore = content.octets
    for _ in 0..<Relay.roundsPerTurn {
      // A stream's last frame says that it is the last: it must not leave before that is known.
      if sink.pointee.isStream, content.isComplete, head.count == 0, !content.replay.isDue {
        return .complete
      }
      if !sink.pointee.output.isEmpty, !sink.pointee.flush(&pool) {
        return sink.pointee.hasFailed ? .sinkFailed : .needsSink
      }
      if content.replay.isDue {
        if !content.replay.send(to: sink, &head, &pool) {
          return sink.pointee.hasFailed ? .sinkFailed : .exhausted
        }
        continue
      }
      if content.isComplete {
        if !send(head.view, .empty, to: sink, &head, &pool) { return .sinkFailed }
        return .complete
      }
      if source.pointee.input.isEmpty {
        // The head must not wait for content that may be long in coming.
        if head.count > 0, !send(head.view, .empty, to: sink, &head, &pool) { return .sinkFailed }
        if source.pointee.isPlainSocket, sink.pointee.isPlainSocket, splices(&content) {
          let outcome = splice(from: source, to: sink, content: &content)
          if outcome != .yields { return outcome }
          guard content.octets - octetsBefore < Relay.octetsPerTurn else { return .yields }
          continue
        }
        switch source.pointee.receive(&pool) {
        case .octets: break
        case .wouldBlock: return .needsSource
        case .ended:
          if content.source == .untilClose || content.source == .tunnel {
            return finishAtEnd(from: source, to: sink, &content, &pool)
          }
          return .sourceEnded
        case .failed(let error): return error == ENOBUFS ? .exhausted : .sourceEnded
        }
      }
      let outcome = move(from: source, to: sink, &content, &head, &pool)
      if outcome != .yields { return outcome }
    }
    return .yields
  }

  /// Sends head and content in order and empties the head.
  @inline(__always)
  private func send(
    _ first: ByteView, _ second: ByteView, to sink: UnsafeMutablePointer<Wire>,
    _ head: inout ByteSink, _ pool: inout BufferPool
  ) -> Bool {
    guard !first.isEmpty || !second.isEmpty else { return true }
    let sent = sink.pointee.send(first, second, &pool)
    head.removeAll()
    return sent
  }

  /// One step: what the input buffer holds goes to the sink.
  private mutating func move(
    from source: UnsafeMutablePointer<Wire>, to sink: UnsafeMutablePointer<Wire>,
    _ content: inout Content, _ head: inout ByteSink, _ pool: inout BufferPool
  ) -> RelayOutcome {
    switch content.source {
    case .length, .tunnel: return moveAsIs(from: source, to: sink, &content, &head, &pool)
    case .untilClose where !content.sendsChunks:
      return moveAsIs(from: source, to: sink, &content, &head, &pool)
    case .untilClose, .chunked:
      return moveFramed(from: source, to: sink, &content, &head, &pool)
    case .none: preconditionFailure("content without a source is complete")
    }
  }

  @inline(__always)
  private func moveAsIs(
    from source: UnsafeMutablePointer<Wire>, to sink: UnsafeMutablePointer<Wire>,
    _ content: inout Content, _ head: inout ByteSink, _ pool: inout BufferPool
  ) -> RelayOutcome {
    var octets = source.pointee.input.view
    if content.source == .length, octets.count > content.remaining {
      octets = octets.slice(0, content.remaining)
    }
    let sent: Bool
    if head.count > 0, octets.count <= Relay.copyThreshold,
      octets.count <= head.capacity - head.count
    {
      head.append(octets)
      sent = send(head.view, .empty, to: sink, &head, &pool)
    } else {
      sent = send(head.view, octets, to: sink, &head, &pool)
    }
    guard sent else { return sink.pointee.hasFailed ? .sinkFailed : .exhausted }
    if content.replay.isOn { content.replay.append(octets, &pool) }
    source.pointee.input.consume(octets.count)
    content.octets += octets.count
    if content.source == .length {
      content.remaining -= octets.count
      if content.remaining == 0 { content.isComplete = true }
    }
    return content.isComplete && sink.pointee.output.isEmpty ? .complete : .yields
  }

  /// Collects what the input holds of the content, without its old framing, and sends it as one
  /// chunk (or bare, to a client that knows no chunks).
  private mutating func moveFramed(
    from source: UnsafeMutablePointer<Wire>, to sink: UnsafeMutablePointer<Wire>,
    _ content: inout Content, _ head: inout ByteSink, _ pool: inout BufferPool
  ) -> RelayOutcome {
    var collected = ByteSink(
      base: frame + Relay.sizeLineRoom, capacity: Relay.frameBytes - Relay.sizeLineRoom)
    let outcome =
      content.source == .chunked
      ? decode(from: source, &content, &collected)
      : collectAll(from: source, &collected)
    if outcome == .malformed { return .malformed }
    let octets = collected.count
    guard octets <= content.limit - content.octets else { return .overLimit }
    content.octets += octets
    var start = Relay.sizeLineRoom
    if content.sendsChunks, octets > 0 {
      start -= prependSizeLine(octets)
      collected.append("\r\n")
    }
    var waits = false
    var trailerBytes = 0
    if outcome == .complete {
      let before = collected.count
      switch appendEnd(from: source, content, &collected) {
      case .complete:
        content.isComplete = true
        if !content.sendsChunks { trailerBytes = collected.count - before }
      case .needsSource: waits = true
      default: return .malformed
      }
    }
    let part = ByteView(base: frame + start, count: Relay.sizeLineRoom - start + collected.count)
    if !send(head.view, part, to: sink, &head, &pool) {
      return sink.pointee.hasFailed ? .sinkFailed : .exhausted
    }
    if trailerBytes > 0 { sink.pointee.markTrailers(trailerBytes) }
    if content.isComplete { return sink.pointee.output.isEmpty ? .complete : .yields }
    guard waits else { return .yields }
    return receiveMore(source, &pool)
  }

  /// The trailer section is incomplete in the buffer: more must be received behind it.
  private func receiveMore(
    _ source: UnsafeMutablePointer<Wire>, _ pool: inout BufferPool
  ) -> RelayOutcome {
    switch source.pointee.receive(&pool) {
    case .octets: return .yields
    case .wouldBlock: return .needsSource
    case .ended: return .sourceEnded
    case .failed(let error): return error == ENOBUFS ? .malformed : .sourceEnded
    }
  }

  /// `.complete` where the trailer section has been reached, `.malformed`, or `.yields`.
  private func decode(
    from source: UnsafeMutablePointer<Wire>, _ content: inout Content,
    _ collected: inout ByteSink
  ) -> RelayOutcome {
    do throws(HeadFault) {
      while true {
        let octets = source.pointee.input.view
        switch try content.decoder.next(octets) {
        case .data(let skip, let count):
          collected.append(octets.slice(skip, skip + count))
          source.pointee.input.consume(skip + count)
        case .needMore(let skip):
          source.pointee.input.consume(skip)
          return .yields
        case .trailers(let skip):
          source.pointee.input.consume(skip)
          return .complete
        }
      }
    } catch { return .malformed }
  }

  private func collectAll(
    from source: UnsafeMutablePointer<Wire>, _ collected: inout ByteSink
  ) -> RelayOutcome {
    let octets = source.pointee.input.view
    collected.append(octets)
    source.pointee.input.consume(octets.count)
    return .yields
  }

  /// Writes the size line so that it ends where the data begins; returns its length.
  private func prependSizeLine(_ count: Int) -> Int {
    var line = ByteSink(base: frame, capacity: Relay.sizeLineRoom)
    HeadWriter.appendChunkSize(count, to: &line)
    let length = line.count
    memmove(frame + Relay.sizeLineRoom - length, frame, length)
    return length
  }

  /// Reads the trailer section and appends the last chunk with what may be passed on of it; without
  /// chunks, to a stream, only that.
  private mutating func appendEnd(
    from source: UnsafeMutablePointer<Wire>, _ content: borrowing Content,
    _ collected: inout ByteSink
  ) -> RelayOutcome {
    let octets = source.pointee.input.view
    let length: Int
    do throws(HeadFault) {
      length = try HeadParser.parseTrailers(octets, into: &trailers, limits: HeadLimits())
    } catch { return .malformed }
    guard length > 0 else { return .needsSource }
    if content.sendsChunks { collected.append("0\r\n") }
    if content.passesTrailers { HeaderRewrite.appendTrailers(trailers, octets, to: &collected) }
    if content.sendsChunks { collected.append("\r\n") }
    source.pointee.input.consume(length)
    return .complete
  }

  /// The source ended in order, and that is the end of the content.
  private mutating func finishAtEnd(
    from source: UnsafeMutablePointer<Wire>, to sink: UnsafeMutablePointer<Wire>,
    _ content: inout Content, _ pool: inout BufferPool
  ) -> RelayOutcome {
    var end = ByteSink(base: frame, capacity: Relay.frameBytes)
    if content.sendsChunks || sink.pointee.isStream, source.pointee.receiveTrailers(&pool) {
      guard appendEnd(from: source, content, &end) == .complete else { return .malformed }
    } else if content.sendsChunks {
      end.append("0\r\n\r\n")
    }
    content.isComplete = true
    guard end.count > 0 else { return .complete }
    guard sink.pointee.send(end.view, .empty, &pool) else { return .sinkFailed }
    if !content.sendsChunks { sink.pointee.markTrailers(end.count) }
    return .complete
  }

  // MARK: Splicing

  /// Whether the rest of the content goes through a pipe; takes one where it pays. Where none is
  /// to be had the content is copied.
  private mutating func splices(_ content: inout Content) -> Bool {
    if content.pipe.isOpen { return true }
    guard content.source == .length, content.remaining >= Relay.spliceThreshold,
      let pipe = pipes.take()
    else { return false }
    content.pipe = pipe
    return true
  }

  /// Returns the pipe, if there is one; closed if a message was cut short in it.
  @inline(__always)
  mutating func endSplicing(_ content: inout Content) {
    if content.pipe.isOpen { givePipe(of: &content) }
  }

  @inline(never)
  private mutating func givePipe(of content: inout Content) {
    pipes.give(content.pipe)
    content.pipe = .none
  }

  /// One fill and one drain of the pipe. `.yields`: go on. A pipe that waits empty for its source
  /// is another's meanwhile.
  private mutating func splice(
    from source: UnsafeMutablePointer<Wire>, to sink: UnsafeMutablePointer<Wire>,
    content: inout Content
  ) -> RelayOutcome {
    let due = content.remaining - content.pipe.count
    if due > 0, source.pointee.mayRead {
      switch content.pipe.fill(from: source.pointee.descriptor, atMost: due) {
      case .octets: break
      case .wouldBlock where content.pipe.count == 0:
        source.pointee.mayRead = false
      case .wouldBlock: break
      case .ended, .failed:
        if content.pipe.count == 0 { return .sourceEnded }
      }
    }
    guard content.pipe.count > 0 else {
      endSplicing(&content)
      return .needsSource
    }
    // The source's edges come while the sink is full, too.
    guard sink.pointee.mayWrite else { return .needsSink }
    let before = content.pipe.count
    switch content.pipe.drain(
      to: sink.pointee.descriptor, moreFollows: content.remaining > before)
    {
    case .octets(let count):
      content.remaining -= count
      content.octets += count
      sink.pointee.sentOctets += count
    case .wouldBlock:
      sink.pointee.mayWrite = false
      return .needsSink
    case .ended, .failed:
      sink.pointee.hasFailed = true
      return .sinkFailed
    }
    guard content.remaining == 0 else { return .yields }
    content.isComplete = true
    endSplicing(&content)
    return .complete
  }
}
