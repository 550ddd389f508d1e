import Balancing
import HTTP
import Primitives
import Resilience
import Telemetry

/// What follows a failed attempt (semantics.md 11 and 12).
extension Worker {
  /// Whether all of the request can be sent again.
  func isIntact(_ exchange: UnsafeMutablePointer<Exchange>) -> Bool {
    let request = exchange.pointee.request
    // The last chunk is not kept: without it the next backend would wait for ever.
    if request.octets == 0 {
      return !request.isComplete || request.source == .none || request.source == .length
    }
    return request.replay.isOn && request.replay.count == request.octets
  }

  /// May be sent twice, as far as its method and its client go (RFC 9110 §9.2.2).
  func isReplayable(_ route: UnsafePointer<RoutePlan>) -> Bool {
    if requestHead.method.isIdempotent { return true }
    guard route.pointee.trustsIdempotencyKey else { return false }
    let name = ByteView("idempotency-key")
    return requestHead.fields.firstIndex(named: name, in: requestHead.bytes) != nil
  }

  /// Content is kept where it is short, of known length, and may be needed again.
  @inline(__always)
  func keepForReplay(_ exchange: UnsafeMutablePointer<Exchange>) {
    guard exchange.pointee.request.source == .length,
      exchange.pointee.request.remaining <= Replay.limitBytes, exchange.pointee.retry.limit > 1
    else { return }
    // A backend may refuse a stream whose content is on its way: then it was unsent, whatever the
    // method.
    let mayBeRefused = route(exchange).pointee.upstream?.pointee.http2Streams ?? 0 > 0
    guard exchange.pointee.retry.isReplayable || mayBeRefused else { return }
    exchange.pointee.request.replay.keep()
  }

  /// Takes one retry from the upstream's budget. A kept connection that turned out to be closed
  /// costs none: nobody was asked twice.
  func takesRetry(
    _ exchange: UnsafeMutablePointer<Exchange>, _ plan: UnsafePointer<UpstreamPlan>,
    _ failure: Termination
  ) -> Bool {
    let isRace = failure.reason == .closed || failure.reason == .reset
    if exchange.pointee.isPooled, isRace { return true }
    if plan.pointee.state.takeRetry(now: now) { return true }
    metrics.add(.retriesDenied)
    return false
  }

  /// The first retry goes to another backend at once; later ones wait.
  func attemptAgain(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>, _ place: ReservedBackend?
  ) {
    exchange.pointee.request.replay.rewind()
    if let place { return start(handle, exchange, plan, place) }
    if exchange.pointee.retry.attempts == 1 || exchange.pointee.wantsNewConnection {
      return attempt(handle, exchange, plan)
    }
    wait(handle, exchange, plan)
  }

  /// A kept connection that turned out to be closed says nothing of its backend (semantics.md 14):
  /// the request goes to one that it has not tried, else on at the place that it has, so that
  /// nobody who waits for one comes before it. `nil`: that was not it, or it may not stay there.
  func placeAfterRace(
    _ exchange: UnsafeMutablePointer<Exchange>, _ plan: UnsafePointer<UpstreamPlan>
  ) -> ReservedBackend? {
    guard exchange.pointee.isPooled, outcome(exchange, plan) == .abandoned else { return nil }
    let other = plan.pointee.state.reserve(
      hash: exchange.pointee.hash, tried: exchange.pointee.tried,
      isIdempotent: exchange.pointee.method.isIdempotent, isFirst: false,
      sticky: exchange.pointee.sticky, now: now)
    if let other { return other }
    guard plan.pointee.state.mayStay(exchange.pointee.slot) else { return nil }
    exchange.pointee.isReserved = false
    return ReservedBackend(
      slot: exchange.pointee.slot, backend: exchange.pointee.backend, isSpill: false,
      ticket: exchange.pointee.ticket)
  }

  /// No backend is left that has not failed this request. Where some may still serve, the next
  /// attempt may go to one of those after a while, or when it has a place again; else the client
  /// learns why.
  func noBackendLeft(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>
  ) {
    let failure = exchange.pointee.failure
    if mayAskAgain(exchange, failure) {
      let isAfresh = exchange.pointee.tried.isEmpty
      exchange.pointee.tried = TriedBackends()
      if !isAfresh, plan.pointee.state.canServe { return wait(handle, exchange, plan) }
      if waitForPlace(handle, exchange, plan) { return }
    }
    metrics.add(.noBackendAvailable)
    answer(handle, failure ?? (plan.pointee.isUnresolved ? .unresolved : .noBackend))
  }

  private func mayAskAgain(
    _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination?
  ) -> Bool {
    guard let failure else { return exchange.pointee.tried.isEmpty }
    // What is wrong with a certificate is as wrong a moment later.
    return exchange.pointee.retry.hasAttemptsLeft && failure.reason != .certificateRefused
      && failure.reason != .handshakeFailed
  }

  private func wait(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>
  ) {
    let time = exchange.pointee.retry.wait(plan.pointee.retry, random: &random)
    exchange.pointee.phase = .waiting
    noteBodyWait(exchange)
    wheel.arm(&exchange.pointee.timer, handle, at: now + time)
  }

  /// The wait between two attempts is over.
  func waitEnded(_ handle: Handle) {
    guard let exchange = exchanges.resolve(handle) else { return }
    exchange.pointee.timer = .none
    guard let plan = route(exchange).pointee.upstream else { return }
    if exchange.pointee.phase == .queued {
      metrics.add(.queueTimeouts)
      return answer(handle, .allFull)
    }
    attempt(handle, exchange, plan)
  }

