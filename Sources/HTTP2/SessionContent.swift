import CNghttp2
import Primitives

/// The end of a message's content, and the trailers behind it.
extension Session {
  /// There is content again, or the end of it.
  public func resume(_ stream: Int32) {
    _ = nghttp2_session_resume_data(raw, stream)
    sendOnlyTrailers(stream)
  }

  /// Without window nghttp2 asks for no content, and so would not come to trailers, which need none
  /// (RFC 9113 §6.9: only DATA frames do). Whether there will be window when it is this stream's
  /// turn nobody knows: others may use it up.
  private func sendOnlyTrailers(_ stream: Int32) {
    let owner = owner(of: stream)
    guard owner != 0, source.hasOnlyTrailers(of: owner) else { return }
    var nothing: UInt8 = 0
    _ = source.readContent(of: owner, into: &nothing, room: 0)
    if !submitTrailers(of: owner, stream) {
      // An end all the same.
      _ = nghttp2_submit_trailer(raw, stream, nil, 0)
    }
  }

  /// Behind a stream's last content. False where nothing of them can be sent.
  func submitTrailers(of owner: UInt64, _ stream: Int32) -> Bool {
    // Behind the heads of a reception that may be under way.
    var sink = ByteSink(base: intake.heads + Intake.headBytes, capacity: Session.headRoom)
    source.readTrailers(of: owner, into: &sink)
    guard !sink.overflowed, fields.readTrailers(sink.view) else { return false }
    return nghttp2_submit_trailer(raw, stream, fields.pointer, fields.count) == 0
  }
}
