import HTTP2
import Primitives
import Resilience
import Telemetry
import Transport

/// Connections that carry streams to backends: one session each, for as many requests as fit.
///
///     connecting ──► (handshaking) ──► multiplexing ──GOAWAY, reload──► retired
///                                           │ no stream for                │ last stream
///                                           │ `pool-idle-timeout`          ▼
///                                           └─────────────────────────► closed
///
/// Events go to the streams' records, which continue in `Worker.runReady`; frames for all streams
/// of a connection go out together.
extension Worker {
  /// Receptions from one connection before others get their turn.
  private static let receptionsPerTurn = 8

  func session(_ carrier: UnsafeMutablePointer<UpstreamConnection>) -> Session {
    guard let session = carrier.pointee.session else { preconditionFailure("no session") }
    return session._withUnsafeGuaranteedRef { $0 }
  }

  // MARK: Beginning

  /// An exchange that waits for the connection, or has it for itself.
  func asking(_ connection: UnsafeMutablePointer<UpstreamConnection>) -> Handle {
    guard connection.pointee.isCarrier else { return connection.pointee.exchange }
    return upstreams[connection.pointee.firstStream].pointee.exchange
  }

  /// Those who wait for the connection have this time from here on.
  func postponeStreams(
    _ carrier: UnsafeMutablePointer<UpstreamConnection>, until time: MonotonicTime
  ) {
    var handle = carrier.pointee.firstStream
    while handle != .none {
      let stream = upstreams[handle]
      setDeadline(handle, stream, time)
      handle = stream.pointee.idleNext
    }
  }

  /// From here on the connection speaks HTTP/2; the requests that waited for it go out together.
  func beginSession(_ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    guard let plan = route(exchanges[asking(carrier)]).pointee.upstream,
      let session = Session(
        role: .client, intake: intake, source: self, limits: plan.pointee.limits, now: now)
    else { return carrierFailed(handle, carrier, .exhausted) }
    carrier.pointee.session = Unmanaged.passRetained(session)
    carrier.pointee.state = .multiplexing
    carrier.pointee.deadline = .never
    queue(handle, carrier)
    startWaiting(carrier)
  }

  /// Those who waited for the connection, or for what its backend supports, begin.
  private func startWaiting(_ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    for stream in streams(of: carrier).reversed() {
      guard let upstream = upstreams.resolve(stream), upstream.pointee.state == .connecting else {
        continue
      }
      let exchangeHandle = upstream.pointee.exchange
      let exchange = exchanges[exchangeHandle]
      guard mayStart(exchange, carrier) else { continue }
      upstream.pointee.state = .busy
      upstream.pointee.deadline = .never
      exchange.pointee.connectedAt = now
      sendRequest(exchangeHandle, exchange, downstreams[exchange.pointee.downstream], upstream)
    }
  }

  /// Newest first.
  private func streams(of carrier: UnsafeMutablePointer<UpstreamConnection>) -> [Handle] {
    var found: [Handle] = []
    var handle = carrier.pointee.firstStream
    while handle != .none {
      found.append(handle)
      handle = upstreams[handle].pointee.idleNext
    }
    return found
  }

  /// The connection could not be made: everybody who waits for it learns why.
  func carrierFailed(
    _ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>, _ failure: Termination
  ) {
    retire(handle)
    for stream in streams(of: carrier).reversed() {
      guard let upstream = upstreams.resolve(stream) else { continue }
      let exchange = upstream.pointee.exchange
      attemptFailed(exchange, exchanges[exchange], failure)
    }
    // The last stream took it along, where there was one.
    if upstreams.resolve(handle) != nil { closeUpstream(handle) }
  }

  // MARK: Receiving

  /// One without streams may say that it takes no more of them.
  @inline(never)
  func harvestCarrier(
    _ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>, _ readiness: Readiness
  ) {
    guard carrier.pointee.firstStream == .none else { return }
    carrier.pointee.wire.note(readiness)
    multiplex(handle, carrier)
  }

