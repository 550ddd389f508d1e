import CNghttp2
import Foundation

/// The frame types of RFC 9113 §6.
public enum FrameType {
  /// DATA.
  public static let content: UInt8 = 0
  public static let headers: UInt8 = 1
  public static let priority: UInt8 = 2
  public static let reset: UInt8 = 3
  public static let settings: UInt8 = 4
  public static let pushPromise: UInt8 = 5
  public static let ping: UInt8 = 6
  public static let goAway: UInt8 = 7
  public static let windowUpdate: UInt8 = 8
  public static let continuation: UInt8 = 9
}

/// Flags as the frame types use them.
public enum FrameFlags {
  public static let endStream: UInt8 = 0x1
  public static let acknowledgement: UInt8 = 0x1
  public static let endHeaders: UInt8 = 0x4
  public static let padded: UInt8 = 0x8
}

/// One frame as it stands on the wire.
public struct Frame: Sendable {
  public var type: UInt8
  public var flags: UInt8
  public var stream: UInt32
  public var payload: [UInt8]
  /// The payload is no block any more, but `name NUL value NUL …`.
  var isDecoded = false

  /// Of RST_STREAM, and of GOAWAY behind the last stream.
  public var errorCode: UInt32 {
    let place = type == FrameType.goAway ? 4 : 0
    return payload.dropFirst(place).prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// Of GOAWAY.
  public var lastStream: UInt32 { payload.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }

  public var endsStream: Bool { flags & FrameFlags.endStream != 0 }
}

/// What came of one stream.
public struct StreamAnswer: Sendable {
  public var status = 0
  public var fields: [(name: String, value: String)] = []
  public var informational: [Int] = []
  public var content: [UInt8] = []
  public var trailers: [(name: String, value: String)] = []
  /// `nil`: it ended with END_STREAM.
  public var resetCode: UInt32?

  public subscript(_ name: String) -> String? { fields.first { $0.name == name }?.value }
}

/// An HTTP/2 client that sends whatever a test says, frame by frame, and checks nothing of it.
/// Field lists are coded without compression (RFC 7541 §6.2.3), so that any octets can be sent.
public final class HTTP2Connection {
  public let wire: WireConnection
  private var inflater: OpaquePointer!
  /// Frames that were read while another stream was waited for.
  private var kept: [Frame] = []
  public private(set) var goAway: Frame?
  /// Gives window back for what was received.
  public var givesWindow = true

  public static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

  /// Sends the preface and these settings.
  public init(_ wire: WireConnection, settings: [(UInt16, UInt32)] = []) throws {
    self.wire = wire
    nghttp2_hd_inflate_new(&inflater)
    try wire.send(HTTP2Connection.preface)
    try send(FrameType.settings, payload: HTTP2Connection.settings(settings))
  }

  /// As the backend on a connection: takes the preface and sends these settings.
  public init(serving wire: WireConnection, settings: [(UInt16, UInt32)] = []) throws {
    self.wire = wire
    nghttp2_hd_inflate_new(&inflater)
    let preface = try wire.read(HTTP2Connection.preface.count)
    guard preface == HTTP2Connection.preface else {
      throw TestFailure("no preface: \(String(decoding: preface, as: UTF8.self))")
    }
    try send(FrameType.settings, payload: HTTP2Connection.settings(settings))
  }

  /// On a connection whose preface has been sent by other means.
  public init(speaking wire: WireConnection) {
    self.wire = wire
    nghttp2_hd_inflate_new(&inflater)
  }

  deinit { nghttp2_hd_inflate_del(inflater) }

  // MARK: Sending

  public static func settings(_ entries: [(UInt16, UInt32)]) -> [UInt8] {
    entries.flatMap { octets($0.0) + octets($0.1) }
  }

  public static func octets(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
  }

  public static func frame(
    _ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, payload: [UInt8] = []
  ) -> [UInt8] {
    octets(UInt32(payload.count))[1...] + [type, flags] + octets(stream) + payload
  }

  public func send(
    _ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, payload: [UInt8] = []
  ) throws {
    try wire.send(HTTP2Connection.frame(type, flags: flags, stream: stream, payload: payload))
  }

  /// A header block of literal fields that are never indexed.
  public static func block(_ fields: [(String, String)]) -> [UInt8] {
    fields.flatMap { [0x10] + string($0.0) + string($0.1) }
  }

  private static func string(_ text: String) -> [UInt8] {
    let octets = Array(text.utf8)
    guard octets.count >= 127 else { return [UInt8(octets.count)] + octets }
    var length = [UInt8(127)]
    var rest = octets.count - 127
    while rest >= 128 {
      length.append(UInt8(rest & 127 | 128))
      rest >>= 7
    }
    return length + [UInt8(rest)] + octets
  }

  public static func requestFields(
    _ method: String, _ path: String, _ more: [(String, String)] = []
  ) -> [(String, String)] {
    [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)] + more
  }

  public func request(
    _ stream: UInt32, _ method: String = "GET", _ path: String, _ more: [(String, String)] = [],
    ends: Bool = true
  ) throws {
    try send(
      FrameType.headers,
      flags: FrameFlags.endHeaders | (ends ? FrameFlags.endStream : 0), stream: stream,
      payload: HTTP2Connection.block(HTTP2Connection.requestFields(method, path, more)))
  }

