import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// How exchanges end: with the backend's answer, with one of ours, or cut short. Each ends exactly
/// once, in `finish`.
extension Worker {
  // MARK: Answers of our own

  /// Ends the exchange with an error of ours; only where no response octet has gone out.
  func answer(_ handle: Handle, _ failure: Termination) {
    let exchange = exchanges[handle]
    if downstreams[exchange.pointee.downstream].pointee.fetch.fill != nil {
      return fetchFailed(handle, exchange, failure)
    }
    if fallsBack(handle, exchange, failure) { return }
    exchange.pointee.failure = failure
    guard let status = failure.status, let error = failure.error else {
      return abandon(handle, failure)
    }
    exchange.pointee.status = Int32(status)
    if failure == .requestMalformed || failure == .requestStalled {
      exchange.pointee.keepsClient = false
    }
    var why = reason(exchange, failure, error)
    if let page = fallbackPage(exchange, failure), let route = exchange.pointee.route {
      why.details = FallbackRung.page.text
      metrics.route(route.pointee.id).add(.fallbacksToPage)
      exchange.pointee.status = Int32(page.status)
      return answer(handle) { sink, context in
        LocalResponse.append(
          page, why, edits: route.pointee.responseEdits, to: &sink, context: context)
      }
    }
    answer(handle) { sink, context in
      LocalResponse.append(status: status, why, to: &sink, context: context)
    }
  }

  /// The backend is named where it failed, or was waited for too long.
  private func reason(
    _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination, _ error: ProxyError
  ) -> LocalResponse.Reason {
    var reason = LocalResponse.Reason(error: error)
    guard failure.side == .backend || failure == .requestTimedOut, exchange.pointee.backend >= 0
    else { return reason }
    reason.receivedStatus = Int(exchange.pointee.receivedStatus)
    let client = downstreams[exchange.pointee.downstream]
    if listenerOptions(client).pointee.namesBackends {
      reason.nextHop = backends[Int(exchange.pointee.backend)].state.nameOctets.view
    }
    return reason
  }

  /// Ends the exchange with a response of ours; `render` returns the octets of its content.
  func answer(
    _ handle: Handle, _ render: (inout ByteSink, LocalResponse.Context) -> Int
  ) {
    let exchange = exchanges[handle]
    precondition(!exchange.pointee.hasAnswered, "two answers to one request")
    let client = downstreams[exchange.pointee.downstream]
    discardContent(exchange, client)
    releaseUpstream(exchange, isReusable: false)
    // The exchange lasts until the client has taken the answer: no attempt may begin meanwhile.
    endRetries(exchange)
    if exchange.pointee.status == 0 {
      exchange.pointee.status = Int32(fixedStatus(exchange.pointee.route))
    }
    var sink = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    exchange.pointee.response.octets = render(
      &sink,
      LocalResponse.Context(
        instance: snapshot(exchange).instance.view, date: dateText.view,
        closes: !exchange.pointee.keepsClient && !client.pointee.wire.isStream,
        clientIsHTTP10: exchange.pointee.clientIsHTTP10, isHead: exchange.pointee.isHead,
        transportSecurity: transportSecurity(client)))
    exchange.pointee.hasAnswered = true
    let sent =
      !sink.overflowed
      && (client.pointee.wire.isStream
        ? answerStream(client, &sink, isLast: true)
        : client.pointee.wire.send(sink.view, .empty, &pool))
    guard sent else { return abandon(handle, .clientLeft) }
    exchange.pointee.phase = .flushing
    flushEnd(handle, exchange)
  }

  private func fixedStatus(_ route: UnsafePointer<RoutePlan>?) -> Int {
    switch route?.pointee.localAction {
    case .respond(let status, _, _): status
    case .redirect(let template): template.status
    default: 500
    }
  }

  /// Content that is here already is skipped; if more is to come, the connection cannot be kept.
  private func discardContent(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    guard !exchange.pointee.request.isComplete else { return }
    if exchange.pointee.request.source == .length,
      client.pointee.wire.input.count >= exchange.pointee.request.remaining
    {
      client.pointee.wire.input.consume(exchange.pointee.request.remaining)
      exchange.pointee.request.remaining = 0
      exchange.pointee.request.isComplete = true
    } else {
      exchange.pointee.keepsClient = false
    }
  }

  // MARK: Complete

  /// The backend has sent all of its response, and all of it is on its way.
  @inline(__always)
  func responseComplete(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    releaseUpstream(exchange, isReusable: true)
    exchange.pointee.phase = .flushing
    if client.pointee.wire.isStream {
      client.pointee.wire.outputEnds = true
      streamMoved(client)
    }
    flushEnd(handle, exchange, client)
  }

  /// Waits for the client to take the last octets, then ends the exchange.
  func flushEnd(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    flushEnd(handle, exchange, downstreams[exchange.pointee.downstream])
  }

  @inline(__always)
  private func flushEnd(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    if client.pointee.wire.output.isEmpty && !client.pointee.wire.isStream
      || client.pointee.wire.flush(&pool)
    {
      return finish(handle, exchange, client)
    }
    if client.pointee.wire.hasFailed {
      metrics.add(.clientAborts)
      return abandon(handle, .clientLeft)
    }
    guard client.pointee.fetch.fill == nil else { return }
    let timeout = listenerOptions(client).pointee.sendTimeout
    // Where the request's time is over, this is the answer that says so: it gets time to be taken.
    let isOver = exchange.pointee.totalDeadline <= now
    setDeadline(
      exchange.pointee.downstream, client,
      isOver ? now + timeout : min(exchange.pointee.totalDeadline, now + timeout))
  }

