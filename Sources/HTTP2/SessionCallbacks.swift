import CNghttp2
import HTTP
import Primitives

/// What nghttp2 is told once for all sessions of a worker.
///
/// The closures are formed here and not in a `main`: there they would belong to the main actor,
/// and trap on any other thread.
final class SessionSetup {
  let callbacks: OpaquePointer
  let options: OpaquePointer
  let memory = SessionMemory()
  /// Asks for content.
  let provider: UnsafePointer<nghttp2_data_provider>

  /// Safety rule 29.
  private static let maxContinuations = 8
  /// Safety rule 32: control frames waiting for a client that does not read.
  private static let maxQueuedFrames = 1000

  init() {
    var callbacks: OpaquePointer!
    var options: OpaquePointer!
    guard nghttp2_session_callbacks_new(&callbacks) == 0, nghttp2_option_new(&options) == 0 else {
      fatalError("no memory for the first HTTP/2 structures")
    }
    self.callbacks = callbacks
    self.options = options
    let provider = UnsafeMutablePointer<nghttp2_data_provider>.allocate(capacity: 1)
    provider.initialize(to: nghttp2_data_provider())
    provider.pointee.read_callback = readContent
    self.provider = UnsafePointer(provider)
    nghttp2_option_set_no_auto_window_update(options, 1)
    nghttp2_option_set_max_continuations(options, SessionSetup.maxContinuations)
    nghttp2_option_set_max_outbound_ack(options, SessionSetup.maxQueuedFrames)
    nghttp2_option_set_no_closed_streams(options, 1)
    install()
  }

  deinit {
    nghttp2_session_callbacks_del(callbacks)
    nghttp2_option_del(options)
    provider.deallocate()
  }

  private func install() {
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, context in
      withSession(context) { $0.headersBegin(frame!.pointee) }
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _, frame, name, nameLength, value, valueLength, _, context in
      withSession(context) {
        $0.header(
          frame!.pointee, view(name, nameLength), view(value, valueLength))
      }
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, context in
      withSession(context) { $0.frameReceived(frame!.pointee) }
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) {
      _, _, stream, octets, count, context in
      withSession(context) { $0.dataReceived(stream, view(octets, count)) }
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, code, context in
      withSession(context) { $0.closed(stream, code) }
    }
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, context in
      withSession(context) { $0.frameSent(frame!.pointee) }
    }
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) {
      _, frame, _, context in
      withSession(context) { $0.frameRefused(frame!.pointee) }
    }
  }
}

private func view(_ octets: UnsafePointer<UInt8>?, _ count: Int) -> ByteView {
  ByteView(UnsafeBufferPointer(start: octets, count: count))
}

@inline(__always)
private func withSession(_ context: UnsafeMutableRawPointer?, _ body: (Session) -> Int32) -> Int32 {
  Unmanaged<Session>.fromOpaque(context!)._withUnsafeGuaranteedRef(body)
}

/// Content for a DATA frame, as the stream's owner has it.
private func readContent(
  _: OpaquePointer?, _ stream: Int32, _ target: UnsafeMutablePointer<UInt8>?, _ room: Int,
  _ flags: UnsafeMutablePointer<UInt32>?, _: UnsafeMutablePointer<nghttp2_data_source>?,
  _ context: UnsafeMutableRawPointer?
) -> Int {
  Unmanaged<Session>.fromOpaque(context!)._withUnsafeGuaranteedRef { session in
    let owner = session.owner(of: stream)
    guard owner != 0 else { return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue) }
    let piece = session.source.readContent(of: owner, into: target!, room: room)
    if piece.isLast { flags!.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue) }
    // Then these end the stream.
    if piece.hasTrailers, session.submitTrailers(of: owner, stream) {
      flags!.pointee |= UInt32(NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue)
    }
    if piece.count == 0, !piece.isLast { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
    return piece.count
  }
}

/// What nghttp2 found, in the order in which it found it. Nothing is dispatched from here.
extension Session {
  private static let continueOn: Int32 = 0

