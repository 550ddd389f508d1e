import Balancing
import HTTP
import HTTP1
import Primitives
import Resilience
import Routing
import Telemetry
import Transport

/// The policy pipeline of one request, in order: route, admit, select, acquire, rewrite, send.
/// What follows is in `ResponseFlow` and `ExchangeEnd`.
extension Worker {
  /// A complete request head stands at the front of the connection's buffer, `length` octets of
  /// it, parsed into `requestHead`. True where it has been answered, and the connection is as it
  /// was before it; false: it has an exchange, or had one.
  @discardableResult
  func begin(
    _ client: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int
  ) -> Bool {
    connection.pointee.requests += 1
    metrics.add(.requests)
    let match = plans.borrowed._withUnsafeGuaranteedRef {
      matcher.match($0.table, requestHead)
    }
    if case .route(let index) = match {
      switch servesHit(client, connection, length, plans.route(index)) {
      case .none: break
      case .answered: return true
      case .waits: return false
      }
    }
    becameBusy(connection)
    connection.pointee.wire.input.pin(length)
    beginExchange(client, connection, length, match)
    return false
  }

  @inline(__always)
  private func beginExchange(
    _ client: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int,
    _ match: RouteMatch
  ) {
    guard let (handle, exchange) = exchanges.insert(copyOf: blankExchange) else {
      return closeDownstream(client)
    }
    enter(handle, exchange, client, connection, length)
    if redirectsToHTTPS(handle, exchange, connection) { return }
    switch match {
    case .route(let index): exchange.pointee.route = plans.route(index)
    case .none:
      metrics.add(.unroutedRequests)
      return answer(handle, .noRoute)
    case .limitExceeded:
      metrics.add(.regexLimitExceeded)
      return answer(handle, .regexLimit)
    }
    admit(handle, exchange, connection)
  }

  /// The exchange is the one that its connection is in from now on.
  @inline(__always)
  func enter(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ client: Handle,
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int
  ) {
    fill(exchange, client, connection, length)
    snapshots[current].exchanges += 1
    connection.pointee.exchange = handle
    connection.pointee.state = .exchanging
    connection.pointee.deadline = .never
    headOwner = handle
  }

  /// What the head says; everything else is as in `blankExchange`.
  @inline(__always)
  func fill(
    _ exchange: UnsafeMutablePointer<Exchange>, _ client: Handle,
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int
  ) {
    exchange.pointee.downstream = client
    exchange.pointee.snapshot = Int32(truncatingIfNeeded: current)
    exchange.pointee.method = requestHead.method
    exchange.pointee.isHead = requestHead.method == .head
    exchange.pointee.clientIsHTTP10 = requestHead.version == .http10
    exchange.pointee.keepsClient = keepsClient(connection)
    exchange.pointee.clientAskedClose = !requestHead.wantsKeepAlive
    exchange.pointee.acceptsTrailers = requestHead.acceptsTrailers
    exchange.pointee.mustContinue = requestHead.expectsContinue
    exchange.pointee.startedAt = now
    exchange.pointee.attemptAt = now
    exchange.pointee.headBytes = Int32(truncatingIfNeeded: length)
    exchange.pointee.methodRange = requestHead.methodRange
    exchange.pointee.targetRange = requestHead.targetRange
    exchange.pointee.hostRange = requestHead.authorityRange
    exchange.pointee.version = requestHead.version
    exchange.pointee.request.frame(
      requestHead.framing, sendsChunks: true, passesTrailers: false)
    // The head says chunked for what HTTP/2 frames; the stream's end is the content's.
    if connection.pointee.wire.isStream, exchange.pointee.request.source == .chunked {
      exchange.pointee.request.source = .untilClose
    }
    exchange.pointee.requestID = (random.next(), random.next())
    noteForLog(.referer, &exchange.pointee.refererRange)
    noteForLog(.userAgent, &exchange.pointee.userAgentRange)
    noteForLog(.traceparent, &exchange.pointee.traceRange)
  }

