import CNghttp2
import Primitives

/// The client's side of a connection: requests to a backend, which is not trusted more than a
/// client is.
extension Session {
  /// Streams that are opened before the backend has said how many it takes (RFC 9113 §6.5.2
  /// recommends that it takes at least so many).
  public static let streamsBeforeSettings = 100

  /// How many more streams may be opened now, where `limit` are wanted at most; 0 where the
  /// connection takes none any more.
  public func roomForStreams(limit: Int) -> Int {
    guard takesStreams else { return 0 }
    let most =
      isSettled
      ? Int(
        nghttp2_session_get_remote_settings(raw, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
      : Session.streamsBeforeSettings
    return max(0, min(limit, most) - openStreams)
  }

  /// False where no stream will ever be opened here again.
  public var takesStreams: Bool {
    cut == nil && !isGoingAway && !isShuttingDown
      && nghttp2_session_check_request_allowed(raw) != 0
  }

  /// The backend opens tunnels (RFC 8441 §3).
  public var takesTunnels: Bool {
    nghttp2_session_get_remote_settings(raw, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
  }

  /// Submits a request in the form of HTTP/1.1, of `owner`. `isTunnel`: one that asks to upgrade.
  /// `endsStream`: there is no content; otherwise the content is asked for. Returns the stream, or
  /// `nil` where there can be none.
  public func submitRequest(
    head: ByteView, isSecure: Bool, owner: UInt64, endsStream: Bool, isTunnel: Bool = false
  ) -> Int32? {
    guard fields.readRequest(head, isSecure: isSecure, isTunnel: isTunnel) else { return nil }
    introduceNames()
    let context = UnsafeMutableRawPointer(bitPattern: UInt(owner))
    let stream = nghttp2_submit_request(
      raw, nil, fields.pointer, fields.count,
      endsStream ? nil : intake.setup.provider, context)
    guard stream > 0 else { return nil }
    openStreams += 1
    abuse.expectAnswers()
    return stream
  }

  /// Nothing of the stream's request has been made into frames.
  public func isUnsent(_ stream: Int32) -> Bool { stream > lastSent }

  /// Resets the stream where it is still there. What was never sent is not sent any more.
  public func cancel(_ stream: Int32) {
    guard isUnsent(stream) || nghttp2_session_find_stream(raw, stream) != nil else { return }
    reset(stream, .cancel)
  }

  /// DATA or HEADERS for a stream that has ended.
  func isStray(_ header: FrameHeader) -> Bool {
    header.stream & 1 == 1 && header.stream <= lastSent
      && !isPresent(header.stream) && !resetByUs.contains(header.stream)
  }

  /// What a frame of a backend costs; those that are free are bounded by what weir asks for.
  func accountForBackend(_ header: FrameHeader) {
    switch UInt32(header.type) {
    case NGHTTP2_RST_STREAM.rawValue:
      if nghttp2_session_find_stream(raw, header.stream) == nil { charge() }
    case NGHTTP2_GOAWAY.rawValue: charge()
    default: account(header)
    }
  }

  /// A block of a response begins: interim, final, or trailers.
  func responseBegins(_ frame: nghttp2_frame) {
    let isFirst = frame.headers.cat == NGHTTP2_HCAT_RESPONSE
    beginAssembly(frame.hd.stream_id, isFirst ? .response : .responseOrTrailers)
  }

  /// A block of a response is complete.
  func responseComplete(_ stream: Int32, endsStream: Bool) {
    guard assembly.fault == .none else {
      append(SessionEvent(kind: .malformed, stream: stream))
      return reset(stream, .cancel)
    }
    var event = SessionEvent(kind: .responded, stream: stream)
    event.endsStream = endsStream
    event.range = keepAssembled(from: 0)
    append(event)
  }
}
