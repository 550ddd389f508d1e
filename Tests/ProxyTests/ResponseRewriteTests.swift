import HTTP
import HTTP1
import Primitives
import TestUnitSupport
import Testing

@testable import Proxy

@Suite struct `A forwarded response` {
  private enum Kind { case final, switching, informational }

  private func forward(
    _ text: String, isHead: Bool = false, closes: Bool = false, toHTTP10: Bool = false,
    edits: [HeaderEdit] = [], security: StaticString = "", kind: Kind = .final
  ) -> String {
    var room = [UInt8](repeating: 0, count: 4096)
    return HeldText(text + "\r\n\r\n").read { view in
      var head = ResponseHead()
      let length = try? HeadParser.parseResponse(
        view, into: &head, limits: HeadLimits(), isHead: isHead)
      guard length == view.count else { return "refused" }
      let hasUnknownLength = head.framing == .chunked || head.framing == .untilClose
      let content = Content(
        head.framing, sendsChunks: hasUnknownLength && !toHTTP10, passesTrailers: false)
      let context = HeaderRewrite.ResponseContext(
        source: content.source, length: content.remaining, sendsChunks: content.sendsChunks,
        keepsLength: isHead || head.status == 304 || head.framing == .none && head.status != 204,
        closes: closes, clientIsHTTP10: toHTTP10,
        transportSecurity: ByteView(security), date: ByteView("NOW"))
      return room.withUnsafeMutableBufferPointer { buffer in
        var sink = ByteSink(base: buffer.baseAddress!, capacity: buffer.count)
        let compiled = CompiledEdits(edits)
        switch kind {
        case .final:
          HeaderRewrite.appendResponse(head, to: &sink, edits: compiled, context: context)
        case .switching: HeaderRewrite.appendSwitchingProtocols(head, to: &sink, edits: compiled)
        case .informational: HeaderRewrite.appendInformational(head, to: &sink)
        }
        return sink.view.string
      }
    }
  }

  @Test func `is this one, octet for octet`() {
    let sent = """
      HTTP/1.0 404 Nothing  here\r
      Server: x\r
      Connection: keep-alive, X-Hop, content-length\r
      X-Hop: 1\r
      Keep-Alive: 1\r
      Proxy-Connection: x\r
      Upgrade: h2c\r
      Trailer: T\r
      Set-Cookie: a\r
      Content-Length: 05\r
      Set-Cookie: b\r
      X_Under: stays
      """
    let expected = """
      HTTP/1.1 404 Nothing  here\r
      Server: x\r
      Set-Cookie: a\r
      Set-Cookie: b\r
      X_Under: stays\r
      Date: NOW\r
      Content-Length: 5\r
      \r\n
      """
    #expect(forward(sent) == expected)
  }

  @Test(arguments: [
    ("200 OK\r\nContent-Length: 0", false, ["Content-Length: 0"]),
    ("200 OK\r\nContent-Length: 9", true, ["Content-Length: 9"]),
    ("200 OK\r\nTransfer-Encoding: chunked", true, []), ("200 OK", true, []),
    ("200 OK\r\nTransfer-Encoding: Chunked", false, ["Transfer-Encoding: chunked"]),
    ("200 OK", false, ["Transfer-Encoding: chunked"]), ("204 No\r\nContent-Length: 5", false, []),
    ("304 Not\r\nContent-Length: 5", false, ["Content-Length: 5"]), ("304 Not", false, []),
    ("200 OK\r\nContent-Length: 5\r\nContent-Length: 05", false, ["Content-Length: 5"]),
  ])
  func `is framed anew, by at most one field`(text: String, isHead: Bool, framing: [String]) {
    let lines = forward("HTTP/1.1 \(text)", isHead: isHead).split(separator: "\r\n")
    let found = lines.filter { $0.hasPrefix("Content-Length") || $0.hasPrefix("Transfer-Encoding") }
    #expect(found.map(String.init) == framing)
  }

  @Test func `tells the client whether the connection stays`() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nDate: D"
    let start = "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 1\r\n"
    #expect(forward(text) == start + "\r\n")
    #expect(forward(text, closes: true) == start + "Connection: close\r\n\r\n")
    #expect(forward(text, toHTTP10: true) == start + "Connection: keep-alive\r\n\r\n")
    #expect(forward(text, closes: true, toHTTP10: true) == start + "Connection: close\r\n\r\n")
  }

  @Test func `to HTTP/1.0 has no transfer coding`() {
    let sent = forward(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", closes: true, toHTTP10: true)
    #expect(sent == "HTTP/1.1 200 OK\r\nDate: NOW\r\nConnection: close\r\n\r\n")
  }

  @Test func `keeps browsers on HTTPS, unless backend or route decide otherwise`() {
    let line: StaticString = "Strict-Transport-Security: max-age=1\r\n"
    #expect(forward("HTTP/1.1 204 x", security: line).contains("\r\n\(line)"))
    let own = forward("HTTP/1.1 204 x\r\nstrict-transport-security: max-age=0", security: line)
    #expect(!own.contains("\(line)"))
    #expect(own.contains("\r\nstrict-transport-security: max-age=0\r\n"))
    let removed = forward(
      "HTTP/1.1 204 x", edits: [.remove(name: "Strict-Transport-Security")], security: line)
    #expect(!removed.contains("Strict"))
  }

  @Test func `has the configured edits`() {
    let sent = forward(
      "HTTP/1.1 200 OK\r\nServer: x\r\nX-A: 1\r\nContent-Length: 1\r\nDate: D",
      edits: [.remove(name: "server"), .set(name: "X-A", value: "2"), .add(name: "B", value: "3")])
    #expect(sent == "HTTP/1.1 200 OK\r\nDate: D\r\nX-A: 2\r\nB: 3\r\nContent-Length: 1\r\n\r\n")
  }

  @Test func `that switches protocols names the protocol, and nothing else of the connection`() {
    let sent = forward(
      "HTTP/1.1 101 X\r\nConnection: Upgrade, X-H\r\nUpgrade: websocket\r\nX-H: 1\r\nA: b",
      kind: .switching)
    let expected =
      "HTTP/1.1 101 Switching Protocols\r\nA: b\r\n"
      + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    #expect(sent == expected)
  }

  @Test func `that is interim passes its fields and no framing`() {
    let sent = forward(
      "HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: X-H\r\nX-H: 1\r\nContent-Length: 3",
      kind: .informational)
    #expect(sent == "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
  }
}
