import HTTP
import Primitives

/// What is kept of a response's head: status line and end-to-end fields, ending in the blank line,
/// so that the scanner of heads reads it again.
///
/// Not kept are fields of one connection (RFC 9111 §3.1), what authenticates to a proxy, Age
/// (made anew), Content-Length (an object knows its length), Set-Cookie unless the rule allows it,
/// tags unless clients may see them, and Surrogate-Control where it was obeyed. A response without
/// Date is given one (RFC 9110 §6.6.1).
public enum StoredHead {
  /// Values within the head, in octets from its first.
  public struct Layout: Sendable, Equatable, BitwiseCopyable {
    /// With the blank line; what is added to the fields goes in before its two octets.
    public var length: Int
    public var status: Int
    /// Behind the status line.
    public var fieldsStart: Int
    /// Empty where the field is absent.
    public var etag: ByteRange = .empty
    public var lastModified: ByteRange = .empty
    public var contentType: ByteRange = .empty
    /// Seconds since the Unix epoch, from Date.
    public var dateSeconds: Int64
  }

  /// Appends the head that is kept of `head`. `wallSeconds`: when it came. `nil` where the sink
  /// is too small.
  public static func append(
    _ head: borrowing ResponseHead, rule: borrowing CompiledCacheRule, wallSeconds: Int64,
    to sink: inout ByteSink
  ) -> Layout? {
    let start = sink.count
    appendStatusLine(head.status, head.bytes.slice(head.reasonRange), to: &sink)
    let fieldsStart = sink.count - start
    var hasDate = false
    for index in 0..<head.fields.count where isKept(index, of: head, rule) {
      hasDate = hasDate || head.fields[index].name == .date
      sink.append(head.bytes.slice(head.fields[index].lineRange))
    }
    return finish(
      from: start, hasDate: hasDate, status: head.status, fieldsStart: fieldsStart, wallSeconds,
      &sink)
  }

  /// Appends `stored` with its fields replaced by those of a 304 (RFC 9111 §3.2); `nil` where
  /// the sink is too small or `stored` is no head of `append`.
  ///
  /// What describes the stored content stays as it is: Content-Encoding, Content-Length,
  /// Content-Range (and Transfer-Encoding, which is never stored).
  public static func merge(
    _ stored: ByteView, with head: borrowing ResponseHead, rule: borrowing CompiledCacheRule,
    wallSeconds: Int64, to sink: inout ByteSink
  ) -> Layout? {
    var old = ResponseHead()
    guard load(stored, into: &old) else { return nil }
    let start = sink.count
    let fieldsStart = old.fields.count > 0 ? Int(old.fields[0].lineRange.start) : stored.count - 2
    sink.append(stored.slice(0, fieldsStart))
    for index in 0..<old.fields.count where !isReplaced(index, of: old, by: head, rule) {
      sink.append(stored.slice(old.fields[index].lineRange))
    }
    for index in 0..<head.fields.count where isUpdate(index, of: head, rule) {
      sink.append(head.bytes.slice(head.fields[index].lineRange))
    }
    return finish(
      from: start, hasDate: head.fields.contains(.date), status: old.status,
      fieldsStart: fieldsStart, wallSeconds, &sink)
  }

  /// Ends the head begun at `start`. One without a Date gets that of its arrival
  /// (RFC 9110 §6.6.1).
  private static func finish(
    from start: Int, hasDate: Bool, status: Int, fieldsStart: Int, _ wallSeconds: Int64,
    _ sink: inout ByteSink
  ) -> Layout? {
    if !hasDate {
      sink.append("Date: ")
      HTTPDate.append(max(wallSeconds, 0), to: &sink)
      sink.append("\r\n")
    }
    sink.append("\r\n")
    guard !sink.overflowed else { return nil }
    return layout(
      sink.view.slice(from: start), status: status, fieldsStart: fieldsStart, wallSeconds)
  }

  /// Whether a 304 is about the response with these validators (RFC 9111 §4.3.4). Where it names
  /// an entity tag or a date it has to be the stored one; one that names none, as many backends
  /// answer, is about what was asked for. False: nothing is updated, and the response is fetched
  /// anew.
  public static func isConfirmed(
    by head: borrowing ResponseHead, _ stored: StoredValidators
  ) -> Bool {
    if let etag = head.first(.etag) {
      // Its opaque part alone: compression on the way makes strong tags weak and back.
      return !stored.etag.isEmpty
        && EntityTags.opaque(etag).equals(EntityTags.opaque(stored.etag))
    }
    guard let modified = head.first(.lastModified) else { return true }
    return modified.equals(stored.lastModified)
  }