  /// Reads what there is, tells the streams, and sends what is due.
  func multiplex(_ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    var receptions = 0
    while session(carrier).cut == nil {
      guard receptions < Worker.receptionsPerTurn else {
        queue(handle, carrier)
        break
      }
      receptions += 1
      switch carrier.pointee.wire.receive(&pool) {
      case .octets: break
      case .wouldBlock:
        carrier.pointee.wire.input.detach(&pool)
        return sendFrames(handle, carrier)
      case .ended, .failed: return closeUpstream(handle)
      }
      carrier.pointee.receivedAt = now
      let octets = carrier.pointee.wire.input.view
      let isSound = session(carrier).receive(octets, now: now)
      for index in intake.events.indices {
        streamHeard(intake.events[index], octets, handle, carrier)
      }
      carrier.pointee.wire.input.consume(octets.count)
      if !isSound {
        if session(carrier).cut == .flood { metrics.add(.http2Floods) }
        failStreams(carrier, .malformed)
      }
    }
    sendFrames(handle, carrier)
  }

  private func streamHeard(
    _ event: SessionEvent, _ octets: ByteView, _ handle: Handle,
    _ carrier: UnsafeMutablePointer<UpstreamConnection>
  ) {
    if event.kind == .goingAway { return goesAway(handle, carrier, last: event.stream) }
    if event.kind == .settled { return queueWaiting(carrier) }
    let owner = Handle(raw: event.owner)
    guard let stream = upstreams.resolve(owner) else { return }
    var isTaken = true
    switch event.kind {
    case .responded:
      isTaken = stream.pointee.wire.preload(intake.head(event), &pool)
      if event.endsStream {
        stream.pointee.endsWithHead = true
        stream.pointee.wire.deliverEnd()
      }
    case .data: isTaken = stream.pointee.wire.deliver(octets.slice(event.range), &pool)
    case .trailers: isTaken = stream.pointee.wire.deliver(trailers: intake.head(event), &pool)
    case .ended: stream.pointee.wire.deliverEnd()
    case .malformed: fail(stream, .malformed)
    case .reset: streamClosed(event, stream, carrier)
    case .goingAway, .settled, .void, .opened, .openedOverLimit: return
    }
    if !isTaken { fail(stream, .malformed) }
    queue(owner, stream)
  }

  /// Their turn is that of their records: requests are not begun while a read is dispatched.
  private func queueWaiting(_ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    for owner in streams(of: carrier) where upstreams[owner].pointee.state == .connecting {
      queue(owner, upstreams[owner])
    }
  }

  /// A stream that waited for its connection's settings.
  func streamMayStart(_ stream: UnsafeMutablePointer<UpstreamConnection>) {
    guard let carrier = upstreams.resolve(stream.pointee.parent) else {
      let exchange = stream.pointee.exchange
      return attemptFailed(exchange, exchanges[exchange], .connectFailed)
    }
    if carrier.pointee.state == .multiplexing { startWaiting(carrier) }
  }

  /// The session knows the stream no more.
  private func streamClosed(
    _ event: SessionEvent, _ stream: UnsafeMutablePointer<UpstreamConnection>,
    _ carrier: UnsafeMutablePointer<UpstreamConnection>
  ) {
    // It was this request that went wrong, not a connection that had been kept for too long; one
    // that goes away is as good as closed.
    if !carrier.pointee.isRetired { exchanges[stream.pointee.exchange].pointee.isPooled = false }
    fail(stream, event.isRefused ? .refused : event.isOurs ? .malformed : .none)
  }

  /// Nothing more comes on the stream, and nothing more is taken. What has come whole stays so:
  /// then the backend needs no more of the request (RFC 9113 §8.1).
  private func fail(
    _ stream: UnsafeMutablePointer<UpstreamConnection>, _ fault: UpstreamConnection.Fault
  ) {
    guard stream.pointee.wire.hasDeliveredEnd else {
      if stream.pointee.fault == .none { stream.pointee.fault = fault }
      return stream.pointee.wire.deliverReset()
    }
    guard !stream.pointee.wire.outputEnded else { return }
    let exchange = exchanges[stream.pointee.exchange]
    stream.pointee.wire.stopSending(&pool)
    relay.endSplicing(&exchange.pointee.request)
    exchange.pointee.requestIsStopped = true
  }

  /// The backend takes no new streams. What it has not looked at may be sent elsewhere.
  private func goesAway(
    _ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>, last: Int32
  ) {
    retire(handle)
    for owner in streams(of: carrier) {
      let stream = upstreams[owner]
      guard stream.pointee.streamID > last else { continue }
      fail(stream, .refused)
      queue(owner, stream)
    }
  }

