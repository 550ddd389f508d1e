import Caching
import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// The cache's part in an exchange: between the route and the choice of a backend.
///
///     consult ─► hit ──────────────────────────────► serve
///        │  └──► miss ─► fetch ─┐                      ▲
///        │  └──► under way ─────┴─► wait ── object ────┤
///        │                           │  └── failed ──► stale copy, or the error
///        └──► bypass, pass ──────────┴─ not storable ─► a backend, for this request alone
extension Worker {
  /// True where the exchange has taken its way; false: a backend is asked for it alone.
  func consultCache(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<CachePlan>
  ) -> Bool {
    switch RequestPolicy.judge(requestHead, rule: plan.pointee.rule) {
    case .bypass(let reason):
      note(.bypass, exchange)
      exchange.pointee.forwarded = ForwardedMark(reason == .method ? .method : .bypass)
      return false
    case .lookup(let constraints):
      if claimsUnkeyed(exchange, plan) {
        note(.bypass, exchange)
        exchange.pointee.forwarded = ForwardedMark(.bypass)
        return false
      }
      return lookUp(handle, exchange, plan, constraints)
    }
  }

  private static let claims = FieldSet(
    .xForwardedProto, .xForwardedHost, .xForwardedPort, .forwarded)

  /// A trusted proxy says something of where the request went that the backend is told as well,
  /// and that the key does not have: what is made of it is not for others.
  private func claimsUnkeyed(
    _ exchange: UnsafeMutablePointer<Exchange>, _ plan: UnsafePointer<CachePlan>
  ) -> Bool {
    guard !requestHead.fields.present.isDisjoint(with: Worker.claims) else { return false }
    let client = downstreams[exchange.pointee.downstream]
    guard snapshot(exchange).isTrusted(client.pointee.address) else { return false }
    let isSecure = isKeyedSecure(exchange, client)
    var index = 0
    while index < requestHead.fields.count {
      let name = requestHead.fields[index].name
      let value = requestHead.value(index)
      let isKeyed: Bool
      switch name {
      case .xForwardedProto: isKeyed = value.equals(isSecure ? "https" : "http")
      case .xForwardedHost: isKeyed = value.equalsIgnoringCase(requestHead.authority)
      case .xForwardedPort: isKeyed = value.decimal == keyedPort(isSecure)
      case .forwarded:
        isKeyed = ForwardedClaims.agree(
          value, authority: requestHead.authority, scheme: isSecure ? "https" : "http")
      default: isKeyed = true
      }
      if !isKeyed, !plan.pointee.rule.keys(name) { return true }
      index += 1
    }
    return false
  }

  private func keyedPort(_ isSecure: Bool) -> Int {
    let port = requestHead.authority.slice(from: requestHead.host.count)
    guard let colon = port.firstIndex(of: UInt8(ascii: ":")) else { return isSecure ? 443 : 80 }
    return port.slice(from: colon + 1).decimal ?? 0
  }

  /// Whether the backend is told that the request came over TLS, to weir or to a trusted proxy.
  private func isKeyedSecure(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) -> Bool {
    guard requestHead.fields.contains(.xForwardedProto),
      snapshot(exchange).isTrusted(client.pointee.address),
      let scheme = requestHead.first(.xForwardedProto)
    else { return isSecure(client) }
    return scheme.equals("https")
  }

