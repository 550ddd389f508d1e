import Balancing
import HTTP
import HTTP1
import Primitives
import Resilience
import Telemetry

/// The rungs of a route's ladder below its own backends and its stale copies: another upstream,
/// and a page.
extension Worker {
  /// No backend of the route's upstream has answered, or may be asked. True where another upstream
  /// is asked now.
  func fallsBack(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination
  ) -> Bool {
    guard let route = exchange.pointee.route, let fallback = route.pointee.fallback,
      failure.mayFallBack, mayGoElsewhere(exchange)
    else { return false }
    exchange.pointee.failure = failure
    exchange.pointee.fallbackReason = failure
    fallBack(handle, exchange, to: fallback)
    return true
  }

  /// A backend answers that it cannot serve, and no other one of its upstream is left to ask.
  func fallsBackOnStatus(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>
  ) -> Bool {
    let status = responseHead.status
    guard status >= 502, status <= 504, let fallback = route(exchange).pointee.fallback,
      exchange.pointee.retry.isReplayable, mayGoElsewhere(exchange),
      downstreams[exchange.pointee.downstream].pointee.fetch.fill == nil
    else { return false }
    exchange.pointee.failure = nil
    exchange.pointee.fallbackReason = nil
    exchange.pointee.status = Int32(status)
    exchange.pointee.firstOctetAt = now
    metrics.backend(Int(exchange.pointee.backend)).add(BackendCounter.responses(status: status))
    fallBack(handle, exchange, to: fallback)
    return true
  }

  /// Nothing has reached the client, and no backend may have acted on what must not be done twice.
  private func mayGoElsewhere(_ exchange: UnsafeMutablePointer<Exchange>) -> Bool {
    guard !exchange.pointee.hasAnswered, exchange.pointee.totalDeadline > now, isIntact(exchange)
    else { return false }
    return exchange.pointee.retry.isReplayable
      || !(exchange.pointee.wasSent || hasSent(exchange))
  }

  private func fallBack(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    to fallback: UnsafePointer<RoutePlan>
  ) {
    let isReplayable = exchange.pointee.retry.isReplayable
    // Its backend is judged by its own route's rules.
    releaseUpstream(exchange, isReusable: false)
    if exchange.pointee.timer.isArmed { wheel.cancel(&exchange.pointee.timer) }
    guard let plan = fallback.pointee.upstream else { preconditionFailure("no upstream") }
    exchange.pointee.route = fallback
    exchange.pointee.rung = .upstream
    exchange.pointee.failure = nil
    exchange.pointee.status = 0
    exchange.pointee.receivedStatus = 0
    exchange.pointee.firstOctetAt = .zero
    exchange.pointee.backend = -1
    exchange.pointee.tried = TriedBackends()
    exchange.pointee.sticky = 0
    exchange.pointee.setsSticky = plan.pointee.usesSticky
    exchange.pointee.spoilsUpstream = false
    exchange.pointee.requestIsStopped = false
    exchange.pointee.informational = 0
    exchange.pointee.wantsNewConnection = false
    exchange.pointee.request.replay.rewind()
    exchange.pointee.retry = Retry(
      limit: plan.pointee.retry.attempts, conditions: plan.pointee.retry.conditions,
      isReplayable: isReplayable)
    if plan.pointee.usesHash {
      let client = downstreams[exchange.pointee.downstream]
      restoreHead(handle, exchange, client)
      exchange.pointee.hash = hash(plan.pointee.hashKey, client)
    }
    if let route = exchange.pointee.route {
      metrics.route(route.pointee.id).add(.fallbacksToUpstream)
    }
    attempt(handle, exchange, plan)
  }

  /// The page that a route gives instead of weir's own; `nil` where it has none, or the failure is
  /// not for it.
  func fallbackPage(
    _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination
  ) -> FallbackPage? {
    guard failure.mayFallBack, let route = exchange.pointee.route else { return nil }
    return route.pointee.fallbackPage
  }

  /// An answer of a backend goes out: whether something stood in for the first attempt is counted,
  /// and said in the line that this returns, near the end of the scratch.
  func rungLine(
    _ exchange: UnsafeMutablePointer<Exchange>, after failure: Termination?
  ) -> ByteView {
    guard let route = exchange.pointee.route else { return .empty }
    if exchange.pointee.rung == .none {
      guard exchange.pointee.retry.attempts > 1 else { return .empty }
      exchange.pointee.rung = .otherBackend
      exchange.pointee.fallbackReason = failure
      metrics.route(route.pointee.id).add(.fallbacksToBackend)
    }
    return rungStatus(exchange)
  }

  /// The finished `Proxy-Status` line of the exchange's rung.
  func rungStatus(_ exchange: UnsafeMutablePointer<Exchange>) -> ByteView {
    let room = 512
    var sink = ByteSink(base: scratch + Worker.scratchBytes - 768 - room, capacity: room)
    let client = downstreams[exchange.pointee.downstream]
    let names = listenerOptions(client).pointee.namesBackends && exchange.pointee.backend >= 0
    sink.append("Proxy-Status: ")
    sink.appendProxyStatus(
      name: snapshot(exchange).instance.view, error: exchange.pointee.fallbackReason?.error?.text,
      nextHop: names && exchange.pointee.rung != .staleCopy
        ? backends[Int(exchange.pointee.backend)].state.nameOctets.view : .empty,
      details: exchange.pointee.rung.text)
    sink.append("\r\n")
    return sink.overflowed ? .empty : sink.view
  }
}

/// `fallback-page STATUS …`, as octets.
struct FallbackPage: Sendable {
  let status: Int
  let contentType: [UInt8]
  let body: [UInt8]
}
