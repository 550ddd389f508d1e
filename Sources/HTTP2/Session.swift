import CNghttp2
import HTTP
import Primitives

/// Who has the content of messages; asked while frames are being made.
public protocol StreamSource: AnyObject {
  /// Writes up to `room` octets of the stream's content, which is known by the number that
  /// `Session.setOwner` gave it.
  func readContent(
    of owner: UInt64, into target: UnsafeMutablePointer<UInt8>, room: Int
  ) -> ContentPiece

  /// All content has been read, and trailers follow.
  func hasOnlyTrailers(of owner: UInt64) -> Bool

  /// Moves the trailer lines that follow the stream's content, each with its CRLF, to `sink`.
  func readTrailers(of owner: UInt64, into sink: inout ByteSink)
}

/// A piece of a message's content.
public struct ContentPiece: BitwiseCopyable, Sendable {
  public var count: Int
  /// There is no more behind it. Without this and with a `count` of 0 the stream waits until
  /// `Session.resume`.
  public var isLast: Bool
  /// Of the last piece: trailers follow.
  public var hasTrailers: Bool

  public init(count: Int, isLast: Bool, hasTrailers: Bool = false) {
    self.count = count
    self.isLast = isLast
    self.hasTrailers = hasTrailers
  }
}

/// One side of one HTTP/2 connection (RFC 9113), without IO: octets in, events and octets out.
/// Framing, header compression, stream states and flow control are nghttp2's. What only the
/// client's side does, towards backends, is in ClientSession.swift.
///
/// Owned by its connection, used by one thread. Nothing is sent at once: `nextOctets` has what is
/// due.
public final class Session {
  /// What weir is on this connection.
  public enum Role: UInt8, Sendable { case server, client }

  public let role: Role
  /// Safety rule 28.
  public static let maxStreams: UInt32 = 100
  static let streamWindow: Int32 = 32 * 1024
  static let connectionWindow: Int32 = 1 << 20
  static let maxStreamWindow: Int32 = 1 << 20
  /// RFC 9113 §3.4.
  public static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

  private(set) var raw: OpaquePointer!
  let intake: Intake
  let fields: FieldList
  let limits: HeadLimits
  /// Until the connection closes, which releases the session.
  let source: StreamSource
  var abuse: FloodGuard
  var now: MonotonicTime
  /// Octets that are being received, so that content can be named by its place among them.
  var received: ByteView = .empty
  /// Of the header block that is being received; a block may take several receptions.
  var assembly = HeadAssembly()
  var assembling: Int32 = 0
  private var unfinished: [UInt8] = []
  /// Frames that were made before what was received is dispatched; they leave before all others.
  private var early: [UInt8] = []
  /// The last answer to whose a stream is: mostly the next question is the same.
  private var lastOwned: (stream: Int32, owner: UInt64) = (0, 0)
  /// A stream that is there, while frames are walked over that nghttp2 has not seen.
  private var present: Int32 = 0
  /// A final head was submitted.
  private var hasIntroduced = false
  /// A DATA frame was made.
  var hasMadeContent = false
  /// Streams that weir reset lately: their frames may still be under way (RFC 9113 §5.1).
  var resetByUs = RecentStreams()
  /// Streams that ended lately, however that came.
  var ended = RecentStreams()
  var highestStream: Int32 = 0
  var hasSettings = false
  /// The client has set the windows of all streams anew in the last reception.
  var changesWindows = false
  private var scan: FrameScan
  private var verdict: Verdict?
  /// Window that streams may still grow by, over all of them (safety rule 28).
  private var growthLeft = Session.maxStreamWindow
  public internal(set) var openStreams = 0
  /// Streams whose other direction goes on when weir's has ended.
  var tunnels: Set<Int32> = []
  /// The first GOAWAY was sent, and when: new streams are not wanted, but still accepted.
  public private(set) var announcedAt: MonotonicTime?
  /// The last GOAWAY was sent: no new stream is accepted.
  public private(set) var isShuttingDown = false
  /// The last stream that is served, as that GOAWAY says.
  var lastStream = Int32.max
  /// Why the connection was cut, where it was.
  public internal(set) var cut: Cut?

  /// Of a client's side: the last stream whose request was made into frames.
  var lastSent: Int32 = 0
  /// Of a client's side: the backend's settings are in force.
  public internal(set) var isSettled = false
  /// Of a client's side: the backend takes no new streams.
  var isGoingAway = false