  /// Whether the connection serves on behind this request, as far as one can know.
  @inline(__always)
  func keepsClient(_ connection: UnsafeMutablePointer<DownstreamConnection>) -> Bool {
    let options = listenerOptions(connection)
    return requestHead.wantsKeepAlive
      && connection.pointee.requests < options.pointee.keepAliveRequests
      && now - connection.pointee.acceptedAt < options.pointee.keepAliveTime && !isDraining
      && !options.pointee.isRemoved
  }

  @inline(__always)
  private func noteForLog(_ name: FieldName, _ range: inout ByteRange) {
    if let index = requestHead.fields.firstIndex(of: name) {
      range = requestHead.fields[index].valueRange
    }
  }

  // MARK: Admit

  @inline(__always)
  private func admit(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let route = route(exchange)
    // Any answer of success would be taken for the tunnel.
    if connection.pointee.isTunnel, refusesTunnel(handle, route) { return }
    if requestHead.fields.contains(.via), isLoop() {
      metrics.add(.loopsDetected)
      return answer(handle, .loop)
    }
    if route.pointee.maxBodyBytes > 0, case .length(let length) = requestHead.framing,
      length > route.pointee.maxBodyBytes
    {
      return answer(handle, .requestTooLarge)
    }
    if let limit = route.pointee.requestTimeout {
      exchange.pointee.totalDeadline = now + limit
      setDeadline(exchange.pointee.downstream, connection, exchange.pointee.totalDeadline)
    }
    if route.pointee.maxBodyBytes > 0 {
      exchange.pointee.request.limit = route.pointee.maxBodyBytes
    }
    exchange.pointee.request.passesTrailers = route.pointee.trailers && requestHead.acceptsTrailers
    if let plan = route.pointee.upstream {
      if plan.pointee.usesHash { exchange.pointee.hash = hash(plan.pointee.hashKey, connection) }
      if plan.pointee.usesSticky, let sticky = plan.pointee.sticky { readSticky(exchange, sticky) }
      if let cache = route.pointee.cachePlan, consultCache(handle, exchange, cache) { return }
      askFirst(handle, exchange, plan, route, connection)
    } else {
      answerLocally(handle, exchange, route)
    }
  }

  /// The first attempt. The request's head is the one in `requestHead`.
  func askBackend(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>
  ) {
    askFirst(
      handle, exchange, plan, route(exchange), downstreams[exchange.pointee.downstream])
  }

  /// The same, as a part of what every request comes through.
  @inline(__always)
  private func askFirst(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>, _ route: UnsafePointer<RoutePlan>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    exchange.pointee.asksUpgrade = requestHead.wantsUpgrade && mayUpgrade(route)
    exchange.pointee.retry = Retry(
      limit: plan.pointee.retry.attempts, conditions: plan.pointee.retry.conditions,
      isReplayable: isReplayable(route))
    keepForReplay(exchange)
    firstAttempt(handle, exchange, plan, client)
  }

  private func answerLocally(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ route: UnsafePointer<RoutePlan>
  ) {
    switch route.pointee.localAction {
    case .respond(let status, let contentType, let body):
      answer(handle) { sink, context in
        LocalResponse.append(
          fixed: status, contentType: contentType, body: body, edits: route.pointee.responseEdits,
          to: &sink, context: context)
      }
    case .redirect(let template):
      answer(handle) { sink, context in
        LocalResponse.append(
          redirect: template, of: self.requestHead, edits: route.pointee.responseEdits, to: &sink,
          context: context)
      }
    case nil: preconditionFailure("a route without an action")
    }
  }

  /// Our own name in a Via field: the request has been here before (semantics.md 22).
  private func isLoop() -> Bool {
    let instance = currentSnapshot.instance.view
    var line = requestHead.fields.firstIndex(of: .via)
    while let index = line {
      var members = ListMembers(requestHead.value(index))
      while let member = members.next() {
        // "1.1 weir-name (comment)"
        guard let space = member.firstIndex(of: UInt8(ascii: " ")) else { continue }
        let rest = member.slice(from: space + 1).trimmed()
        let end = rest.firstIndex(of: UInt8(ascii: " ")) ?? rest.count
        if rest.slice(0, end).equalsIgnoringCase(instance) { return true }
      }
      line = requestHead.fields.firstIndex(of: .via, from: index + 1)
    }
    return false
  }

