import CNghttp2
import HTTP
import Primitives

/// A rendered HTTP/1 head as the field list that nghttp2 takes.
///
/// Room for it is allocated once for a worker. The list points into the rendered head, which
/// nghttp2 copies from when the head is submitted.
final class FieldList {
  private let list: UnsafeMutablePointer<nghttp2_nv>
  private var fields = Fields()
  private static let capacity = Fields.hardLimit + 64
  private static let longestLine = 1 << 24
  /// Other values in each request: in the peers' tables they would only take the place of those
  /// that come again, and each search would go through all of them (RFC 7541 §6.2.3).
  private static var unique: FieldSet { FieldSet(.xRequestId, .traceparent) }
  private(set) var count = 0

  init() { list = .allocate(capacity: FieldList.capacity) }

  deinit { list.deallocate() }

  var pointer: UnsafePointer<nghttp2_nv> { UnsafePointer(list) }

  /// Reads a response's head, whose names become lower case where they stand (RFC 9113 §8.2). False
  /// where it has too many lines. The head is weir's own: that it is well-formed is not a question.
  func readResponse(_ head: ByteView) -> Bool {
    count = 0
    append(ByteView(":status"), head.slice(9, 12))
    return readLines(head, from: (head.firstIndex(of: UInt8(ascii: "\n")) ?? head.count - 1) + 1)
  }

  /// Reads a request's head in the same way; its first field line is `Host`. `isTunnel`: what it
  /// asks for by `Upgrade` becomes an extended CONNECT (RFC 8441 §5).
  func readRequest(_ head: ByteView, isSecure: Bool, isTunnel: Bool) -> Bool {
    count = 0
    let space = UInt8(ascii: " ")
    let lineEnd = head.firstIndex(of: UInt8(ascii: "\n")) ?? 0
    guard let methodEnd = head.firstIndex(of: space),
      let targetEnd = head.firstIndex(of: space, from: methodEnd + 1), targetEnd < lineEnd,
      let hostEnd = head.firstIndex(of: UInt8(ascii: "\n"), from: lineEnd + 1),
      let colon = head.firstIndex(of: UInt8(ascii: ":"), from: lineEnd), colon < hostEnd
    else { return false }
    let tunnel = isTunnel ? upgrade(in: head, from: hostEnd + 1) : .empty
    if tunnel.isEmpty {
      append(ByteView(":method"), head.slice(0, methodEnd))
    } else {
      append(ByteView(":method"), ByteView("CONNECT"))
      append(ByteView(":protocol"), tunnel)
    }
    append(ByteView(":scheme"), isSecure ? ByteView("https") : ByteView("http"))
    append(ByteView(":authority"), head.slice(colon + 1, hostEnd - 1).trimmed())
    append(ByteView(":path"), head.slice(methodEnd + 1, targetEnd))
    return readLines(head, from: hostEnd + 1)
  }

  /// The protocol that a request upgrades to.
  private func upgrade(in head: ByteView, from first: Int) -> ByteView {
    var start = first
    while let end = head.firstIndex(of: UInt8(ascii: "\n"), from: start), end > start + 1 {
      let line = head.slice(start, end - 1)
      let name = ByteView("upgrade:")
      if line.count > name.count, line.slice(0, name.count).equalsIgnoringCase(name) {
        return line.slice(from: name.count).trimmed()
      }
      start = end + 1
    }
    return .empty
  }

  /// Reads trailer lines in the same way. False where there are none, too.
  func readTrailers(_ lines: ByteView) -> Bool {
    count = 0
    return readLines(lines, from: 0) && count > 0
  }

  private func readLines(_ head: ByteView, from first: Int) -> Bool {
    var start = first
    while true {
      let (outcome, end) = fields.scan(
        head, from: start, maxFields: Fields.hardLimit, maxFieldBytes: Self.longestLine)
      guard count + fields.count <= Self.capacity else { return false }
      for index in 0..<fields.count { append(fields[index], of: head) }
      switch outcome {
      // Trailer lines have no blank line behind them.
      case .complete, .partial: return true
      case .tooMany: start = end
      case .bareCR, .badName, .badValue, .longLine: return false
      }
    }
  }

  private func append(_ field: Field, of head: ByteView) {
    let value = head.slice(field.valueRange)
    switch field.name {
    // Said by `:authority`; and of a tunnel by its stream.
    case .host, .secWebsocketKey: return
    case .te where value.equals("trailers"): break
    // Not even where a route's edits ask for them (RFC 9113 §8.2.2).
    default: if FieldSet.hopByHop.contains(field.name) { return }
    }
    let name = head.slice(field.nameRange)
    name.lowercaseInPlace()
    append(name, value, isUnique: Self.unique.contains(field.name))
  }

  private func append(_ name: ByteView, _ value: ByteView, isUnique: Bool = false) {
    let flags = isUnique ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE
    (list + count).initialize(
      to: nghttp2_nv(
        name: UnsafeMutablePointer(mutating: name.pointer),
        value: UnsafeMutablePointer(mutating: value.pointer), namelen: name.count,
        valuelen: value.count, flags: UInt8(flags.rawValue)))
    count += 1
  }
}
