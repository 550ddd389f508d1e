import HTTP
import HTTP1
import Primitives
import TestUnitSupport

/// What a parser said about some bytes.
enum Outcome: Equatable, CustomStringConvertible {
  case incomplete
  case refused(Int)
  case accepted(ParsedHead)

  var description: String {
    switch self {
    case .incomplete: "incomplete"
    case .refused(let status): "\(status)"
    case .accepted(let head): "accepted \(head.length): \(head.summary)"
    }
  }

  var status: Int? { if case .refused(let status) = self { status } else { nil } }
  var head: ParsedHead? { if case .accepted(let head) = self { head } else { nil } }
}

/// An accepted head as plain values.
struct ParsedHead: Equatable {
  var length: Int
  /// Everything the parser found out, as text.
  var summary: String
  var framing: BodyFraming
  /// The head as `HeadWriter` emits it.
  var emitted: [UInt8]
}

/// One kind of head, with its parser.
struct Grammar: Sendable {
  var limits = HeadLimits()
  var isResponse = false
  var isHead = false

  static let request = Grammar()
  static let response = Grammar(isResponse: true)

  /// Parses a copy that is exactly as long as the bytes.
  func parse(_ bytes: [UInt8]) -> Outcome {
    HeldText(bytes).read { view in
      do throws(HeadFault) {
        return try isResponse ? parseResponse(view) : parseRequest(view)
      } catch { return .refused(error.status) }
    }
  }

  private func parseRequest(_ view: ByteView) throws(HeadFault) -> Outcome {
    var head = RequestHead()
    let length = try HeadParser.parseRequest(view, into: &head, limits: limits)
    guard length > 0 else { return .incomplete }
    let summary = """
      \(head.methodName.string) \(head.method) \(head.target.string) \(head.targetForm) \
      \(head.version) host=\(head.host.string) authority=\(head.authority.string) \
      path=\(head.path.string) query=\(head.query.string) routing=\(head.routingPath.string) \
      keep=\(head.wantsKeepAlive) continue=\(head.expectsContinue) \
      trailers=\(head.acceptsTrailers) upgrade=\(head.wantsUpgrade) \
      nominations=\(head.hasNominations) \(head.framing) \(lines(head.fields, head.bytes))
      """
    let version = head.version == .http11 ? "HTTP/1.1" : "HTTP/1.0"
    let start = "\(head.methodName.string) \(head.target.string) \(version)\r\n"
    return .accepted(
      ParsedHead(
        length: length, summary: summary, framing: head.framing,
        emitted: emit(Array(start.utf8), head.fields, head.bytes)))
  }

  private func parseResponse(_ view: ByteView) throws(HeadFault) -> Outcome {
    var head = ResponseHead()
    let length = try HeadParser.parseResponse(view, into: &head, limits: limits, isHead: isHead)
    guard length > 0 else { return .incomplete }
    let summary = """
      \(head.status) \(head.version) \(head.framing) keep=\(head.wantsKeepAlive) \
      nominations=\(head.hasNominations) \(lines(head.fields, head.bytes))
      """
    var start: [UInt8] = Array((head.version == .http11 ? "HTTP/1.1 " : "HTTP/1.0 ").utf8)
    start += Array("\(head.status) ".utf8) + head.bytes.slice(head.reasonRange).array + [13, 10]
    return .accepted(
      ParsedHead(
        length: length, summary: summary, framing: head.framing,
        emitted: emit(start, head.fields, head.bytes)))
  }

  private func lines(_ fields: borrowing Fields, _ bytes: ByteView) -> String {
    (0..<fields.count).map { index in
      let field = fields[index]
      return "[\(field.name) \(bytes.slice(field.nameRange).string)="
        + "\(bytes.slice(field.valueRange).array)]"
    }.joined()
  }

  private func emit(
    _ start: [UInt8], _ fields: borrowing Fields, _ bytes: ByteView
  ) -> [UInt8] {
    var room = [UInt8](repeating: 0, count: bytes.count + start.count + 2)
    return room.withUnsafeMutableBufferPointer { buffer in
      var sink = ByteSink(base: buffer.baseAddress!, capacity: buffer.count)
      sink.append(start)
      fields.copy(of: bytes, dropping: FieldSet(rawValue: 0), mask: FieldMask(), to: &sink)
      sink.append("\r\n")
      return sink.view.array
    }
  }

  /// Feeds `bytes` in steps, asking the parser only when it may have got further, as connections
  /// do. Returns the outcome and how many octets had come by then.
  func feed(_ bytes: [UInt8], steps: (Int) -> Int) -> (outcome: Outcome, after: Int) {
    var known = 0
    var count = 0
    while count < bytes.count {
      count = min(bytes.count, count + steps(count))
      let part = Array(bytes[..<count])
      guard part.withByteView({ HeadParser.mayHaveProgressed($0, known: known) }) else {
        known = count
        continue
      }
      known = count
      let outcome = parse(part)
      if outcome != .incomplete { return (outcome, count) }
    }
    return (.incomplete, count)
  }
}
