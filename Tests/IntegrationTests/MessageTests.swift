import Foundation
import TestSupport
import Testing

/// Everything lawful that HTTP/1 can do, end to end (RFC 9110, RFC 9112).
@Suite(.blocking) struct `Messages` {
  @Test func `each status and method without content has none, and the connection goes on`() throws
  {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      let rows: [(String, String, Int, WireFraming)] = [
        ("HEAD", "/bytes/5000", 200, .none), ("HEAD", "/chunked/5000", 200, .none),
        ("GET", "/status/204", 204, .none), ("GET", "/status/304", 304, .none),
        ("GET", "/status/404", 404, .length(0)), ("GET", "/status/500", 500, .length(0)),
        ("DELETE", "/bytes/3", 200, .length(3)), ("OPTIONS", "/", 200, .length(6)),
        ("PATCH", "/", 200, .length(6)), ("PROPFIND", "/", 200, .length(6)),
        ("GET", "/bytes/0", 200, .length(0)), ("GET", "/bytes/100000", 200, .length(100_000)),
      ]
      for (method, target, status, framing) in rows {
        try client.send("\(method) \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse(to: method)
        #expect(response.status == status && response.framing == framing, "\(method) \(target)")
        if method == "HEAD", target == "/bytes/5000" {
          #expect(response["content-length"] == "5000")
        }
      }
      #expect(Set(origin.requests.map(\.connection)) == [0], "one upstream connection is enough")
    }
  }

