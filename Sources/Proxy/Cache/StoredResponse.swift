import Caching
import HTTP
import HTTP1
import Primitives

/// The heads that clients get with stored responses.
enum StoredResponse {
  enum Form {
    /// All of it; `nil`: how much that is will be known at its end.
    case whole(length: Int?)
    case notModified
    case part(ByteRanges.Part, of: Int)
    case parts(MultipartRanges, contentType: ByteView)
    case unsatisfiable(of: Int)
  }

  struct Context {
    let age: Int
    let status: CacheStatus
    let instance: ByteView
    let sendsChunks: Bool
    let closes: Bool
    let clientIsHTTP10: Bool
    let transportSecurity: ByteView
    /// A finished line where the copy stands in for an answer, or nothing.
    var proxyStatus = ByteView.empty
  }

  /// RFC 9110 §15.4.5: what describes content goes with content.
  private static let notModifiedDrops = FieldSet(
    .contentType, .contentEncoding, .contentLength)

  /// Appends the head for `object`. `head` is room to read the stored one again.
  static func append(
    _ object: StoredObject, _ form: Form, edits: borrowing CompiledEdits,
    head: inout ResponseHead, to sink: inout ByteSink, context: Context
  ) {
    if case .whole(let length) = form, edits.isEmpty, context.transportSecurity.isEmpty {
      // As it is, without its blank line.
      let stored = object.head
      sink.append(stored.slice(0, stored.count - 2))
      appendEnd(object, .whole(length: length), to: &sink, context)
      return
    }
    guard StoredHead.load(object.head, into: &head) else {
      preconditionFailure("a stored head cannot be read again")
    }
    appendEdited(head, form, edits, to: &sink, context)
    appendEnd(object, form, to: &sink, context)
  }

  /// The same for the whole of an object that is fresh, on a connection that is kept. `prefix`: as
  /// `CacheStatusField.hitPrefix` made it.
  @inline(__always)
  static func append(_ hit: CacheHit, prefix: ByteView, to sink: inout ByteSink) {
    let stored = hit.object.head
    sink.write(within: stored.count + prefix.count + 128) { line in
      line.append(stored.slice(0, stored.count - 2))
      line.append("Age: ")
      line.append(decimal: hit.age)
      line.append("\r\nContent-Length: ")
      line.append(decimal: hit.object.contentLength)
      line.append("\r\n")
      line.append(prefix)
      line.append(decimal: hit.ttl)
      line.append("\r\n\r\n")
    }
  }

  private static func appendEdited(
    _ head: borrowing ResponseHead, _ form: Form, _ edits: borrowing CompiledEdits,
    to sink: inout ByteSink, _ context: Context
  ) {
    var drops = FieldSet()
    switch form {
    case .whole:
      HeadWriter.appendStatusLine(
        head.status, reason: head.bytes.slice(head.reasonRange), to: &sink)
    case .notModified:
      HeadWriter.appendStatusLine(304, reason: ByteView("Not Modified"), to: &sink)
      drops = notModifiedDrops
    case .part:
      HeadWriter.appendStatusLine(206, reason: ByteView("Partial Content"), to: &sink)
    case .parts:
      HeadWriter.appendStatusLine(206, reason: ByteView("Partial Content"), to: &sink)
      drops = FieldSet(.contentType)
    case .unsatisfiable:
      HeadWriter.appendStatusLine(416, reason: ByteView("Range Not Satisfiable"), to: &sink)
      drops = notModifiedDrops
    }
    var mask = FieldMask()
    if !edits.isEmpty { edits.mark(head.fields, head.bytes, in: &mask) }
    head.fields.copy(of: head.bytes, dropping: drops, mask: mask, to: &sink)
    if !edits.added.isEmpty { sink.append(edits.added.view) }
    let security = ByteView("strict-transport-security")
    if !context.transportSecurity.isEmpty, !edits.decide("strict-transport-security"),
      head.fields.firstIndex(named: security, in: head.bytes) == nil
    {
      sink.append(context.transportSecurity)
    }
  }

  private static func appendEnd(
    _ object: StoredObject, _ form: Form, to sink: inout ByteSink, _ context: Context
  ) {
    sink.append("Age: ")
    sink.append(decimal: context.age)
    sink.append("\r\n")
    switch form {
    case .whole(let length):
      if context.sendsChunks {
        sink.append("Transfer-Encoding: chunked\r\n")
      } else if let length, object.headLayout.status != 204 {
        HeadWriter.appendContentLength(length, to: &sink)
      }
    case .notModified: break
    case .part(let part, let length):
      MultipartRanges.appendContentRange(part, length: length, to: &sink)
      HeadWriter.appendContentLength(part.count, to: &sink)
    case .parts(let ranges, let contentType):
      ranges.appendContentType(to: &sink)
      HeadWriter.appendContentLength(
        ranges.contentLength(contentTypeBytes: contentType.count), to: &sink)
    case .unsatisfiable(let length):
      MultipartRanges.appendUnsatisfied(length: length, to: &sink)
      HeadWriter.appendContentLength(0, to: &sink)
    }
    CacheStatusField.append(context.status, instance: context.instance, to: &sink)
    if !context.proxyStatus.isEmpty { sink.append(context.proxyStatus) }
    if context.closes {
      sink.append("Connection: close\r\n")
    } else if context.clientIsHTTP10 {
      sink.append("Connection: keep-alive\r\n")
    }
    sink.append("\r\n")
  }

  // MARK: The request that fetches

  /// Conditions and ranges are for the client's copy, not for the cache's.
  private static let fetchDrops = FieldSet(
    .host, .range, .ifRange, .ifNoneMatch, .ifModifiedSince, .ifMatch, .ifUnmodifiedSince)

  /// Fields by which frameworks take a GET for another method: the cache asks for what GET brings.
  private static func isMethodOverride(_ name: ByteView) -> Bool {
    name.equalsLowercased("x-http-method-override") || name.equalsLowercased("x-http-method")
      || name.equalsLowercased("x-method-override")
  }

  /// Appends the request that fetches for `head`: a GET for all of it, or, where something is
  /// stored that may only have to be confirmed, a conditional one (RFC 9111 §4.3.1).
  ///
  /// `authority` and `target` are the key's: what two requests share has to be asked for in one
  /// form, or the form that one of them chose would show in what all are given.
  static func appendFetch(
    _ head: borrowing RequestHead, authority: ByteView, target: ByteView,
    confirming stale: StoredObject?, to sink: inout ByteSink
  ) {
    sink.append("GET ")
    sink.append(target)
    sink.append(" HTTP/1.1\r\n")
    HeadWriter.appendField("Host", authority, to: &sink)
    var mask = FieldMask()
    for index in 0..<head.fields.count where head.fields[index].name == .other {
      if isMethodOverride(head.bytes.slice(head.fields[index].nameRange)) { mask.insert(index) }
    }
    head.fields.copy(of: head.bytes, dropping: fetchDrops, mask: mask, to: &sink)
    if let validators = stale?.validators {
      if !validators.etag.isEmpty {
        HeadWriter.appendField("If-None-Match", validators.etag, to: &sink)
      }
      if !validators.lastModified.isEmpty {
        HeadWriter.appendField("If-Modified-Since", validators.lastModified, to: &sink)
      }
    }
    sink.append("\r\n")
  }
}
