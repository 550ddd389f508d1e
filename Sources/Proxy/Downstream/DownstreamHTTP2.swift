import HTTP
import HTTP1
import HTTP2
import Primitives
import Resilience
import Telemetry
import Transport

/// The client side of HTTP/2: one session for a connection, and for each of its streams a record
/// that looks to the rest of the proxy like a client connection with one request.
///
/// Octets for all streams of a connection go out together, when the turn's other work is done.
extension Worker {
  /// Receptions from one connection before others get their turn.
  private static let receptionsPerTurn = 8
  /// Between the two steps of a graceful end: longer than most round trips.
  private static let shutdownNotice = TimeAmount.milliseconds(500)
  /// For the client to read why its connection ends (safety rule 35).
  private static let farewellTime = TimeAmount.seconds(1)

  // MARK: Beginning

  enum PrefaceMatch { case no, partly, whole }

  /// Whether a connection begins with HTTP/2's preface (RFC 9113 §3.4), which may come in pieces.
  func prefaceMatch(_ octets: ByteView) -> PrefaceMatch {
    let preface = ByteView(Session.preface)
    let common = min(octets.count, preface.count)
    guard octets.slice(0, common).equals(preface.slice(0, common)) else { return .no }
    return common == preface.count ? .whole : .partly
  }

  /// From here on the connection speaks HTTP/2.
  func beginSession(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let limits = listenerOptions(connection).pointee.limits
    guard let session = Session(intake: intake, source: self, limits: limits, now: now) else {
      return closeDownstream(handle)
    }
    metrics.add(.http2Connections)
    connection.pointee.session = Unmanaged.passRetained(session)
    connection.pointee.state = .multiplexing
    connection.pointee.knownOctets = 0
    multiplex(handle, connection)
  }

