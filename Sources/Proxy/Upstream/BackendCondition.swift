import Primitives
import Resilience

/// Everything that decides whether a backend gets new requests, beside its weight: one for each
/// slot of its upstream's balancer, behind the same lock.
struct BackendCondition: BitwiseCopyable {
  /// `BackendState.id`; -1 before the slot's first backend.
  var backend: Int32 = -1
  /// A connect failed a moment ago: others are preferred until then (rule 45).
  var heldUntil = MonotonicTime.zero
  var breaker: CircuitBreaker

  init(_ options: BreakerOptions) { breaker = CircuitBreaker(options) }

  var isHeld: Bool { heldUntil > .zero }

  var isAvailable: Bool { !isHeld && breaker.mayAdmit }

  /// When time alone changes something.
  var wakeAt: MonotonicTime {
    let held = isHeld ? heldUntil : .never
    return breaker.state == .open ? min(held, breaker.openUntil) : held
  }
}

/// A change of a backend's condition that its operator wants to know of.
public struct BackendChange: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case breaker(CircuitBreaker.Transition)
  }

  public var upstream: String
  /// `BackendState.id`
  public var backend: Int
  public var kind: Kind
  public var at: MonotonicTime
}