  /// Rule 17: a configured protocol, asked for by a GET without content.
  @inline(never)
  private func mayUpgrade(_ route: UnsafePointer<RoutePlan>) -> Bool {
    guard requestHead.wantsUpgrade, requestHead.method == .get, requestHead.framing == .none,
      let wanted = requestHead.first(.upgrade)
    else { return false }
    return route.pointee.upgrades.contains { $0.withByteView { wanted.equalsIgnoringCase($0) } }
  }

  /// True where the route opens no such tunnel, and the client has been told.
  @inline(never)
  private func refusesTunnel(_ handle: Handle, _ route: UnsafePointer<RoutePlan>) -> Bool {
    if route.pointee.upstream != nil, mayUpgrade(route) { return false }
    metrics.add(.badRequests)
    answer(handle, .upgradeRefused)
    return true
  }

  // MARK: Select and acquire

  /// One attempt at a backend that has not been tried.
  func attempt(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>
  ) {
    firstAttempt(handle, exchange, plan, downstreams[exchange.pointee.downstream])
  }

  /// The same, as a part of what every request comes through.
  @inline(__always)
  private func firstAttempt(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>, _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    guard let reserved = reserve(exchange, plan) else {
      return noBackendLeft(handle, exchange, plan)
    }
    begin(handle, exchange, plan, reserved, client)
  }

  /// An attempt at the backend on which a place has been taken.
  func start(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>, _ reserved: ReservedBackend
  ) {
    begin(handle, exchange, plan, reserved, downstreams[exchange.pointee.downstream])
  }

  @inline(__always)
  private func begin(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>, _ reserved: ReservedBackend,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let backend = Int(reserved.backend)
    learnBackends(upTo: backend)
    exchange.pointee.slot = reserved.slot
    exchange.pointee.backend = reserved.backend
    exchange.pointee.ticket = reserved.ticket
    exchange.pointee.isJudged = false
    exchange.pointee.receivedStatus = 0
    exchange.pointee.isReserved = true
    exchange.pointee.tried.insert(Int(reserved.slot))
    exchange.pointee.retry.attemptStarted()
    exchange.pointee.attemptAt = now
    exchange.pointee.phase = .connecting
    let cells = cells(backend)
    cells.add(.attempts)
    if reserved.isSpill { cells.add(.spills) }
    if reserved.stickiness != .none { noteSticky(exchange, reserved) }
    let isRepeatable = exchange.pointee.method.isSafe && exchange.pointee.request.isComplete
    exchange.pointee.isPooled = false
    if plan.pointee.http2Streams > 0 {
      return beginStream(handle, exchange, client, plan)
    }
    if !exchange.pointee.wantsNewConnection, plan.pointee.proxyProtocol == nil,
      let (idle, upstream) = takeIdle(
        backend, isRepeatable: isRepeatable, security: plan.pointee.security)
    {
      cells.add(.connectionsReused)
      exchange.pointee.isPooled = true
      exchange.pointee.upstream = idle
      upstream.pointee.exchange = handle
      exchange.pointee.connectedAt = now
      return sendRequest(handle, exchange, client, upstream)
    }
    switch connect(backend, security: plan.pointee.security) {
    case .success(let upstream):
      exchange.pointee.upstream = upstream
      let connection = upstreams[upstream]
      connection.pointee.exchange = handle
      setDeadline(upstream, connection, now + connectTime(exchange))
    case .failure(let failure):
      attemptFailed(handle, exchange, failure.termination)
    }
  }

  /// A place on a backend that has not failed this request. Where there is none but the last
  /// failure was only a pooled connection's end, the same backend is as good as new.
  @inline(__always)
  private func reserve(
    _ exchange: UnsafeMutablePointer<Exchange>, _ plan: UnsafePointer<UpstreamPlan>
  ) -> ReservedBackend? {
    let hash = exchange.pointee.hash
    let isIdempotent = exchange.pointee.method.isIdempotent
    let found = plan.pointee.borrowedState._withUnsafeGuaranteedRef {
      $0.reserve(
        hash: hash, tried: exchange.pointee.tried, isIdempotent: isIdempotent,
        isFirst: exchange.pointee.retry.attempts == 0, sticky: exchange.pointee.sticky, now: now)
    }
    guard found == nil, exchange.pointee.wantsNewConnection else { return found }
    return plan.pointee.state.reserve(
      hash: hash, tried: TriedBackends(), isIdempotent: isIdempotent, isFirst: false,
      minds: false, now: now)
  }

