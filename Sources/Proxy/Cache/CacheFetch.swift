import Caching
import HTTP
import HTTP1
import Primitives
import Resilience
import Telemetry
import Transport

/// Fetches: exchanges whose client is the cache. Everything about backends (choice, retries,
/// timeouts, breakers) is as for any exchange; only the client's side is the store.
extension Worker {
  // MARK: Beginning

  /// Begins to fetch what the exchange asks for; `origin` is the exchange that waits for it, or
  /// nobody. Takes over one retain of the fill.
  func fetch(
    _ fill: Unmanaged<CacheFill>, for origin: Handle, _ asking: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<CachePlan>
  ) {
    let client = downstreams[asking.pointee.downstream]
    var head = ByteSink(base: scratch, capacity: BufferPool.blockBytes)
    fill._withUnsafeGuaranteedRef { fill in
      fill.withTarget {
        StoredResponse.appendFetch(
          requestHead, authority: $0, target: $1, confirming: fill.stale, to: &head)
      }
    }
    let record = DownstreamConnection(
      fetch: fill, of: client.pointee, origin: origin, isSecure: isSecure(client))
    guard !head.overflowed, let handle = downstreams.insert(record) else {
      return giveUp(fill)
    }
    fetches += 1
    let connection = downstreams[handle]
    connection.pointee.fetch.handle = handle
    guard connection.pointee.wire.preload(head.view, &pool),
      let length = parseFetch(connection)
    else {
      endStream(handle, connection, .internalError)
      return
    }
    fill._withUnsafeGuaranteedRef {
      $0.setOwner(FillWaiter(worker: number, handle: handle.raw))
    }
    metrics.add(.cacheFetches)
    beginFetch(handle, connection, length, asking)
  }

  private func giveUp(_ fill: Unmanaged<CacheFill>) {
    endFill(fill, .exhausted)
    fill.release()
  }

  func endFill(_ fill: Unmanaged<CacheFill>, _ failure: Termination) {
    fill._withUnsafeGuaranteedRef { wake($0.fail(failure.code)) }
  }

