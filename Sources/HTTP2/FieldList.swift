import CNghttp2
import HTTP
import Primitives

/// A rendered HTTP/1 head as the field list that nghttp2 takes.
///
/// Room for it is allocated once for a worker. The list points into the rendered head, which
/// nghttp2 copies from when the head is submitted.
final class FieldList {
  private let list: UnsafeMutablePointer<nghttp2_nv>
  private static let capacity = Fields.hardLimit + 64
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
    while start < head.count, head[start] != UInt8(ascii: "\r") {
      guard let end = head.firstIndex(of: UInt8(ascii: "\n"), from: start),
        let colon = head.firstIndex(of: UInt8(ascii: ":"), from: start), count < Self.capacity
      else { return false }
      let name = head.slice(start, colon)
      name.lowercaseInPlace()
      start = end + 1
      let value = head.slice(colon + 1, end - 1).trimmed()
      // Not even where a route's edits ask for them (RFC 9113 §8.2.2).
      let field = FieldName(name)
      if FieldSet.hopByHop.contains(field), field != .te || !value.equals("trailers") { continue }
      // Said by `:authority`; and of a tunnel by its stream.
      if field == .host || field == .secWebsocketKey { continue }
      append(name, value)
    }
    return true
  }

  private func append(_ name: ByteView, _ value: ByteView) {
    (list + count).initialize(
      to: nghttp2_nv(
        name: UnsafeMutablePointer(mutating: name.pointer),
        value: UnsafeMutablePointer(mutating: value.pointer), namelen: name.count,
        valuelen: value.count, flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
    count += 1
  }
}