  /// Why weir ends a connection by itself.
  public enum Cut: UInt8, Sendable {
    /// The abuse account is empty.
    case flood
    /// A frame for a stream that was closed long ago.
    case streamClosed
    /// nghttp2 cannot go on: no preface, too many pieces of a header block, too many frames that
    /// wait to be acknowledged.
    case broken
  }

  /// `nil` where there is no memory.
  public init?(
    role: Role = .server, intake: Intake, source: StreamSource, limits: HeadLimits,
    now: MonotonicTime
  ) {
    self.role = role
    scan = FrameScan(ofClient: role == .server)
    self.intake = intake
    fields = intake.fields
    self.source = source
    self.limits = limits
    self.now = now
    abuse = FloodGuard(now: now)
    let context = Unmanaged.passUnretained(self).toOpaque()
    let setup = intake.setup
    let create = role == .server ? nghttp2_session_server_new3 : nghttp2_session_client_new3
    guard create(&raw, setup.callbacks, context, setup.options, setup.memory.allocator) == 0 else {
      return nil
    }
    submitSettings()
  }

  deinit { nghttp2_session_del(raw) }

  private func submitSettings() {
    // Nothing may be pushed (RFC 9113 §8.4).
    let first =
      role == .server
      ? nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue),
        value: Session.maxStreams)
      : nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0)
    var settings = [
      first,
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue),
        value: UInt32(Session.streamWindow)),
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue),
        value: UInt32(clamping: limits.maxBytes)),
      // What RFC 9113 §5.3.2 took away is not missed, nor looked at.
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES.rawValue), value: 1),
    ]
    if role == .server {
      // RFC 8441 §3.
      settings.append(
        nghttp2_settings_entry(
          settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL.rawValue), value: 1))
    }
    nghttp2_submit_settings(raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), &settings, settings.count)
    nghttp2_session_set_local_window_size(
      raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Session.connectionWindow)
  }

  // MARK: Receiving

  /// Takes octets from the peer, all of them; what they came to stands in the intake. False
  /// where the connection is to be cut: what is due is sent, then it is closed.
  public func receive(_ octets: ByteView, now: MonotonicTime) -> Bool {
    self.now = now
    received = octets
    changesWindows = false
    intake.reset()
    restoreAssembly()
    parse(octets)
    saveAssembly()
    if role == .server, verdict == nil { makeEarly() }
    received = .empty
    if role == .server { intake.cancelResetStreams() }
    enforce()
    return cut == nil
  }

  /// Judges each frame before nghttp2 gets it; where that depends on the frames before it, these
  /// are parsed first.
  private func parse(_ octets: ByteView) {
    var parsed = 0
    func parse(until end: Int) {
      present = 0
      guard end > parsed, verdict == nil else { return }
      let taken = nghttp2_session_mem_recv(raw, octets.pointer + parsed, end - parsed)
      if taken < 0 { verdict = Session.verdict(Int32(truncatingIfNeeded: taken)) }
      parsed = end
    }
    scan.walk(octets) { header in
      if role == .server { account(header) } else { accountForBackend(header) }
      // nghttp2, told that priorities do not matter, looks at no PRIORITY (RFC 9113 §6.3).
      if UInt32(header.type) == NGHTTP2_PRIORITY.rawValue, header.stream == 0 {
        parse(until: header.start)
        verdict = verdict ?? Verdict(cut: .broken, code: NGHTTP2_PROTOCOL_ERROR)
      }
      if isForgotten(header) {
        parse(until: header.start)
        if verdict == nil, isForgotten(header) { strayFrame(header) }
      }
      return verdict == nil && !abuse.isExhausted
    }
    // Whoever is cut for it does not get another thousand streams made before.
    if !abuse.isExhausted { parse(until: octets.count) }
  }

  /// DATA or HEADERS for a stream that is behind the highest one, but not there.
  private func isForgotten(_ header: FrameHeader) -> Bool {
    let type = UInt32(header.type)
    guard type == NGHTTP2_DATA.rawValue || type == NGHTTP2_HEADERS.rawValue else { return false }
    if header.stream == present { return false }
    if role == .client { return isStray(header) }
    if header.stream > highestStream {
      if type == NGHTTP2_HEADERS.rawValue { highestStream = header.stream }
      return false
    }
    // Those above the last stream are ignored (RFC 9113 §6.8).
    return header.stream & 1 == 1 && header.stream <= lastStream
      && !isPresent(header.stream) && !resetByUs.contains(header.stream)
  }

  func isPresent(_ stream: Int32) -> Bool {
    guard nghttp2_session_find_stream(raw, stream) != nil else { return false }
    present = stream
    return true
  }

  /// RFC 9113 §5.1 and §5.1.1: a stream that has ended, or one that was passed over. Of a backend
  /// it costs what other frames cost that mean nothing: it may not know yet that weir reset it.
  private func strayFrame(_ header: FrameHeader) {
    if role == .client { charge() } else { verdict = judgement(of: header) }
  }

  private func judgement(of header: FrameHeader) -> Verdict {
    let isNew = UInt32(header.type) == NGHTTP2_HEADERS.rawValue && !ended.contains(header.stream)
    return isNew
      ? Verdict(cut: .broken, code: NGHTTP2_PROTOCOL_ERROR)
      : Verdict(cut: .streamClosed, code: NGHTTP2_STREAM_CLOSED)
  }

  /// Of errors that nghttp2 ends a session with, without a word to the client.
  private static func verdict(_ error: Int32) -> Verdict {
    let isMalformed = error == NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue
    return Verdict(
      cut: .broken, code: isMalformed ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_ENHANCE_YOUR_CALM)
  }

  private struct Verdict {
    var cut: Cut
    var code: nghttp2_error_code
  }

  /// A header block may be cut anywhere: its beginning is kept until the rest comes.
  private func saveAssembly() {
    guard assembling != 0, assembly.fault == .none else { return }
    unfinished = assemblySink.view.array
  }

  private func restoreAssembly() {
    guard assembling != 0 else { return }
    unfinished.withByteView {
      var sink = ByteSink(base: intake.heads, capacity: Session.headRoom)
      sink.append($0)
      assemblySink = sink
    }
    unfinished = []
  }

  /// Room of one head: twice its limit, because pseudo-fields are written twice.
  static let headRoom = 64 * 1024
  var assemblySink = ByteSink(base: UnsafeMutablePointer(bitPattern: 1)!, capacity: 0)

  /// nghttp2 tells of an error only by the frames that it makes for it. So before a request is
  /// dispatched they are made, as far as they come before content: what was reset in the same read,
  /// or stands before a fatal frame, is not begun (safety rule 31).
  private func makeEarly() {
    guard intake.events.contains(where: { $0.kind == .opened }) else { return }
    hasMadeContent = false
    while early.count < Session.earlyBytes, !hasMadeContent, cut == nil {
      var pointer: UnsafePointer<UInt8>?
      let count = nghttp2_session_mem_send(raw, &pointer)
      guard count > 0, let pointer else { return }
      early.append(contentsOf: UnsafeBufferPointer(start: pointer, count: count))
    }
  }

  /// Those frames are few: acknowledgements, resets, heads.
  private static let earlyBytes = 16 * 1024

  private func enforce() {
    if cut != nil { return cancelAll() }
    if abuse.isExhausted {
      terminate(.flood, NGHTTP2_ENHANCE_YOUR_CALM)
    } else if let verdict {
      terminate(verdict.cut, verdict.code)
    }
  }

  func terminate(_ reason: Cut, _ code: nghttp2_error_code) {
    cut = reason
    isShuttingDown = true
    cancelAll()
    nghttp2_session_terminate_session(raw, code.rawValue)
  }

  /// Requests that came in the same read are not begun (safety rule 31).
  private func cancelAll() {
    for index in intake.events.indices { intake.events[index].kind = .void }
  }

  // MARK: Sending

  /// Moves the octets that are due before all others to `sink`.
  public func takeEarly(into sink: inout ByteSink) {
    guard !early.isEmpty else { return }
    early.withByteView { sink.append($0) }
    early = []
  }

  /// The next octets that are due, or nothing; valid until the next call of the session.
  public func nextOctets() -> ByteView {
    var pointer: UnsafePointer<UInt8>?
    let count = nghttp2_session_mem_send(raw, &pointer)
    guard count > 0, let pointer else { return .empty }
    return ByteView(base: UnsafeMutablePointer(mutating: pointer), count: count)
  }

  /// Neither anything to receive nor to send: the connection has come to its end.
  public var isOver: Bool {
    nghttp2_session_want_read(raw) == 0 && nghttp2_session_want_write(raw) == 0
  }

  /// Ties a stream to whoever serves it; 0 for nobody.
  public func setOwner(_ stream: Int32, _ owner: UInt64) {
    lastOwned = (0, 0)
    nghttp2_session_set_stream_user_data(
      raw, stream, UnsafeMutableRawPointer(bitPattern: UInt(owner)))
  }

  /// 0 where the stream is gone or nobody serves it.
  public func owner(of stream: Int32) -> UInt64 {
    if lastOwned.stream == stream { return lastOwned.owner }
    let owner = UInt64(UInt(bitPattern: nghttp2_session_get_stream_user_data(raw, stream)))
    if owner != 0 { lastOwned = (stream, owner) }
    return owner
  }

  /// Submits a rendered HTTP/1 head, final or interim. `endsStream`: there is no content; otherwise
  /// the content is asked for. False where the stream is gone or the head cannot be sent.
  public func submit(
    head: ByteView, stream: Int32, isFinal: Bool, endsStream: Bool
  ) -> Bool {
    guard fields.readResponse(head) else { return false }
    if isFinal { introduceNames() }
    let (list, count) = (fields.pointer, fields.count)
    if !isFinal {
      return nghttp2_submit_headers(
        raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream, nil, list, count, nil) == 0
    }
    let provider = intake.setup.provider
    return nghttp2_submit_response(raw, stream, list, count, endsStream ? nil : provider) == 0
  }

  @inline(__always)
  func introduceNames() {
    guard !hasIntroduced else { return }
    hasIntroduced = true
    fields.introduceNames()
  }

  /// Resets the stream; harmless where it is closed already.
  public func reset(_ stream: Int32, _ code: ResetCode) {
    _ = nghttp2_submit_rst_stream(
      raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream, code.rawValue)
  }

  /// The application took `octets` of the stream's content: its window opens by as much, and grows
  /// while the other side drains.
  public func consumed(_ stream: Int32, _ octets: Int) {
    guard octets > 0 else { return }
    _ = nghttp2_session_consume_stream(raw, stream, octets)
    let window = nghttp2_session_get_stream_effective_local_window_size(raw, stream)
    guard window > 0, window < Session.maxStreamWindow, growthLeft >= window,
      nghttp2_session_get_stream_effective_recv_data_length(raw, stream) <= window / 2
    else { return }
    growthLeft -= window
    _ = nghttp2_session_set_local_window_size(
      raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream, window * 2)
  }

  /// A stream that was closed gives back what its window had grown by.
  func streamClosed(_ stream: Int32, window: Int32) {
    openStreams -= 1
    lastOwned = (0, 0)
    if !tunnels.isEmpty { tunnels.remove(stream) }
    let grown = max(0, window - Session.streamWindow)
    growthLeft = min(Session.maxStreamWindow, growthLeft + grown)
  }

  /// A response went out whole, or came in.
  public func responseCompleted() { abuse.refund() }

  /// The stream has become a tunnel, whose sides end by themselves (RFC 8441 §5); the rest of an
  /// ordinary request is declined once its answer is complete.
  public func openTunnel(_ stream: Int32) { tunnels.insert(stream) }

  // MARK: Ending

  /// The first step of a graceful end: no new streams are wanted, those under way are served
  /// (RFC 9113 §6.8). `shutDown` follows when those that crossed the notice have come.
  public func announceShutdown(now: MonotonicTime) {
    guard !isShuttingDown, announcedAt == nil else { return }
    announcedAt = now
    _ = nghttp2_submit_shutdown_notice(raw)
  }

  /// The second step: from here on new streams are refused.
  public func shutDown() {
    guard !isShuttingDown else { return }
    isShuttingDown = true
    lastStream = nghttp2_session_get_last_proc_stream_id(raw)
    _ = nghttp2_submit_goaway(
      raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), lastStream, UInt32(NGHTTP2_NO_ERROR.rawValue), nil, 0)
  }
}

/// RFC 9113 §7, those that weir sends for a stream.
public enum ResetCode: UInt32, Sendable {
  /// The answer is complete and the rest of the request is not needed (RFC 9113 §8.1).
  case noError = 0
  case protocolError = 1
  case internalError = 2
  case refusedStream = 7
  case cancel = 8
}

/// The last streams of some kind; the oldest are forgotten.
struct RecentStreams: ~Copyable {
  private static let room = 128
  private let streams: UnsafeMutablePointer<Int32>
  private var next = 0
  /// Of all that were ever inserted. Numbers only grow, so this settles most questions.
  private var (lowest, highest) = (Int32.max, Int32.min)

  init() {
    streams = .allocate(capacity: RecentStreams.room)
    streams.initialize(repeating: 0, count: RecentStreams.room)
  }

  deinit { streams.deallocate() }

  mutating func insert(_ stream: Int32) {
    streams[next] = stream
    next = (next + 1) % RecentStreams.room
    (lowest, highest) = (min(lowest, stream), max(highest, stream))
  }

  func contains(_ stream: Int32) -> Bool {
    guard stream >= lowest, stream <= highest else { return false }
    for index in 0..<RecentStreams.room where streams[index] == stream { return true }
    return false
  }
}
