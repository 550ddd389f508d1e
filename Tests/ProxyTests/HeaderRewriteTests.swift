import HTTP
import HTTP1
import Primitives
import TestUnitSupport
import Testing

@testable import Proxy

@Suite struct `A forwarded request` {
  private struct Setting {
    var trusted = false
    var client = "192.0.2.1"
    var host = HostPolicy.preserve
    var edits: [HeaderEdit] = []
    var upgrades = false
    var trailers = false
    var secure = false
    var certificate: StaticString = ""
  }

  /// The head that the backend gets, without what is the same for all unless `whole`.
  private func forward(_ text: String, _ setting: Setting = Setting()) -> String {
    var room = [UInt8](repeating: 0, count: 4096)
    return HeldText(text).read { view in
      var head = RequestHead()
      guard let length = try? HeadParser.parseRequest(view, into: &head, limits: HeadLimits()),
        length == view.count
      else { return "refused" }
      let context = HeaderRewrite.RequestContext(
        client: IPAddress(setting.client)!, isTrusted: setting.trusted,
        isSecure: setting.secure, clientCertificate: ByteView(setting.certificate),
        requestID: (1, 0xAB),
        instance: ByteView("weir-t"), asksUpgrade: setting.upgrades,
        passesTrailers: setting.trailers)
      let backend = BackendState(
        id: 0, upstreamName: "u",
        BackendOptions(address: SocketAddress("10.0.0.1:81")!, name: "b"))
      return room.withUnsafeMutableBufferPointer { buffer in
        var sink = ByteSink(base: buffer.baseAddress!, capacity: buffer.count)
        HeaderRewrite.appendRequest(
          head, to: &sink, host: CompiledHost(setting.host),
          backend: backend.authority.view,
          edits: CompiledEdits(setting.edits), context: context)
        return sink.view.string
      }
    }
  }

  private func lines(_ text: String, _ setting: Setting = Setting()) -> [String] {
    forward("GET / HTTP/1.1\r\nHost: a\r\n\(text)\r\n", setting).split(separator: "\r\n")
      .map(String.init)
  }

  @Test func `is this one, octet for octet`() {
    let sent = """
      GET /a/%2e?b=%zz HTTP/1.1\r
      hOST: Example.COM:80\r
      User-Agent:\tx \r
      Connection: X-Hop, keep-alive,close , Host\r
      x-hop: 1\r
      Keep-Alive: 5\r
      Accept: a\r
      Accept: b\r
      X_Under: 1\r
      Proxy: evil\r
      X-Original-URL: /admin\r
      X-Rewrite-URL: /admin\r
      X-Original-Host: evil\r
      X-Forwarded-For: 9.9.9.9\r
      X-Forwarded-Proto: https\r
      X-Forwarded-Host: evil\r
      X-Forwarded-Port: 1\r
      Forwarded: for=9.9.9.9\r
      X-Request-ID: evil\r
      TE: trailers\r
      Upgrade: h2c\r
      HTTP2-Settings: AAAA\r
      Proxy-Connection: close\r
      Trailer: X\r
      Via: 1.1 other\r
      Cookie: c=d\r
      \r\n
      """.replacing("/%2e", with: "/.x")
    let expected = """
      GET /a/.x?b=%zz HTTP/1.1\r
      Host: example.com:80\r
      User-Agent:\tx \r
      Accept: a\r
      Accept: b\r
      Via: 1.1 other\r
      Cookie: c=d\r
      X-Forwarded-For: 192.0.2.1\r
      X-Forwarded-Proto: http\r
      X-Forwarded-Host: example.com:80\r
      Forwarded: for=192.0.2.1;host="example.com:80";proto=http\r
      X-Request-ID: 000000000000000100000000000000ab\r
      Via: 1.1 weir-t\r
      \r\n
      """
    #expect(forward(sent) == expected)
  }

