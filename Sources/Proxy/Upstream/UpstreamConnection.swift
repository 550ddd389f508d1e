import Primitives
import Transport

/// One connection to a backend.
///
///     connecting ──writable──► busy ◄──► idle ──any event, timeout──► closed
///          └──► handshaking ────┘
///
/// Owned by its worker's slab; only that worker uses it. While idle it stays armed in epoll, and
/// anything that arrives on it closes it (rule 26).
struct UpstreamConnection: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case connecting
    /// TLS is being agreed on; nothing of a request has gone out.
    case handshaking
    case busy, idle
  }

  var wire: Wire
  var state = State.connecting
  /// `BackendState.id`
  let backend: Int32
  /// `UpstreamPlan.security`: the rules under which it was made.
  let security: Int32
  var exchange = Handle.none
  /// Octets of the response head being read that parsing has seen.
  var knownOctets: Int32 = 0
  var idleSince = MonotonicTime.zero
  var timer = TimerWheel.Timer.none
  var deadline = MonotonicTime.never
  /// Neighbours in the backend's list of idle connections, last used first.
  var idlePrevious = Handle.none
  var idleNext = Handle.none
  /// Queued in `Worker.ready`.
  var isQueued = false

  init(descriptor: Int32, backend: Int32, security: Int32) {
    wire = Wire(descriptor: descriptor)
    wire.mayRead = false
    wire.mayWrite = false
    self.backend = backend
    self.security = security
  }
}
