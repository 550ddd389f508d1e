import HTTP2
import Primitives
import Resilience
import Telemetry
import Transport

/// HTTP/2 towards backends: streams over few connections, and what becomes of a stream.
///
/// A stream is to its exchange what a connection of HTTP/1 is: `beginStream` takes the place of
/// pool and connect, and everything from `sendRequest` on is the same flow. What happens on the
/// connections themselves is in UpstreamCarrier.swift.
extension Worker {
  // MARK: Beginning

  /// An attempt over a stream: of a connection with room, of one that is being made, or of a new
  /// one.
  func beginStream(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>, _ plan: UnsafePointer<UpstreamPlan>
  ) {
    let backend = Int(exchange.pointee.backend)
    guard let carrier = carrierWithRoom(backend, plan) ?? newCarrier(handle, exchange, plan) else {
      return
    }
    let connection = upstreams[carrier]
    guard let (stream, upstream) = upstreams.insert(copyOf: blankUpstream) else {
      if connection.pointee.firstStream == .none { closeUpstream(carrier) }
      return attemptFailed(handle, exchange, .exhausted)
    }
    upstream.pointee.becomeStream(of: carrier, connection, exchange: handle)
    exchange.pointee.upstream = stream
    link(stream, upstream, connection)
    guard connection.pointee.state == .multiplexing, mayStart(exchange, connection) else {
      upstream.pointee.state = .connecting
      return setDeadline(stream, upstream, now + connectTime(exchange))
    }
    cells(backend).add(.connectionsReused)
    exchange.pointee.isPooled = true
    exchange.pointee.connectedAt = now
    sendRequest(handle, exchange, client, upstream)
  }

  /// The first connection to the backend, made under these rules, that takes one more stream.
  private func carrierWithRoom(_ backend: Int, _ plan: UnsafePointer<UpstreamPlan>) -> Handle? {
    var handle = backends[backend].carriers.first
    while handle != .none {
      let carrier = upstreams[handle]
      if carrier.pointee.security == plan.pointee.security,
        hasRoom(carrier, limit: plan.pointee.http2Streams)
      {
        return handle
      }
      handle = carrier.pointee.idleNext
    }
    return nil
  }

  private func hasRoom(
    _ carrier: UnsafeMutablePointer<UpstreamConnection>, limit: Int
  ) -> Bool {
    guard let session = carrier.pointee.session else {
      return Int(carrier.pointee.streams) < min(limit, Session.streamsBeforeSettings)
    }
    guard !carrier.pointee.wire.hasFailed, !carrier.pointee.wire.peerClosed else { return false }
    return session._withUnsafeGuaranteedRef { $0.roomForStreams(limit: limit) } > 0
  }

  /// Begins a connection. `nil` where it could not even begin, and the attempt has failed.
  private func newCarrier(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>
  ) -> Handle? {
    switch connect(Int(exchange.pointee.backend), security: plan.pointee.security) {
    case .success(let carrier):
      let connection = upstreams[carrier]
      connection.pointee.isCarrier = true
      connection.pointee.idleTime = plan.pointee.poolSize > 0 ? plan.pointee.poolIdleTimeout : .zero
      linkCarrier(carrier, connection)
      setDeadline(carrier, connection, now + connectTime(exchange))
      return carrier
    case .failure(let failure):
      attemptFailed(handle, exchange, failure.termination)
      return nil
    }
  }

  /// A tunnel has to wait until the backend has said whether it opens any.
  func mayStart(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ carrier: UnsafeMutablePointer<UpstreamConnection>
  ) -> Bool {
    !exchange.pointee.asksUpgrade || session(carrier).isSettled
  }

  private func takesTunnels(_ stream: UnsafeMutablePointer<UpstreamConnection>) -> Bool {
    upstreams.resolve(stream.pointee.parent).map { session($0).takesTunnels } ?? false
  }

  // MARK: Moving

  /// Hands a rendered request head to the stream's session. The sink is empty afterwards. False
  /// where it cannot be sent there, and the attempt has failed.
  @inline(never)
  func submit(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ stream: UnsafeMutablePointer<UpstreamConnection>, _ sink: inout ByteSink
  ) -> Bool {
    if exchange.pointee.asksUpgrade, !takesTunnels(stream) {
      attemptFailed(handle, exchange, .upgradeFailed)
      return false
    }
    if submit(exchange, stream, &sink) { return true }
    attemptFailed(handle, exchange, .exhausted)
    return false
  }

  private func submit(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ stream: UnsafeMutablePointer<UpstreamConnection>, _ sink: inout ByteSink
  ) -> Bool {
    let parent = stream.pointee.parent
    guard let carrier = upstreams.resolve(parent) else { return false }
    // A stream says by itself where it ends.
    exchange.pointee.request.sendsChunks = false
    let isTunnel = exchange.pointee.asksUpgrade
    let isLast =
      exchange.pointee.request.isComplete && !exchange.pointee.request.replay.isDue && !isTunnel
    let number = carrier.pointee.session.use {
      $0.submitRequest(
        head: sink.view, isSecure: carrier.pointee.security > 0,
        owner: exchange.pointee.upstream.raw, endsStream: isLast, isTunnel: isTunnel)
    }
    guard let number else { return false }
    sink.removeAll()
    stream.pointee.streamID = number
    stream.pointee.wire.outputEnds = isLast
    stream.pointee.wire.outputEnded = isLast
    exchange.pointee.sentBefore = carrier.pointee.wire.sentOctets
    queue(parent, carrier)
    return true
  }

