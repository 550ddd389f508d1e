import Balancing
import HTTP
import Primitives
import Resilience
import Transport

/// `Retry-After` in a backend's answer (RFC 9110 §10.2.3): it gets no retries before that time. New
/// requests it gets all the same: the client decides about those, and the circuit breaker.
extension UpstreamState {
  /// The longest that is believed.
  static let longestPause = TimeAmount.seconds(60)

  func pause(_ slot: Int32, for time: TimeAmount, now: MonotonicTime) {
    guard time > .zero else { return }
    live.withLock {
      $0.conditions[Int(slot)].pausesUntil = now + min(time, UpstreamState.longestPause)
    }
  }
}

extension UpstreamState.Live {
  /// The choice for a retry, moved on past backends that want none; `nil` where no other is left.
  mutating func pastPauses(
    _ first: Reservation, hash: UInt64, tried: TriedBackends, _ now: MonotonicTime
  ) -> Reservation? {
    var found = first
    var avoided = tried
    while conditions[found.slot].pausesUntil > now {
      balancer.release(found.slot)
      avoided.insert(found.slot)
      guard avoided.count < TriedBackends.capacity,
        let other = balancer.reserve(hash: hash, tried: avoided)
      else { return nil }
      found = other
    }
    return found
  }
}

extension Worker {
  /// The head of an answer that says "not now" may say until when.
  func notePause(_ exchange: UnsafeMutablePointer<Exchange>) {
    guard responseHead.fields.contains(.retryAfter), let value = responseHead.first(.retryAfter),
      let plan = route(exchange).pointee.upstream
    else { return }
    let seconds =
      value.decimal
      ?? HTTPDate.parse(value, now: wallSeconds).map {
        Int($0 - wallSeconds)
      }
    guard let seconds, seconds > 0 else { return }
    plan.pointee.state.pause(exchange.pointee.slot, for: .seconds(Int64(seconds)), now: now)
  }
}
