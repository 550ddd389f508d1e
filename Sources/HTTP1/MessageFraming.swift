import HTTP
import Primitives

/// What a request's fields say about the message and its connection (RFC 9112 §6 and §9); applied
/// once the whole head has been parsed.
enum RequestRules {
  @inline(__always)
  static func apply(to head: inout RequestHead) throws(HeadFault) {
    try applyHost(to: &head)
    if head.version == .http11, head.fields.present.isDisjoint(with: special) {
      head.wantsKeepAlive = true
      return
    }
    head.framing = try framing(of: head)
    applyConnection(to: &head)
    try applyExpect(to: &head)
  }

  /// What the rules behind the first are about: most requests have none of them.
  @inline(__always)
  private static var special: FieldSet {
    FieldSet(.connection, .contentLength, .expect, .te, .transferEncoding)
  }

  /// Rule 12: exactly one valid Host on HTTP/1.1; an absolute form's authority replaces it.
  @inline(__always)
  private static func applyHost(to head: inout RequestHead) throws(HeadFault) {
    guard let index = head.fields.firstIndex(of: .host) else {
      if head.version == .http11 { throw .bad("no Host field") }
      return
    }
    if head.fields.hasSeveral(.host) { throw .bad("two Host fields") }
    let range = head.fields[index].valueRange
    let value = head.bytes.slice(range)
    let host = try Authority.normalize(value)
    if head.targetForm != .absolute {
      head.authorityRange = range
      head.hostRange = ByteRange(Int(range.start), Int(range.start) + Int(host.end))
    }
  }

  /// Rules 1–4.
  @inline(__always)
  private static func framing(of head: borrowing RequestHead) throws(HeadFault) -> BodyFraming {
    if head.fields.contains(.transferEncoding) {
      if head.version == .http10 { throw .bad("Transfer-Encoding in HTTP/1.0") }
      if head.fields.contains(.contentLength) {
        throw .bad("both Content-Length and Transfer-Encoding")
      }
      try ContentFraming.requireChunked(head.fields, head.bytes)
      return .chunked
    }
    guard head.fields.contains(.contentLength) else { return .none }
    let length = try ContentFraming.contentLength(head.fields, head.bytes) ?? 0
    return length == 0 ? .none : .length(length)
  }

  @inline(__always)
  private static func applyConnection(to head: inout RequestHead) {
    let options = ConnectionOptions(head.fields, head.bytes)
    head.wantsKeepAlive =
      head.version == .http11 ? !options.hasClose : options.hasKeepAlive && !options.hasClose
    head.hasNominations = options.hasNominations
    head.wantsUpgrade =
      head.version == .http11 && options.hasUpgrade && head.fields.contains(.upgrade)
    if head.fields.contains(.te), head.version == .http11 { applyTE(to: &head) }
  }

  private static func applyTE(to head: inout RequestHead) {
    var index = head.fields.firstIndex(of: .te)
    while let line = index {
      var members = ListMembers(head.value(line))
      while let member = members.next() {
        if member.equalsLowercased("trailers") { head.acceptsTrailers = true }
      }
      index = head.fields.firstIndex(of: .te, from: line + 1)
    }
  }

  /// Rule 19; RFC 9110 §10.1.1 has HTTP/1.0 requests' expectations ignored.
  @inline(__always)
  private static func applyExpect(to head: inout RequestHead) throws(HeadFault) {
    guard let index = head.fields.firstIndex(of: .expect) else { return }
    guard head.value(index).equalsLowercased("100-continue"),
      !head.fields.hasSeveral(.expect)
    else { throw HeadFault(417, "only 100-continue can be expected") }
    head.expectsContinue = head.version == .http11 && head.framing != .none
  }
}

/// What a response's status and fields say (RFC 9112 §6.3, rule 24). Every fault becomes 502.
enum ResponseRules {
  @inline(__always)
  static func apply(to head: inout ResponseHead, isHead: Bool) throws(HeadFault) {
    let hasCoding = head.fields.contains(.transferEncoding)
    let length = try ContentFraming.contentLength(head.fields, head.bytes)
    if hasCoding {
      if head.version == .http10 { throw .bad("Transfer-Encoding in HTTP/1.0") }
      if length != nil { throw .bad("both Content-Length and Transfer-Encoding") }
      try ContentFraming.requireChunked(head.fields, head.bytes)
    }
    let options = ConnectionOptions(head.fields, head.bytes)
    head.wantsKeepAlive =
      head.version == .http11 ? !options.hasClose : options.hasKeepAlive && !options.hasClose
    head.hasNominations = options.hasNominations
    if isHead || head.status < 200 || head.status == 204 || head.status == 304 {
      head.framing = .none
    } else if hasCoding {
      head.framing = .chunked
    } else if let length {
      head.framing = length == 0 ? .none : .length(length)
    } else {
      head.framing = .untilClose
      head.wantsKeepAlive = false
    }
  }
}

/// The two fields that say where a message ends; the same rules for requests and responses.
enum ContentFraming {
  /// Exactly one line that says `chunked`. 501 for one coding weir does not know, else 400.
  static func requireChunked(
    _ fields: borrowing Fields, _ bytes: ByteView
  ) throws(HeadFault) {
    guard let index = fields.firstIndex(of: .transferEncoding),
      !fields.hasSeveral(.transferEncoding)
    else { throw .bad("more than one Transfer-Encoding") }
    let value = bytes.slice(fields[index].valueRange)
    if value.equalsLowercased("chunked") { return }
    if !value.isEmpty, value.endOfToken(from: 0) == value.count {
      throw HeadFault(501, "unknown transfer coding")
    }
    throw .bad("malformed Transfer-Encoding")
  }

  /// The length, where given; equal duplicates are one (rule 4).
  @inline(__always)
  static func contentLength(
    _ fields: borrowing Fields, _ bytes: ByteView
  ) throws(HeadFault) -> Int? {
    guard var index = fields.firstIndex(of: .contentLength) else { return nil }
    guard let length = bytes.slice(fields[index].valueRange).decimal else {
      throw .bad("malformed Content-Length")
    }
    while fields.hasSeveral(.contentLength),
      let next = fields.firstIndex(of: .contentLength, from: index + 1)
    {
      guard bytes.slice(fields[next].valueRange).decimal == length else {
        throw .bad("differing Content-Length fields")
      }
      index = next
    }
    return length
  }
}

/// The members of all `Connection` fields that weir acts on.
struct ConnectionOptions {
  var hasClose = false
  var hasKeepAlive = false
  var hasUpgrade = false
  /// Other field names are nominated as hop-by-hop.
  var hasNominations = false

  @inline(__always)
  init(_ fields: borrowing Fields, _ bytes: ByteView) {
    if fields.contains(.connection) { read(fields, bytes) }
  }

  private mutating func read(_ fields: borrowing Fields, _ bytes: ByteView) {
    var index = fields.firstIndex(of: .connection)
    while let line = index {
      var members = ListMembers(bytes.slice(fields[line].valueRange))
      while let member = members.next() {
        if member.equalsLowercased("close") {
          hasClose = true
        } else if member.equalsLowercased("keep-alive") {
          hasKeepAlive = true
        } else if member.equalsLowercased("upgrade") {
          hasUpgrade = true
        } else {
          hasNominations = true
        }
      }
      index = fields.firstIndex(of: .connection, from: line + 1)
    }
  }
}
