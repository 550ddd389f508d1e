import Caching
import HTTP
import HTTP2
import Primitives
import Transport

/// One client connection.
///
///     (awaitingProxyHeader, where the listener wants one, comes first)
///     handshaking (TLS) ──► readingHead ──head──► exchanging ──finished──► readingHead
///          │                     │ idle, timeout      │ close asked or forced
///          ▼                     ▼                    ▼
///        closed ◄────────────────┴───────────────  lingering (sending closed; input drained)
///
/// With HTTP/2 the connection goes from `readingHead` to `multiplexing`, and each stream is a
/// record like this one, whose wire is a stream (Transport/StreamWire.swift).
///
/// Owned by its worker's slab. Holds no buffer while idle.
struct DownstreamConnection: BitwiseCopyable {
  enum State: UInt8, BitwiseCopyable {
    case readingHead, exchanging, lingering, handshaking
    /// Speaks HTTP/2: its streams have records of their own.
    case multiplexing
    /// Of the proxy in front, which says who the client is.
    case awaitingProxyHeader
  }

  var wire: Wire
  var state = State.readingHead
  /// Index of the listener in the worker.
  var listener: Int32
  /// The client's, as far as is known: of a proxy in front until its header has come.
  var address: IPAddress
  var port: UInt16
  /// The address counts in `ClientCounter`.
  var isCounted = false
  /// Octets of the head being read that parsing has seen.
  var knownOctets: Int32 = 0
  var requests: Int32 = 0
  /// Octets that lingering may still discard.
  var lingerBudget: Int32 = 0
  var exchange = Handle.none
  var acceptedAt: MonotonicTime
  var timer = TimerWheel.Timer.none
  var deadline = MonotonicTime.never
  /// Neighbours in the list of idle connections, oldest first.
  var idlePrevious = Handle.none
  var idleNext = Handle.none
  var isIdle = false
  /// Since when it has had its place in that list.
  var idleSince = MonotonicTime.zero
  /// Queued in `Worker.ready`.
  var isQueued = false

  // HTTP/2
  /// Of a connection that multiplexes; released when it closes.
  var session: Unmanaged<Session>?
  /// Its streams, newest first.
  var firstStream = Handle.none
  /// Of a stream: the connection it belongs to, its number there, its neighbours.
  var parent = Handle.none
  var streamID: Int32 = 0
  /// Of a stream: it asks for a tunnel (RFC 8441).
  var isTunnel = false
  var streamPrevious = Handle.none
  var streamNext = Handle.none
  /// Where the cache is the client.
  var fetch = Fetch()

  init(_ accepted: AcceptedConnection, listener: Int32, now: MonotonicTime) {
    wire = Wire(descriptor: accepted.descriptor)
    // The first octets may have come with the connection; accept tells nothing about them.
    address = accepted.address
    port = accepted.port
    self.listener = listener
    acceptedAt = now
  }

  /// What each stream is before it is filled in.
  static var blankStream: DownstreamConnection { DownstreamConnection() }

  private init() {
    wire = .stream
    address = IPAddress(v4: 0)
    port = 0
    listener = 0
    acceptedAt = .zero
  }

  /// A stream, which to an exchange is a client connection for one request.
  mutating func becomeStream(
    _ stream: Int32, of connection: UnsafePointer<DownstreamConnection>, _ parent: Handle
  ) {
    address = connection.pointee.address
    port = connection.pointee.port
    listener = connection.pointee.listener
    acceptedAt = connection.pointee.acceptedAt
    self.parent = parent
    streamID = stream
  }

  /// A fetch for the cache, in the name of the client whose request it is for.
  init(
    fetch fill: Unmanaged<CacheFill>, of client: DownstreamConnection, origin: Handle,
    isSecure: Bool
  ) {
    wire = .stream
    address = client.address
    port = client.port
    listener = client.listener
    acceptedAt = client.acceptedAt
    fetch = Fetch(fill: fill, origin: origin, isSecure: isSecure)
  }
}
