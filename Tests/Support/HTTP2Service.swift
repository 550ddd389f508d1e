import Foundation

/// What a backend of HTTP/2 received of one stream.
public struct StreamRequest: Sendable {
  public var stream: UInt32
  public var fields: [(name: String, value: String)] = []
  public var content: [UInt8] = []
  public var trailers: [(name: String, value: String)] = []

  public subscript(_ name: String) -> String? { fields.first { $0.name == name }?.value }
  public var path: String { self[":path"] ?? "" }
}

/// A backend's side of a connection of HTTP/2, for scripted origins: requests as they complete, and
/// answers, frame by frame where a test wants that.
public final class HTTP2Service {
  public let connection: HTTP2Connection
  /// Requests whose end has not come.
  private var open: [UInt32: StreamRequest] = [:]
  /// Streams that the client has reset, with the code.
  public private(set) var resets: [UInt32: UInt32] = [:]

  public init(_ wire: WireConnection, settings: [(UInt16, UInt32)] = []) throws {
    connection = try HTTP2Connection(serving: wire, settings: settings)
  }

  /// Heads that `requestHead` has not returned.
  private var begun: [StreamRequest] = []
  /// Requests that completed while something else was waited for.
  private var complete: [StreamRequest] = []
  /// What may be sent: on the connection, and on each stream.
  public private(set) var connectionWindow = 65_535
  private var windows: [UInt32: Int] = [:]
  /// As weir says in its settings (safety rule 28).
  public static let streamWindow = 32 * 1024

  /// Octets of content that may be sent on a stream now.
  public func window(of stream: UInt32) -> Int {
    min(connectionWindow, windows[stream, default: HTTP2Service.streamWindow])
  }

  /// One frame, taken in. Returns the request that it completes, if any.
  private func take(_ frame: Frame) throws -> StreamRequest? {
    switch frame.type {
    case FrameType.windowUpdate:
      let octets = frame.payload.reduce(0) { $0 << 8 | Int($1) }
      if frame.stream == 0 {
        connectionWindow += octets
      } else {
        windows[frame.stream, default: HTTP2Service.streamWindow] += octets
      }
      return nil
    case FrameType.headers:
      let fields = connection.fields(of: frame)
      if open[frame.stream] == nil {
        open[frame.stream] = StreamRequest(stream: frame.stream, fields: fields)
        begun.append(StreamRequest(stream: frame.stream, fields: fields))
      } else {
        open[frame.stream]?.trailers = fields
      }
    case FrameType.content:
      open[frame.stream]?.content += frame.payload
      if connection.givesWindow, !frame.payload.isEmpty, !frame.endsStream {
        try connection.window(frame.stream, UInt32(frame.payload.count))
      }
    case FrameType.reset:
      resets[frame.stream] = frame.errorCode
      open[frame.stream] = nil
      return nil
    default: return nil
    }
    return frame.endsStream ? open.removeValue(forKey: frame.stream) : nil
  }

  /// The next request that is complete.
  public func request() throws -> StreamRequest {
    if !complete.isEmpty { return complete.removeFirst() }
    while true { if let request = try take(connection.next()) { return request } }
  }

  /// One more frame of the client's, whatever it is.
  @discardableResult
  public func step() throws -> Frame {
    let frame = try connection.next()
    if let request = try take(frame) { complete.append(request) }
    return frame
  }

  /// The next request as soon as its head is there; `request` returns it again when it is complete.
  public func requestHead() throws -> StreamRequest {
    while begun.isEmpty { try step() }
    return begun.removeFirst()
  }

  /// Waits until the client has reset the stream; returns the code.
  public func reset(of stream: UInt32) throws -> UInt32 {
    while true {
      if let code = resets[stream] { return code }
      try step()
    }
  }

  public func head(
    _ stream: UInt32, _ status: Int, _ fields: [(String, String)] = [], ends: Bool = false
  ) throws {
    try connection.send(
      FrameType.headers,
      flags: FrameFlags.endHeaders | (ends ? FrameFlags.endStream : 0), stream: stream,
      payload: HTTP2Connection.block([(":status", "\(status)")] + fields))
  }

  public func trailers(_ stream: UInt32, _ fields: [(String, String)]) throws {
    try connection.send(
      FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: stream,
      payload: HTTP2Connection.block(fields))
  }

  /// Content as far as the windows go, waiting for more of them.
  public func content(_ stream: UInt32, _ octets: [UInt8], ends: Bool = true) throws {
    var rest = octets[...]
    while true {
      let piece = rest.prefix(min(16384, window(of: stream)))
      rest = rest.dropFirst(piece.count)
      connectionWindow -= piece.count
      windows[stream, default: HTTP2Service.streamWindow] -= piece.count
      if !piece.isEmpty || octets.isEmpty {
        try connection.send(
          FrameType.content, flags: ends && rest.isEmpty ? FrameFlags.endStream : 0,
          stream: stream, payload: Array(piece))
      }
      if rest.isEmpty { return }
      while window(of: stream) == 0 { try step() }
    }
  }

  /// A whole answer.
  public func respond(
    _ stream: UInt32, _ status: Int = 200, _ fields: [(String, String)] = [],
    _ content: String = ""
  ) throws {
    try head(stream, status, fields, ends: content.isEmpty)
    if !content.isEmpty { try self.content(stream, Array(content.utf8)) }
  }

  public func reset(_ stream: UInt32, _ code: UInt32) throws {
    try connection.send(
      FrameType.reset, stream: stream, payload: HTTP2Connection.octets(code))
  }

  /// RFC 9113 §6.8.
  public func goAway(last: UInt32, _ code: UInt32 = 0) throws {
    try connection.send(
      FrameType.goAway,
      payload: HTTP2Connection.octets(last) + HTTP2Connection.octets(code))
  }
}

extension ScriptedOrigin {
  /// A backend of HTTP/2 without TLS that answers each request as it completes.
  public convenience init(
    http2 settings: [(UInt16, UInt32)] = [],
    answer: @escaping @Sendable (HTTP2Service, StreamRequest, Int) throws -> Void
  ) throws {
    try self.init { wire, number in
      let service = try HTTP2Service(wire, settings: settings)
      while true { try answer(service, try service.request(), number) }
    }
  }
}