  private func session(
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> Session {
    guard let session = connection.pointee.session else { preconditionFailure("no session") }
    return session._withUnsafeGuaranteedRef { $0 }
  }

  // MARK: Receiving

  /// Reads what there is, dispatches it, and sends what is due.
  func multiplex(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    if connection.pointee.wire.hasFailed { return closeDownstream(handle) }
    var receptions = 0
    while session(connection).cut == nil {
      if connection.pointee.wire.input.isEmpty {
        guard receptions < Worker.receptionsPerTurn else {
          queue(handle, connection)
          break
        }
        receptions += 1
        switch connection.pointee.wire.receive(&pool) {
        case .octets: break
        case .wouldBlock:
          connection.pointee.wire.input.detach(&pool)
          return sendFrames(handle, connection)
        case .ended, .failed: return closeDownstream(handle)
        }
      }
      let octets = connection.pointee.wire.input.view
      let isSound = session(connection).receive(octets, now: now)
      dispatchEvents(handle, connection, octets)
      connection.pointee.wire.input.consume(octets.count)
      if !isSound {
        if session(connection).cut == .flood { metrics.add(.http2Floods) }
        abandonStreams(connection)
      }
    }
    sendFrames(handle, connection)
  }

  private func dispatchEvents(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>,
    _ octets: ByteView
  ) {
    for index in intake.events.indices {
      let event = intake.events[index]
      switch event.kind {
      case .void: break
      case .opened, .openedOverLimit: openStream(handle, connection, event)
      case .data:
        guard let (stream, record) = stream(event, connection) else { continue }
        if record.pointee.wire.deliver(octets.slice(event.range), &pool) {
          queue(stream, record)
        } else {
          abandonStream(stream, record, .exhausted)
        }
      case .trailers:
        guard let (stream, record) = stream(event, connection) else { continue }
        if !record.pointee.wire.deliver(trailers: intake.head(event), &pool) {
          abandonStream(stream, record, .exhausted)
        }
      case .ended:
        guard let (stream, record) = stream(event, connection) else { continue }
        record.pointee.wire.deliverEnd()
        queue(stream, record)
      case .reset: streamClosed(event)
      case .responded, .malformed, .goingAway, .settled:
        preconditionFailure("no event of a server")
      }
    }
  }

  /// The session knows the stream no more.
  private func streamClosed(_ event: SessionEvent) {
    let handle = Handle(raw: event.owner)
    if let stream = downstreams.resolve(handle) { cutStream(handle, stream) }
  }

  /// The client hears no more of this stream.
  private func cutStream(
    _ handle: Handle, _ stream: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let exchange = stream.pointee.exchange
    if stream.pointee.wire.outputEnded, exchange != .none {
      // All of the answer had gone out: it ends as any other. A tunnel that both sides have ended
      // may still have octets for its backend.
      if exchanges[exchange].pointee.phase == .flushing {
        return flushEnd(exchange, exchanges[exchange])
      }
      if stream.pointee.wire.hasDeliveredEnd { return queue(handle, stream) }
    }
    stream.pointee.wire.deliverReset()
    abandonStream(handle, stream, .clientLeft)
  }

  /// The record that serves the event's stream; `nil` where it has ended.
  private func stream(
    _ event: SessionEvent, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> (Handle, UnsafeMutablePointer<DownstreamConnection>)? {
    // What came behind the head in the same read was there before the record was.
    let owner = event.owner > 0 ? event.owner : session(connection).owner(of: event.stream)
    let handle = Handle(raw: owner)
    return downstreams.resolve(handle).map { (handle, $0) }
  }

  private func openStream(
    _ parent: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>,
    _ event: SessionEvent
  ) {
    becameBusy(connection)
    guard streams < currentSnapshot.options.maxStreams else {
      metrics.add(.http2StreamsRefused)
      return session(connection).reset(event.stream, .refusedStream)
    }
    guard let (handle, stream) = downstreams.insert(copyOf: blankDownstream) else {
      return session(connection).reset(event.stream, .refusedStream)
    }
    stream.pointee.becomeStream(event.stream, of: connection, parent)
    session(connection).setOwner(event.stream, handle.raw)
    stream.pointee.isTunnel = event.isTunnel
    linkStream(handle, stream, connection)
    if event.endsStream { stream.pointee.wire.deliverEnd() }
    guard event.kind == .opened else {
      return refuseStream(handle, stream, HeadFault(431, "head over the limit"))
    }
    guard stream.pointee.wire.preload(intake.head(event), &pool) else {
      return abandonStream(handle, stream, .exhausted)
    }
    let options = listenerOptions(connection)
    headOwner = .none
    let length: Int
    do throws(HeadFault) {
      length = try HeadParser.parseRequest(
        stream.pointee.wire.input.view, into: &requestHead, limits: Worker.acceptedLimits,
        strictPath: options.pointee.strictPath)
    } catch { return refuseStream(handle, stream, error) }
    guard length > 0 else { return refuseStream(handle, stream, .bad("malformed head")) }
    requestHead.version = .http2
    if requestHead.host.isEmpty { requestHead.assumeHost(options.pointee.defaultHost) }
    begin(handle, stream, length)
  }

  /// A head that breaks a rule is answered; there is no exchange.
  private func refuseStream(
    _ handle: Handle, _ stream: UnsafeMutablePointer<DownstreamConnection>, _ fault: HeadFault
  ) {
    var sink = refusal(stream, fault, closes: false)
    stream.pointee.state = .lingering
    if answerStream(stream, &sink, isLast: true) {
      setDeadline(handle, stream, now + listenerOptions(stream).pointee.sendTimeout)
      return finishRefusal(handle, stream)
    }
    endStream(handle, stream, .internalError)
  }

  /// A refused stream lives until its page has been made into frames.
  func finishRefusal(
    _ handle: Handle, _ stream: UnsafeMutablePointer<DownstreamConnection>
  ) {
    guard stream.pointee.wire.flush(&pool) else { return }
    endStream(handle, stream, .noError)
  }

  // MARK: Answering

  /// Hands a rendered head to the session, and what stands behind it in `sink` to the stream. The
  /// sink is empty afterwards. `isLast`: nothing follows. False where the stream is gone.
  func answerStream(
    _ stream: UnsafeMutablePointer<DownstreamConnection>, _ sink: inout ByteSink, isLast: Bool,
    isFinal: Bool = true
  ) -> Bool {
    let octets = sink.view
    let length = octets.lengthOfHead
    let content = octets.slice(from: length)
    let isOnlyHead = isLast && content.isEmpty
    guard length > 0, let connection = downstreams.resolve(stream.pointee.parent),
      connection.pointee.session.use({
        $0.submit(
          head: octets.slice(0, length), stream: stream.pointee.streamID, isFinal: isFinal,
          endsStream: isOnlyHead)
      })
    else { return false }
    if isLast { stream.pointee.wire.outputEnds = true }
    if isOnlyHead { stream.pointee.wire.outputEnded = true }
    queue(stream.pointee.parent, connection)
    sink.removeAll()
    return content.isEmpty || stream.pointee.wire.send(content, .empty, &pool)
  }

  /// The client goes on talking when its backend has ended.
  func tunnelOpened(_ stream: UnsafeMutablePointer<DownstreamConnection>) {
    guard let connection = downstreams.resolve(stream.pointee.parent) else { return }
    session(connection).openTunnel(stream.pointee.streamID)
  }

  /// Something was moved from or to a stream: its client gets window back, and frames.
  func streamMoved(_ stream: UnsafeMutablePointer<DownstreamConnection>) {
    if stream.pointee.fetch.fill != nil { return fetchMoved(stream) }
    guard let connection = downstreams.resolve(stream.pointee.parent) else { return }
    let credit = stream.pointee.wire.takeCredit()
    let hasOutput = !stream.pointee.wire.flush(&pool)
    guard credit > 0 || hasOutput else { return }
    connection.pointee.session.use {
      $0.consumed(stream.pointee.streamID, credit)
      if hasOutput { $0.resume(stream.pointee.streamID) }
    }
    queue(stream.pointee.parent, connection)
  }

  // MARK: Sending

  /// Makes frames of what is due, as long as the client takes them.
  private func sendFrames(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let wasFlushed = connection.pointee.wire.output.isEmpty
    let sentBefore = connection.pointee.wire.sentOctets
    sendFrames(of: session(connection), to: connection.pointer(to: \.wire)!)
    for index in intake.events.indices { streamClosed(intake.events[index]) }
    if connection.pointee.wire.hasFailed { return closeDownstream(handle) }
    let isFlushed = connection.pointee.wire.output.isEmpty
    let session = session(connection)
    if isFlushed, session.isOver || session.cut != nil { return endSession(handle, connection) }
    // What the client sends is no sign that it reads: only octets that left count (rule 40).
    let hasMoved = wasFlushed || connection.pointee.wire.sentOctets > sentBefore
    awaitFrames(handle, connection, isFlushed: isFlushed, hasMoved: hasMoved)
  }

  private func awaitFrames(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, isFlushed: Bool,
    hasMoved: Bool
  ) {
    let options = listenerOptions(connection)
    if session(connection).cut != nil {
      // Rule 35, for a client that does not read.
      becameBusy(connection)
      return setDeadline(
        handle, connection, min(connection.pointee.deadline, now + Worker.farewellTime))
    }
    if !isFlushed {
      becameBusy(connection)
      if hasMoved { setDeadline(handle, connection, now + options.pointee.sendTimeout) }
    } else if connection.pointee.firstStream != .none {
      becameBusy(connection)
      // Its age ends it, too, where nothing happens on it (rule 23).
      let isTold = session(connection).announcedAt != nil
      let end = connection.pointee.acceptedAt + options.pointee.keepAliveTime
      setDeadline(handle, connection, isTold ? .never : end)
    } else if !connection.pointee.isIdle {
      becameIdle(handle, connection)
      setIdleDeadline(handle, connection, now + idleTime(options))
    }
    let age = now - connection.pointee.acceptedAt
    let isUsedUp = connection.pointee.requests >= options.pointee.keepAliveRequests
    if isDraining || options.pointee.isRemoved || isUsedUp || age >= options.pointee.keepAliveTime {
      retire(handle, connection, isFlushed: isFlushed)
    }
  }

  /// The connection has to end (rule 23: its age, its streams; drain), in two steps: the client
  /// learns, and when what crossed the notice has come, streams are refused.
  private func retire(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, isFlushed: Bool
  ) {
    let session = session(connection)
    guard !session.isShuttingDown else { return }
    if session.announcedAt == nil {
      session.announceShutdown(now: now)
      queue(handle, connection)
    }
    let due = (session.announcedAt ?? now) + Worker.shutdownNotice
    if now >= due {
      session.shutDown()
      queue(handle, connection)
    } else if isFlushed {
      // Else the deadline is that of sending, and what moves comes by here again.
      setDeadline(handle, connection, due)
    }
  }

  // MARK: Ending streams

  /// The exchange is over: all that is to be sent has been made into frames.
  func endStream(
    _ handle: Handle, _ stream: UnsafeMutablePointer<DownstreamConnection>, _ code: ResetCode
  ) {
    if let connection = downstreams.resolve(stream.pointee.parent) {
      connection.pointee.session.use {
        $0.setOwner(stream.pointee.streamID, 0)
        // The session itself declines what is left of the request behind a complete answer.
        if stream.pointee.wire.outputEnded {
          $0.responseCompleted()
        } else if !stream.pointee.wire.hasFailed {
          $0.reset(stream.pointee.streamID, code)
        }
      }
      unlinkStream(stream, connection)
      queue(stream.pointee.parent, connection)
    }
    endFetch(stream, isComplete: code == .noError)
    wheel.cancel(&stream.pointee.timer)
    stream.pointee.wire.releaseBuffers(&pool)
    downstreams.remove(handle)
  }

  private func abandonStream(
    _ handle: Handle, _ stream: UnsafeMutablePointer<DownstreamConnection>,
    _ failure: Termination
  ) {
    guard stream.pointee.exchange != .none else { return endStream(handle, stream, .internalError) }
    if failure == .clientLeft { metrics.add(.clientAborts) }
    abandon(stream.pointee.exchange, failure)
  }

  private func linkStream(
    _ handle: Handle, _ stream: UnsafeMutablePointer<DownstreamConnection>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let next = connection.pointee.firstStream
    stream.pointee.streamNext = next
    if next != .none { downstreams[next].pointee.streamPrevious = handle }
    connection.pointee.firstStream = handle
    streams += 1
    connection.pointee.requests += 1
  }

  private func unlinkStream(
    _ stream: UnsafeMutablePointer<DownstreamConnection>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let (previous, next) = (stream.pointee.streamPrevious, stream.pointee.streamNext)
    if previous == .none {
      connection.pointee.firstStream = next
    } else {
      downstreams[previous].pointee.streamNext = next
    }
    if next != .none { downstreams[next].pointee.streamPrevious = previous }
    streams -= 1
  }

  // MARK: Ending connections

  /// What was due has been sent; the client gets a moment to read it (safety rule 35).
  private func endSession(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    cutStreams(connection)
    linger(handle, connection, for: Worker.farewellTime)
  }

  /// The connection is about to go: so are its streams, and its session.
  func cutStreams(_ connection: UnsafeMutablePointer<DownstreamConnection>) {
    abandonStreams(connection)
    connection.pointee.session?.release()
    connection.pointee.session = nil
  }

  /// Nobody will hear the answers to what is under way. What outlives its connection is a tunnel
  /// that both sides have ended: what its client said last is still on its way to the backend.
  private func abandonStreams(_ connection: UnsafeMutablePointer<DownstreamConnection>) {
    while connection.pointee.firstStream != .none {
      let handle = connection.pointee.firstStream
      let stream = downstreams[handle]
      cutStream(handle, stream)
      guard connection.pointee.firstStream == handle else { continue }
      unlinkStream(stream, connection)
      stream.pointee.parent = .none
    }
  }

  /// The connection's time is over: idle for too long, or not reading.
  func sessionTimedOut(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    guard connection.pointee.wire.output.isEmpty else {
      metrics.add(.sendTimeouts)
      return closeDownstream(handle)
    }
    // One that has streams is told first, then ended (`retire`).
    if connection.pointee.firstStream == .none || session(connection).announcedAt != nil {
      session(connection).shutDown()
    }
    multiplex(handle, connection)
  }
}

extension ByteView {
  /// Octets up to and including the first blank line; 0 where there is none.
  fileprivate var lengthOfHead: Int {
    var index = 0
    while let end = firstIndex(of: UInt8(ascii: "\n"), from: index) {
      if end - index <= 1, index > 0 { return end + 1 }
      index = end + 1
    }
    return 0
  }
}