  // MARK: Rewrite and send

  /// The backend connection is ready for the request.
  func sendRequest(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>
  ) {
    restoreHead(handle, exchange, client)
    let route = route(exchange)
    guard let plan = route.pointee.upstream else { preconditionFailure("no upstream") }
    let (instance, isTrusted) = borrowedSnapshot(exchange)._withUnsafeGuaranteedRef {
      ($0.instance.view, $0.isTrusted(client.pointee.address))
    }
    noteRequestID(exchange, isTrusted)
    var sink = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    withClientCertificate(client) { certificate in
      HeaderRewrite.appendRequest(
        requestHead, to: &sink, host: plan.pointee.host,
        backend: backends[Int(exchange.pointee.backend)].authority,
        edits: route.pointee.requestEdits,
        context: HeaderRewrite.RequestContext(
          client: client.pointee.address, isTrusted: isTrusted,
          isSecure: isSecure(client), clientCertificate: certificate,
          requestID: exchange.pointee.requestID, instance: instance,
          asksUpgrade: exchange.pointee.asksUpgrade, makesKey: client.pointee.isTunnel,
          passesTrailers: exchange.pointee.request.passesTrailers,
          deadline: route.pointee.passesDeadline ? deadlineLine(exchange) : .empty,
          attempt: exchange.pointee.retry.attempts))
    }
    if sink.overflowed { return answer(handle, .headTooLarge) }
    exchange.pointee.phase = .awaitingHead
    exchange.pointee.sentBefore = upstream.pointee.wire.sentOctets
    upstream.pointee.knownOctets = 0
    if exchange.pointee.mustContinue { invite(exchange, client) }
    if upstream.pointee.wire.isStream, !submit(handle, exchange, upstream, &sink) { return }
    pumpRequest(handle, exchange, client, upstream, head: &sink)
  }

  /// Parses the pinned head again where another request has been parsed since.
  @inline(__always)
  func restoreHead(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    guard headOwner != handle else { return }
    do throws(HeadFault) {
      _ = try HeadParser.parseRequest(
        client.pointee.wire.input.pinnedView, into: &requestHead, limits: Worker.acceptedLimits)
    } catch { preconditionFailure("an accepted head is no longer accepted") }
    if requestHead.host.isEmpty {
      requestHead.assumeHost(listenerOptions(client).pointee.defaultHost)
    }
    if client.pointee.streamID != 0 { requestHead.version = .http2 }
    headOwner = handle
  }

  /// For heads that were accepted before: limits may have been lowered since, and an HTTP/2 head in
  /// this form has more octets than it had.
  static let acceptedLimits: HeadLimits = {
    var limits = HeadLimits()
    limits.maxBytes = BufferPool.blockBytes
    limits.maxFieldBytes = BufferPool.blockBytes
    limits.maxFields = Fields.hardLimit
    limits.maxTargetBytes = BufferPool.blockBytes
    return limits
  }()

  /// A trusted peer's request id is passed on and logged; anybody else's is replaced.
  @inline(__always)
  private func noteRequestID(_ exchange: UnsafeMutablePointer<Exchange>, _ isTrusted: Bool) {
    guard isTrusted, let index = requestHead.fields.firstIndex(of: .xRequestId) else { return }
    exchange.pointee.requestIDRange = requestHead.fields[index].valueRange
  }

  /// Rule 19: the client waits for leave to send its content, and there is a backend to take it.
  private func invite(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    exchange.pointee.mustContinue = false
    guard client.pointee.wire.input.isEmpty else { return }
    if client.pointee.wire.isStream {
      var sink = ByteSink(base: scratch + Worker.scratchBytes - 64, capacity: 64)
      sink.append("HTTP/1.1 100 Continue\r\n\r\n")
      _ = answerStream(client, &sink, isLast: false, isFinal: false)
      return
    }
    _ = client.pointee.wire.send(ByteView("HTTP/1.1 100 Continue\r\n\r\n"), .empty, &pool)
  }
}