  private func lookUp(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<CachePlan>, _ constraints: RequestConstraints
  ) -> Bool {
    let client = downstreams[exchange.pointee.downstream]
    let half = Worker.scratchBytes / 2
    var key = ByteSink(base: scratch, capacity: half)
    let layout = CacheKey.append(
      requestHead, isSecure: isKeyedSecure(exchange, client), rule: plan.pointee.rule, to: &key)
    guard let layout else {
      note(.bypass, exchange)
      exchange.pointee.forwarded = ForwardedMark(.bypass)
      return false
    }
    var room = ByteSink(base: scratch + half, capacity: half)
    let query = plan.pointee.store.query(
      key.view, urlLength: layout.urlEnd, constraints)
    let found = plan.pointee.store.lookup(
      query, requestHead, waiter(exchange), scratch: &room, now: now)
    switch found.kind {
    case .hit: serveHit(handle, exchange, plan, constraints, found, detail: nil)
    case .stale:
      if let fill = found.fill { fetch(fill, for: .none, exchange, plan) }
      // The fetch has parsed its own head since.
      restoreHead(handle, exchange, client)
      serveHit(handle, exchange, plan, constraints, found, detail: .staleWhileRevalidate)
    case .pass:
      note(.pass, exchange)
      exchange.pointee.forwarded = ForwardedMark(
        constraints.noStore ? .request : .uriMiss,
        detail: constraints.noStore ? nil : .uncacheable)
      return false
    case .absent:
      note(.miss, exchange)
      exchange.pointee.forwarded = ForwardedMark(.uriMiss, detail: .onlyIfCached)
      answer(handle, .onlyIfCached)
    case .waits, .fetch: waitForFill(handle, exchange, plan, constraints, found)
    }
    return true
  }

  /// A finished line, at the end of the scratch.
  func cacheStatusLine(_ mark: ForwardedMark) -> ByteView {
    let room = 256
    var sink = ByteSink(base: scratch + Worker.scratchBytes - room, capacity: room)
    CacheStatusField.append(
      mark.status, instance: currentSnapshot.instance.view, to: &sink)
    return sink.overflowed ? .empty : sink.view
  }

  /// RFC 9111 §4.4: an unsafe request has succeeded, so what is stored of its target, and of what
  /// the answer names, is not used again.
  func invalidateStored(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    guard Invalidation.isDue(exchange.pointee.method, status: responseHead.status),
      let plan = route(exchange).pointee.cachePlan
    else { return }
    restoreHead(handle, exchange, client)
    var request = PurgeRequest()
    for target in Invalidation.Target.allCases {
      var room = [UInt8](repeating: 0, count: Worker.scratchBytes / 4)
      room.withUnsafeMutableBufferPointer { octets in
        guard let base = octets.baseAddress else { return }
        var sink = ByteSink(base: base, capacity: octets.count)
        let layout = Invalidation.append(
          target, requestHead, isSecure: isKeyedSecure(exchange, client), responseHead,
          rule: plan.pointee.rule, to: &sink)
        if layout != nil { request.urls.append(sink.view.array) }
      }
    }
    let result = plan.pointee.store.purge(request, now: now)
    metrics.add(.cacheInvalidations, UInt64(result.matched))
  }

  func waiter(_ exchange: UnsafeMutablePointer<Exchange>) -> FillWaiter {
    FillWaiter(worker: number, handle: exchange.pointee.downstream.raw)
  }

  private func serveHit(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<CachePlan>, _ constraints: RequestConstraints, _ found: CacheFound,
    detail: CacheDetail?
  ) {
    guard let object = found.object else { preconditionFailure("a hit without an object") }
    note(detail == nil ? .hit : .stale, exchange)
    var status = CacheStatus(.hit)
    status.ttl = found.freshness.ttl(resident: now - object.storedAt)
    status.detail = detail
    var reading = CacheReading(constraints, status)
    reading.object = object
    reading.isComplete = true
    guard let place = readings.insert(reading) else {
      plan.pointee.store.unpin(object)
      return answer(handle, .exhausted)
    }
    exchange.pointee.reading = place
    exchange.pointee.phase = .cached
    serve(handle, exchange, plan, found.freshness)
  }

  // MARK: Waiting