  /// Reads a stored head again, so that `ResponsePolicy` can judge it or a range of it be found.
  /// False for what `append` did not make.
  public static func load(_ stored: ByteView, into head: inout ResponseHead) -> Bool {
    head.bytes = stored
    head.framing = .none
    head.version = .http11
    head.hasNominations = false
    guard stored.count > 15, stored.hasPrefix("HTTP/1.1 "),
      let status = stored.slice(9, 12).decimal,
      let end = stored.firstIndex(of: UInt8(ascii: "\n"))
    else { return false }
    head.status = status
    head.reasonRange = ByteRange(min(13, end - 1), end - 1)
    let scanned = head.fields.scan(
      stored, from: end + 1, maxFields: Fields.hardLimit, maxFieldBytes: stored.count)
    return scanned.outcome == .complete && scanned.end == stored.count
  }

  // MARK: Details

  private static func appendStatusLine(
    _ status: Int, _ reason: ByteView, to sink: inout ByteSink
  ) {
    sink.append("HTTP/1.1 ")
    sink.append(decimal: status)
    sink.append(" ")
    if reason.isEmpty { sink.append(StatusText.reason(status)) } else { sink.append(reason) }
    sink.append("\r\n")
  }

  /// RFC 9111 §3.1, besides what `Connection` names.
  private static let neverKept = FieldSet.hopByHop.union(
    FieldSet(.age, .contentLength, .proxyAuthenticate, .proxyAuthorization))

  private static func isKept(
    _ index: Int, of head: borrowing ResponseHead, _ rule: borrowing CompiledCacheRule
  ) -> Bool {
    let name = head.fields[index].name
    if neverKept.contains(name) { return false }
    switch name {
    case .setCookie: return rule.storesSetCookie
    case .surrogateControl: return !rule.obeysSurrogateControl
    case .cacheTag, .surrogateKey: return rule.exposesTags
    case .other:
      let octets = head.bytes.slice(head.fields[index].nameRange)
      if octets.equalsLowercased("proxy-authentication-info") { return false }
      if !rule.exposesTags, rule.isTagHeader(octets) { return false }
      return !isNominated(octets, head)
    default: return !isNominated(head.bytes.slice(head.fields[index].nameRange), head)
    }
  }

  private static func isNominated(_ name: ByteView, _ head: borrowing ResponseHead) -> Bool {
    var line = head.fields.firstIndex(of: .connection)
    while let index = line {
      var members = ListMembers(head.value(index))
      while let member = members.next() {
        if member.equalsIgnoringCase(name) { return true }
      }
      line = head.fields.firstIndex(of: .connection, from: index + 1)
    }
    return false
  }

  /// Whether a line of a 304 goes into the stored head.
  private static func isUpdate(
    _ index: Int, of head: borrowing ResponseHead, _ rule: borrowing CompiledCacheRule
  ) -> Bool {
    switch head.fields[index].name {
    case .contentEncoding: return false
    case .other:
      let octets = head.bytes.slice(head.fields[index].nameRange)
      if octets.equalsLowercased("content-range") { return false }
    default: break
    }
    return isKept(index, of: head, rule)
  }

  private static func isReplaced(
    _ index: Int, of old: borrowing ResponseHead, by head: borrowing ResponseHead,
    _ rule: borrowing CompiledCacheRule
  ) -> Bool {
    let field = old.fields[index]
    // Date always changes: to the 304's, or to its arrival.
    if field.name == .date { return true }
    let octets = old.bytes.slice(field.nameRange)
    for other in 0..<head.fields.count {
      guard isUpdate(other, of: head, rule) else { continue }
      let update = head.fields[other]
      guard update.name == field.name else { continue }
      if field.name != .other { return true }
      if head.bytes.slice(update.nameRange).equalsIgnoringCase(octets) { return true }
    }
    return false
  }

  private static func layout(
    _ stored: ByteView, status: Int, fieldsStart: Int, _ wallSeconds: Int64
  ) -> Layout? {
    var head = ResponseHead()
    guard load(stored, into: &head) else { return nil }
    var found = Layout(
      length: stored.count, status: status, fieldsStart: fieldsStart, dateSeconds: wallSeconds)
    found.etag = range(.etag, head)
    found.lastModified = range(.lastModified, head)
    found.contentType = range(.contentType, head)
    if let date = head.first(.date).flatMap({ HTTPDate.parse($0, now: wallSeconds) }) {
      found.dateSeconds = date
    }
    return found
  }

  private static func range(_ name: FieldName, _ head: borrowing ResponseHead) -> ByteRange {
    head.fields.firstIndex(of: name).map { head.fields[$0].valueRange } ?? .empty
  }
}

extension CompiledCacheRule {
  func isTagHeader(_ name: ByteView) -> Bool {
    for index in 0..<tagHeaders.count
    where unsafe tagHeaders[index].pointee.lowercased.view.equalsIgnoringCase(name) {
      return true
    }
    return false
  }
}
