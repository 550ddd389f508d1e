import Foundation
import TestSupport
import Testing

/// Hop-by-hop fields and who the client is (rules 16–18; semantics 22).
@Suite(.blocking) struct `Fields` {
  /// The request as the backend saw it.
  private func forwarded(
    _ fields: String, configuration: (inout DaemonConfiguration) -> Void = { _ in },
    target: String = "/echo", host: String = "example.com"
  ) throws -> WireHead {
    let origin = try HTTPOrigin()
    var options = DaemonConfiguration([origin.address])
    configuration(&options)
    return try withDaemon(options) { daemon in
      let client = try daemon.connect()
      try client.send("GET \(target) HTTP/1.1\r\nHost: \(host)\r\n\(fields)\r\n")
      let response = try client.readResponse()
      guard response.status == 200, let request = origin.requests.first else {
        throw TestFailure("\(fields): \(response.head.text)")
      }
      return request.head
    }
  }

  @Test func `hop-by-hop fields end at weir, what a Connection field names too`() throws {
    let head = try forwarded(
      """
      Connection: X-Private, keep-alive\r
      connection: x-other\r
      X-Private: 1\r
      X-Other: 2\r
      Keep-Alive: timeout=5\r
      Proxy-Connection: keep-alive\r
      TE: gzip, trailers\r
      Upgrade: h2c\r
      HTTP2-Settings: AAMAAABkAAQAAP__\r
      X-Kept: 3\r\n
      """)
    for name in [
      "x-private", "x-other", "keep-alive", "proxy-connection", "upgrade", "http2-settings",
    ] {
      #expect(head.all(name).isEmpty, "\(name)")
    }
    #expect(head["x-kept"] == "3")
    #expect(head.all("te").allSatisfy { $0 == "trailers" })
    #expect(head.all("connection").allSatisfy { $0.lowercased() != "x-private" })
  }

