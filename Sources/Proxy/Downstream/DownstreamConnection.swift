import HTTP
import Primitives
import Transport

/// One client connection.
///
///     handshaking (TLS) ──► readingHead ──head──► exchanging ──finished──► readingHead
///          │                     │ idle, timeout      │ close asked or forced
///          ▼                     ▼                    ▼
///        closed ◄────────────────┴───────────────  lingering (sending closed; input drained)
///
/// Owned by its worker's slab. Holds no buffer while idle.
struct DownstreamConnection: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case readingHead, exchanging, lingering, handshaking
  }

  var wire: Wire
  var state = State.readingHead
  /// Index of the listener in the worker.
  var listener: Int32
  let address: IPAddress
  let port: UInt16
  /// The address counts in `ClientCounter`.
  var isCounted = false
  /// Octets of the head being read that parsing has seen.
  var knownOctets: Int32 = 0
  var requests: Int32 = 0
  /// Octets that lingering may still discard.
  var lingerBudget: Int32 = 0
  var exchange = Handle.none
  let acceptedAt: MonotonicTime
  var timer = TimerWheel.Timer.none
  var deadline = MonotonicTime.never
  /// Neighbours in the list of idle connections, oldest first.
  var idlePrevious = Handle.none
  var idleNext = Handle.none
  var isIdle = false
  /// Queued in `Worker.ready`.
  var isQueued = false

  init(_ accepted: AcceptedConnection, listener: Int32, now: MonotonicTime) {
    wire = Wire(descriptor: accepted.descriptor)
    // The first octets may have come with the connection; accept tells nothing about them.
    address = accepted.address
    port = accepted.port
    self.listener = listener
    acceptedAt = now
  }
}