  // MARK: Waiting for a place

  /// Every backend that could serve has as many requests as it may (semantics.md 10). False where
  /// that is not why there is none.
  private func waitForPlace(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<UpstreamPlan>
  ) -> Bool {
    guard plan.pointee.hasLimits else { return false }
    let request = QueuedRequest(
      worker: Int32(number), exchange: handle, hash: exchange.pointee.hash,
      isIdempotent: exchange.pointee.method.isIdempotent,
      isRetry: exchange.pointee.failure != nil)
    switch plan.pointee.state.queue(request, now: now) {
    case .reserved(let reserved): start(handle, exchange, plan, reserved)
    case .queued:
      metrics.add(.requestsQueued)
      noteBodyWait(exchange)
      exchange.pointee.phase = .queued
      wheel.arm(&exchange.pointee.timer, handle, at: now + plan.pointee.queueTimeout)
    case .full:
      metrics.add(.queueOverflows)
      answer(handle, .allFull)
    case .useless: return false
    }
    return true
  }

  /// A place has become free for an exchange that waited, unless it waits no more, or elsewhere by
  /// now: its time may have ended while this was on its way, and its route may have gone on to
  /// another upstream (`fallsBack`), which is full as well.
  func granted(_ grant: PlaceGrant) {
    guard let exchange = exchanges.resolve(grant.exchange), exchange.pointee.phase == .queued,
      let plan = route(exchange).pointee.upstream, plan.pointee.state === grant.upstream
    else {
      guard let place = grant.reserved else { return }
      return grant.upstream.release(place.slot, place.ticket, .abandoned, now: now)
    }
    wheel.cancel(&exchange.pointee.timer)
    guard let place = grant.reserved else {
      metrics.add(.noBackendAvailable)
      return answer(grant.exchange, plan.pointee.isUnresolved ? .unresolved : .noBackend)
    }
    start(grant.exchange, exchange, plan, place)
  }

  func leaveQueue(_ exchange: UnsafeMutablePointer<Exchange>) {
    guard let plan = route(exchange).pointee.upstream else { return }
    let handle = downstreams[exchange.pointee.downstream].pointee.exchange
    plan.pointee.state.leaveQueue(worker: number, handle)
  }

  /// The exchange ends: nothing of it will be sent again.
  @inline(__always)
  func endRetries(_ exchange: UnsafeMutablePointer<Exchange>) {
    if exchange.pointee.timer.isArmed { wheel.cancel(&exchange.pointee.timer) }
    if exchange.pointee.request.replay.isOn { exchange.pointee.request.replay.end(&pool) }
  }

  /// The backend answers with a status that says "not me", and another one can be asked at once:
  /// true, and the answer is thrown away.
  func retriesStatus(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) -> Bool {
    let status = Int(responseHead.status)
    notePause(exchange)
    guard exchange.pointee.retry.mayRepeat(status: status), isIntact(exchange),
      !exchange.pointee.hasAnswered, let plan = route(exchange).pointee.upstream
    else { return false }
    let other = plan.pointee.state.reserve(
      hash: exchange.pointee.hash, tried: exchange.pointee.tried, isIdempotent: true,
      isFirst: false, now: now)
    guard let other else { return false }
    guard plan.pointee.state.takeRetry(now: now) else {
      plan.pointee.state.release(other.slot, other.ticket, .abandoned, now: now)
      metrics.add(.retriesDenied)
      return false
    }
    metrics.add(.statusRetries)
    let cells = metrics.backend(Int(exchange.pointee.backend))
    cells.add(BackendCounter.responses(status: status))
    cells.add(.retriedAway)
    exchange.pointee.failure = nil
    exchange.pointee.status = Int32(status)
    exchange.pointee.firstOctetAt = now
    releaseUpstream(exchange, isReusable: false)
    exchange.pointee.status = 0
    exchange.pointee.firstOctetAt = .zero
    exchange.pointee.spoilsUpstream = false
    exchange.pointee.requestIsStopped = false
    exchange.pointee.informational = 0
    exchange.pointee.wantsNewConnection = false
    exchange.pointee.request.replay.rewind()
    start(handle, exchange, plan, other)
    return true
  }

  // MARK: Time

  /// For the connect: the attempt's whole time is an upper bound.
  func connectTime(_ exchange: UnsafeMutablePointer<Exchange>) -> TimeAmount {
    let route = route(exchange)
    return min(route.pointee.connectTimeout, route.pointee.attemptTimeout ?? .max)
  }

  /// From the end of the request until the response's head. A request without content has had the
  /// time of its connect already; of one with content the client may have been slow.
  @inline(__always)
  func answerTime(_ exchange: UnsafeMutablePointer<Exchange>) -> TimeAmount {
    let route = route(exchange)
    guard let attempt = route.pointee.attemptTimeout else {
      return route.pointee.firstByteTimeout
    }
    guard exchange.pointee.request.source == .none else {
      return min(route.pointee.firstByteTimeout, attempt)
    }
    let used = (now - exchange.pointee.attemptAt).nanoseconds
    return min(
      route.pointee.firstByteTimeout,
      TimeAmount(nanoseconds: max(0, attempt.nanoseconds - used)))
  }
}
