import HTTP2
import Primitives
import Transport

/// Frames of HTTP/2 connections on their way out, on either side: what each session has to send,
/// and the content of its streams.
extension Worker {
  /// Makes frames of what is due, as long as the peer takes them, gathered into few calls. What
  /// streams ended meanwhile stands in the intake.
  func sendFrames(of session: Session, to wire: UnsafeMutablePointer<Wire>) {
    var gathered = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    intake.reset()
    var isOpen = wire.pointee.flush(&pool)
    if isOpen { session.takeEarly(into: &gathered) }
    while isOpen {
      let octets = session.nextOctets()
      if octets.isEmpty { break }
      if octets.count > gathered.capacity - gathered.count { isOpen = send(&gathered, to: wire) }
      if octets.count <= gathered.capacity - gathered.count {
        gathered.append(octets)
      } else {
        isOpen = send(octets, to: wire) && isOpen
      }
    }
    _ = send(&gathered, to: wire)
  }

  /// True where all of it was taken.
  private func send(_ gathered: inout ByteSink, to wire: UnsafeMutablePointer<Wire>) -> Bool {
    guard gathered.count > 0 else { return wire.pointee.output.isEmpty }
    defer { gathered.removeAll() }
    return send(gathered.view, to: wire)
  }

  /// True where all of it was taken.
  private func send(_ octets: ByteView, to wire: UnsafeMutablePointer<Wire>) -> Bool {
    guard wire.pointee.send(octets, .empty, &pool) else {
      // No buffer is left: without these octets the rest means nothing.
      wire.pointee.hasFailed = true
      return false
    }
    return wire.pointee.output.isEmpty
  }

  // MARK: Content of streams

  public func readContent(
    of owner: UInt64, into target: UnsafeMutablePointer<UInt8>, room: Int
  ) -> ContentPiece {
    let handle = Handle(raw: owner)
    if let stream = downstreams.resolve(handle) {
      // It can take more now, or has come to its end.
      defer { if !stream.pointee.wire.hasContent { queue(handle, stream) } }
      return piece(of: stream.pointer(to: \.wire)!, into: target, room: room)
    }
    if let stream = upstreams.resolve(handle) {
      defer { if !stream.pointee.wire.hasContent { queue(handle, stream) } }
      return piece(of: stream.pointer(to: \.wire)!, into: target, room: room)
    }
    return ContentPiece(count: 0, isLast: true)
  }

  private func piece(
    of wire: UnsafeMutablePointer<Wire>, into target: UnsafeMutablePointer<UInt8>, room: Int
  ) -> ContentPiece {
    let count = wire.pointee.takeOutput(target, room, &pool)
    let isLast = wire.pointee.outputEnded
    return ContentPiece(
      count: count, isLast: isLast, hasTrailers: isLast && !wire.pointee.output.isEmpty)
  }

  public func hasOnlyTrailers(of owner: UInt64) -> Bool {
    let handle = Handle(raw: owner)
    if let stream = downstreams.resolve(handle) { return stream.pointee.wire.hasOnlyTrailers }
    return upstreams.resolve(handle)?.pointee.wire.hasOnlyTrailers ?? false
  }

  public func readTrailers(of owner: UInt64, into sink: inout ByteSink) {
    let handle = Handle(raw: owner)
    if let stream = downstreams.resolve(handle) {
      stream.pointee.wire.takeTrailers(into: &sink, &pool)
    } else if let stream = upstreams.resolve(handle) {
      stream.pointee.wire.takeTrailers(into: &sink, &pool)
    }
  }
}

extension Unmanaged<Session>? {
  /// The session, which must be there, for one use: what it is borrowed for costs no count of
  /// references. `body` must not close the connection.
  @inline(__always)
  func use<Result>(_ body: (Session) -> Result) -> Result {
    guard let self else { preconditionFailure("no session") }
    return self._withUnsafeGuaranteedRef(body)
  }
}
