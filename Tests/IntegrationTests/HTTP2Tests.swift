import Foundation
import TestSupport
import Testing

extension DaemonProcess {
  func connect2(settings: [(UInt16, UInt32)] = []) throws -> HTTP2Connection {
    try HTTP2Connection(try connect(), settings: settings)
  }
}

/// HTTP/2 towards clients with prior knowledge (RFC 9113 §3.3), to backends that speak HTTP/1.
@Suite(.blocking) struct `HTTP/2` {
  @Test func `requests of each kind come through, many on one connection`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      let rows: [(String, String, Int, Int)] = [
        ("GET", "/bytes/0", 200, 0), ("GET", "/bytes/5", 200, 5),
        ("GET", "/bytes/300000", 200, 300_000), ("GET", "/chunked/70000", 200, 70_000),
        ("GET", "/close/4000", 200, 4000), ("HEAD", "/bytes/5000", 200, 0),
        ("GET", "/status/204", 204, 0), ("GET", "/status/304", 304, 0),
        ("GET", "/status/404", 404, 0),
      ]
      for (index, row) in rows.enumerated() {
        try client.request(UInt32(index * 2 + 1), row.0, row.1)
      }
      for (index, (method, path, status, length)) in rows.enumerated() {
        let answer = try client.answer(UInt32(index * 2 + 1))
        #expect(answer.status == status && answer.content.count == length, "\(method) \(path)")
        #expect(answer.resetCode == nil, "\(method) \(path)")
        var check = PatternCheck()
        answer.content.withUnsafeBytes { check.add($0) }
        #expect(check.isIntact, "\(method) \(path)")
        let forbidden = ["connection", "transfer-encoding", "keep-alive", "upgrade"]
        #expect(answer.fields.allSatisfy { !forbidden.contains($0.name) }, "\(path)")
        #expect(answer.fields.allSatisfy { $0.name == $0.name.lowercased() }, "\(path)")
      }
    }
  }

  @Test func `content of known and unknown length goes up, whatever its size`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      for (index, count) in [1, 16_384, 30_000].enumerated() {
        for isKnown in [true, false] {
          let stream = UInt32(index * 4 + (isKnown ? 1 : 3))
          let length = isKnown ? [("content-length", "\(count)")] : []
          try client.request(stream, "POST", "/echo", length, ends: false)
          try client.content(stream, Pattern.prefix(count))
          let answer = try client.answer(stream)
          #expect(answer.status == 200, "\(count)")
          #expect(answer["x-content-count"] == "\(count)", "\(count)")
          #expect(answer["x-content-intact"] == "yes", "\(count)")
        }
      }
    }
    for request in origin.requests {
      #expect(
        request.head.fields.filter { $0.name.lowercased() == "content-length" }.count
          + request.head.fields.filter { $0.name.lowercased() == "transfer-encoding" }.count == 1)
    }
  }

  @Test func `a head becomes one of HTTP/1.1, octet for octet`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      try client.request(
        1, "GET", "/x?y=%20",
        [("cookie", "a=1"), ("accept", "b"), ("cookie", "c=2")])
      #expect(try client.answer(1).status == 200)
    }
    let head = try #require(origin.requests.first?.head)
    #expect(head.target == "/x?y=%20" && head.version == "HTTP/1.1")
    func values(_ name: String) -> [String] {
      head.fields.filter { $0.name.lowercased() == name }.map(\.value)
    }
    #expect(values("host") == ["a"] && values("cookie") == ["a=1; c=2"])
    #expect(values("accept") == ["b"] && values("te") == [] && values("connection") == [])
    #expect(values("via") == ["2.0 weir-test"])
  }

  private static func fields(
    _ method: String, _ path: String, _ more: [(String, String)]
  ) -> [(String, String)] {
    HTTP2Connection.requestFields(method, path, more)
  }

  /// What is no request at all.
  private static let resets: [(String, [(String, String)])] = [
    ("no path", [(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
    ("no method", [(":scheme", "http"), (":authority", "a"), (":path", "/")]),
    ("two paths", fields("GET", "/", []) + [(":path", "/b")]),
    ("unknown pseudo-field", [(":foo", "x")] + fields("GET", "/", [])),
    ("pseudo-field behind a field", [("a", "b")] + fields("GET", "/", [])),
    ("capital letters", fields("GET", "/", [("Accept", "b")])),
    ("connection", fields("GET", "/", [("connection", "close")])),
    ("transfer-encoding", fields("GET", "/", [("transfer-encoding", "chunked")])),
    ("upgrade", fields("GET", "/", [("upgrade", "h2c")])),
    ("te", fields("GET", "/", [("te", "gzip")])),
    ("line break in a value", fields("GET", "/", [("a", "b\r\nc: d")])),
    ("NUL in a value", fields("GET", "/", [("a", "b\u{0}c")])),
    ("line break in a path", fields("GET", "/a\r\nb", [])),
    ("space in the path", fields("GET", "/a b", [])),
    ("another host", fields("GET", "/", [("host", "b")])),
    ("blank before a value", fields("GET", "/", [("a", " b")])),
    ("blank behind a value", fields("GET", "/", [("a", "b\t")])),
    ("empty name", fields("GET", "/", [("", "b")])),
    ("colon in a name", fields("GET", "/", [("a:b", "c")])),
    ("blank in a name", fields("GET", "/", [("a ", "c")])),
    ("empty path", fields("GET", "", [])),
    ("absolute path", fields("GET", "http://b/", [])),
    ("asterisk", fields("GET", "*", [])),
    ("line break in the method", fields("GET / HTTP/1.1\r\na:", "/", [])),
    ("blank in the method", fields("GET /b", "/", [])),
    (
      "blank in the authority",
      [(":method", "GET"), (":scheme", "http"), (":authority", "a b"), (":path", "/")]
    ),
    (
      "line break in the authority",
      [(":method", "GET"), (":scheme", "http"), (":authority", "a\r\nb: c"), (":path", "/")]
    ),
    ("keep-alive", fields("GET", "/", [("keep-alive", "a")])),
    ("proxy-connection", fields("GET", "/", [("proxy-connection", "close")])),
    ("a length that is no number", fields("POST", "/", [("content-length", "+5")])),
    (
      "two hosts",
      [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a"), ("host", "a")]
    ),
    ("no host", [(":method", "GET"), (":scheme", "http"), (":path", "/")]),
    ("a status", [(":status", "200")] + fields("GET", "/", [])),
    ("CONNECT with a path", fields("CONNECT", "/", [])),
    ("two lengths", fields("POST", "/", [("content-length", "1"), ("content-length", "2")])),
    ("a length and no content", fields("POST", "/", [("content-length", "5")])),
  ]

  /// Requests that are refused, and with what.
  private static let refusals: [(String, [(String, String)], Int)] = [
    ("dot segment", fields("GET", "/a/../b", []), 400),
    ("encoded dot segment", fields("GET", "/a/%2e%2E/b", []), 400),
    (
      "user information",
      [
        (":method", "GET"), (":scheme", "http"), (":authority", "u@a"),
        (":path", "/"),
      ], 400
    ),
    ("TRACE", fields("TRACE", "/", []), 405),
    ("CONNECT", [(":method", "CONNECT"), (":authority", "a:443")], 405),
    ("large field", fields("GET", "/", [("a", String(repeating: "b", count: 9000))]), 431),
  ]

  /// Rules 33 and 34: each is refused before an octet goes to a backend; the connection lives on.
  @Test func `malformed requests reset their stream or get their status`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      var stream: UInt32 = 1
      for (name, list) in Self.resets {
        try client.send(
          FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: stream,
          payload: HTTP2Connection.block(list))
        let answer = try client.answer(stream)
        // nghttp2 may also answer 400 where only HTTP's rules, not the framing, are broken.
        #expect(answer.resetCode == 1 || answer.status == 400, "\(name): \(answer)")
        stream += 2
      }
      for (name, list, status) in Self.refusals {
        try client.send(
          FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: stream,
          payload: HTTP2Connection.block(list))
        #expect(try client.answer(stream).status == status, "\(name)")
        stream += 2
      }
      try client.request(stream, "GET", "/bytes/3")
      #expect(try client.answer(stream).content.count == 3)
    }
    #expect(origin.requests.map(\.head.target) == ["/bytes/3"])
  }

  @Test func `the preface may come in any pieces, and HTTP/1 shares the port`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let start =
        HTTP2Connection.preface + HTTP2Connection.frame(FrameType.settings)
        + HTTP2Connection.frame(
          FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 1,
          payload: HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/bytes/9")))
      for cut in [1, 2, 3, 14, 23, 24, 25, 33, 34, 50] {
        let wire = try daemon.connect()
        try wire.send(pieces: [Array(start[..<cut]), Array(start[cut...])], eachRead: true)
        let client = try HTTP2Reader(wire)
        #expect(try client.status() == 200, "cut at \(cut)")
      }
      let other = try daemon.connect()
      try other.send("PRINT /bytes/4 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try other.readResponse().status == 200)
    }
    var without = DaemonConfiguration([origin.address])
    without.listener = "http2 off"
    try withDaemon(without) { daemon in
      let wire = try daemon.connect()
      try wire.send(HTTP2Connection.preface)
      #expect(try wire.readResponse().status == 505)
    }
  }

  @Test func `a client that stops reading holds little, and the other streams go on`() throws {
    let sent = Monitor(0)
    let origin = try ScriptedOrigin { connection, _ in
      if try connection.readHead().target == "/small" {
        return try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
      connection.stepSeconds = 1
      let piece = [UInt8](repeating: 0x61, count: 65_536)
      do {
        while true {
          try connection.send(piece)
          sent.update { $0 += piece.count }
        }
      } catch {}
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2(settings: [(4, 1000)])
      try client.request(1, "GET", "/large")
      try client.request(3, "GET", "/small")
      let small = try client.answer(3)
      #expect(small.status == 200 && small.content == Array("ok".utf8))
      // What the kernel's buffers take is not weir's; they are far below the content's size.
      let hasSent = sent.wait(until: .patient) { $0 > 0 }
      #expect(hasSent)
      #expect(sent.current < 20_000_000)
    }
  }

  @Test func `a cut response is never taken for a whole one`() throws {
    let begun = Monitor(0)
    let origin = try ScriptedOrigin { connection, number in
      let head = try connection.readHead()
      if head.target == "/length" {
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
      } else {
        try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
      }
      // As long as the client has nothing of it, it could be asked of another backend.
      _ = begun.wait(until: .patient) { $0 > number }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      for (index, path) in ["/length", "/chunked"].enumerated() {
        try client.request(UInt32(index * 2 + 1), "GET", path)
        var frame = try client.next()
        while frame.type != FrameType.headers { frame = try client.next() }
        client.keep(frame)
        begun.update { $0 = index + 1 }
        let answer = try client.answer(UInt32(index * 2 + 1))
        #expect(answer.resetCode == 2, "\(path): INTERNAL_ERROR, \(answer)")
      }
    }
  }

  @Test func `interim answers come before the final one`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let head = try connection.readHead()
        if head.target == "/hints" {
          try connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        }
        _ = try connection.readRequestBody(head) { _ in }
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = "early-hints on"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "GET", "/hints")
      let hints = try client.answer(1)
      #expect(hints.informational == [103] && hints.status == 200 && hints["link"] == nil)
      try client.request(
        3, "POST", "/", [("expect", "100-continue"), ("content-length", "3")], ends: false)
      let interim = try client.next()
      #expect(interim.type == FrameType.headers && !interim.endsStream)
      client.keep(interim)
      try client.content(3, [1, 2, 3])
      let answer = try client.answer(3)
      #expect(answer.informational == [100] && answer.status == 200)
      #expect(answer.content == Array("ok".utf8))
    }
  }

  /// A response that has no content ends with its head, whatever its fields say.
  @Test func `an answer without content is one frame`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      let rows = [
        ("HEAD", "/bytes/5000"), ("HEAD", "/chunked/50"), ("GET", "/status/204"),
        ("GET", "/status/304"), ("GET", "/bytes/0"), ("HEAD", "/status/404"),
      ]
      for (index, (method, path)) in rows.enumerated() {
        let stream = UInt32(index * 2 + 1)
        try client.request(stream, method, path)
        var frame = try client.next()
        while frame.stream != stream { frame = try client.next() }
        #expect(frame.type == FrameType.headers && frame.endsStream, "\(method) \(path)")
        client.keep(frame)
        let answer = try client.answer(stream)
        #expect(
          answer["content-length"]
            == (path == "/bytes/5000"
              ? "5000" : path == "/bytes/0" || path == "/status/404" ? "0" : nil))
      }
    }
  }

  @Test func `a drain waits for uploads and for connections of their age`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "keep-alive-time 1s"
    let content = Pattern.prefix(40_000)
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      let old = try daemon.connect2()
      for connection in [client, old] {
        try connection.request(1, "POST", "/echo", [("content-length", "40000")], ends: false)
        try connection.content(1, Array(content.prefix(20_000)), ends: false)
      }
      let hasCome = Poll.until(.patient) { origin.receivedCount > 40_000 }
      #expect(hasCome)
      // By its age alone: nothing happens on it.
      while old.goAway == nil { old.keep(try old.next()) }
      #expect(old.goAway?.lastStream == 0x7FFF_FFFF)
      while old.goAway?.lastStream != 1 { old.keep(try old.next()) }
      try old.content(1, Array(content.suffix(20_000)))
      #expect(try old.answer(1)["x-content-count"] == "40000")
      #expect(try old.untilEnd() == 0)
      daemon.process.kill(SIGTERM)
      while (client.goAway?.lastStream ?? .max) > 1 { client.keep(try client.next()) }
      try client.content(1, Array(content.suffix(20_000)))
      let answer = try client.answer(1)
      #expect(answer["x-content-count"] == "40000" && answer.resetCode == nil)
      #expect(try client.untilEnd() == 0)
      #expect(daemon.process.waitForEnd() == .exit(0))
    }
  }

  @Test func `a drain lets streams finish and says so twice`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "GET", "/bytes/3")
      #expect(try client.answer(1).status == 200)
      try client.request(3, "GET", "/hold/0")
      let hasBoth = origin.wait { $0.count == 2 }
      #expect(hasBoth)
      daemon.process.kill(SIGTERM)
      #expect(daemon.process.waitForOutput { $0.lowercased().contains("drain") })
      origin.release()
      let answer = try client.answer(3)
      #expect(answer.status == 200 && answer.resetCode == nil)
      #expect(try client.untilEnd() == 0)
      #expect(daemon.process.waitForEnd() == .exit(0))
    }
  }
}

/// Reads one answer of a connection whose requests were sent by other means.
private struct HTTP2Reader {
  private let wire: WireConnection
  init(_ wire: WireConnection) throws { self.wire = wire }

  /// The status of the first HEADERS frame, which the static table has for 200.
  func status() throws -> Int {
    while true {
      let header = try wire.read(9)
      let length = Int(header[0]) << 16 | Int(header[1]) << 8 | Int(header[2])
      let payload = try wire.read(length)
      if header[3] == FrameType.headers { return payload.first == 0x88 ? 200 : 0 }
    }
  }
}