  @Test func `a nomination cannot remove what weir itself says`() throws {
    let names = [
      "Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "X-Forwarded-Proto",
      "X-Forwarded-Host", "Forwarded", "Via", "X-Request-ID", "Cookie",
    ]
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send(
        "POST /echo HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n"
          + "Connection: \(names.joined(separator: ", "))\r\n\r\nabc")
      #expect(try client.readResponse().status == 200)
    }
    let request = try #require(origin.requests.first)
    #expect(request.contentCount == 3)
    for name in names where name != "Cookie" && name != "Transfer-Encoding" {
      #expect(request.head.all(name).count == 1, "\(name): \(request.head.text)")
    }
  }

  @Test func `an outsider's claims about itself are overwritten`() throws {
    let head = try forwarded(
      """
      X-Forwarded-For: 1.2.3.4\r
      X-Forwarded-For: 5.6.7.8\r
      X-Forwarded-Proto: https\r
      X-Forwarded-Host: evil.test\r
      X-Forwarded-Port: 443\r
      Forwarded: for=1.2.3.4;proto=https\r
      X-Original-URL: /admin\r
      X-Rewrite-URL: /admin\r
      X-Original-Host: evil.test\r
      Proxy: http://evil.test\r\n
      """)
    #expect(head["x-forwarded-for"] == "127.0.0.1")
    #expect(head["x-forwarded-proto"] == "http")
    #expect(head["x-forwarded-host"] == "example.com")
    let forwarded = head["forwarded"] ?? ""
    #expect(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"))
    #expect(!head.text.contains("1.2.3.4") && !head.text.contains("evil.test"))
    #expect(head.fields.allSatisfy { $0.value != "443" } && !head.text.contains("/admin"))
    #expect(head["via"] == "1.1 weir-test")
    #expect((head["x-request-id"] ?? "").count >= 16)
  }

  @Test func `a trusted proxy's claims are extended`() throws {
    let head = try forwarded(
      """
      X-Forwarded-For: 203.0.113.7\r
      X-Forwarded-Proto: https\r
      X-Forwarded-Host: public.example\r
      Forwarded: for=203.0.113.7;proto=https\r\n
      """, configuration: { $0.top = "trusted-proxies 127.0.0.0/8" })
    #expect(head["x-forwarded-for"] == "203.0.113.7, 127.0.0.1")
    #expect(head["x-forwarded-proto"] == "https")
    #expect(head["x-forwarded-host"] == "public.example")
    let forwarded = head.all("forwarded").joined(separator: ", ")
    #expect(forwarded.hasPrefix("for=203.0.113.7;proto=https") && forwarded.contains("127.0.0.1"))
  }

  @Test func `Via grows, and our own name in it is a loop`() throws {
    let grown = try forwarded("Via: 1.0 first, 1.1 weir-elsewhere\r\n").all("via")
    #expect(grown.joined(separator: ", ") == "1.0 first, 1.1 weir-elsewhere, 1.1 weir-test")
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for via in ["1.1 weir-test", "1.0 first, 1.1 weir-test, 1.1 other", "1.1 WEIR-TEST"] {
        let response = try daemon.get("/", fields: "Via: \(via)\r\n")
        #expect(response.status == 508, "\(via)")
        #expect(response["proxy-status"]?.contains("proxy_loop_detected") == true)
      }
      #expect(origin.receivedCount == 0)
      #expect(try daemon.get("/", fields: "Via: 1.1 weir-test2\r\n").status == 200)
    }
  }

  @Test func `a name with an underscore never stands beside its twin with a hyphen`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let response = try daemon.get("/", fields: "X_Forwarded_For: 6.6.6.6\r\nX_Y: 1\r\n")
      #expect([200, 400].contains(response.status))
      #expect(origin.requests.allSatisfy { !$0.head.text.contains("_") })
    }
  }

  @Test func `the Host that backends see is the client's, the backend's or a fixed one`() throws {
    #expect(try forwarded("", host: "Example.COM:80")["host"] == "example.com:80")
    #expect(
      try forwarded("", target: "http://absolute.test:81/echo")["host"] == "absolute.test:81")
    #expect(try forwarded("", target: "http://absolute.test:81/echo").target == "/echo")
    #expect(try forwarded("", target: "http://a.test?q").target == "/?q")
    #expect(
      try forwarded("", configuration: { $0.upstream = "host fixed.test" })["host"] == "fixed.test")
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "host backend"
    try withDaemon(configuration) { _ = try $0.get("/") }
    #expect(origin.requests.first?.head["host"] == origin.address)
  }

  @Test func `values pass untouched, repeated fields in order`() throws {
    let head = try forwarded(
      "Cookie: a=b; c=d\r\nX-Many: 1\r\nX-Many: 2\r\n"
        + "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        + "tracestate: k=v\r\nAccept-Encoding: gzip\r\nRange: bytes=0-1\r\n")
    #expect(head["cookie"] == "a=b; c=d")
    #expect(head.all("x-many") == ["1", "2"])
    #expect(head["traceparent"]?.contains("0af7651916cd43dd8448eb211c80319c") == true)
    #expect(head["tracestate"] == "k=v" && head["range"] == "bytes=0-1")
  }

  @Test func `responses lose their hop-by-hop fields and gain a Date`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let head = try connection.readHead()
        let date = head.target == "/dated" ? "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n" : ""
        try connection.send(
          "HTTP/1.1 200 OK\r\n\(date)Connection: X-Hop, Content-Length, keep-alive\r\nX-Hop: 1\r\n"
            + "Keep-Alive: timeout=9\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n"
            + "Content-Length: 2\r\n"
            + "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: s\r\nX-End: yes\r\n\r\nok")
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      for target in ["/dated", "/undated"] {
        try client.send("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.text == "ok" && response.framing == .length(2))
        for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade"] {
          #expect(response.head.all(name).isEmpty, "\(name)")
        }
        #expect(response.head.all("set-cookie") == ["a=1", "b=2"])
        #expect(response["x-end"] == "yes")
        let isOriginal = response["date"] == "Thu, 01 Jan 2026 00:00:00 GMT"
        #expect(response["date"]?.hasSuffix(" GMT") == true && isOriginal == (target == "/dated"))
      }
    }
  }

  @Test func `header edits of a route are made on both sides`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = """
      request-header set X-Set new
      request-header add X-Add more
      request-header remove X-Gone
      response-header set X-Frame DENY
      response-header remove X-Origin
      response-header add X-Two 2
      """
    try withDaemon(configuration) { daemon in
      let response = try daemon.get(
        "/", fields: "X-Set: a\r\nX-Set: b\r\nX-Add: one\r\nX-Gone: 1\r\nX-Gone: 2\r\n")
      #expect(response["x-frame"] == "DENY" && response["x-two"] == "2")
      #expect(response.head.all("x-origin").isEmpty)
    }
    let head = try #require(origin.requests.first?.head)
    #expect(head.all("x-set") == ["new"] && head.all("x-add") == ["one", "more"])
    #expect(head.all("x-gone").isEmpty)
  }
}