  private func waitForFill(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<CachePlan>, _ constraints: RequestConstraints, _ found: CacheFound
  ) {
    guard let fill = found.fill else { preconditionFailure("a miss without a fetch") }
    note(found.kind == .fetch ? .miss : .collapsed, exchange)
    var status = CacheStatus(.forwarded(found.wasStale ? .stale : .uriMiss))
    status.collapsed = found.kind == .waits
    var reading = CacheReading(constraints, status)
    reading.fill = fill
    reading.joined = found.sequence
    guard let place = readings.insert(reading) else {
      if found.kind == .fetch { endFill(fill, .exhausted) }
      fill.release()
      return answer(handle, .exhausted)
    }
    exchange.pointee.reading = place
    exchange.pointee.phase = .cached
    if found.kind == .fetch {
      _ = fill.retain()
      fetch(fill, for: handle, exchange, plan)
      // A kept connection may have had its answer ready, which may have gone to the client already.
      guard let exchange = exchanges.resolve(handle), exchange.pointee.reading == place else {
        return
      }
    }
    fillMoved(handle, exchange)
  }

  /// There may be news of what the exchange waits for or reads.
  func cacheReady(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    if readings[exchange.pointee.reading].pointee.isReading {
      sendStored(handle, exchange)
    } else {
      fillMoved(handle, exchange)
    }
  }

  /// The exchange waits for a head.
  private func fillMoved(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    let reading = readings[exchange.pointee.reading]
    guard let fill = reading.pointee.fill else { preconditionFailure("nothing to wait for") }
    let view = fill._withUnsafeGuaranteedRef {
      $0.look(waiter(exchange), since: .pending, 0)
    }
    switch view.phase {
    case .pending where view.isSuperseded: lookAgain(handle, exchange)
    case .pending:
      let client = downstreams[exchange.pointee.downstream]
      setDeadline(exchange.pointee.downstream, client, exchange.pointee.totalDeadline)
    case .growing, .complete, .renewed: join(handle, exchange, view)
    case .unstorable: passBy(handle, exchange)
    case .failed: fetchHasFailed(handle, exchange, view)
    }
  }

  /// There is an object: is it this request's?
  private func join(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ view: CacheFill.View
  ) {
    let reading = readings[exchange.pointee.reading]
    guard let object = view.object, let plan = route(exchange).pointee.cachePlan else {
      preconditionFailure("a head without an object")
    }
    let client = downstreams[exchange.pointee.downstream]
    restoreHead(handle, exchange, client)
    let isPurged = view.purgedAt > 0 && reading.pointee.joined >= view.purgedAt
    if isPurged || !selects(object) { return lookAgain(handle, exchange) }
    plan.pointee.store.pin(object)
    reading.pointee.object = object
    reading.pointee.available = view.published
    reading.pointee.length = view.length
    reading.pointee.isComplete = view.phase != .growing
    reading.pointee.status.stored = view.isStored
    if view.phase == .renewed {
      reading.pointee.available = object.contentLength
      reading.pointee.status.forwardStatus = 304
    }
    serve(handle, exchange, plan, plan.pointee.store.freshness(of: object))
  }

  /// Whether this request gets the response by what `Vary` names.
  private func selects(_ object: StoredObject) -> Bool {
    var room = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    return object.isSelected(by: requestHead, &room)
  }

  /// What the exchange waited for is not for it: from the beginning.
  private func lookAgain(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    let constraints = readings[exchange.pointee.reading].pointee.constraints
    releaseReading(exchange)
    let client = downstreams[exchange.pointee.downstream]
    restoreHead(handle, exchange, client)
    guard let plan = route(exchange).pointee.cachePlan else { return }
    if !lookUp(handle, exchange, plan, constraints) { askBackend(handle, exchange) }
  }

  /// What was fetched cannot be shared: a backend is asked for this request alone.
  private func passBy(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    detail: CacheDetail? = .uncacheable
  ) {
    let status = readings[exchange.pointee.reading].pointee.status
    releaseReading(exchange)
    note(.pass, exchange)
    if case .forwarded(let reason) = status.kind {
      exchange.pointee.forwarded = ForwardedMark(reason, detail: detail)
    }
    let client = downstreams[exchange.pointee.downstream]
    restoreHead(handle, exchange, client)
    askBackend(handle, exchange)
  }

