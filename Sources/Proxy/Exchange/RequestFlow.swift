import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// The request on its way to the backend, and what happens when an attempt fails.
extension Worker {
  /// Content need not keep its minimum rate in the first moments (rule 39).
  private static let bodyRateGrace = TimeAmount.seconds(5)

  /// News from the client while its exchange lasts.
  func clientReady(_ handle: Handle) {
    let exchange = exchanges[handle]
    let client = downstreams[exchange.pointee.downstream]
    if client.pointee.wire.hasFailed {
      metrics.add(.clientAborts)
      return abandon(handle, .clientLeft)
    }
    if client.pointee.fetch.fill != nil { fetchMoved(client) }
    switch exchange.pointee.phase {
    case .waiting, .queued, .connecting: break
    case .cached: cacheReady(handle, exchange)
    case .awaitingHead, .relaying, .tunnel:
      if exchange.pointee.movesRequest || exchange.pointee.phase == .tunnel {
        guard continueRequest(handle, exchange) else { return }
      }
      // Octets of a response wait for a client that can take them again. The request may just have
      // ended in an answer of ours, which waits to be flushed and has no backend behind it.
      if exchange.pointee.phase == .relaying || exchange.pointee.phase == .tunnel {
        pumpResponse(handle, exchange)
      }
    case .flushing: flushEnd(handle, exchange)
    }
  }

  /// False where the exchange is gone.
  private func continueRequest(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>
  ) -> Bool {
    var nothing = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    pumpRequest(
      handle, exchange, downstreams[exchange.pointee.downstream],
      upstreams[exchange.pointee.upstream], head: &nothing)
    return exchanges.resolve(handle) != nil && exchange.pointee.phase != .connecting
  }

  /// Moves what there is of the request; `head` is rendered before the first content.
  @inline(__always)
  func pumpRequest(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>, head: inout ByteSink
  ) {
    if !exchange.pointee.request.isComplete { noteBodyWait(exchange) }
    let outcome = relay.pump(
      from: client.pointer(to: \.wire)!, to: upstream.pointer(to: \.wire)!,
      content: &exchange.pointee.request, head: &head, pool: &pool)
    if exchange.pointee.phase == .tunnel { return tunnelMoved(handle, exchange, outcome) }
    if client.pointee.wire.isStream { streamMoved(client) }
    if upstream.pointee.wire.isStream { requestMoved(exchange, upstream, outcome) }
    switch outcome {
    case .complete: requestSent(exchange, upstream)
    case .needsSource: awaitBody(handle, exchange, client)
    case .needsSink:
      setDeadline(exchange.pointee.upstream, upstream, now + route(exchange).pointee.idleTimeout)
    case .yields: queue(exchange.pointee.downstream, client)
    case .sourceEnded:
      metrics.add(.clientAborts)
      abandon(handle, .clientLeft)
    case .sinkFailed: backendStoppedReading(handle, exchange)
    case .malformed:
      metrics.add(.badRequests)
      endRequestEarly(handle, exchange, .requestMalformed)
    case .overLimit: endRequestEarly(handle, exchange, .requestTooLarge)
    case .exhausted: endRequestEarly(handle, exchange, .exhausted)
    }
  }

  /// The backend's time for its answer begins when it has the request.
  @inline(__always)
  private func requestSent(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>
  ) {
    guard exchange.pointee.phase == .awaitingHead else { return }
    setDeadline(exchange.pointee.upstream, upstream, now + answerTime(exchange))
  }

  private func awaitBody(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let options = listenerOptions(client)
    let waited = exchange.pointee.bodyWaited
    if options.pointee.minBodyRate > 0, waited > Worker.bodyRateGrace {
      let due = Double(options.pointee.minBodyRate) * Double(waited.nanoseconds) / 1e9
      if Double(exchange.pointee.request.octets) < due {
        metrics.add(.bodyTimeouts)
        return endRequestEarly(handle, exchange, .requestStalled)
      }
    }
    exchange.pointee.bodyWaitSince = now
    setDeadline(
      exchange.pointee.downstream, client,
      contentDue(
        exchange, min(exchange.pointee.totalDeadline, now + options.pointee.bodyTimeout)))
    // The backend waits for the same octets: it is the client's time that runs.
    upstreams[exchange.pointee.upstream].pointee.deadline = .never
  }

