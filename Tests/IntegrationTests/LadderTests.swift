import TestSupport
import Testing

/// The ladder of a route below its own backends: another upstream, then a page.
@Suite(.blocking) struct `Rungs of a ladder` {
  private func configuration(_ own: String, _ other: String) -> DaemonConfiguration {
    var configuration = DaemonConfiguration([own])
    configuration.upstream = "circuit-breaker off"
    configuration.blocks = "upstream other {\nbackend \(other)\ncircuit-breaker off\n}"
    configuration.route = "fallback-upstream other\nfallback-page 503 body=sorry"
    return configuration
  }

  private var nobody: String { "127.0.0.1:\(Ports.take())" }

  private func rung(_ response: WireResponse) -> String {
    let text = response["proxy-status"] ?? ""
    return text.components(separatedBy: "fallback: ").last ?? text
  }

  @Test func `another upstream answers what was not sent, whatever it is`() throws {
    let other = try HTTPOrigin("other")
    try withDaemon(configuration(nobody, other.address)) { daemon in
      // All on one connection: what is left of one request or answer would spoil the next.
      let client = try daemon.connect()
      let rows: [(String, String, String, String)] = [
        ("GET", "/bytes/10", "", "0"), ("HEAD", "/bytes/10", "", "0"),
        ("GET", "/chunked/70000", "Range: bytes=0-5\r\n", "0"),
        ("POST", "/a", "Content-Length: 4\r\n\r\nbody", "4"),
        ("POST", "/a", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "4"),
        ("DELETE", "/a", "", "0"), ("HEAD", "/status/404", "", "0"),
      ]
      for (method, target, rest, count) in rows {
        let end = rest.contains("\r\n\r\n") ? "" : "\r\n"
        try client.send("\(method) \(target) HTTP/1.1\r\nHost: a\r\n\(rest)\(end)")
        let response = try client.readResponse(to: method)
        #expect(response["x-origin"] == "other" && response["x-content-count"] == count)
        #expect(rung(response).hasPrefix("other upstream"), "\(method) \(target) \(response)")
        #expect(response["proxy-status"]?.contains("error=connection_refused") == true)
      }
      #expect(other.requests.contains { $0.head["range"] == "bytes=0-5" })
    }
  }

  @Test func `clients of HTTP/2 get it, too, and content that comes late`() throws {
    let other = try HTTPOrigin("other")
    try withDaemon(configuration(nobody, other.address)) { daemon in
      let client = try HTTP2Connection(daemon.connect())
      try client.request(1, "GET", "/bytes/10")
      try client.request(3, "HEAD", "/bytes/10")
      try client.request(5, "POST", "/a", ends: false)
      let hasCome = Poll.until(.patient) {
        other.records.contains { $0.text.contains("POST /a ") }
      }
      #expect(hasCome)
      try client.send(
        FrameType.content, flags: FrameFlags.endStream, stream: 5, payload: Array("body".utf8))
      for (stream, length) in [(1, 10), (3, 0), (5, 5)] as [(UInt32, Int)] {
        let answer = try client.answer(stream)
        #expect(answer.status == 200 && answer.content.count == length, "\(answer)")
      }
      #expect(other.requests.contains { $0.contentCount == 4 })
    }
  }

  @Test func `with the other one gone as well there is the page`() throws {
    try withDaemon(configuration(nobody, nobody)) { daemon in
      let client = try daemon.connect()
      for method in ["GET", "HEAD", "DELETE", "GET"] {
        try client.send("\(method) / HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse(to: method)
        #expect(response.status == 503 && response["content-length"] == "5")
        #expect(response.text == (method == "HEAD" ? "" : "sorry"))
        #expect(rung(response).hasPrefix("page"), "\(response)")
        #expect(response["cache-control"] == "no-store" && response["retry-after"] != nil)
      }
      // Content that is still to come is not waited for, and no request.
      for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let late = try daemon.connect()
        try late.send("POST / HTTP/1.1\r\nHost: a\r\n\(framing)\r\n\r\n5\r\nGET /")
        let response = try late.readResponse()
        #expect(response.status == 503 && response.text == "sorry", "\(framing)")
        late.finishSending()
        #expect(try late.readToEnd().octets.isEmpty)
      }
      let client2 = try HTTP2Connection(daemon.connect())
      try client2.request(1, "HEAD", "/")
      try client2.request(3, "GET", "/")
      #expect(try client2.answer(1).content.isEmpty)
      #expect(try client2.answer(3).content == Array("sorry".utf8))
    }
  }

  @Test func `what was sent goes on only where it may be sent twice`() throws {
    let ill = try MoodyOrigin("ill", .status(503))
    let other = try HTTPOrigin("other")
    try withDaemon(configuration(ill.address, other.address)) { daemon in
      let client = try daemon.connect()
      for (method, content, expected) in [
        ("GET", "", 200), ("POST", "", 503), ("PUT", "abc", 200), ("POST", "abc", 503),
        ("HEAD", "", 200),
      ] {
        let length = content.isEmpty ? "" : "Content-Length: \(content.utf8.count)\r\n"
        try client.send("\(method) / HTTP/1.1\r\nHost: a\r\n\(length)\r\n\(content)")
        let response = try client.readResponse(to: method)
        #expect(response.status == expected, "\(method) \(response)")
        guard expected == 200 else { continue }
        #expect(response["x-content-count"] == "\(content.utf8.count)")
        #expect(rung(response).hasPrefix("other upstream"))
      }
      #expect(!other.requests.contains { $0.head.method == "POST" })
    }
  }

  @Test func `an answer that has begun is never continued by another one`() throws {
    let hasBegun = Monitor(false)
    let ill = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")
      _ = hasBegun.wait(until: .patient) { $0 }
    }
    let other = try HTTPOrigin("other")
    try withDaemon(configuration(ill.address, other.address)) { daemon in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.hasMore())
      hasBegun.update { $0 = true }
      #expect(throws: WireError.self) { try client.readResponse() }
      #expect(other.requests.isEmpty)
    }
  }
}