  private func askBackend(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    guard let plan = route(exchange).pointee.upstream else {
      preconditionFailure("a cache without an upstream")
    }
    askBackend(handle, exchange, plan)
  }

  /// Nothing was fetched: a stale copy where one is allowed, else the error, to everybody at once.
  private func fetchHasFailed(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ view: CacheFill.View
  ) {
    let reading = readings[exchange.pointee.reading]
    guard let plan = route(exchange).pointee.cachePlan, let fill = reading.pointee.fill else {
      return
    }
    let stale = fill._withUnsafeGuaranteedRef { $0.stale }
    if let stale,
      let freshness = plan.pointee.store.staleIfError(
        stale, reading.pointee.constraints, now: now)
    {
      note(.stale, exchange)
      exchange.pointee.rung = .staleCopy
      exchange.pointee.fallbackReason = Termination(code: view.failure & ~Termination.answered)
      if let route = exchange.pointee.route {
        metrics.route(route.pointee.id).add(.fallbacksToCopy)
      }
      plan.pointee.store.pin(stale)
      reading.pointee.object = stale
      reading.pointee.isComplete = true
      reading.pointee.available = stale.contentLength
      var status = CacheStatus(.hit)
      status.ttl = freshness.ttl(resident: now - stale.storedAt)
      status.detail = .staleIfError
      reading.pointee.status = status
      let client = downstreams[exchange.pointee.downstream]
      restoreHead(handle, exchange, client)
      return serve(handle, exchange, plan, freshness)
    }
    if view.failure & Termination.answered != 0 { return passBy(handle, exchange, detail: nil) }
    let failure = Termination(code: view.failure) ?? .exhausted
    releaseReading(exchange)
    answer(handle, failure)
  }

  // MARK: Ending

  /// The exchange has no more to do with the cache.
  func releaseReading(_ exchange: UnsafeMutablePointer<Exchange>) {
    let place = exchange.pointee.reading
    guard place != .none else { return }
    exchange.pointee.reading = .none
    let reading = readings[place]
    if let object = reading.pointee.object, let plan = route(exchange).pointee.cachePlan {
      plan.pointee.store.unpin(object)
    }
    if let fill = reading.pointee.fill { leave(fill, waiter(exchange)) }
    readings.remove(place)
  }

  private func leave(_ fill: Unmanaged<CacheFill>, _ waiter: FillWaiter) {
    let (cancels, wakes) = fill._withUnsafeGuaranteedRef { $0.leave(waiter) }
    fill.release()
    guard let wakes else { return }
    if cancels { cancelFetch(wakes) } else { wake([wakes]) }
  }

  /// Looks at these connections soon, wherever they are.
  func wake(_ waiters: [FillWaiter]) {
    guard !waiters.isEmpty else { return }
    var others: [Int: [UInt64]] = [:]
    for waiter in waiters {
      if Int(waiter.worker) != number {
        others[Int(waiter.worker), default: []].append(waiter.handle)
      } else {
        wake(Handle(raw: waiter.handle))
      }
    }
    for (worker, handles) in others { shared.post(.wake(handles), to: worker) }
  }

  func wake(_ handle: Handle) {
    guard let connection = downstreams.resolve(handle) else { return }
    queue(handle, connection)
  }
}

/// Why a request went to a backend although its route has a cache: for `Cache-Status` and the log.
struct ForwardedMark: BitwiseCopyable {
  private var code: UInt8 = 0
  private var detailCode: UInt8 = 0

  init() {}

  init(_ reason: ForwardReason, detail: CacheDetail? = nil) {
    code = reason.rawValue + 1
    detailCode = detail.map { $0.rawValue + 1 } ?? 0
  }

  var isSet: Bool { code > 0 }

  var status: CacheStatus {
    var status = CacheStatus(.forwarded(ForwardReason(rawValue: code &- 1) ?? .bypass))
    status.detail = detailCode > 0 ? CacheDetail(rawValue: detailCode - 1) : nil
    return status
  }
}