  /// The client is waited for no more: it has sent something, or it is weir that waits.
  func noteBodyWait(_ exchange: UnsafeMutablePointer<Exchange>) {
    guard exchange.pointee.bodyWaitSince > .zero else { return }
    let waited = now - exchange.pointee.bodyWaitSince
    exchange.pointee.bodyWaited.nanoseconds += max(0, waited.nanoseconds)
    exchange.pointee.bodyWaitSince = .zero
    downstreams[exchange.pointee.downstream].pointee.deadline = exchange.pointee.totalDeadline
  }

  /// The request cannot be completed and that is not the backend's fault.
  private func endRequestEarly(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination
  ) {
    if exchange.pointee.hasAnswered { abandon(handle, failure) } else { answer(handle, failure) }
  }

  /// Rule 27: it may have answered before it stopped; that answer is what the client gets.
  private func backendStoppedReading(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>
  ) {
    exchange.pointee.spoilsUpstream = true
    exchange.pointee.requestIsStopped = true
    relay.endSplicing(&exchange.pointee.request)
    let upstream = upstreams[exchange.pointee.upstream]
    upstream.pointee.wire.mayRead = true
    upstream.pointee.wire.output.removeAll(&pool)
    if exchange.pointee.phase == .awaitingHead || exchange.pointee.phase == .relaying {
      pumpResponse(handle, exchange)
    }
  }

  // MARK: Backend connections

  /// News from a backend connection.
  func upstreamReady(_ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>) {
    switch connection.pointee.state {
    case .idle: break
    case .connecting where connection.pointee.wire.isStream: streamMayStart(connection)
    case .connecting: connectEnded(handle, connection)
    case .handshaking: upstreamHandshake(handle, connection)
    case .multiplexing: multiplex(handle, connection)
    case .busy:
      let exchangeHandle = connection.pointee.exchange
      let exchange = exchanges[exchangeHandle]
      if exchange.pointee.movesRequest || !connection.pointee.wire.output.isEmpty {
        guard continueRequest(exchangeHandle, exchange) else { return }
        guard exchange.pointee.upstream == handle else { return }
      }
      pumpResponse(exchangeHandle, exchange)
    }
  }

  private func connectEnded(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>
  ) {
    if connection.pointee.wire.hasFailed {
      let error = SocketCalls.pendingError(connection.pointee.wire.descriptor)
      let refused = error == SocketCalls.refused
      return connectionFailed(handle, connection, refused ? .connectRefused : .connectFailed)
    }
    guard connection.pointee.wire.mayWrite else { return }
    if !connection.pointee.isCarrier,
      let version = route(exchanges[connection.pointee.exchange]).pointee.upstream?.pointee
        .proxyProtocol, !sendProxyHeader(connection, version)
    {
      return connectionFailed(handle, connection, .connectFailed)
    }
    if connection.pointee.security > 0 { return beginUpstreamTLS(handle, connection) }
    connectionMade(handle, connection)
  }

  /// There is a connection, and TLS where it is wanted: requests can be sent.
  func connectionMade(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>
  ) {
    if connection.pointee.isCarrier { return beginSession(handle, connection) }
    let exchangeHandle = connection.pointee.exchange
    let exchange = exchanges[exchangeHandle]
    connection.pointee.state = .busy
    connection.pointee.deadline = .never
    exchange.pointee.connectedAt = now
    // One that speaks first has spoken already: no other edge would tell.
    if connection.pointee.wire.mayRead { queue(handle, connection) }
    sendRequest(exchangeHandle, exchange, downstreams[exchange.pointee.downstream], connection)
  }

