import CNghttp2
import HTTP
import Primitives

/// A rendered HTTP/1 head as the field list that nghttp2 takes.
///
/// Room for it is allocated once for a worker. The list points into the rendered head, whose values
/// nghttp2 copies when the head is submitted. Of the names it copies only those that weir has not
/// got itself, in lower case and for as long as any session of the worker.
final class FieldList {
  private let list: UnsafeMutablePointer<nghttp2_nv>
  private var fields = Fields()
  private static let capacity = Fields.hardLimit + 64
  private static let longestLine = 1 << 24
  /// Other values in each request: in the peers' tables they would only take the place of those
  /// that come again, and each search would go through all of them (RFC 7541 §6.2.3).
  private static var unique: FieldSet { FieldSet(.xRequestId, .traceparent) }
  private(set) var count = 0

  /// By the number of a name: what its lines have in common. No length: one that is not sent, or
  /// not without a look at it.
  private let known: UnsafeMutablePointer<nghttp2_nv>
  /// One after the other, what `known` points to.
  private let names: UnsafeMutablePointer<UInt8>
  private static let names = 64
  private static let longestName = 32

  init() {
    list = .allocate(capacity: FieldList.capacity)
    known = .allocate(capacity: FieldList.names)
    known.initialize(repeating: nghttp2_nv(), count: FieldList.names)
    names = .allocate(capacity: FieldList.names * FieldList.longestName)
    for name in FieldName.allCases where !FieldList.withheld.contains(name) && name != .other {
      let number = Int(name.rawValue)
      var text = ByteSink(
        base: names + number * FieldList.longestName, capacity: FieldList.longestName)
      text.append(name.text)
      precondition(!text.overflowed, "a name longer than there is room for")
      text.view.lowercaseInPlace()
      known[number].name = names + number * FieldList.longestName
      known[number].namelen = text.count
      known[number].flags = FieldList.keptName
      if FieldList.unique.contains(name) {
        known[number].flags |= UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue)
      }
    }
  }

  deinit {
    list.deallocate()
    known.deallocate()
    names.deallocate()
  }

  private static let keptName = UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue)
  /// Said by `:authority`; of a tunnel by its stream; and what not even a route's edits can ask for
  /// (RFC 9113 §8.2.2), but for one value of TE.
  private static var withheld: FieldSet {
    FieldSet.hopByHop.union(FieldSet(.host, .secWebsocketKey, .te))
  }

  var pointer: UnsafePointer<nghttp2_nv> { UnsafePointer(list) }

  /// Reads a response's head, whose names become lower case where they stand (RFC 9113 §8.2). False
  /// where it has too many lines. The head is weir's own: that it is well-formed is not a question.
  func readResponse(_ head: ByteView) -> Bool {
    count = 0
    append(":status", head.slice(9, 12))
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
      append(":method", head.slice(0, methodEnd))
    } else {
      append(":method", ByteView("CONNECT"))
      append(":protocol", tunnel)
    }
    append(":scheme", isSecure ? ByteView("https") : ByteView("http"))
    append(":authority", head.slice(colon + 1, hostEnd - 1).trimmed())
    append(":path", head.slice(methodEnd + 1, targetEnd))
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

  /// For the first head of a connection: the names of what is never put into the peer's table get
  /// there once, with a value that nobody will ask for again, and need not be spelt from then on.
  func introduceNames() {
    for index in 0..<count { list[index].flags &= ~UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) }
  }

  private func readLines(_ head: ByteView, from first: Int) -> Bool {
    var start = first
    while true {
      let (outcome, end) = fields.scan(
        head, from: start, maxFields: Fields.hardLimit, maxFieldBytes: Self.longestLine)
      guard count + fields.count <= Self.capacity else { return false }
      appendLines(of: head)
      switch outcome {
      // Trailer lines have no blank line behind them.
      case .complete, .partial: return true
      case .tooMany: start = end
      case .bareCR, .badName, .badValue, .longLine: return false
      }
    }
  }

  private func appendLines(of head: ByteView) {
    var next = list + count
    for index in 0..<fields.count {
      let field = fields[index]
      let kind = known + Int(field.name.rawValue)
      guard kind.pointee.namelen > 0 else {
        if appendUncommon(field, of: head, at: next) { next += 1 }
        continue
      }
      let value = head.slice(field.valueRange)
      next.initialize(to: kind.pointee)
      next.pointee.value = UnsafeMutablePointer(mutating: value.pointer)
      next.pointee.valuelen = value.count
      next += 1
    }
    count = next - list
  }

  /// False where the line is not sent.
  private func appendUncommon(
    _ field: Field, of head: ByteView, at place: UnsafeMutablePointer<nghttp2_nv>
  ) -> Bool {
    let value = head.slice(field.valueRange)
    switch field.name {
    case .other: break
    case .te where value.equals("trailers"): break
    default: return false
    }
    let name = head.slice(field.nameRange)
    name.lowercaseInPlace()
    place.initialize(to: FieldList.entry(name, value, flags: 0))
    return true
  }

  /// `name` is a constant.
  private func append(_ name: StaticString, _ value: ByteView) {
    (list + count).initialize(
      to: FieldList.entry(ByteView(name), value, flags: FieldList.keptName))
    count += 1
  }

  private static func entry(_ name: ByteView, _ value: ByteView, flags: UInt8) -> nghttp2_nv {
    nghttp2_nv(
      name: UnsafeMutablePointer(mutating: name.pointer),
      value: UnsafeMutablePointer(mutating: value.pointer), namelen: name.count,
      valuelen: value.count, flags: flags)
  }
}