  private func parseFetch(
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> Int? {
    headOwner = .none
    do throws(HeadFault) {
      let length = try HeadParser.parseRequest(
        connection.pointee.wire.input.view, into: &requestHead, limits: Worker.acceptedLimits)
      return length > 0 ? length : nil
    } catch { return nil }
  }

  private func beginFetch(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int,
    _ asking: UnsafeMutablePointer<Exchange>
  ) {
    connection.pointee.requests = 1
    connection.pointee.wire.input.pin(length)
    let snapshot = asking.pointee.snapshot
    guard let (place, made) = exchanges.insert(copyOf: blankExchange) else {
      return endStream(handle, connection, .internalError)
    }
    fill(made, handle, connection, length)
    made.pointee.snapshot = snapshot
    made.pointee.route = asking.pointee.route
    made.pointee.hash = asking.pointee.hash
    // What turns out to be for this client alone has to be of its own backend.
    made.pointee.sticky = asking.pointee.sticky
    made.pointee.setsSticky = asking.pointee.setsSticky
    snapshots[Int(snapshot)].exchanges += 1
    connection.pointee.exchange = place
    connection.pointee.state = .exchanging
    headOwner = place
    guard let plan = route(made).pointee.upstream else {
      preconditionFailure("a cache without an upstream")
    }
    made.pointee.retry = Retry(
      limit: plan.pointee.retry.attempts, conditions: plan.pointee.retry.conditions,
      isReplayable: true)
    if plan.pointee.mayPanic, plan.pointee.state.isPanicking, hasStaleCopy(made, connection) {
      return answer(place, .noBackend)
    }
    attempt(place, made, plan)
  }

  /// Semantics.md 9: a copy is better than a backend that is said to be down.
  private func hasStaleCopy(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> Bool {
    guard let fill = connection.pointee.fetch.fill, let plan = route(exchange).pointee.cachePlan,
      let stale = fill._withUnsafeGuaranteedRef({ $0.stale })
    else { return false }
    return plan.pointee.store.staleIfError(stale, RequestConstraints(), now: now) != nil
  }

  // MARK: The head

  /// A final head has come for a fetch. True where content may follow; false where the exchange
  /// has taken another way.
  func fetchResponded(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>
  ) -> Bool {
    let client = downstreams[exchange.pointee.downstream]
    guard let fill = client.pointee.fetch.fill, let plan = route(exchange).pointee.cachePlan else {
      preconditionFailure("a fetch without a fill")
    }
    restoreHead(handle, exchange, client)
    let refusal: CacheStore.Refusal?
    if responseHead.status == 304 {
      guard fill._withUnsafeGuaranteedRef({ $0.stale != nil }) else {
        attemptFailed(handle, exchange, .headMalformed)
        return false
      }
      refusal = renewStored(exchange, client, fill, plan) ? nil : .once
    } else if case let keeps = keepsStale(fill, plan), keeps || asksFallback(exchange) {
      // The copy is better than what came.
      exchange.pointee.receivedStatus = exchange.pointee.status
      // Before there is a failure: the backend is judged by its answer.
      releaseUpstream(exchange, isReusable: false)
      fetchFailed(handle, exchange, .headMalformed, hasAnswer: keeps)
      return false
    } else {
      refusal = storeHead(exchange, fill, plan)
    }
    if let refusal {
      handOver(handle, exchange, client, fill, plan, refusal)
      return false
    }
    exchange.pointee.response = Content(
      responseHead.framing, sendsChunks: false, passesTrailers: false)
    exchange.pointee.phase = .relaying
    exchange.pointee.hasAnswered = true
    if exchange.pointee.ticket.isProbe { judgeProbe(exchange) }
    return true
  }

  /// RFC 5861 §4: an answer that says "not now" does not end a copy's use.
  private func keepsStale(_ fill: Unmanaged<CacheFill>, _ plan: UnsafePointer<CachePlan>) -> Bool {
    switch responseHead.status {
    case 500, 502, 503, 504: break
    default: return false
    }
    guard let stale = fill._withUnsafeGuaranteedRef({ $0.stale }) else { return false }
    return plan.pointee.store.staleIfError(stale, RequestConstraints(), now: now) != nil
  }

  /// Whoever waits has another upstream to ask: what came is not for them.
  private func asksFallback(_ exchange: UnsafeMutablePointer<Exchange>) -> Bool {
    guard route(exchange).pointee.fallback != nil else { return false }
    return (502...504).contains(responseHead.status)
  }

  private func timing(_ exchange: UnsafeMutablePointer<Exchange>) -> ResponseTiming {
    ResponseTiming(wallSeconds: wallSeconds, delay: now - exchange.pointee.attemptAt)
  }

  private var fetchFacts: RequestConstraints {
    var facts = RequestConstraints()
    facts.hasAuthorization = requestHead.fields.contains(.authorization)
    return facts
  }

  /// Length of the content that follows; -1 where that is not known.
  private var responseLength: Int {
    switch responseHead.framing {
    case .none: 0
    case .length(let length): length
    case .chunked, .untilClose: -1
    }
  }

  /// `nil`: the response is in the store now, for all who wait and, unless it is an error, for all
  /// who will ask.
  private func storeHead(
    _ exchange: UnsafeMutablePointer<Exchange>, _ fill: Unmanaged<CacheFill>,
    _ plan: UnsafePointer<CachePlan>
  ) -> CacheStore.Refusal? {
    let byStatus: CacheStore.Refusal = responseHead.status < 500 ? .lasting : .once
    let verdict = ResponsePolicy.judge(
      fetchFacts, responseHead, rule: plan.pointee.rule, timing: timing(exchange))
    let freshness: Freshness
    var isTransient = false
    switch verdict {
    case .store(let found): freshness = found
    case .doNotStore(.serverError):
      // Those who wait get the same answer, instead of all asking a backend that fails.
      freshness = Freshness(initialAge: .zero, lifetime: 0)
      isTransient = true
    case .doNotStore: return byStatus
    }
    let length = responseLength
    guard length <= plan.pointee.store.options.objectLimitBytes else { return byStatus }
    var head = ByteSink(base: scratch, capacity: Worker.scratchBytes / 2)
    let layout = StoredHead.append(
      responseHead, rule: plan.pointee.rule, wallSeconds: wallSeconds, to: &head)
    guard let layout else { return byStatus }
    var parts = RecordParts(head: head.view, layout, freshness, storedAt: now)
    parts.contentLength = length
    var refusal: CacheStore.Refusal? = byStatus
    _ = withSelection(responseHead, &parts) { parts in
      withTags(responseHead, plan, &parts) { parts in
        fill._withUnsafeGuaranteedRef { fill in
          let arrival = plan.pointee.store.headArrived(
            fill, parts, isTransient: isTransient, now: now)
          wake(arrival.wakes)
          refusal = arrival.refusal == .lasting ? byStatus : arrival.refusal
          return true
        }
      }
    }
    return refusal
  }

  /// Adds what `Vary` names and what this request has for it. False where that is too much.
  private func withSelection(
    _ head: borrowing ResponseHead, _ parts: inout RecordParts,
    _ body: (inout RecordParts) -> Bool
  ) -> Bool {
    let place = scratch + Worker.scratchBytes / 2
    var names = ByteSink(base: place, capacity: 1024)
    guard Vary.append(head, to: &names) != .unbearable else { return false }
    var values = ByteSink(base: place + 1024, capacity: Worker.scratchBytes / 2 - 1024)
    Vary.appendSecondaryKey(names: names.view, requestHead, to: &values)
    guard !values.overflowed else { return false }
    parts.vary = names.view
    parts.secondary = names.count > 0 ? values.view : .empty
    return body(&parts)
  }

  private func withTags(
    _ head: borrowing ResponseHead, _ plan: UnsafePointer<CachePlan>, _ parts: inout RecordParts,
    _ body: (inout RecordParts) -> Bool
  ) -> Bool {
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: TagList.mostBytes) { room in
      guard let base = room.baseAddress else { return false }
      var tags = ByteSink(base: base, capacity: room.count)
      let count = CacheTags.collect(head, rule: plan.pointee.rule) { TagList.append($0, to: &tags) }
      if count.dropped > 0 { metrics.add(.cacheTagsDropped, UInt64(count.dropped)) }
      parts.tags = tags.view
      parts.tagCount = count.taken
      return body(&parts)
    }
  }

  /// A 304 confirms what is stored, and brings newer fields. False where the result may not be
  /// stored any more.
  private func renewStored(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>, _ fill: Unmanaged<CacheFill>,
    _ plan: UnsafePointer<CachePlan>
  ) -> Bool {
    guard let stale = fill._withUnsafeGuaranteedRef({ $0.stale }),
      StoredHead.isConfirmed(by: responseHead, stale.validators)
    else { return false }
    var sink = ByteSink(base: scratch, capacity: Worker.scratchBytes / 2)
    let layout = StoredHead.merge(
      stale.head, with: responseHead, rule: plan.pointee.rule, wallSeconds: wallSeconds,
      to: &sink)
    var merged = ResponseHead()
    guard let layout, StoredHead.load(sink.view, into: &merged) else { return false }
    let verdict = ResponsePolicy.judge(
      fetchFacts, merged, rule: plan.pointee.rule, timing: timing(exchange),
      age: ResponsePolicy.age(responseHead))
    guard case .store(let freshness) = verdict else { return false }
    var parts = RecordParts(head: sink.view, layout, freshness, storedAt: now)
    parts.contentLength = stale.contentLength
    return withSelection(merged, &parts) { parts in
      withTags(responseHead, plan, &parts) { parts in
        if parts.tagCount == 0 { parts.takeTags(of: stale) }
        fill._withUnsafeGuaranteedRef { wake(plan.pointee.store.renew($0, parts, now: now)) }
        client.pointee.fetch.isEnded = true
        metrics.add(.cacheRevalidations)
        return true
      }
    }
  }

  // MARK: What cannot be stored

  /// The exchange that began the fetch gets its response, as if it had asked alone; all others
  /// that wait ask for themselves.
  private func handOver(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>, _ fill: Unmanaged<CacheFill>,
    _ plan: UnsafePointer<CachePlan>, _ refusal: CacheStore.Refusal
  ) {
    let origin = client.pointee.fetch.origin
    let asking = exchanges.resolve(origin)
    let isWanted = asking.map { isWaiting($0, for: fill) } ?? false
    // First of all: a fetch that has ended is not cancelled when its reader leaves.
    fill._withUnsafeGuaranteedRef {
      wake(plan.pointee.store.unstorable($0, refusal, now: now))
    }
    client.pointee.fetch.isEnded = true
    // A confirmation of something else, or of what may not be kept any more, has no content to
    // give: whoever asked first asks again, too.
    if isWanted, let asking, responseHead.status != 304 {
      let status = readings[asking.pointee.reading].pointee.status
      releaseReading(asking)
      if case .forwarded(let reason) = status.kind {
        asking.pointee.forwarded = ForwardedMark(reason)
      }
      takeOver(origin, asking, from: exchange)
    }
    releaseUpstream(exchange, isReusable: false)
    dropFetch(handle, exchange)
    guard isWanted, let asking = exchanges.resolve(origin), asking.pointee.upstream != .none
    else { return }
    pumpResponse(origin, asking)
  }

  private func isWaiting(
    _ exchange: UnsafeMutablePointer<Exchange>, for fill: Unmanaged<CacheFill>
  ) -> Bool {
    guard exchange.pointee.phase == .cached, exchange.pointee.reading != .none else { return false }
    let reading = readings[exchange.pointee.reading]
    return reading.pointee.fill?.toOpaque() == fill.toOpaque() && !reading.pointee.isReading
  }

  /// The backend connection of a fetch, its place and its ticket pass to another exchange, which
  /// reads the response's head again.
  private func takeOver(
    _ handle: Handle, _ asking: UnsafeMutablePointer<Exchange>,
    from fetch: UnsafeMutablePointer<Exchange>
  ) {
    asking.pointee.upstream = fetch.pointee.upstream
    upstreams[fetch.pointee.upstream].pointee.exchange = handle
    asking.pointee.slot = fetch.pointee.slot
    asking.pointee.backend = fetch.pointee.backend
    asking.pointee.setsSticky = fetch.pointee.setsSticky
    asking.pointee.ticket = fetch.pointee.ticket
    asking.pointee.isReserved = fetch.pointee.isReserved
    asking.pointee.isJudged = fetch.pointee.isJudged
    asking.pointee.isPooled = fetch.pointee.isPooled
    asking.pointee.tried = fetch.pointee.tried
    asking.pointee.retry = fetch.pointee.retry
    asking.pointee.attemptAt = fetch.pointee.attemptAt
    asking.pointee.connectedAt = fetch.pointee.connectedAt
    asking.pointee.sentBefore = fetch.pointee.sentBefore
    asking.pointee.informational = fetch.pointee.informational
    asking.pointee.phase = .awaitingHead
    // The backend was sent a GET: what it says behind the head is not for who sent a HEAD.
    asking.pointee.spoilsUpstream = asking.pointee.isHead
    fetch.pointee.upstream = .none
    fetch.pointee.isReserved = false
  }

  // MARK: Content

  /// How long a fetch waits where all memory of its cache is in use.
  private static let memoryWait = TimeAmount.milliseconds(10)

  /// Hands what has come of a fetch to the store, as far as that takes it.
  func fetchMoved(_ connection: UnsafeMutablePointer<DownstreamConnection>) {
    guard let fill = connection.pointee.fetch.fill else { return }
    let handle = connection.pointee.fetch.handle
    let had = connection.pointee.wire.output.count
    while !connection.pointee.wire.output.isEmpty {
      let front = connection.pointee.wire.output.front
      let result = fill._withUnsafeGuaranteedRef { $0.append(front) }
      wake(result.wakes)
      if result.taken > 0 { connection.pointee.wire.output.consume(result.taken, &pool) }
      if result.isUnwanted, fill._withUnsafeGuaranteedRef({ $0.giveUp() }) {
        // Not at once: whoever called goes on with this exchange.
        return shared.post(.cancelFetch(handle.raw), to: number)
      }
      if result.lacksMemory { return setDeadline(handle, connection, now + Worker.memoryWait) }
      if result.taken < front.count { return }
    }
    if connection.pointee.wire.outputEnds { connection.pointee.wire.outputEnded = true }
    if had > 0 { queue(handle, connection) }
  }

  // MARK: Ending

  /// The record of a fetch is about to go: the store learns, if it has not, and lets go of it.
  func endFetch(_ connection: UnsafeMutablePointer<DownstreamConnection>, isComplete: Bool) {
    guard let fill = connection.pointee.fetch.fill else { return }
    connection.pointee.fetch.fill = nil
    fetches -= 1
    if !connection.pointee.fetch.isEnded {
      fill._withUnsafeGuaranteedRef { fill in
        wake(isComplete ? fill.complete(now: now) : fill.fail(Termination.exhausted.code))
      }
    }
    fill.release()
  }

  /// No head came, or the response was cut short: everybody who waits is told. `hasAnswer`: the
  /// backend gave an error that a copy stands in for; who may not have that asks for himself, and
  /// gets the error as it is.
  func fetchFailed(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination,
    hasAnswer: Bool = false
  ) {
    exchange.pointee.failure = failure
    let client = downstreams[exchange.pointee.downstream]
    if let fill = client.pointee.fetch.fill, !client.pointee.fetch.isEnded {
      client.pointee.fetch.isEnded = true
      metrics.add(.cacheFetchFailures)
      fill._withUnsafeGuaranteedRef {
        wake($0.fail(failure.code | (hasAnswer ? Termination.answered : 0)))
      }
    }
    releaseUpstream(exchange, isReusable: false)
    dropFetch(handle, exchange)
  }

  private func dropFetch(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    let client = exchange.pointee.downstream
    let connection = downstreams[client]
    record(exchange, connection)
    forgetExchange(handle, exchange, connection)
    endStream(client, connection, .internalError)
  }

  /// Nobody wants what this fetch brings.
  func cancelFetch(_ owner: FillWaiter) {
    guard Int(owner.worker) == number else {
      return shared.post(.cancelFetch(owner.handle), to: Int(owner.worker))
    }
    cancelFetch(Handle(raw: owner.handle))
  }

  func cancelFetch(_ client: Handle) {
    guard let connection = downstreams.resolve(client), connection.pointee.fetch.fill != nil,
      let exchange = exchanges.resolve(connection.pointee.exchange)
    else { return }
    fetchFailed(connection.pointee.exchange, exchange, .clientLeft)
  }
}

extension Termination {
  /// Beside a code: there was an answer, which was not passed on.
  static let answered: UInt32 = 1 << 24

  /// For what passes between workers.
  var code: UInt32 {
    UInt32(side.rawValue) << 16 | UInt32(phase.rawValue) << 8 | UInt32(reason.rawValue)
  }

  init?(code: UInt32) {
    guard let side = Side(rawValue: UInt8(truncatingIfNeeded: code >> 16)),
      let phase = Phase(rawValue: UInt8(truncatingIfNeeded: code >> 8)),
      let reason = Reason(rawValue: UInt8(truncatingIfNeeded: code))
    else { return nil }
    self.init(side, phase, reason)
  }
}
