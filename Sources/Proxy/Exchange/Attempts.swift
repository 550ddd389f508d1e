import Balancing
import HTTP
import Primitives
import Resilience
import Telemetry

/// What attempts tell the circuit breaker of their backend.
extension Worker {
  /// A probe's response that is longer, or of unknown length, is judged by its head: it must not
  /// keep the probe's place for as long as somebody listens.
  private static let longProbeBytes = 1 << 20
  /// How long a probe's client may keep its backend waiting. Beyond, the place is free for another
  /// request: else whoever sends slowly could keep a backend out for as long as he likes.
  private static let probePatience = TimeAmount.seconds(1)

  /// What this attempt, which has ended, says about its backend (semantics.md 7).
  @inline(__always)
  func outcome(
    _ exchange: UnsafeMutablePointer<Exchange>, _ plan: UnsafePointer<UpstreamPlan>
  ) -> CircuitBreaker.Outcome {
    if exchange.pointee.isJudged { return .abandoned }
    if let failure = exchange.pointee.failure { return outcome(exchange, failure) }
    return answered(exchange, plan)
  }

  /// A backend that answers like this is well, or not.
  @inline(__always)
  private func answered(
    _ exchange: UnsafeMutablePointer<Exchange>, _ plan: UnsafePointer<UpstreamPlan>
  ) -> CircuitBreaker.Outcome {
    let status = exchange.pointee.status
    if status >= 500 {
      switch status {
      case 502, 503, 504: return .gatewayFailed
      // What the backend does not support says nothing about its health.
      case 501, 505: break
      default: return .serverError
      }
    }
    if let slowCall = plan.pointee.slowCall,
      exchange.pointee.firstOctetAt - exchange.pointee.attemptAt > slowCall
    {
      return .slow
    }
    return .succeeded
  }

  private func outcome(
    _ exchange: UnsafeMutablePointer<Exchange>, _ failure: Termination
  ) -> CircuitBreaker.Outcome {
    switch failure.side {
    case .client: return .abandoned
    case .backend:
      // A kept connection may be closed at any moment (semantics.md 14): no sign of illness. If it
      // is one, the new connection that follows will tell.
      let isRace = failure.reason == .closed || failure.reason == .reset
      if exchange.pointee.isPooled, isRace, failure.phase < .responseHead {
        backends[Int(exchange.pointee.backend)].waryUntil = now + Worker.waryTime
        return .abandoned
      }
      return .gatewayFailed
    case .weir:
      // The request's own time is up: the backend's fault where it had most of it and was silent.
      guard failure.reason == .timedOut, exchange.pointee.phase == .awaitingHead,
        exchange.pointee.request.isComplete
      else { return .abandoned }
      let attempt = now - exchange.pointee.attemptAt
      let whole = now - exchange.pointee.startedAt
      return attempt.nanoseconds * 2 >= whole.nanoseconds ? .gatewayFailed : .abandoned
    }
  }

  /// The head of a response has come whose end may be far: its backend's breaker is told now.
  func judgeProbe(_ exchange: UnsafeMutablePointer<Exchange>) {
    guard let plan = route(exchange).pointee.upstream, !exchange.pointee.isJudged else {
      return
    }
    let content = exchange.pointee.response
    let isLong = content.source != .length || content.remaining > Worker.longProbeBytes
    guard !content.isComplete, isLong else { return }
    judgeByHead(exchange, plan)
  }

  /// The client does not take what its probe's backend has for it.
  func judgeUnreadProbe(_ exchange: UnsafeMutablePointer<Exchange>) {
    guard exchange.pointee.ticket.isProbe, let plan = route(exchange).pointee.upstream else {
      return
    }
    judgeByHead(exchange, plan)
  }

  private func judgeByHead(
    _ exchange: UnsafeMutablePointer<Exchange>, _ plan: UnsafePointer<UpstreamPlan>
  ) {
    exchange.pointee.failure = nil
    plan.pointee.state.judge(
      exchange.pointee.slot, exchange.pointee.ticket, answered(exchange, plan), now: now)
    // Used up: recorded again at the end, it would give up a place that it no longer holds.
    exchange.pointee.ticket = CircuitBreaker.Ticket()
    exchange.pointee.isJudged = true
  }

  /// The time until which a request may wait for its client's content: `due`, or earlier for one
  /// that holds a probe's place.
  func contentDue(
    _ exchange: UnsafeMutablePointer<Exchange>, _ due: MonotonicTime
  ) -> MonotonicTime {
    guard exchange.pointee.ticket.isProbe, !exchange.pointee.hasAnswered else { return due }
    let waited = exchange.pointee.bodyWaited.nanoseconds
    let left = TimeAmount(nanoseconds: max(0, Worker.probePatience.nanoseconds - waited))
    return min(due, now + left)
  }

  /// The client has kept a probe waiting for long enough: it goes on as any other request, and says
  /// nothing about its backend.
  func giveUpProbe(_ exchange: UnsafeMutablePointer<Exchange>) {
    guard exchange.pointee.ticket.isProbe, let plan = route(exchange).pointee.upstream else {
      return
    }
    plan.pointee.state.judge(
      exchange.pointee.slot, exchange.pointee.ticket, .abandoned, now: now)
    exchange.pointee.ticket = CircuitBreaker.Ticket()
    exchange.pointee.isJudged = true
  }
}
