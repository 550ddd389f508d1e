import HTTP
import HTTP1
import Primitives
import Transport

/// The heads that backends and clients get, made from the heads that came (safety rules 16–18,
/// semantics.md 22).
///
/// Lines that pass unchanged are copied in runs; everything that describes one connection, frames
/// the message or claims an identity is dropped and written anew from what was parsed.
enum HeaderRewrite {
  /// Dropped from every request: hop-by-hop, framing, and what weir says itself or distrusts.
  static let requestDrops: FieldSet = FieldSet.hopByHop.union(
    FieldSet(
      .host, .contentLength, .expect, .proxy, .xForwardedFor, .xForwardedHost, .xForwardedPort,
      .xForwardedProto, .forwarded, .xOriginalHost, .xOriginalUrl, .xRewriteUrl, .xRequestId,
      .xClientCertSha256, .xClientCertSubject))

  /// Dropped from every response; framing is written anew.
  static let responseDrops: FieldSet = FieldSet.hopByHop.union(FieldSet(.contentLength))

  /// Fields that a `Connection` field cannot remove (rule 16): framing, and what weir answers for
  /// even where it passes on what a trusted peer said.
  private static let unremovable = FieldSet(
    .host, .contentLength, .transferEncoding, .xForwardedHost, .xForwardedPort, .xForwardedProto,
    .xRequestId, .xClientCertSha256, .xClientCertSubject)

  /// The parts of a request that come from the exchange, not from its head.
  struct RequestContext {
    let client: IPAddress
    /// The peer's forwarding fields are believed and appended to.
    let isTrusted: Bool
    /// The request came over TLS.
    let isSecure: Bool
    /// Finished lines about the certificate that the client showed; mostly none.
    let clientCertificate: ByteView
    let requestID: (UInt64, UInt64)
    let instance: ByteView
    let asksUpgrade: Bool
    let passesTrailers: Bool
  }

  static func appendRequest(
    _ head: borrowing RequestHead, to sink: inout ByteSink, host: borrowing CompiledHost,
    backend: BackendState, edits: borrowing CompiledEdits, context: RequestContext
  ) {
    sink.append(head.methodName)
    sink.append(byte: UInt8(ascii: " "))
    appendTarget(head, to: &sink)
    sink.append(" HTTP/1.1\r\nHost: ")
    switch host {
    case .preserve where head.authority.isEmpty: sink.append(backend.authority.view)
    case .preserve: sink.append(head.authority)
    case .backend: sink.append(backend.authority.view)
    case .literal(let name): sink.append(name.view)
    }
    sink.append("\r\n")
    var mask = FieldMask()
    markUnderscores(head.fields, head.bytes, in: &mask)
    if head.hasNominations { markNominated(head.fields, head.bytes, in: &mask) }
    var drops = requestDrops
    if context.isTrusted {
      drops.subtract(FieldSet(.xForwardedHost, .xForwardedPort, .xForwardedProto, .xRequestId))
      if context.clientCertificate.isEmpty {
        drops.subtract(FieldSet(.xClientCertSha256, .xClientCertSubject))
      }
    }
    if !edits.isEmpty { edits.mark(head.fields, head.bytes, in: &mask) }
    head.fields.copy(of: head.bytes, dropping: drops, mask: mask, to: &sink)
    if !edits.added.isEmpty { sink.append(edits.added.view) }
    appendFraming(head, context, to: &sink)
    appendIdentity(head, context, edited: edits.names, to: &sink)
  }

  private static func appendTarget(_ head: borrowing RequestHead, to sink: inout ByteSink) {
    let target = head.bytes.slice(head.pathAndQueryRange)
    // RFC 9112 §3.2.1 and §3.2.4: an absolute form without a path.
    if target.isEmpty, head.method == .options {
      sink.append("*")
      return
    }
    if target.isEmpty || target[0] == UInt8(ascii: "?") { sink.append("/") }
    sink.append(target)
  }

  private static func appendFraming(
    _ head: borrowing RequestHead, _ context: RequestContext, to sink: inout ByteSink
  ) {
    switch head.framing {
    case .length(let length): HeadWriter.appendContentLength(length, to: &sink)
    case .chunked: sink.append("Transfer-Encoding: chunked\r\n")
    case .none:
      // RFC 9110 §8.6: a method that usually has content says that there is none.
      if head.fields.contains(.contentLength) || head.method == .post || head.method == .put {
        sink.append("Content-Length: 0\r\n")
      }
    case .untilClose: break
    }
    if context.asksUpgrade, let protocols = head.first(.upgrade) {
      sink.append("Connection: upgrade\r\n")
      HeadWriter.appendField("Upgrade", protocols, to: &sink)
    } else if context.passesTrailers {
      sink.append("Connection: TE\r\nTE: trailers\r\n")
    }
  }