  /// What a frame of a client costs, whatever becomes of it.
  func account(_ header: FrameHeader) {
    let isAcknowledgement = header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0
    switch UInt32(header.type) {
    case NGHTTP2_DATA.rawValue:
      let ends = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
      if header.length == 0, !ends { charge() }
    case NGHTTP2_HEADERS.rawValue, NGHTTP2_PUSH_PROMISE.rawValue, NGHTTP2_GOAWAY.rawValue: break
    case NGHTTP2_SETTINGS.rawValue where !isAcknowledgement:
      // The first one is part of the preface.
      if hasSettings { charge() }
      hasSettings = true
    // Peers ping to measure how much may be under way, as often as content comes (gRPC does).
    case NGHTTP2_WINDOW_UPDATE.rawValue, NGHTTP2_PING.rawValue: _ = abuse.answer(now: now)
    case NGHTTP2_CONTINUATION.rawValue where header.length > 0: break
    default: charge()
    }
  }

  /// In order. The owner is noted: its stream may end before this is dispatched.
  func append(_ event: SessionEvent) {
    var event = event
    if event.owner == 0 { event.owner = owner(of: event.stream) }
    intake.events.append(event)
  }

  func charge() { _ = abuse.charge(now: now) }

  func headersBegin(_ frame: nghttp2_frame) -> Int32 {
    assembling = 0
    guard UInt32(frame.hd.type) == NGHTTP2_HEADERS.rawValue else {
      // Pushed before the backend has read that nothing may be.
      return Int32(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
    }
    if role == .client {
      responseBegins(frame)
      return Session.continueOn
    }
    guard frame.headers.cat == NGHTTP2_HCAT_REQUEST else {
      beginAssembly(frame.hd.stream_id, .trailers)
      return Session.continueOn
    }
    openStreams += 1
    // The client has been told, or is about to be, that this one is not served: it may ask
    // elsewhere, so nothing of it may be begun here.
    guard frame.hd.stream_id <= lastStream else {
      reset(frame.hd.stream_id, .refusedStream)
      return Session.continueOn
    }
    abuse.expectAnswers()
    beginAssembly(frame.hd.stream_id, .request)
    return Session.continueOn
  }

  func beginAssembly(_ stream: Int32, _ kind: HeadAssembly.Kind) {
    assembling = stream
    assembly = HeadAssembly(kind)
    if intake.used + Session.headRoom > Intake.headBytes { assembly.fault = .overLimit }
    assemblySink = ByteSink(
      base: intake.heads + min(intake.used, Intake.headBytes - Session.headRoom),
      capacity: Session.headRoom)
  }

  func header(_ frame: nghttp2_frame, _ name: ByteView, _ value: ByteView) -> Int32 {
    guard assembling == frame.hd.stream_id else { return Session.continueOn }
    assembly.append(name, value, to: &assemblySink, limits: limits)
    if assembly.decoded > HeadAssembly.patienceBytes { abuse.exhaust() }
    return Session.continueOn
  }

  func frameReceived(_ frame: nghttp2_frame) -> Int32 {
    let stream = frame.hd.stream_id
    let ends = frame.hd.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch UInt32(frame.hd.type) {
    case NGHTTP2_HEADERS.rawValue:
      if assembling == stream { blockComplete(stream, endsStream: ends) }
    case NGHTTP2_DATA.rawValue:
      if ends { append(SessionEvent(kind: .ended, stream: stream)) }
    case NGHTTP2_GOAWAY.rawValue where role == .client:
      isGoingAway = true
      intake.events.append(
        SessionEvent(kind: .goingAway, stream: frame.goaway.last_stream_id))
    case NGHTTP2_SETTINGS.rawValue:
      let isAcknowledgement = frame.hd.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0
      if role == .client, !isAcknowledgement, !isSettled {
        isSettled = true
        intake.events.append(SessionEvent(kind: .settled, stream: 0))
      }
      for index in 0..<frame.settings.niv
      where frame.settings.iv[index].settings_id
        == Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue)
      { changesWindows = true }
    default: break
    }
    return Session.continueOn
  }

  private func blockComplete(_ stream: Int32, endsStream: Bool) {
    assembling = 0
    assembly.finish(endsStream: endsStream, to: &assemblySink)
    switch assembly.kind {
    case .trailers, .responseOrTrailers: return trailersComplete(stream)
    case .response: return responseComplete(stream, endsStream: endsStream)
    case .request: break
    }
    var event = SessionEvent(kind: .opened, stream: stream)
    event.endsStream = endsStream
    event.isTunnel = assembly.isTunnel
    switch assembly.fault {
    case .none: event.range = keepAssembled(from: assembly.start)
    case .overLimit: event.kind = .openedOverLimit
    case .malformed:
      reset(stream, .protocolError)
      return
    }
    intake.events.append(event)
  }

