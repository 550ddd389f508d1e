import HTTP2
import Primitives
import Transport

/// One connection to a backend.
///
///     connecting ──writable──► busy ◄──► idle ──any event, timeout──► closed
///          └──► handshaking ────┘
///
/// With HTTP/2 the connection (its carrier) goes to `multiplexing`, and each stream is a record
/// like this one, whose wire is a stream (Transport/StreamWire.swift), and which is `connecting`
/// until the carrier multiplexes, and then `busy`.
///
/// Owned by its worker's slab; only that worker uses it. While idle it stays armed in epoll, and
/// anything that arrives on it closes it (rule 26).
struct UpstreamConnection: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case connecting
    /// TLS is being agreed on; nothing of a request has gone out.
    case handshaking
    case busy
    // From here on it may be that nobody waits for news of it.
    case idle
    /// Speaks HTTP/2: its streams have records of their own.
    case multiplexing
  }

  /// How a stream ended before its response was complete.
  enum Fault: UInt8, BitwiseCopyable {
    case none
    /// Nothing of the request has been looked at: it may be sent again, whatever it is.
    case refused
    /// The backend broke a rule of the protocol.
    case malformed
  }

  // What each request changes lies together, with the part of the wire that it uses.
  var state = State.connecting
  /// `BackendState.id`
  private(set) var backend: Int32
  /// `UpstreamPlan.security`: the rules under which it was made.
  private(set) var security: Int32
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
  var wire: Wire

  // HTTP/2
  /// Of a carrier; released when it closes.
  var session: Unmanaged<Session>?
  /// Of a carrier, also before it has a session.
  var isCarrier = false
  /// Of a carrier: it takes no new streams and is out of its backend's list.
  var isRetired = false
  /// Its streams, newest first, and how many.
  var firstStream = Handle.none
  var streams: Int32 = 0
  /// How long a carrier is kept without streams; zero: not at all.
  var idleTime = TimeAmount.zero
  /// When a carrier has brought octets for the last time.
  var receivedAt = MonotonicTime.zero
  /// Of a stream: its carrier, its number there (0 before its request was submitted). Neighbours
  /// are `idlePrevious` and `idleNext`.
  var parent = Handle.none
  var streamID: Int32 = 0
  var fault = Fault.none
  /// The response's head was all of it.
  var endsWithHead = false

  /// What each stream is before it is filled in.
  static var blankStream: UpstreamConnection {
    var record = UpstreamConnection(descriptor: -1, backend: 0, security: 0)
    record.wire = .stream
    return record
  }

  /// A stream of `carrier`.
  mutating func becomeStream(
    of parent: Handle, _ carrier: UnsafePointer<UpstreamConnection>, exchange: Handle
  ) {
    backend = carrier.pointee.backend
    security = carrier.pointee.security
    state = carrier.pointee.state == .multiplexing ? .busy : .connecting
    self.parent = parent
    self.exchange = exchange
  }

  init(descriptor: Int32, backend: Int32, security: Int32) {
    wire = Wire(descriptor: descriptor)
    wire.mayRead = false
    wire.mayWrite = false
    self.backend = backend
    self.security = security
  }
}
