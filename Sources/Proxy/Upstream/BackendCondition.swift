import Primitives
import Resilience
import Transport

/// What people want of a backend (`weir ready|drain|maint`); it outlives reloads.
public enum BackendMode: String, Sendable, BitwiseCopyable, CaseIterable {
  case ready
  /// No new requests; what is in flight goes on, tunnels too.
  case drain
  /// No new requests, and no health checks.
  case maint
}

/// Everything that decides whether a backend gets new requests, beside its weight: one for each
/// slot of its upstream's balancer, behind the same lock.
struct BackendCondition: BitwiseCopyable {
  /// `BackendState.id`; -1 before the slot's first backend.
  var backend: Int32 = -1
  var mode = BackendMode.ready
  /// The health check says so.
  var isDown = false
  /// The upstream is in panic: it may serve although the health check says that it is down.
  var mayServeDown = false
  /// The watch thread has been asked for a check that has not begun.
  var isCheckAsked = false
  /// Here, because each request looks at what stands above and at its first fields.
  var breaker: CircuitBreaker
  /// A connect failed a moment ago: others are preferred until then (rule 45).
  var heldUntil = MonotonicTime.zero
  /// It has answered that it wants no retries before then (`Retry-After`).
  var pausesUntil = MonotonicTime.zero
  /// When it came, where that is so short a time ago that it starts slowly; zero: it did not.
  var newSince = MonotonicTime.zero
  /// When its share grows next.
  var growsAt = MonotonicTime.never

  init(_ options: BreakerOptions) { breaker = CircuitBreaker(options) }

  /// Of a backend that takes over a slot: nothing is known of it. Outcomes of requests to its
  /// predecessor judge nothing.
  init(replacing old: BackendCondition, _ backend: Int32, _ options: BreakerOptions) {
    self.backend = backend
    breaker = old.breaker
    breaker.reset(options)
  }

  var isHeld: Bool { heldUntil > .zero }

  var isAvailable: Bool {
    mode == .ready && (!isDown || mayServeDown) && !isHeld && breaker.mayAdmit
  }

  /// When time alone changes something.
  var wakeAt: MonotonicTime {
    let held = isHeld ? min(heldUntil, growsAt) : growsAt
    return breaker.state == .open && !isDown ? min(held, breaker.openUntil) : held
  }
}

/// A change of a backend's condition that its operator wants to know of.
public struct BackendChange: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case breaker(CircuitBreaker.Transition)
    case wentDown(CheckFailure)
    case cameUp
    /// Somebody said so on the admin endpoint.
    case mode(BackendMode)
    /// Of the upstream: panic begins or ends; `backend` is -1.
    case panic(Bool)
    /// No condition of its own, but worth telling: requests meet it, each worker says so seldom.
    case handshakeFailed(HandshakeFailure)
  }

  public var upstream: String
  /// `BackendState.id`
  public var backend: Int
  public var kind: Kind
  public var at: MonotonicTime
}