  /// The connection is of no use to any of its streams.
  private func failStreams(
    _ carrier: UnsafeMutablePointer<UpstreamConnection>, _ fault: UpstreamConnection.Fault
  ) {
    for owner in streams(of: carrier) {
      let stream = upstreams[owner]
      let before = exchanges[stream.pointee.exchange].pointee.sentBefore
      fail(stream, fault == .none && !hasSent(stream, since: before) ? .refused : fault)
      queue(owner, stream)
    }
  }

  // MARK: Sending

  private func sendFrames(_ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    sendFrames(of: session(carrier), to: carrier.pointer(to: \.wire)!)
    for index in intake.events.indices {
      streamHeard(intake.events[index], .empty, handle, carrier)
    }
    let session = session(carrier)
    if session.cut != nil { failStreams(carrier, .malformed) }
    if carrier.pointee.wire.hasFailed || session.cut != nil || session.isOver {
      return closeUpstream(handle)
    }
    if !session.takesStreams { retire(handle) }
    if carrier.pointee.isRetired, carrier.pointee.firstStream == .none { closeUpstream(handle) }
  }

  // MARK: Ending

  /// Keeps a connection without streams for the next request, or closes it.
  func lostLastStream(_ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    takeSession(carrier)
    let isKept =
      carrier.pointee.state == .multiplexing && carrier.pointee.idleTime > .zero && !isDraining
    if !isKept { retire(handle) }
    guard carrier.pointee.state == .multiplexing else { return closeUpstream(handle) }
    // What is due may still have to be said: a reset, an acknowledgement.
    queue(handle, carrier)
    if isKept {
      carrier.pointee.idleSince = now
      setDeadline(handle, carrier, now + carrier.pointee.idleTime)
    }
  }

  /// Nothing came on the connection while a stream's time ran out: new streams get another one.
  func distrustSilent(_ stream: UnsafeMutablePointer<UpstreamConnection>) {
    guard let carrier = upstreams.resolve(stream.pointee.parent) else { return }
    let since = exchanges[stream.pointee.exchange].pointee.connectedAt
    if carrier.pointee.receivedAt <= since { retire(stream.pointee.parent) }
  }

  /// From here on it gets no new streams.
  func retire(_ handle: Handle) {
    let carrier = upstreams[handle]
    guard !carrier.pointee.isRetired else { return }
    carrier.pointee.isRetired = true
    unlinkCarrier(carrier)
    // Closed by its next turn, where nothing is under way.
    if carrier.pointee.state == .multiplexing { queue(handle, carrier) }
  }

  func closeCarrier(_ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    retire(handle)
    failStreams(carrier, .none)
    while carrier.pointee.firstStream != .none {
      let stream = upstreams[carrier.pointee.firstStream]
      carrier.pointee.firstStream = stream.pointee.idleNext
      stream.pointee.parent = .none
    }
    wheel.cancel(&carrier.pointee.timer)
    takeSession(carrier)
    if let session = carrier.pointee.session {
      if !carrier.pointee.wire.hasFailed, !carrier.pointee.wire.hasEnded {
        session._withUnsafeGuaranteedRef {
          $0.shutDown()
          sendFrames(of: $0, to: carrier.pointer(to: \.wire)!)
        }
      }
      session.release()
      carrier.pointee.session = nil
    }
    carrier.pointee.wire.close(&pool)
    upstreams.remove(handle)
  }

  // MARK: The list of a backend

  func linkCarrier(_ handle: Handle, _ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    let backend = Int(carrier.pointee.backend)
    let last = backends[backend].carriers.last
    carrier.pointee.idlePrevious = last
    carrier.pointee.idleNext = .none
    if last == .none {
      backends[backend].carriers.first = handle
    } else {
      upstreams[last].pointee.idleNext = handle
    }
    backends[backend].carriers.last = handle
    backends[backend].carriers.count += 1
  }

  private func unlinkCarrier(_ carrier: UnsafeMutablePointer<UpstreamConnection>) {
    let backend = Int(carrier.pointee.backend)
    let (previous, next) = (carrier.pointee.idlePrevious, carrier.pointee.idleNext)
    if previous == .none {
      backends[backend].carriers.first = next
    } else {
      upstreams[previous].pointee.idleNext = next
    }
    if next == .none {
      backends[backend].carriers.last = previous
    } else {
      upstreams[next].pointee.idlePrevious = previous
    }
    backends[backend].carriers.count -= 1
  }
}
