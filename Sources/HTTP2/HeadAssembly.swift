import HTTP
import Primitives

/// Turns one header block, field by field, into a head in the form of HTTP/1.1, which then passes
/// the same strict parser as every other request: what HTTP/1 could not say cannot be smuggled
/// through HTTP/2 (safety rules 33 and 34; RFC 9113 §10.3).
///
/// nghttp2 has checked order, names and connection-specific fields (RFC 9113 §8.2 and §8.3) before
/// it hands a field over. The values of pseudo-fields are kept in front of the head, because the
/// request line needs all of them.
struct HeadAssembly: BitwiseCopyable {
  enum Fault: UInt8, BitwiseCopyable {
    case none
    /// Larger than a head may be: answered with 431, and decoded on to keep the tables in step.
    case overLimit
    /// Contradicts itself: the stream is reset with PROTOCOL_ERROR.
    case malformed
  }

  /// RFC 9113 §8.2.2.
  private static let forbidden = FieldSet(
    .transferEncoding, .connection, .upgrade, .keepAlive, .proxyConnection)
  /// Bits of the lengths that those names have; and the ones that a request's are looked at for,
  /// too. Most names need not be looked up.
  private static let forbiddenLengths: UInt64 = 1 << 7 | 1 << 10 | 1 << 16 | 1 << 17
  private static let noticedLengths = forbiddenLengths | 1 << 4 | 1 << 6 | 1 << 14

  @inline(__always)
  private static func mayBe(_ name: ByteView, ofLengths lengths: UInt64) -> Bool {
    name.count < 64 && lengths >> UInt64(truncatingIfNeeded: name.count) & 1 == 1
  }

  /// Octets of fields that are decoded for nothing before the connection is cut.
  static let patienceBytes = 64 * 1024

  enum Kind: UInt8, BitwiseCopyable {
    case request, response, trailers
    /// A further block of a response: its final head, or its trailers, as the first field tells.
    case responseOrTrailers
  }

  private(set) var kind: Kind
  var fault = Fault.none
  /// Decoded octets of names and values, kept or not.
  private(set) var decoded = 0
  private var fieldCount = 0
  private var method = ByteRange.empty
  private var path = ByteRange.empty
  private var authority = ByteRange.empty
  /// Of an extended CONNECT (RFC 8441).
  private var tunnelProtocol = ByteRange.empty
  /// Where the head begins, behind the pseudo-fields; 0 before the request line is written.
  private(set) var start = 0
  private var crumbs = 0
  private var hasLength = false
  private var hasHost = false

  init(_ kind: Kind = .request) { self.kind = kind }

  /// Takes one field. `sink` holds everything since the block began.
  mutating func append(
    _ name: ByteView, _ value: ByteView, to sink: inout ByteSink, limits: HeadLimits
  ) {
    decoded += name.count + value.count
    fieldCount += 1
    if decoded > limits.maxBytes || fieldCount > limits.maxFields
      || name.count + value.count + 2 > limits.maxFieldBytes
    {
      if fault == .none { fault = .overLimit }
    }
    guard fault == .none else { return }
    let isPseudo = name.count > 0 && name[0] == UInt8(ascii: ":")
    if kind == .responseOrTrailers { kind = isPseudo ? .response : .trailers }
    switch kind {
    case .request where isPseudo: appendPseudo(name, value, to: &sink)
    case .request:
      if start == 0 { writeRequestLine(to: &sink) }
      appendField(name, value, to: &sink)
    case .response where isPseudo: appendStatusLine(name, value, to: &sink)
    case .response
    where HeadAssembly.mayBe(name, ofLengths: HeadAssembly.forbiddenLengths)
      && HeadAssembly.forbidden.contains(FieldName(name)):
      fault = .malformed
    default: HeadAssembly.appendLine(name, value, to: &sink)
    }
    if sink.overflowed, fault == .none { fault = .overLimit }
  }

  /// `:status` is the only one that a response has (RFC 9113 §8.3.2), and it comes first.
  private mutating func appendStatusLine(
    _ name: ByteView, _ value: ByteView, to sink: inout ByteSink
  ) {
    guard name.equals(":status"), sink.count == 0, value.count == 3, let status = value.decimal
    else {
      fault = .malformed
      return
    }
    sink.append("HTTP/1.1 ")
    sink.append(value)
    sink.append(" ")
    sink.append(StatusText.reason(status))
    sink.append("\r\n")
  }