  /// Content, in frames of at most 16 KiB.
  public func content(_ stream: UInt32, _ octets: [UInt8], ends: Bool = true) throws {
    var rest = octets[...]
    repeat {
      let piece = rest.prefix(16384)
      rest = rest.dropFirst(piece.count)
      try send(
        FrameType.content, flags: ends && rest.isEmpty ? FrameFlags.endStream : 0, stream: stream,
        payload: Array(piece))
    } while !rest.isEmpty
  }

  public func window(_ stream: UInt32, _ octets: UInt32) throws {
    try send(
      FrameType.windowUpdate, stream: stream, payload: HTTP2Connection.octets(octets))
  }

  // MARK: Receiving

  /// The next frame, whatever it is.
  public func rawNext() throws -> Frame {
    let header = try wire.read(9)
    let length = Int(header[0]) << 16 | Int(header[1]) << 8 | Int(header[2])
    return Frame(
      type: header[3], flags: header[4],
      stream: header[5..<9].reduce(0) { $0 << 8 | UInt32($1) } & 0x7FFF_FFFF,
      payload: try wire.read(length))
  }

  /// The next frame; settings are acknowledged on the way, and not returned.
  public func next() throws -> Frame {
    while true {
      let frame = try rawNext()
      if frame.type == FrameType.settings {
        guard frame.flags & FrameFlags.acknowledgement == 0 else { continue }
        // The other side may be gone already, with its last frames not read yet.
        try? send(FrameType.settings, flags: FrameFlags.acknowledgement)
        continue
      }
      if frame.type == FrameType.goAway { goAway = frame }
      if frame.type == FrameType.content, !frame.payload.isEmpty, givesWindow {
        try? window(0, UInt32(frame.payload.count))
      }
      return frame
    }
  }

  private func next(of stream: UInt32) throws -> Frame {
    if let index = kept.firstIndex(where: { $0.stream == stream }) { return kept.remove(at: index) }
    while true {
      let frame = try next()
      if frame.stream == stream, frame.type != FrameType.windowUpdate { return frame }
      keep(frame)
    }
  }

  /// For `answer`, which has not been asked for that stream yet. Field lists must be decoded in the
  /// order they came.
  public func keep(_ frame: Frame) {
    if [FrameType.headers, FrameType.content, FrameType.reset].contains(frame.type) {
      kept.append(decoded(frame))
    }
  }

  /// All of one answer; windows are given back as content comes.
  public func answer(_ stream: UInt32) throws -> StreamAnswer {
    var answer = StreamAnswer()
    while true {
      let frame = try next(of: stream)
      switch frame.type {
      case FrameType.headers: try take(decoded(frame), into: &answer)
      case FrameType.content:
        answer.content += frame.payload
        if givesWindow, !frame.payload.isEmpty, !frame.endsStream {
          try? window(stream, UInt32(frame.payload.count))
        }
      case FrameType.reset:
        answer.resetCode = frame.errorCode
        return answer
      default: continue
      }
      if frame.endsStream { return answer }
    }
  }

  private func take(_ frame: Frame, into answer: inout StreamAnswer) throws {
    let fields = HTTP2Connection.fields(frame.payload)
    let status = fields.first { $0.0 == ":status" }.flatMap { Int($0.1) }
    if let status, status < 200 {
      answer.informational.append(status)
      return
    }
    guard let status else {
      answer.trailers += fields.map { (name: $0.0, value: $0.1) }
      return
    }
    guard answer.status == 0 else { throw TestFailure("two answers: \(answer), then \(status)") }
    answer.status = status
    answer.fields += fields.filter { !$0.0.hasPrefix(":") }.map { (name: $0.0, value: $0.1) }
  }

  /// The field list of a HEADERS frame that `next` returned; each may be asked for once, in order.
  public func fields(of frame: Frame) -> [(name: String, value: String)] {
    HTTP2Connection.fields(decoded(frame).payload).map { (name: $0.0, value: $0.1) }
  }

  /// A HEADERS frame with its block replaced by `name NUL value NUL …`: decoded once, in order.
  private func decoded(_ frame: Frame) -> Frame {
    guard frame.type == FrameType.headers, !frame.isDecoded else { return frame }
    var fields: [UInt8] = []
    var rest = frame.payload[...]
    while true {
      var field = nghttp2_nv()
      var flags: Int32 = 0
      let taken = rest.withUnsafeBufferPointer {
        nghttp2_hd_inflate_hd2(inflater, &field, &flags, $0.baseAddress, $0.count, 1)
      }
      guard taken >= 0 else { break }
      rest = rest.dropFirst(taken)
      if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
        fields += UnsafeBufferPointer(start: field.name, count: field.namelen) + [0]
        fields += UnsafeBufferPointer(start: field.value, count: field.valuelen) + [0]
      }
      if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 { break }
    }
    nghttp2_hd_inflate_end_headers(inflater)
    return Frame(
      type: frame.type, flags: frame.flags, stream: frame.stream, payload: fields, isDecoded: true)
  }

  private static func fields(_ decoded: [UInt8]) -> [(String, String)] {
    let parts = decoded.split(separator: 0, omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    return stride(from: 0, to: parts.count - 1, by: 2).map { (parts[$0], parts[$0 + 1]) }
  }

  /// Everything until the connection ends: the last GOAWAY's code, or `nil` where none came.
  public func untilEnd() throws -> UInt32? {
    do { while true { _ = try next() } } catch WireError.endedEarly(_) {
    } catch WireError.reset {}
    return goAway?.errorCode
  }
}