  /// There will be none; everybody who waits for it learns why.
  func connectionFailed(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>,
    _ failure: Termination
  ) {
    if connection.pointee.isCarrier { return carrierFailed(handle, connection, failure) }
    let exchange = connection.pointee.exchange
    attemptFailed(exchange, exchanges[exchange], failure)
  }

  func upstreamTimedOut(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>
  ) {
    if connection.pointee.deadline > now {
      return rearm(
        handle, &connection.pointee.timer, &connection.pointee.wire,
        isIdle: connection.pointee.state == .idle, connection.pointee.deadline)
    }
    let exchangeHandle = connection.pointee.exchange
    switch connection.pointee.state {
    case .idle: closeUpstream(handle)
    case .connecting, .handshaking: connectionFailed(handle, connection, .connectTimedOut)
    case .multiplexing:
      if connection.pointee.firstStream == .none { closeUpstream(handle) }
    case .busy:
      metrics.add(.idleTimeouts)
      distrustSilent(connection)
      let exchange = exchanges[exchangeHandle]
      if exchange.pointee.phase == .awaitingHead {
        attemptFailed(exchangeHandle, exchange, .backendTimedOut)
      } else {
        abandon(exchangeHandle, .responseStalled)
      }
    }
  }

  // MARK: Failed attempts

  /// This attempt brought no response of which the client could get an octet. Another backend gets
  /// the request where that is safe (semantics.md 11), else the client learns why.
  func attemptFailed(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination
  ) {
    let isUnsent = !hasSent(exchange)
    let decision = exchange.pointee.retry.attemptFailed(
      failure, isUnsent: isUnsent, isIntact: isIntact(exchange),
      clientHasOctets: exchange.pointee.hasAnswered)
    if !isUnsent { exchange.pointee.wasSent = true }
    countFailure(exchange, failure)
    guard let plan = route(exchange).pointee.upstream else {
      preconditionFailure("an attempt without an upstream")
    }
    if failure.side == .backend, failure.phase == .connecting {
      plan.pointee.state.connectFailed(exchange.pointee.slot, now: now)
    }
    switch decision {
    case .retry where !takesRetry(exchange, plan, failure): answer(handle, failure)
    case .retry(let kind):
      metrics.add(kind == .unsent ? .unsentRetries : .replays)
      metrics.backend(Int(exchange.pointee.backend)).add(.retriedAway)
      exchange.pointee.failure = failure
      let place = placeAfterRace(exchange, plan)
      releaseUpstream(exchange, isReusable: false)
      exchange.pointee.spoilsUpstream = false
      exchange.pointee.requestIsStopped = false
      exchange.pointee.wantsNewConnection = exchange.pointee.isPooled
      attemptAgain(handle, exchange, plan, place)
    case .answer: answer(handle, failure)
    case .abort: abandon(handle, failure)
    }
  }

  func hasSent(_ exchange: UnsafeMutablePointer<Exchange>) -> Bool {
    guard exchange.pointee.phase != .connecting,
      let upstream = upstreams.resolve(exchange.pointee.upstream)
    else { return false }
    if upstream.pointee.wire.isStream {
      return hasSent(upstream, since: exchange.pointee.sentBefore)
    }
    return upstream.pointee.wire.sentOctets > exchange.pointee.sentBefore
  }

  private func countFailure(_ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination) {
    guard failure.side == .backend else { return }
    let cells = metrics.backend(Int(exchange.pointee.backend))
    switch failure.reason {
    case .refused: cells.add(.connectRefused)
    case .unreachable: cells.add(.connectFailures)
    case .timedOut: cells.add(failure.phase == .connecting ? .connectTimeouts : .responseTimeouts)
    case .closed, .reset:
      cells.add(failure.phase == .responseBody ? .incompleteResponses : .resets)
    case .certificateRefused: cells.add(.certificatesRefused)
    case .handshakeFailed: cells.add(.handshakesFailed)
    default: cells.add(.invalidResponses)
    }
  }
}