  @Test(arguments: [
    ("GET / HTTP/1.1", "GET / HTTP/1.1"), ("GET http://a/x?y HTTP/1.1", "GET /x?y HTTP/1.1"),
    ("GET http://a HTTP/1.1", "GET / HTTP/1.1"), ("GET http://a?q HTTP/1.1", "GET /?q HTTP/1.1"),
    ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ("OPTIONS http://a HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ("OPTIONS http://a/ HTTP/1.1", "OPTIONS / HTTP/1.1"),
    ("get /?%0d%0a HTTP/1.1", "get /?%0d%0a HTTP/1.1"),
    ("GET //%41 HTTP/1.1", "GET //%41 HTTP/1.1"),
  ])
  func `has the received target in origin form`(line: String, sent: String) {
    #expect(forward("\(line)\r\nHost: a\r\n\r\n").hasPrefix(sent + "\r\nHost: a\r\n"))
  }

  @Test(arguments: [
    (HostPolicy.preserve, "Host: a"), (.backend, "Host: 10.0.0.1:81"), (.literal("L"), "Host: L"),
  ])
  func `has the Host that the upstream says`(policy: HostPolicy, line: String) {
    #expect(lines("", Setting(host: policy))[1] == line)
  }

  @Test func `of HTTP/1.0 without a host names the backend, and its version in Via`() {
    let sent = forward("GET / HTTP/1.0\r\n\r\n")
    #expect(sent.hasPrefix("GET / HTTP/1.1\r\nHost: 10.0.0.1:81\r\n"))
    #expect(sent.hasSuffix("\r\nVia: 1.0 weir-t\r\n\r\n"))
  }

  @Test(arguments: [
    ("POST", "Content-Length: 007\r\nContent-Length: 7\r\n", ["Content-Length: 7"]),
    ("POST", "Transfer-Encoding: CHUNKED\r\n", ["Transfer-Encoding: chunked"]),
    ("POST", "", ["Content-Length: 0"]), ("PUT", "", ["Content-Length: 0"]), ("GET", "", []),
    ("GET", "Content-Length: 00\r\n", ["Content-Length: 0"]), ("DELETE", "", []),
    (
      "POST", "Connection: content-length, transfer-encoding\r\nContent-Length: 3\r\n",
      ["Content-Length: 3"]
    ),
  ])
  func `is framed anew, by exactly one field`(method: String, fields: String, framing: [String]) {
    let sent = forward("\(method) / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n").split(separator: "\r\n")
    let found = sent.filter { $0.hasPrefix("Content-Length") || $0.hasPrefix("Transfer-Encoding") }
    #expect(found.map(String.init) == framing)
  }

  @Test func `from a trusted peer keeps and continues what that peer says`() {
    let fields = """
      X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r
      X-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nX-Forwarded-Port: 443\r
      X-Request-ID: id\r\n
      """
    let sent = lines(fields, Setting(trusted: true, client: "::1"))
    #expect(sent.contains("X-Forwarded-For: 1.1.1.1, 2.2.2.2, ::1"))
    #expect(sent.contains("Forwarded: for=1.1.1.1, for=\"[::1]\";host=\"a\";proto=http"))
    for line in ["Proto: https", "Host: public", "Port: 443"] {
      #expect(
        sent.filter { $0.hasPrefix("X-Forwarded-\(line.prefix(4))") } == ["X-Forwarded-\(line)"])
    }
    #expect(sent.filter { $0.hasPrefix("X-Request-ID") } == ["X-Request-ID: id"])
    let bare = lines("", Setting(trusted: true))
    #expect(bare == lines(""), "what a trusted peer leaves out is added")
  }

  /// Rule 16: a nomination must not take away what weir answers for.
  @Test func `keeps Host, framing and identity whatever Connection names`() {
    let nominated = """
      Connection: x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-forwarded-port, \
      forwarded, x-request-id, via, host, x-gone, X_Y, TE\r
      X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r
      X-Forwarded-Port: 443\r\nForwarded: for=1.1.1.1\r\nX-Request-ID: id\r\nX-Gone: 1\r\n
      """
    let sent = lines(nominated, Setting(trusted: true))
    for line in [
      "Host: a", "X-Forwarded-For: 1.1.1.1, 192.0.2.1", "X-Forwarded-Proto: https",
      "X-Forwarded-Host: public", "X-Forwarded-Port: 443", "X-Request-ID: id", "Via: 1.1 weir-t",
    ] {
      #expect(sent.contains(line), "\(line)")
    }
    #expect(!sent.contains { $0.hasPrefix("X-Gone") || $0.hasPrefix("Connection") })
  }