  /// What a trusted peer may have said already, so that weir need not.
  private static let claims = FieldSet(.xForwardedHost, .xForwardedProto, .xRequestId)

  /// Who the client is and how it came here. `edited`: names that the route's edits decide about.
  private static func appendIdentity(
    _ head: borrowing RequestHead, _ context: RequestContext, edited: FieldSet,
    to sink: inout ByteSink
  ) {
    let silent =
      context.isTrusted ? edited.union(head.fields.present.intersection(claims)) : edited
    if !silent.contains(.xForwardedFor) {
      sink.append("X-Forwarded-For: ")
      if context.isTrusted { appendEarlier(.xForwardedFor, head, to: &sink) }
      sink.append(context.client)
      sink.append("\r\n")
    }
    if !silent.contains(.xForwardedProto) {
      sink.append(
        context.isSecure ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n")
    }
    if !silent.contains(.xForwardedHost) {
      HeadWriter.appendField("X-Forwarded-Host", head.authority, to: &sink)
    }
    if !silent.contains(.forwarded) {
      sink.append("Forwarded: ")
      if context.isTrusted { appendEarlier(.forwarded, head, to: &sink) }
      appendForwardedElement(head, context, to: &sink)
    }
    if !context.clientCertificate.isEmpty {
      appendCertificate(context.clientCertificate, edited: edited, to: &sink)
    }
    if !silent.contains(.xRequestId) {
      sink.append("X-Request-ID: ")
      sink.append(hex16: context.requestID.0)
      sink.append(hex16: context.requestID.1)
      sink.append("\r\n")
    }
    switch head.version {
    case .http10: sink.append("Via: 1.0 ")
    case .http11: sink.append("Via: 1.1 ")
    case .http2: sink.append("Via: 2.0 ")
    }
    sink.append(context.instance)
    sink.append("\r\n\r\n")
  }

  /// Values of all lines of a list field, each followed by a comma.
  private static func appendEarlier(
    _ name: FieldName, _ head: borrowing RequestHead, to sink: inout ByteSink
  ) {
    var index = head.fields.firstIndex(of: name)
    while let line = index {
      sink.append(head.value(line))
      sink.append(", ")
      index = head.fields.firstIndex(of: name, from: line + 1)
    }
  }

  /// RFC 7239 §4; an IPv6 address is bracketed and quoted, a host quoted because of its port.
  private static func appendForwardedElement(
    _ head: borrowing RequestHead, _ context: RequestContext, to sink: inout ByteSink
  ) {
    let client = context.client
    if client.isV4 {
      sink.append("for=")
      sink.append(client)
      sink.append(";host=\"")
    } else {
      sink.append("for=\"[")
      sink.append(client)
      sink.append("]\";host=\"")
    }
    sink.append(head.authority)
    sink.append(context.isSecure ? "\";proto=https\r\n" : "\";proto=http\r\n")
  }

  /// Line by line, for the route's edits may decide about one of them.
  private static func appendCertificate(
    _ lines: ByteView, edited: FieldSet, to sink: inout ByteSink
  ) {
    var start = 0
    while start < lines.count {
      let end = (lines.firstIndex(of: UInt8(ascii: "\n"), from: start) ?? lines.count - 1) + 1
      let line = lines.slice(start, end)
      start = end
      let name = line.slice(0, line.firstIndex(of: UInt8(ascii: ":")) ?? 0)
      if !edited.contains(FieldName(name)) { sink.append(line) }
    }
  }

  /// Marks unknown names with an underscore, which many backends cannot tell from the same name
  /// with a hyphen (rule 18).
  private static func markUnderscores(
    _ fields: borrowing Fields, _ head: ByteView, in mask: inout FieldMask
  ) {
    guard fields.hasUnderscores else { return }
    for index in 0..<fields.count where fields[index].name == .other {
      let name = head.slice(fields[index].nameRange)
      if name.firstIndex(of: UInt8(ascii: "_")) != nil { mask.insert(index) }
    }
  }

  /// Marks the lines that a `Connection` field nominates (rule 16).
  static func markNominated(
    _ fields: borrowing Fields, _ head: ByteView, in mask: inout FieldMask
  ) {
    var line = fields.firstIndex(of: .connection)
    while let index = line {
      var members = ListMembers(head.slice(fields[index].valueRange))
      while let member = members.next() {
        if member.equalsLowercased("close") || member.equalsLowercased("keep-alive") { continue }
        for other in 0..<fields.count where !unremovable.contains(fields[other].name) {
          if head.slice(fields[other].nameRange).equalsIgnoringCase(member) { mask.insert(other) }
        }
      }
      line = fields.firstIndex(of: .connection, from: index + 1)
    }
  }

  // MARK: Responses

  struct ResponseContext {
    let content: Content
    /// Of a response without content whose head tells a length (HEAD, 304).
    let keepsLength: Bool
    let closes: Bool
    let clientIsHTTP10: Bool
    /// A finished line for clients that came over TLS (RFC 6797), or nothing.
    let transportSecurity: ByteView
    /// The Date to add where the backend sent none (RFC 9110 §6.6.1).
    let date: ByteView
    /// A finished line where the route has a cache, or nothing (RFC 9211).
    var cacheStatus = ByteView.empty
  }

  static func appendResponse(
    _ head: borrowing ResponseHead, to sink: inout ByteSink, edits: borrowing CompiledEdits,
    context: ResponseContext
  ) {
    HeadWriter.appendStatusLine(head.status, reason: head.bytes.slice(head.reasonRange), to: &sink)
    var mask = FieldMask()
    if head.hasNominations { markNominated(head.fields, head.bytes, in: &mask) }
    if !edits.isEmpty { edits.mark(head.fields, head.bytes, in: &mask) }
    head.fields.copy(of: head.bytes, dropping: responseDrops, mask: mask, to: &sink)
    if !edits.added.isEmpty { sink.append(edits.added.view) }
    if !head.fields.contains(.date), !edits.names.contains(.date) {
      HeadWriter.appendField("Date", context.date, to: &sink)
    }
    if !context.transportSecurity.isEmpty, !edits.decide("strict-transport-security"),
      head.fields.firstIndex(named: ByteView("strict-transport-security"), in: head.bytes) == nil
    {
      sink.append(context.transportSecurity)
    }
    if !context.cacheStatus.isEmpty { sink.append(context.cacheStatus) }
    if context.content.source == .length {
      HeadWriter.appendContentLength(context.content.remaining, to: &sink)
    } else if context.content.sendsChunks {
      sink.append("Transfer-Encoding: chunked\r\n")
    } else if context.content.source == .none, context.keepsLength {
      appendReceivedLength(head, to: &sink)
    }
    if context.closes {
      sink.append("Connection: close\r\n")
    } else if context.clientIsHTTP10 {
      sink.append("Connection: keep-alive\r\n")
    }
    sink.append("\r\n")
  }

  /// The parsed number, never the received text (rule 4).
  private static func appendReceivedLength(
    _ head: borrowing ResponseHead, to sink: inout ByteSink
  ) {
    guard let length = head.first(.contentLength)?.decimal else { return }
    HeadWriter.appendContentLength(length, to: &sink)
  }

  /// A 101, with the protocol that both sides now speak.
  static func appendSwitchingProtocols(
    _ head: borrowing ResponseHead, to sink: inout ByteSink, edits: borrowing CompiledEdits
  ) {
    HeadWriter.appendStatusLine(101, reason: ByteView("Switching Protocols"), to: &sink)
    var mask = FieldMask()
    markNominated(head.fields, head.bytes, in: &mask)
    if !edits.isEmpty { edits.mark(head.fields, head.bytes, in: &mask) }
    head.fields.copy(of: head.bytes, dropping: responseDrops, mask: mask, to: &sink)
    if !edits.added.isEmpty { sink.append(edits.added.view) }
    sink.append("Connection: upgrade\r\n")
    if let protocols = head.first(.upgrade) {
      HeadWriter.appendField("Upgrade", protocols, to: &sink)
    }
    sink.append("\r\n")
  }

  /// An interim response that is passed on (103 where the route says so).
  static func appendInformational(_ head: borrowing ResponseHead, to sink: inout ByteSink) {
    HeadWriter.appendStatusLine(head.status, reason: head.bytes.slice(head.reasonRange), to: &sink)
    var mask = FieldMask()
    markNominated(head.fields, head.bytes, in: &mask)
    head.fields.copy(of: head.bytes, dropping: responseDrops, mask: mask, to: &sink)
    sink.append("\r\n")
  }

  // MARK: Trailers

  /// What may not travel behind a message (RFC 9110 §6.5.1, rule 7).
  private static let trailerDrops: FieldSet = requestDrops.union(
    FieldSet(
      .authorization, .proxyAuthorization, .proxyAuthenticate, .cookie, .setCookie,
      .contentEncoding, .contentType, .cacheControl, .range, .location, .retryAfter, .vary, .age,
      .date, .expires, .via))

  static func appendTrailers(_ fields: borrowing Fields, _ bytes: ByteView, to sink: inout ByteSink)
  {
    var mask = FieldMask()
    markUnderscores(fields, bytes, in: &mask)
    fields.copy(of: bytes, dropping: trailerDrops, mask: mask, to: &sink)
  }
}
