import HTTP
import HTTP1
import Primitives
import Resilience
import Telemetry

/// Answers that weir makes itself: errors with their reason, redirects, fixed responses.
enum LocalResponse {
  struct Context {
    let instance: ByteView
    let date: ByteView
    let closes: Bool
    let clientIsHTTP10: Bool
    let isHead: Bool
    /// As in `HeaderRewrite.ResponseContext`.
    var transportSecurity = ByteView.empty
  }

  /// What `Proxy-Status` says beside the error's type (RFC 9209 §2.1), as far as it is known.
  struct Reason {
    let error: ProxyError
    var details: StaticString = ""
    /// Name of the backend that failed.
    var nextHop = ByteView.empty
    /// Of the response that could not be used; 0: there was none.
    var receivedStatus = 0
  }

  /// A plain page and `Proxy-Status`. Returns the octets of the page, as the other two do.
  @discardableResult
  static func append(
    status: Int, _ why: Reason, to sink: inout ByteSink, context: Context
  ) -> Int {
    appendHead(status, to: &sink, context)
    sink.append("Proxy-Status: ")
    sink.appendProxyStatus(
      name: context.instance, error: why.error.text, nextHop: why.nextHop,
      receivedStatus: why.receivedStatus, details: why.details)
    sink.append("\r\n")
    if status == 405 { sink.append("Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n") }
    if status == 503 { sink.append("Retry-After: 1\r\n") }
    let reason = StatusText.reason(status)
    // The page is "<status> <reason>\n".
    let length = 3 + 1 + reason.utf8CodeUnitCount + 1
    appendEnd(
      "text/plain; charset=utf-8", length: length, to: &sink, context)
    guard !context.isHead else { return 0 }
    sink.append(decimal: UInt(status), width: 3)
    sink.append(" ")
    sink.append(reason)
    sink.append("\n")
    return length
  }

  @discardableResult
  static func append(
    fixed status: Int, contentType: [UInt8], body: [UInt8], edits: borrowing CompiledEdits,
    to sink: inout ByteSink, context: Context
  ) -> Int {
    appendHead(status, to: &sink, context)
    sink.append(edits.added.view)
    if !contentType.isEmpty, !body.isEmpty {
      sink.append("Content-Type: ")
      sink.append(contentType)
      sink.append("\r\n")
    }
    if status != 204 && status != 304 { HeadWriter.appendContentLength(body.count, to: &sink) }
    appendConnection(to: &sink, context)
    sink.append("\r\n")
    guard !context.isHead, status != 204, status != 304 else { return 0 }
    sink.append(body)
    return body.count
  }

  /// A route's own page where weir would have answered with an error.
  @discardableResult
  static func append(
    _ page: FallbackPage, _ why: Reason, edits: borrowing CompiledEdits, to sink: inout ByteSink,
    context: Context
  ) -> Int {
    appendHead(page.status, to: &sink, context)
    sink.append("Proxy-Status: ")
    sink.appendProxyStatus(
      name: context.instance, error: why.error.text, nextHop: why.nextHop,
      receivedStatus: why.receivedStatus, details: why.details)
    // Not for caches between: it stands in for what is really there.
    sink.append("\r\nCache-Control: no-store\r\n")
    if page.status == 503 { sink.append("Retry-After: 1\r\n") }
    sink.append(edits.added.view)
    let isBare = page.status == 204
    if !isBare {
      sink.append("Content-Type: ")
      sink.append(page.contentType)
      sink.append("\r\n")
      HeadWriter.appendContentLength(page.body.count, to: &sink)
    }
    appendConnection(to: &sink, context)
    sink.append("\r\n")
    guard !context.isHead, !isBare else { return 0 }
    sink.append(page.body)
    return page.body.count
  }

  @discardableResult
  static func append(
    redirect template: RedirectTemplate, of head: borrowing RequestHead,
    edits: borrowing CompiledEdits, to sink: inout ByteSink, context: Context
  ) -> Int {
    appendHead(template.status, to: &sink, context)
    sink.append(edits.added.view)
    sink.append("Location: ")
    for part in template.parts {
      switch part {
      case .literal(let text): sink.append(text)
      case .host: sink.append(head.host)
      case .path: sink.append(head.path.isEmpty ? ByteView("/") : head.path)
      case .query: sink.append(head.query)
      case .requestURI:
        let target = head.bytes.slice(head.pathAndQueryRange)
        if target.isEmpty || target[0] == UInt8(ascii: "?") { sink.append("/") }
        sink.append(target)
      }
    }
    sink.append("\r\nContent-Length: 0\r\n")
    appendConnection(to: &sink, context)
    sink.append("\r\n")
    return 0
  }

  private static func appendHead(
    _ status: Int, to sink: inout ByteSink, _ context: Context
  ) {
    HeadWriter.appendStatusLine(status, reason: ByteView(StatusText.reason(status)), to: &sink)
    HeadWriter.appendField("Date", context.date, to: &sink)
    if !context.transportSecurity.isEmpty { sink.append(context.transportSecurity) }
  }

  private static func appendEnd(
    _ contentType: StaticString, length: Int, to sink: inout ByteSink, _ context: Context
  ) {
    HeadWriter.appendField("Content-Type", contentType, to: &sink)
    HeadWriter.appendContentLength(length, to: &sink)
    appendConnection(to: &sink, context)
    sink.append("\r\n")
  }

  private static func appendConnection(to sink: inout ByteSink, _ context: Context) {
    if context.closes {
      sink.append("Connection: close\r\n")
    } else if context.clientIsHTTP10 {
      sink.append("Connection: keep-alive\r\n")
    }
  }
}