  @Test func `asks for upgrade or trailers only where it is told to`() {
    let fields = "Connection: upgrade\r\nUpgrade: websocket\r\nTE: trailers\r\n"
    let upgrade = lines(fields, Setting(upgrades: true))
    #expect(upgrade.contains("Connection: upgrade") && upgrade.contains("Upgrade: websocket"))
    let trailers = lines(fields, Setting(trailers: true))
    #expect(trailers.contains("Connection: TE") && trailers.contains("TE: trailers"))
    #expect(!lines(fields).contains { $0.hasPrefix("Upgrade") || $0.hasPrefix("TE") })
  }

  /// An operator behind a TLS terminator sets the scheme; two lines would contradict each other.
  @Test(arguments: [
    ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "b"), ("X-Forwarded-For", "c"),
    ("Forwarded", "for=d"), ("X-Request-ID", "e"),
  ])
  func `says once what an edit sets instead of weir`(name: String, value: String) {
    let set = lines("\(name): x\r\n", Setting(edits: [.set(name: name, value: value)]))
    #expect(set.filter { $0.hasPrefix("\(name):") } == ["\(name): \(value)"])
    let removed = lines("\(name): x\r\n", Setting(edits: [.remove(name: name)]))
    #expect(!removed.contains { $0.hasPrefix("\(name):") })
  }

  @Test func `that came over TLS says so`() {
    let text = lines("", Setting(secure: true)).joined(separator: "\n")
    #expect(text.contains("\nX-Forwarded-Proto: https\n"))
    #expect(text.contains("\nForwarded: for=192.0.2.1;host=\"a\";proto=https\n"))
  }

  @Test func `tells who the client proved to be, and nobody else can`() {
    let forged = "x-client-cert-SUBJECT: CN=root\r\nX-Client-Cert-SHA256: 00\r\n"
    func told(_ setting: Setting) -> [String] {
      lines(forged, setting).filter { $0.lowercased().hasPrefix("x-client-cert") }
    }
    let certificate: StaticString =
      "X-Client-Cert-Subject: CN=one\r\nX-Client-Cert-SHA256: ab\r\n"
    let own = ["X-Client-Cert-Subject: CN=one", "X-Client-Cert-SHA256: ab"]
    #expect(told(Setting()) == [])
    #expect(told(Setting(secure: true, certificate: certificate)) == own)
    // A trusted proxy speaks for its own clients, unless it shows a certificate itself.
    #expect(told(Setting(trusted: true)).count == 2)
    #expect(told(Setting(trusted: true, certificate: certificate)) == own)
    #expect(
      told(Setting(edits: [.remove(name: "X-Client-Cert-Subject")], certificate: certificate))
        == ["X-Client-Cert-SHA256: ab"])
    // Nor can Connection take it away (rule 16).
    let nominated = lines(
      "Connection: X-Client-Cert-Subject\r\n\(forged)", Setting(trusted: true))
    #expect(nominated.contains("x-client-cert-SUBJECT: CN=root"))
  }

  @Test func `has the configured edits`() {
    let edits: [HeaderEdit] = [
      .set(name: "X-Set", value: "new"), .add(name: "X-Add", value: "2"), .remove(name: "X-Remove"),
    ]
    let fields = "x-set: old\r\nX-SET: older\r\nX-Add: 1\r\nx-remove: 1\r\nX-Removed: 1\r\n"
    let sent = lines(fields, Setting(edits: edits))
    #expect(sent[2...5] == ["X-Add: 1", "X-Removed: 1", "X-Set: new", "X-Add: 2"])
    #expect(!sent.contains { $0.lowercased().hasPrefix("x-remove:") || $0.hasSuffix("old") })
  }
}