  private mutating func appendPseudo(_ name: ByteView, _ value: ByteView, to sink: inout ByteSink) {
    let from = sink.count
    sink.append(value)
    let range = ByteRange(from, sink.count)
    if name.equals(":method") {
      method = range
    } else if name.equals(":path") {
      path = range
    } else if name.equals(":authority") {
      authority = range
    } else if name.equals(":protocol") {
      tunnelProtocol = range
    } else if !name.equals(":scheme") {
      fault = .malformed
    }
  }

  /// The request asks for a tunnel: it is written as HTTP/1 would ask for one (RFC 8441 §5).
  var isTunnel: Bool { !tunnelProtocol.isEmpty }

  private mutating func writeRequestLine(to sink: inout ByteSink) {
    // At least one octet stands in front, so that 0 can mean "not yet".
    if sink.count == 0 { sink.append(byte: 0) }
    start = sink.count
    if isTunnel {
      if !sink.view.slice(method).equals("CONNECT") { fault = .malformed }
      sink.append("GET")
    } else {
      sink.append(sink.view.slice(method))
    }
    sink.append(byte: UInt8(ascii: " "))
    // CONNECT has no path; its target is refused by the parser's rules, not by accident.
    sink.append(sink.view.slice(path.isEmpty ? authority : path))
    sink.append(" HTTP/1.1\r\n")
    if isTunnel {
      sink.append("connection: upgrade\r\nupgrade: ")
      sink.append(sink.view.slice(tunnelProtocol))
      sink.append("\r\n")
    }
    guard !authority.isEmpty else { return }
    sink.append("host: ")
    sink.append(sink.view.slice(authority))
    sink.append("\r\n")
  }

  private mutating func appendField(_ name: ByteView, _ value: ByteView, to sink: inout ByteSink) {
    guard HeadAssembly.mayBe(name, ofLengths: HeadAssembly.noticedLengths) else {
      return HeadAssembly.appendLine(name, value, to: &sink)
    }
    switch FieldName(name) {
    case .host:
      // RFC 9113 §8.3.1: one that differs from :authority makes the request malformed.
      if authority.isEmpty {
        if hasHost { fault = .malformed }
        hasHost = true
      } else {
        if !value.equalsIgnoringCase(sink.view.slice(authority)) { fault = .malformed }
        return
      }
    case .cookie: crumbs += 1
    // Content has no place in a tunnel, and the key is weir's own.
    case .contentLength where isTunnel: fault = .malformed
    case .secWebsocketKey where isTunnel: return
    case let name where HeadAssembly.forbidden.contains(name): fault = .malformed
    case .contentLength: hasLength = true
    default: break
    }
    HeadAssembly.appendLine(name, value, to: &sink)
  }

  private static func appendLine(_ name: ByteView, _ value: ByteView, to sink: inout ByteSink) {
    sink.append(name)
    sink.append(": ")
    sink.append(value)
    sink.append("\r\n")
  }

  /// The block is complete. Content of unknown length is marked as HTTP/1 would mark it.
  mutating func finish(endsStream: Bool, to sink: inout ByteSink) {
    guard fault == .none else { return }
    if kind == .request {
      if start == 0 { writeRequestLine(to: &sink) }
      if crumbs > 1 { joinCrumbs(&sink) }
      if !endsStream, !hasLength, !isTunnel { sink.append("transfer-encoding: chunked\r\n") }
    }
    sink.append("\r\n")
    if sink.overflowed { fault = .overLimit }
  }

  /// RFC 9113 §8.2.3: cookie fields become one again before they leave HTTP/2.
  private func joinCrumbs(_ sink: inout ByteSink) {
    let head = sink.view.slice(from: start).array
    sink.truncate(to: start)
    head.withByteView { head in
      var line = 0
      while line < head.count {
        let end = (head.firstIndex(of: UInt8(ascii: "\n"), from: line) ?? head.count - 1) + 1
        if !HeadAssembly.isCookie(head.slice(line, end)) { sink.append(head.slice(line, end)) }
        line = end
      }
      sink.append("cookie: ")
      var isFirst = true
      line = 0
      while line < head.count {
        let end = (head.firstIndex(of: UInt8(ascii: "\n"), from: line) ?? head.count - 1) + 1
        if HeadAssembly.isCookie(head.slice(line, end)) {
          if !isFirst { sink.append("; ") }
          isFirst = false
          sink.append(head.slice(line + "cookie: ".utf8.count, end - 2))
        }
        line = end
      }
      sink.append("\r\n")
    }
  }

  private static func isCookie(_ line: ByteView) -> Bool { line.hasPrefix("cookie: ") }
}