  /// Some of the request, or its end, was moved to its stream.
  @inline(never)
  func requestMoved(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ stream: UnsafeMutablePointer<UpstreamConnection>, _ outcome: RelayOutcome
  ) {
    // Of a tunnel that is asked for this is only the beginning.
    if outcome == .complete, !exchange.pointee.asksUpgrade { stream.pointee.wire.outputEnds = true }
    streamMoved(stream)
  }

  /// Some of the response was moved from its stream. What the client has not taken keeps the
  /// backend's window closed: a stream that stalls holds one window's worth in all (rule 36).
  @inline(never)
  func responseMoved(
    _ stream: UnsafeMutablePointer<UpstreamConnection>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    if client.pointee.wire.output.isEmpty { streamMoved(stream) }
  }

  /// Something was moved from or to a stream: its backend gets window back, and frames.
  func streamMoved(_ stream: UnsafeMutablePointer<UpstreamConnection>) {
    guard let carrier = upstreams.resolve(stream.pointee.parent) else { return }
    let credit = stream.pointee.wire.takeCredit()
    let hasOutput = !stream.pointee.wire.flush(&pool)
    guard credit > 0 || hasOutput else { return }
    carrier.pointee.session.use {
      $0.consumed(stream.pointee.streamID, credit)
      if hasOutput { $0.resume(stream.pointee.streamID) }
    }
    queue(stream.pointee.parent, carrier)
  }

  /// Whether the backend may have seen something of the request that was submitted when its
  /// connection had sent `octets` (rule 43).
  func hasSent(_ stream: UnsafeMutablePointer<UpstreamConnection>, since octets: Int) -> Bool {
    if stream.pointee.fault == .refused { return false }
    guard let carrier = upstreams.resolve(stream.pointee.parent) else { return true }
    return carrier.pointee.wire.sentOctets > octets
      && !session(carrier).isUnsent(stream.pointee.streamID)
  }

  // MARK: Ending

  /// The exchange needs the stream no more. `isComplete`: all of the response has come.
  func endStream(
    _ handle: Handle, _ stream: UnsafeMutablePointer<UpstreamConnection>, isComplete: Bool
  ) {
    let parent = stream.pointee.parent
    // The next attempt may be at a backend of HTTP/1, of another upstream.
    if !isComplete, let exchange = exchanges.resolve(stream.pointee.exchange) {
      let source = exchange.pointee.request.source
      exchange.pointee.request.sendsChunks = source == .chunked || source == .untilClose
    }
    if let carrier = upstreams.resolve(parent) {
      unlink(stream, carrier)
      if stream.pointee.streamID > 0 { leave(stream, carrier, isComplete: isComplete) }
      if carrier.pointee.firstStream == .none { lostLastStream(parent, carrier) }
    }
    wheel.cancel(&stream.pointee.timer)
    stream.pointee.wire.releaseBuffers(&pool)
    upstreams.remove(handle)
  }

  /// A stream that both sides have ended is gone by itself; one whose backend only has to say so
  /// still will be; any other is cancelled.
  private func leave(
    _ stream: UnsafeMutablePointer<UpstreamConnection>,
    _ carrier: UnsafeMutablePointer<UpstreamConnection>, isComplete: Bool
  ) {
    let isOver = isComplete && stream.pointee.wire.outputEnded
    carrier.pointee.session.use {
      $0.setOwner(stream.pointee.streamID, 0)
      if isOver { $0.responseCompleted() } else { $0.cancel(stream.pointee.streamID) }
    }
    if !isOver { queue(stream.pointee.parent, carrier) }
  }

  private func link(
    _ handle: Handle, _ stream: UnsafeMutablePointer<UpstreamConnection>,
    _ carrier: UnsafeMutablePointer<UpstreamConnection>
  ) {
    let next = carrier.pointee.firstStream
    stream.pointee.idleNext = next
    if next != .none { upstreams[next].pointee.idlePrevious = handle }
    carrier.pointee.firstStream = handle
    carrier.pointee.streams += 1
    if carrier.pointee.state == .multiplexing { carrier.pointee.deadline = .never }
  }

  private func unlink(
    _ stream: UnsafeMutablePointer<UpstreamConnection>,
    _ carrier: UnsafeMutablePointer<UpstreamConnection>
  ) {
    let (previous, next) = (stream.pointee.idlePrevious, stream.pointee.idleNext)
    if previous == .none {
      carrier.pointee.firstStream = next
    } else {
      upstreams[previous].pointee.idleNext = next
    }
    if next != .none { upstreams[next].pointee.idlePrevious = previous }
    carrier.pointee.streams -= 1
  }
}