  /// Where the block that is complete lies, without its first octets.
  func keepAssembled(from start: Int) -> ByteRange {
    defer { intake.used += assemblySink.count }
    return ByteRange(intake.used + start, intake.used + assemblySink.count)
  }

  /// nghttp2 lets them pass only where they end the stream.
  private func trailersComplete(_ stream: Int32) {
    guard assembly.fault == .none else {
      if role == .client { append(SessionEvent(kind: .malformed, stream: stream)) }
      return reset(stream, .protocolError)
    }
    var event = SessionEvent(kind: .trailers, stream: stream)
    event.range = keepAssembled(from: 0)
    append(event)
    append(SessionEvent(kind: .ended, stream: stream))
  }

  func dataReceived(_ stream: Int32, _ octets: ByteView) -> Int32 {
    // The connection's window is given back at once: a stream that stalls must not stop the
    // others (safety rule 28).
    _ = nghttp2_session_consume_connection(raw, octets.count)
    let start = octets.pointer - received.pointer
    var event = SessionEvent(kind: .data, stream: stream)
    event.range = ByteRange(start, start + octets.count)
    append(event)
    return Session.continueOn
  }

  func closed(_ stream: Int32, _ code: UInt32) -> Int32 {
    let owner = owner(of: stream)
    streamClosed(
      stream, window: nghttp2_session_get_stream_effective_local_window_size(raw, stream))
    if assembling == stream { assembling = 0 }
    ended.insert(stream)
    var event = SessionEvent(kind: .reset, stream: stream)
    event.owner = owner
    event.code = code
    event.isOurs = resetByUs.contains(stream)
    // While sending, a stream closes because weir is done with it, and nobody serves it any more;
    // or because nghttp2 found an error, and then whoever serves it has to know.
    let isError = (code != NGHTTP2_NO_ERROR.rawValue || role == .client) && event.owner != 0
    if !received.isEmpty || isError { intake.events.append(event) }
    return Session.continueOn
  }

  /// nghttp2 answers a frame with a reset. Where that is for a request that never became a stream,
  /// because there are too many, it is charged at once: nothing else bounds how many of these wait
  /// for a client that does not read.
  func frameRefused(_ frame: nghttp2_frame) -> Int32 {
    guard nghttp2_session_find_stream(raw, frame.hd.stream_id) == nil else {
      return Session.continueOn
    }
    resetByUs.insert(frame.hd.stream_id)
    charge()
    return Session.continueOn
  }

  func frameSent(_ frame: nghttp2_frame) -> Int32 {
    let stream = frame.hd.stream_id
    switch UInt32(frame.hd.type) {
    case NGHTTP2_DATA.rawValue:
      hasMadeContent = true
      abuse.expectAnswers()
    case NGHTTP2_HEADERS.rawValue where role == .client: lastSent = max(lastSent, stream)
    case NGHTTP2_GOAWAY.rawValue:
      if cut == nil, frame.goaway.error_code != NGHTTP2_NO_ERROR.rawValue { cut = .broken }
      return Session.continueOn
    case NGHTTP2_RST_STREAM.rawValue:
      resetByUs.insert(stream)
      if changesWindows, frame.rst_stream.error_code == NGHTTP2_FLOW_CONTROL_ERROR.rawValue {
        // RFC 9113 §6.9.2: not only this stream's error, as nghttp2 has it.
        terminate(.broken, NGHTTP2_FLOW_CONTROL_ERROR)
      }
      switch frame.rst_stream.error_code {
      case NGHTTP2_PROTOCOL_ERROR.rawValue, NGHTTP2_FLOW_CONTROL_ERROR.rawValue,
        NGHTTP2_STREAM_CLOSED.rawValue, NGHTTP2_FRAME_SIZE_ERROR.rawValue,
        NGHTTP2_COMPRESSION_ERROR.rawValue:
        charge()
      default: break
      }
      return Session.continueOn
    case NGHTTP2_HEADERS.rawValue: break
    default: return Session.continueOn
    }
    guard role == .server else { return Session.continueOn }
    // RFC 9113 §8.1: the answer is complete, the rest of the request is not needed. Only now: a
    // reset that is submitted while the answer waits takes its place.
    let ends = frame.hd.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    if ends, nghttp2_session_get_stream_remote_close(raw, stream) == 0, !tunnels.contains(stream) {
      reset(stream, .noError)
    }
    return Session.continueOn
  }
}
