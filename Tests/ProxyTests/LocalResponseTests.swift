import HTTP
import HTTP1
import Primitives
import Resilience
import TestUnitSupport
import Testing

@testable import Proxy

@Suite struct `An answer of weir's own` {
  private static func context(
    closes: Bool = false, isHTTP10: Bool = false, isHead: Bool = false
  ) -> LocalResponse.Context {
    LocalResponse.Context(
      instance: ByteView("weir-t"), date: ByteView("NOW"), closes: closes,
      clientIsHTTP10: isHTTP10, isHead: isHead)
  }

  private func write(_ body: (inout ByteSink) -> Void) -> String {
    var room = [UInt8](repeating: 0, count: 4096)
    return room.withByteSink { sink in
      body(&sink)
      return sink.view.string
    }
  }

  @Test func `to an error is this one, octet for octet`() {
    let text = write {
      LocalResponse.append(
        status: 503, .init(error: .destinationUnavailable, details: "no backend"), to: &$0,
        context: Self.context(closes: true))
    }
    let expected = """
      HTTP/1.1 503 Service Unavailable\r
      Date: NOW\r
      Proxy-Status: weir-t; error=destination_unavailable; details="no backend"\r
      Retry-After: 1\r
      Content-Type: text/plain; charset=utf-8\r
      Content-Length: 24\r
      Connection: close\r
      \r
      503 Service Unavailable\n
      """
    #expect(text == expected)
  }

  @Test func `names the backend that failed, and what that had said`() {
    let name = HeldText("10.0.0.1:80")
    let text = write {
      var why = LocalResponse.Reason(error: .httpProtocolError)
      why.nextHop = name.view
      why.receivedStatus = 101
      let octets = LocalResponse.append(status: 502, why, to: &$0, context: Self.context())
      #expect(octets == "502 Bad Gateway\n".utf8.count)
    }
    #expect(
      text.contains(
        "\r\nProxy-Status: weir-t; error=http_protocol_error; next-hop=\"10.0.0.1:80\"; "
          + "received-status=101\r\n"))
  }

  /// A length that differs from the page would desynchronise the connection.
  @Test func `says the length of its page for every status, and sends none to HEAD`() throws {
    for status in 400...599 {
      for isHead in [false, true] {
        let text = write {
          LocalResponse.append(
            status: status, .init(error: .httpRequestError), to: &$0,
            context: Self.context(isHead: isHead))
        }
        let end = try #require(text.firstRange(of: "\r\n\r\n"))
        let page = text[end.upperBound...]
        #expect(page.utf8.isEmpty == isHead)
        let length =
          (isHead
            ? write { $0.append(StatusText.reason(status)) }.utf8.count + 5
            : page.utf8.count)
        #expect(text.contains("\r\nContent-Length: \(length)\r\n"), "\(status)")
        #expect(text.contains("\r\nAllow: ") == (status == 405))
        #expect(!text.contains("details"))
      }
    }
  }

  @Test(arguments: [
    (200, "text/html", "hello", false, "Content-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"),
    (200, "text/html", "hello", true, "Content-Type: text/html\r\nContent-Length: 5\r\n\r\n"),
    (200, "text/html", "", false, "Content-Length: 0\r\n\r\n"), (204, "", "x", false, "\r\n"),
    (304, "", "x", false, "\r\n"), (200, "", "x", false, "Content-Length: 1\r\n\r\nx"),
  ])
  func `that is fixed has its type, length and body`(
    status: Int, type: String, body: String, isHead: Bool, end: String
  ) {
    let text = write {
      LocalResponse.append(
        fixed: status, contentType: Array(type.utf8), body: Array(body.utf8),
        edits: CompiledEdits([.add(name: "A", value: "b")]), to: &$0,
        context: Self.context(isHead: isHead))
    }
    let reason = ByteView(StatusText.reason(status)).string
    #expect(text.replacing("Content-Type: text/html\r\n", with: "").utf8.count > 0)
    #expect(text.hasPrefix("HTTP/1.1 \(status) \(reason)\r\nDate: NOW\r\nA: b\r\n"))
    #expect(text.hasSuffix("A: b\r\n" + end))
  }

  @Test(arguments: [
    ("https://$host$request-uri", "https://a/p%20q?x=y"), ("/new$path", "/new/p%20q"),
    ("/?$query&z", "/?x=y&z"), ("/fixed", "/fixed"), ("$path?$query", "/p%20q?x=y"),
    ("https://b/$hostname", "https://b/aname"), ("/a$", "/a$"), ("/$$path", "/$/p%20q"),
    ("$unknown", "$unknown"),
  ])
  func `that redirects fills in the request's parts`(template: String, location: String) {
    let target = redirect(template, "GET /p%20q?x=y HTTP/1.1\r\nHost: A:81\r\n\r\n")
    #expect(target == location)
  }

  @Test(arguments: [
    ("$path|$query|$request-uri", "GET http://b HTTP/1.1", "/||/"),
    ("$path|$query|$request-uri", "GET http://b?q HTTP/1.1", "/|q|/?q"),
    ("$host", "GET http://B.c.:80/ HTTP/1.1", "b.c"), ("$query", "GET /? HTTP/1.1", ""),
    ("$request-uri", "GET /? HTTP/1.1", "/?"),
  ])
  func `that redirects an absolute form has its parts, too`(
    template: String, line: String, location: String
  ) {
    #expect(redirect(template, "\(line)\r\nHost: a\r\n\r\n") == location)
  }

  private func redirect(_ template: String, _ request: String) -> String? {
    let text = HeldText(request).read { view in
      var head = RequestHead()
      _ = try? HeadParser.parseRequest(view, into: &head, limits: HeadLimits())
      var room = [UInt8](repeating: 0, count: 1024)
      return room.withUnsafeMutableBufferPointer { buffer in
        var sink = ByteSink(base: buffer.baseAddress!, capacity: buffer.count)
        LocalResponse.append(
          redirect: RedirectTemplate(status: 308, location: template), of: head,
          edits: CompiledEdits([]), to: &sink, context: Self.context(isHTTP10: true))
        return sink.view.string
      }
    }
    let start = "HTTP/1.1 308 Permanent Redirect\r\nDate: NOW\r\nLocation: "
    let end = "\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    guard text.hasPrefix(start), text.hasSuffix(end) else { return nil }
    return String(text.dropFirst(start.count).dropLast(end.count))
  }
}
