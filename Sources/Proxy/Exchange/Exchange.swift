import Balancing
import HTTP
import HTTP1
import Primitives
import Resilience
import Transport

/// One direction's message content on its way through.
struct Content: BitwiseCopyable {
  enum Source: UInt8, BitwiseCopyable {
    case none, length, chunked, untilClose
    /// Behind a 101: octets without any framing, in both directions.
    case tunnel
  }

  var source = Source.none
  /// Whether it is sent on in chunks.
  var sendsChunks = false
  /// All of it has been taken from the source and handed to the sink.
  var isComplete = true
  /// Trailer fields may be passed on.
  var passesTrailers = false
  /// Of `.length`: octets not yet handed to the sink.
  var remaining = 0
  /// Octets of content handed on.
  var octets = 0
  /// Octets that may be handed on (`max-body-size`).
  var limit = Int.max
  var decoder = ChunkedDecoder()
  var pipe = PipePool.Pipe.none
  /// Of a request: what was handed on and may have to be again.
  var replay = Replay()

  init() {}

  init(_ framing: BodyFraming, sendsChunks: Bool, passesTrailers: Bool) {
    frame(framing, sendsChunks: sendsChunks, passesTrailers: passesTrailers)
  }

  /// Of new content: how it comes and how it is sent on.
  @inline(__always)
  mutating func frame(_ framing: BodyFraming, sendsChunks: Bool, passesTrailers: Bool) {
    self.passesTrailers = passesTrailers
    switch framing {
    case .none: return
    case .length(let length):
      source = .length
      remaining = length
    case .chunked:
      source = .chunked
      self.sendsChunks = sendsChunks
    case .untilClose:
      source = .untilClose
      self.sendsChunks = sendsChunks
    }
    isComplete = false
  }

  static var tunnel: Content {
    var content = Content()
    content.source = .tunnel
    content.isComplete = false
    return content
  }
}

/// One request and its response, while it lasts: what was decided, how far it has come.
///
/// Owned by its worker's slab. The request's head stays pinned in the client connection's buffer;
/// the ranges here point into it.
///
///     begin ─► cached ─ stored ─► flushing
///       │         │ not storable
///       ▼         ▼
///              connecting ─► awaitingHead ─► relaying ─► flushing ─► finished
///                  │              │    └──101──► tunnel ───┘
///                  └── retry ◄────┘  (another backend; nothing sent, or safe to send again)
///                        └──► waiting ──► connecting
struct Exchange: BitwiseCopyable {
  enum Phase: UInt8, BitwiseCopyable {
    /// Waiting before the next attempt; there is no backend.
    case waiting
    /// Waits for a place at a backend; all are full.
    case queued
    /// Waits for a fetch of the cache, or reads what is stored; there is no backend.
    case cached
    /// Waiting for the backend connection.
    case connecting
    /// Request on its way or sent; no final response head yet.
    case awaitingHead
    case relaying
    case tunnel
    /// The response is complete; its last octets wait for the client.
    case flushing
  }

  // Who
  var downstream = Handle.none
  var upstream = Handle.none
  /// Index of the snapshot in the worker's table.
  var snapshot: Int32 = 0
  /// The route in that snapshot; `nil` where none matched.
  var route: UnsafePointer<RoutePlan>?
  // Where
  var slot: Int32 = -1
  var backend: Int32 = -1
  var tried = TriedBackends()
  /// Of the attempt, for its backend's breaker.
  var ticket = CircuitBreaker.Ticket()
  var retry = Retry(limit: 1, isReplayable: false)
  var hash: UInt64 = 0
  /// The backend that the client's sticky cookie names; 0: none.
  var sticky: UInt64 = 0
  /// The client needs a sticky cookie.
  var setsSticky = false
  /// In phase `cached`: what is waited for or read.
  var reading = Handle.none
  /// Why a backend answers although the route has a cache.
  var forwarded = ForwardedMark()
  var cacheResult = CacheResult.none
  // How far
  var phase = Phase.connecting
  var request = Content()
  var response = Content()
  /// `Wire.sentOctets` of the backend connection when this attempt began: as long as that has not
  /// grown, the request is unsent (rule 43).
  var sentBefore = 0
  var status: Int32 = 0
  /// Of a response that could not be used, for `Proxy-Status`; 0: there was none.
  var receivedStatus: Int32 = 0
  var informational: UInt8 = 0
  // What kind
  var method = Method.other
  var isHead = false
  var clientIsHTTP10 = false
  var keepsClient = false
  /// The client said itself that it would send nothing more.
  var clientAskedClose = false
  var acceptsTrailers = false
  var mustContinue = false
  var asksUpgrade = false
  /// The backend connection cannot be used again after this exchange.
  var spoilsUpstream = false
  /// The backend takes no more of the request in this attempt; it may have answered before.
  var requestIsStopped = false
  /// The backend connection had served other requests before.
  var isPooled = false
  /// A pooled connection turned out to be closed: the next one must be new.
  var wantsNewConnection = false
  /// The place on the backend (`slot`) has not been given back.
  var isReserved = false
  /// The breaker has been told of this attempt's outcome before its end.
  var isJudged = false
  /// Some backend may have acted on it, in whichever attempt.
  var wasSent = false
  /// What stands in for its first attempt's answer, and why.
  var rung = FallbackRung.none
  var fallbackReason: Termination?
  /// A response octet has gone to the client: nothing may be retried or replaced any more.
  var hasAnswered = false
  /// Why it ended otherwise than complete; `nil` while all is well.
  var failure: Termination?
  // When
  var startedAt = MonotonicTime.zero
  var attemptAt = MonotonicTime.zero
  var connectedAt = MonotonicTime.zero
  var firstOctetAt = MonotonicTime.zero
  var totalDeadline = MonotonicTime.never
  /// Ends the wait before the next attempt.
  var timer = TimerWheel.Timer.none
  /// Since when the client has owed content, and how long it has in all (rule 39).
  var bodyWaitSince = MonotonicTime.zero
  var bodyWaited = TimeAmount.zero
  // For the log
  var headBytes: Int32 = 0
  var methodRange = ByteRange.empty
  var targetRange = ByteRange.empty
  var hostRange = ByteRange.empty
  var refererRange = ByteRange.empty
  var userAgentRange = ByteRange.empty
  var traceRange = ByteRange.empty
  var requestID: (UInt64, UInt64) = (0, 0)
  var requestIDRange = ByteRange.empty
  var version = HTTPVersion.http11

  /// Some of the request is still to be moved to the backend.
  var movesRequest: Bool { !request.isComplete && !requestIsStopped }
}
