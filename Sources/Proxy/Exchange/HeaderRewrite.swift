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
  static var requestDrops: FieldSet {
    let said = FieldSet(
      .host, .contentLength, .expect, .proxy, .xForwardedFor, .xForwardedHost, .xForwardedPort,
      .xForwardedProto)
    let distrusted = FieldSet(
      .forwarded, .xOriginalHost, .xOriginalUrl, .xRewriteUrl, .xRequestId, .xClientCertSha256,
      .xClientCertSubject)
    return FieldSet(
      rawValue: FieldSet.hopByHop.rawValue | said.rawValue | distrusted.rawValue)
  }

  /// Dropped from every response; framing is written anew.
  static var responseDrops: FieldSet {
    FieldSet(rawValue: FieldSet.hopByHop.rawValue | FieldName.contentLength.bit)
  }

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
    /// The client has sent no key for its WebSocket (RFC 8441 §5).
    var makesKey = false
    let passesTrailers: Bool
    /// A finished line about the time that is left, or nothing.
    var deadline = ByteView.empty
    /// Of the request, from 1; the backend is told of further ones.
    var attempt = 1
  }

  static func appendRequest(
    _ head: borrowing RequestHead, to sink: inout ByteSink, host: borrowing CompiledHost,
    backend: ByteView, edits: borrowing CompiledEdits, context: RequestContext
  ) {
    let authority = head.authority
    let name: ByteView
    switch host {
    case .preserve: name = authority.isEmpty ? backend : authority
    case .backend: name = backend
    case .literal(let literal): name = literal.view
    }
    appendRequestLine(head, host: name, to: &sink)
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
    let hasMore = !context.deadline.isEmpty || context.attempt > 1
    if hasMore { markSaid(context, head.fields, head.bytes, in: &mask) }
    head.fields.copy(of: head.bytes, dropping: drops, mask: mask, to: &sink)
    if !edits.added.isEmpty { sink.append(edits.added.view) }
    if hasMore { appendSaid(context, to: &sink) }
    appendFraming(head, context, to: &sink)
    appendIdentity(head, authority, context, edited: edits.names, to: &sink)
  }

  /// What a client says in weir's name, or weir says better.
  private static func markSaid(
    _ context: RequestContext, _ fields: borrowing Fields, _ head: ByteView,
    in mask: inout FieldMask
  ) {
    func drop(_ name: StaticString) {
      var index = fields.firstIndex(named: ByteView(name), in: head)
      while let line = index {
        mask.insert(line)
        index = fields.firstIndex(named: ByteView(name), in: head, from: line + 1)
      }
    }
    if context.attempt > 1 { drop("weir-attempt") }
    guard !context.deadline.isEmpty else { return }
    drop("weir-deadline-ms")
    if context.deadline[0] == UInt8(ascii: "g") { drop("grpc-timeout") }
  }

  private static func appendSaid(_ context: RequestContext, to sink: inout ByteSink) {
    sink.append(context.deadline)
    guard context.attempt > 1 else { return }
    sink.append("weir-attempt: ")
    sink.append(decimal: context.attempt)
    sink.append("\r\n")
  }

  /// Octets of pieces of a head that are the same in all heads, at most.
  private static var fixedBytes: Int { 512 }

  @inline(__always)
  private static func appendRequestLine(
    _ head: borrowing RequestHead, host: ByteView, to sink: inout ByteSink
  ) {
    let target = head.bytes.slice(head.pathAndQueryRange)
    let method = head.methodName
    sink.write(within: method.count &+ target.count &+ host.count &+ fixedBytes) { writer in
      writer.append(method)
      writer.append(byte: UInt8(ascii: " "))
      // RFC 9112 §3.2.1 and §3.2.4: an absolute form without a path.
      if target.isEmpty, head.method == .options {
        writer.append(byte: UInt8(ascii: "*"))
      } else if target.isEmpty || target[0] == UInt8(ascii: "?") {
        writer.append(byte: UInt8(ascii: "/"))
      }
      writer.append(target)
      writer.append(" HTTP/1.1\r\nHost: ")
      writer.append(host)
      writer.append("\r\n")
    }
  }

  @inline(__always)
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
      if context.makesKey, protocols.equalsLowercased("websocket") {
        sink.append("Sec-WebSocket-Key: ")
        WebSocketKey.append(context.requestID, to: &sink)
        sink.append("\r\n")
      }
    } else if context.passesTrailers {
      sink.append("Connection: TE\r\nTE: trailers\r\n")
    }
  }

  /// What a trusted peer may have said already, so that weir need not.
  private static var claims: FieldSet {
    FieldSet(.xForwardedHost, .xForwardedProto, .xRequestId)
  }

  /// Who the client is and how it came here. `edited`: names that the route's edits decide about.
  private static func appendIdentity(
    _ head: borrowing RequestHead, _ authority: ByteView, _ context: RequestContext,
    edited: FieldSet, to sink: inout ByteSink
  ) {
    var silent = edited
    var bound = fixedBytes &+ 2 &* authority.count
    if context.isTrusted {
      silent.formUnion(head.fields.present.intersection(claims))
      bound += earlierBytes(.xForwardedFor, head) + earlierBytes(.forwarded, head)
    }
    sink.write(within: bound) { writer in
      if !silent.contains(.xForwardedFor) {
        writer.append("X-Forwarded-For: ")
        if context.isTrusted { appendEarlier(.xForwardedFor, head, to: &writer) }
        writer.append(context.client)
        writer.append("\r\n")
      }
      if !silent.contains(.xForwardedProto) {
        writer.append("X-Forwarded-Proto: http")
        if context.isSecure { writer.append(byte: UInt8(ascii: "s")) }
        writer.append("\r\n")
      }
      if !silent.contains(.xForwardedHost) {
        writer.append("X-Forwarded-Host: ")
        writer.append(authority)
        writer.append("\r\n")
      }
      if !silent.contains(.forwarded) {
        writer.append("Forwarded: ")
        if context.isTrusted { appendEarlier(.forwarded, head, to: &writer) }
        appendForwardedElement(authority, context, to: &writer)
      }
    }
    if !context.clientCertificate.isEmpty {
      appendCertificate(context.clientCertificate, edited: edited, to: &sink)
    }
    appendOrigin(head.version, context, hasID: silent.contains(.xRequestId), to: &sink)
  }

  /// The last lines: the request's number, where it has none, and its way (RFC 9110 §7.6.3).
  @inline(__always)
  private static func appendOrigin(
    _ version: HTTPVersion, _ context: RequestContext, hasID: Bool, to sink: inout ByteSink
  ) {
    sink.write(within: fixedBytes &+ context.instance.count) { writer in
      if !hasID {
        writer.append("X-Request-ID: ")
        writer.append(hex16: context.requestID.0)
        writer.append(hex16: context.requestID.1)
        writer.append("\r\n")
      }
      switch version {
      case .http10: writer.append("Via: 1.0 ")
      case .http11: writer.append("Via: 1.1 ")
      case .http2: writer.append("Via: 2.0 ")
      }
      writer.append(context.instance)
      writer.append("\r\n\r\n")
    }
  }

  /// Values of all lines of a list field, each followed by a comma.
  private static func appendEarlier(
    _ name: FieldName, _ head: borrowing RequestHead, to writer: inout ByteWriter
  ) {
    var index = head.fields.firstIndex(of: name)
    while let line = index {
      writer.append(head.value(line))
      writer.append(", ")
      index = head.fields.firstIndex(of: name, from: line + 1)
    }
  }

  /// Octets that `appendEarlier` writes.
  private static func earlierBytes(_ name: FieldName, _ head: borrowing RequestHead) -> Int {
    var count = 0
    var index = head.fields.firstIndex(of: name)
    while let line = index {
      count += head.value(line).count + 2
      index = head.fields.firstIndex(of: name, from: line + 1)
    }
    return count
  }

  /// RFC 7239 §4; an IPv6 address is bracketed and quoted, a host quoted because of its port.
  @inline(__always)
  private static func appendForwardedElement(
    _ authority: ByteView, _ context: RequestContext, to writer: inout ByteWriter
  ) {
    let client = context.client
    if client.isV4 {
      writer.append("for=")
      writer.append(client)
      writer.append(";host=\"")
    } else {
      writer.append("for=\"[")
      writer.append(client)
      writer.append("]\";host=\"")
    }
    writer.append(authority)
    writer.append("\";proto=http")
    if context.isSecure { writer.append(byte: UInt8(ascii: "s")) }
    writer.append("\r\n")
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
  @inline(__always)
  private static func markUnderscores(
    _ fields: borrowing Fields, _ head: ByteView, in mask: inout FieldMask
  ) {
    if fields.hasUnderscores { findUnderscores(fields, head, in: &mask) }
  }

  private static func findUnderscores(
    _ fields: borrowing Fields, _ head: ByteView, in mask: inout FieldMask
  ) {
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
    /// How the content comes, its length where that is known, and whether it goes on in chunks.
    let source: Content.Source
    let length: Int
    let sendsChunks: Bool
    /// Of a response whose head tells a length that does not frame it (HEAD, 304, between streams).
    let keepsLength: Bool
    /// Nothing tells the client, which needs to hear it, that there is no content.
    var isEmpty = false
    let closes: Bool
    let clientIsHTTP10: Bool
    /// A finished line for clients that came over TLS (RFC 6797), or nothing.
    let transportSecurity: ByteView
    /// The Date to add where the backend sent none (RFC 9110 §6.6.1).
    let date: ByteView
    /// A finished line where the route has a cache, or nothing (RFC 9211).
    var cacheStatus = ByteView.empty
    /// A finished line where something stood in for the first attempt, or nothing (RFC 9209).
    var proxyStatus = ByteView.empty
    /// A finished line for a client that is to come back to this backend, or nothing.
    var cookie = ByteView.empty
  }

  static func appendResponse(
    _ head: borrowing ResponseHead, to sink: inout ByteSink, edits: borrowing CompiledEdits,
    context: ResponseContext
  ) {
    let reason = head.bytes.slice(head.reasonRange)
    sink.write(within: fixedBytes &+ reason.count) { writer in
      writer.append("HTTP/1.1 ")
      writer.append(decimal: UInt(bitPattern: head.status))
      writer.append(byte: UInt8(ascii: " "))
      writer.append(reason)
      writer.append("\r\n")
    }
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
    if !context.proxyStatus.isEmpty { sink.append(context.proxyStatus) }
    if !context.cookie.isEmpty { sink.append(context.cookie) }
    if context.source != .length, context.keepsLength { appendReceivedLength(head, to: &sink) }
    sink.write(within: fixedBytes) { writer in
      if context.source == .length {
        writer.append("Content-Length: ")
        writer.append(decimal: UInt(bitPattern: context.length))
        writer.append("\r\n")
      } else if context.sendsChunks {
        writer.append("Transfer-Encoding: chunked\r\n")
      } else if context.isEmpty {
        writer.append("Content-Length: 0\r\n")
      }
      if context.closes {
        writer.append("Connection: close\r\n")
      } else if context.clientIsHTTP10 {
        writer.append("Connection: keep-alive\r\n")
      }
      writer.append("\r\n")
    }
  }

  /// The parsed number, never the received text (rule 4).
  private static func appendReceivedLength(
    _ head: borrowing ResponseHead, to sink: inout ByteSink
  ) {
    guard let length = head.first(.contentLength)?.decimal else { return }
    HeadWriter.appendContentLength(length, to: &sink)
  }

  /// A 101, with the protocol that both sides now speak: the backend's word, or, of one that was
  /// asked by CONNECT, what the client `wanted`, and the proof for its `key`.
  static func appendSwitchingProtocols(
    _ head: borrowing ResponseHead, to sink: inout ByteSink, edits: borrowing CompiledEdits,
    wanted: ByteView? = nil, key: ByteView? = nil
  ) {
    HeadWriter.appendStatusLine(101, reason: ByteView("Switching Protocols"), to: &sink)
    appendTunnelFields(head, to: &sink, edits: edits, dropsAccept: wanted != nil)
    sink.append("Connection: upgrade\r\n")
    if let protocols = wanted ?? head.first(.upgrade) {
      HeadWriter.appendField("Upgrade", protocols, to: &sink)
    }
    if let key {
      sink.append("Sec-WebSocket-Accept: ")
      WebSocketKey.appendAccept(of: key, to: &sink)
      sink.append("\r\n")
    }
    sink.append("\r\n")
  }

  /// The same for a client that asked by CONNECT (RFC 8441 §5).
  static func appendTunnel(
    _ head: borrowing ResponseHead, to sink: inout ByteSink, edits: borrowing CompiledEdits
  ) {
    HeadWriter.appendStatusLine(200, reason: ByteView("OK"), to: &sink)
    appendTunnelFields(head, to: &sink, edits: edits, dropsAccept: true)
    sink.append("\r\n")
  }

  private static func appendTunnelFields(
    _ head: borrowing ResponseHead, to sink: inout ByteSink, edits: borrowing CompiledEdits,
    dropsAccept: Bool
  ) {
    var mask = FieldMask()
    markNominated(head.fields, head.bytes, in: &mask)
    if !edits.isEmpty { edits.mark(head.fields, head.bytes, in: &mask) }
    let accept = head.fields.firstIndex(named: ByteView("sec-websocket-accept"), in: head.bytes)
    if dropsAccept, let accept { mask.insert(accept) }
    head.fields.copy(of: head.bytes, dropping: responseDrops, mask: mask, to: &sink)
    if !edits.added.isEmpty { sink.append(edits.added.view) }
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