  @Test func `HTTP/1.0 clients get what they can read`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      // A chunked answer becomes one that ends with the connection.
      let plain = try daemon.connect()
      try plain.send("GET /chunked/70000 HTTP/1.0\r\nHost: a\r\n\r\n")
      var check = PatternCheck()
      let response = try plain.readResponse { check.add($0) }
      #expect(response.framing == .untilEnd && check.count == 70000 && check.isIntact)
      // Keep-alive where asked for and where the length is known.
      let kept = try daemon.connect()
      for _ in 0..<3 {
        try kept.send("GET /bytes/10 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        let answer = try kept.readResponse()
        #expect(answer.framing == .length(10))
        #expect(answer["connection"]?.lowercased() == "keep-alive")
      }
      let closed = try daemon.connect()
      try closed.send("GET /bytes/10 HTTP/1.0\r\n\r\n")
      #expect(try closed.readResponse().body.count == 10)
      #expect(try closed.readToEnd() == ([], .fin))
    }
    #expect(origin.requests.allSatisfy { $0.head.version == "HTTP/1.1" })
  }

  @Test func `a backend that answers before it was asked is heard at once`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
      connection.finishSending()
      _ = try connection.readToEnd()
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "first-byte-timeout 60s"
    try withDaemon(configuration) { daemon in
      for _ in 0..<20 {
        let text = try daemon.get("/").text
        #expect(text == "early")
      }
    }
  }

  @Test func `HTTP/1.0 and close-delimited backends are understood`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      switch head.target {
      case "/old": try connection.send("HTTP/1.0 200 OK\r\n\r\nuntil the end")
      case "/old-length":
        try connection.send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc")
      case "/new": try connection.send("HTTP/1.1 200 OK\r\n\r\nuntil the end")
      default: try connection.send("HTTP/1.1 200\r\nConnection: close\r\n\r\n")
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      for (target, body) in [
        ("/old", "until the end"), ("/old-length", "abc"), ("/new", "until the end"),
        ("/empty", ""),
      ] {
        try client.send("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse()
        // Chunked for an HTTP/1.1 client: the connection survives and the end is proven.
        #expect(response.text == body && response.framing != .untilEnd, "\(target)")
        #expect(response.head.version == "HTTP/1.1", "\(target)")
      }
    }
  }

  @Test func `pipelined requests are answered in order, also behind a slow first one`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      let targets = ["/delay/200", "/bytes/1", "/chunked/20000", "/bytes/3", "/status/404"]
      let requests =
        targets.map { "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined()
        + "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        + "GET /bytes/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        + "GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
      try client.send(requests)
      #expect(try client.readResponse().status == 200)
      #expect(try client.readResponse().body.count == 1)
      #expect(try client.readResponse().body == Pattern.prefix(20000))
      #expect(try client.readResponse().body.count == 3)
      #expect(try client.readResponse().status == 404)
      #expect(try client.readResponse().text.hasSuffix("body"))
      #expect(try client.readResponse().body.count == 7)
      #expect(try client.readToEnd().octets.isEmpty, "nothing after Connection: close (rule 14)")
    }
    #expect(!origin.requests.contains { $0.head.target == "/never" })
  }

  @Test func `a thousand pipelined requests of one segment keep their order`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      let count = 900
      let text = (0..<count).map { "GET /bytes/\($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined()
      try client.send(text)
      for size in 0..<count {
        #expect(try client.readResponse().body.count == size)
      }
    }
  }

  @Test func `Expect: 100-continue is answered, and the content follows`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      for _ in 0..<2 {
        try client.send(
          "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        #expect(try client.readHead().startLine.hasPrefix("HTTP/1.1 100"))
        try client.send("hello")
        #expect(try client.readResponse().text.hasSuffix("hello"))
      }
    }
  }

  /// Rule 19: the client may or may not send its content after a final answer, so its connection
  /// says nothing any more; nor may the upstream connection carry another request.
  @Test func `a final answer instead of 100 ends the client's connection`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let head = try connection.readHead()
        if head.method == "POST" {
          try connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        } else {
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        }
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.blocks = "route */tiny {\n  upstream app\n  max-body-size 3B\n}"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send(
        "POST /tiny HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
      let response = try client.readResponse()
      #expect(response.status == 413 && response.interim.isEmpty)
      #expect(response["connection"] == "close")
      try? client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.readToEnd().octets.isEmpty)
      #expect(try daemon.get("/x").text == "ok")
    }
    #expect(!origin.records.contains { $0.text.contains("smuggled") })
  }

  @Test func `1xx pass to HTTP/1.1 clients where a route says so, 102 and 100 never unasked`()
    throws
  {
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        _ = try connection.readHead()
        try connection.send(
          "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n"
            + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.blocks = "route */hints {\n  upstream app\n  early-hints on\n}"
    try withDaemon(configuration) { daemon in
      let rows = [("/hints", "1.1", [103]), ("/hints", "1.0", []), ("/none", "1.1", [])]
      for (target, version, expected) in rows {
        let client = try daemon.connect()
        try client.send("GET \(target) HTTP/\(version)\r\nHost: a\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.text == "ok")
        #expect(response.interim.map(\.status) == expected, "\(target) \(version)")
        if let hint = response.interim.first { #expect(hint["link"] == "</s.css>") }
      }
    }
  }

  @Test func `a client that half-closes after its request still gets the answer`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("POST /chunked/200000 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
      client.finishSending()
      var check = PatternCheck()
      _ = try client.readResponse { check.add($0) }
      #expect(check.count == 200_000 && check.isIntact)
      #expect(try client.readToEnd() == ([], .fin))
    }
  }

  @Test func `a client that leaves in the middle costs its upstream connection, nothing else`()
    throws
  {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
      try Pattern.send(100_000_000, on: connection)
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for isReset in [true, false] {
        let client = try daemon.connect()
        try client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = try client.read(1000)
        if isReset { client.reset() } else { client.close() }
      }
      #expect(origin.wait { $0.count == 2 && $0.allSatisfy(\.hasEnded) })
      // An upload that breaks off must not look complete to the backend.
      let client = try daemon.connect()
      try client.send(
        "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
      #expect(origin.wait { $0.count == 3 && $0[2].text.contains("abc") })
      client.close()
      #expect(origin.wait { $0.count == 3 && $0[2].hasEnded })
      #expect(try !#require(origin.records.dropFirst(2).first).text.hasSuffix("0\r\n\r\n"))
    }
  }
}