  /// Gives the backend connection back to its pool if it can serve again, else closes it; and
  /// gives up the place on the backend.
  @inline(__always)
  func releaseUpstream(_ exchange: UnsafeMutablePointer<Exchange>, isReusable: Bool) {
    if exchange.pointee.phase == .queued { leaveQueue(exchange) }
    if exchange.pointee.isReserved, let plan = route(exchange).pointee.upstream {
      exchange.pointee.isReserved = false
      let outcome = outcome(exchange, plan)
      plan.pointee.borrowedState._withUnsafeGuaranteedRef {
        $0.release(exchange.pointee.slot, exchange.pointee.ticket, outcome, now: now)
      }
    }
    relay.endSplicing(&exchange.pointee.request)
    relay.endSplicing(&exchange.pointee.response)
    let handle = exchange.pointee.upstream
    guard handle != .none else { return }
    exchange.pointee.upstream = .none
    let connection = upstreams[handle]
    if connection.pointee.wire.isStream {
      return endStream(handle, connection, isComplete: isReusable)
    }
    guard isReusable, !exchange.pointee.spoilsUpstream, exchange.pointee.request.isComplete,
      let plan = route(exchange).pointee.upstream
    else { return closeUpstream(handle) }
    keepIdle(
      handle, connection, poolSize: plan.pointee.poolSize,
      timeout: plan.pointee.poolIdleTimeout)
  }

  /// Ends the exchange: counted, logged, and the connection goes on or goes.
  func finish(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let client = exchange.pointee.downstream
    record(exchange, connection)
    let keepsClient = exchange.pointee.keepsClient
    // A client that asked for the close, and has been heard to the end, sends nothing more; any
    // other may be about to.
    let mayCloseAtOnce =
      exchange.pointee.clientAskedClose && exchange.pointee.request.isComplete
    forgetExchange(handle, exchange, connection)
    if connection.pointee.wire.isStream { return endStream(client, connection, .noError) }
    connection.pointee.wire.input.unpin()
    guard keepsClient else {
      let isQuiet = connection.pointee.wire.input.isEmpty
      return mayCloseAtOnce && isQuiet ? closeDownstream(client) : linger(client, connection)
    }
    connection.pointee.state = .readingHead
    connection.pointee.knownOctets = 0
    connection.pointee.deadline = .never
    if !connection.pointee.wire.input.isEmpty || connection.pointee.wire.mayRead {
      return queue(client, connection)
    }
    connection.pointee.wire.input.detach(&pool)
    becameIdle(client, connection)
    setIdleDeadline(client, connection, now + idleTime(listenerOptions(connection)))
  }

  @inline(__always)
  func forgetExchange(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    endRetries(exchange)
    if exchange.pointee.reading != .none { releaseReading(exchange) }
    let index = Int(exchange.pointee.snapshot)
    snapshots[index].exchanges -= 1
    if index != current, snapshots[index].exchanges == 0 { snapshots[index].snapshot = nil }
    if headOwner == handle { headOwner = .none }
    connection.pointee.exchange = .none
    exchanges.remove(handle)
  }

  // MARK: Cut short

  /// Ends the exchange without a complete answer. What the client has of it must not look
  /// complete: the connection is reset (rule 25).
  func abandon(_ handle: Handle, _ failure: Termination) {
    let exchange = exchanges[handle]
    if downstreams[exchange.pointee.downstream].pointee.fetch.fill != nil {
      return fetchFailed(handle, exchange, failure)
    }
    exchange.pointee.failure = failure
    if exchange.pointee.status == 0 { exchange.pointee.status = Int32(failure.loggedStatus) }
    releaseUpstream(exchange, isReusable: false)
    let client = exchange.pointee.downstream
    let connection = downstreams[client]
    record(exchange, connection)
    forgetExchange(handle, exchange, connection)
    resetDownstream(client)
  }

  /// The client's time for something is over.
  func clientTimedOut(_ handle: Handle) {
    let exchange = exchanges[handle]
    if downstreams[exchange.pointee.downstream].pointee.fetch.fill != nil {
      // There may be memory now.
      return clientReady(handle)
    }
    if exchange.pointee.totalDeadline <= now {
      if exchange.pointee.hasAnswered { return abandon(handle, .requestTimedOut) }
      return answer(handle, .requestTimedOut)
    }
    if exchange.pointee.bodyWaitSince > .zero, !exchange.pointee.hasAnswered {
      giveUpProbe(exchange)
      let client = downstreams[exchange.pointee.downstream]
      let time = listenerOptions(client).pointee.bodyTimeout
      let due = min(exchange.pointee.totalDeadline, exchange.pointee.bodyWaitSince + time)
      guard due <= now else { return setDeadline(exchange.pointee.downstream, client, due) }
      metrics.add(.bodyTimeouts)
      return answer(handle, .requestStalled)
    }
    metrics.add(.sendTimeouts)
    abandon(handle, .clientStalled)
  }
}
