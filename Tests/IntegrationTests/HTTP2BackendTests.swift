import Foundation
import TestSupport
import Testing

/// Backends that speak HTTP/2: what they get and what becomes of what they answer.
@Suite(.blocking) struct `HTTP/2 to backends` {
  static func configuration(
    _ backends: [String], upstream: String = "", route: String = ""
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    configuration.upstream = "http2 on\n\(upstream)"
    configuration.route = route
    return configuration
  }

  /// What a backend says it got.
  private static func echo(_ request: StreamRequest) -> String {
    request.fields.map { "\($0.name): \($0.value)\n" }.joined()
      + "content: \(String(decoding: request.content, as: UTF8.self))\n"
      + request.trailers.map { "trailer \($0.name): \($0.value)\n" }.joined()
  }

  private static func echoOrigin() throws -> ScriptedOrigin {
    try ScriptedOrigin(http2: []) { service, request, _ in
      try service.respond(request.stream, 200, [("x-a", "b")], echo(request))
    }
  }

  @Test func `requests of HTTP/1 clients go over one connection`() throws {
    let origin = try Self.echoOrigin()
    try withDaemon(Self.configuration([origin.address])) { daemon in
      let client = try daemon.connect()
      for number in 0..<5 {
        try client.send(
          "GET /\(number)?q HTTP/1.1\r\nHost: a.example\r\nConnection: x-hop\r\n"
            + "X-Hop: 1\r\nX-End: 2\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.status == 200 && response["x-a"] == "b")
        let text = response.text
        #expect(
          text.hasPrefix(
            ":method: GET\n:scheme: http\n:authority: a.example\n:path: /\(number)?q\n"),
          "\(text)")
        #expect(text.contains("x-end: 2\n") && !text.contains("x-hop") && !text.contains("\nhost:"))
        #expect(text.contains("via: 1.1 weir-test\n") && !text.contains("connection"))
      }
    }
    #expect(origin.records.count == 1)
  }

  @Test func `content goes there with a length, in chunks and with trailers`() throws {
    let origin = try Self.echoOrigin()
    try withDaemon(Self.configuration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
      let first = try client.readResponse().text
      #expect(first.contains("content-length: 4\n") && first.contains("content: body\n"))
      try client.send(
        "POST /c HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n"
          + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
      let second = try client.readResponse().text
      #expect(second.contains("content: abcde\n") && second.contains("trailer x-sum: 5\n"))
      #expect(!second.contains("transfer-encoding") && second.contains("te: trailers\n"))
    }
    #expect(origin.records.count == 1)
  }

  @Test func `large content comes through in both directions`() throws {
    let origin = try Self.echoOrigin()
    try withDaemon(Self.configuration([origin.address])) { daemon in
      let client = try daemon.connect()
      let body = String(repeating: "0123456789", count: 20_000)
      try client.send(
        "POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
      let text = try client.readResponse().text
      #expect(text.contains("content: \(body)\n"))
    }
  }

  // MARK: Clients of HTTP/2

  @Test func `streams of clients become streams, with trailers in both directions`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.head(request.stream, 200, [("x-a", "b")])
      try service.content(
        request.stream, Array(Self.echo(request).utf8), ends: request["te"] == nil)
      if request["te"] != nil { try service.trailers(request.stream, [("x-sum", "9")]) }
    }
    try withDaemon(Self.configuration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try client.request(1, "POST", "/1", [("te", "trailers")], ends: false)
      try client.content(1, Array("hello".utf8), ends: false)
      try client.send(
        FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 1,
        payload: HTTP2Connection.block([("x-in", "3")]))
      let first = try client.answer(1)
      let text = String(decoding: first.content, as: UTF8.self)
      #expect(first.status == 200 && first["x-a"] == "b" && first["content-length"] == nil)
      #expect(text.contains("content: hello\n") && text.contains("trailer x-in: 3\n"), "\(text)")
      #expect(first.trailers.map(\.name) == ["x-sum"])
      for stream: UInt32 in stride(from: 3, through: 19, by: 2) {
        try client.request(stream, "GET", "/\(stream)")
      }
      for stream: UInt32 in stride(from: 3, through: 19, by: 2) {
        let answer = try client.answer(stream)
        let content = String(decoding: answer.content, as: UTF8.self)
        #expect(content.contains(":path: /\(stream)\n") && answer.trailers.isEmpty)
      }
    }
    #expect(origin.records.count == 1)
  }

  @Test func `a length is told, and trailers behind it are not lost`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.head(request.stream, 200, [("content-length", "3")])
      try service.content(request.stream, Array("abc".utf8), ends: false)
      try service.trailers(request.stream, [("grpc-status", "0")])
    }
    try withDaemon(Self.configuration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try client.request(1, "GET", "/1", [("te", "trailers")])
      let answer = try client.answer(1)
      #expect(answer["content-length"] == "3" && answer.content == Array("abc".utf8))
      #expect(answer.trailers.first?.value == "0")
      let plain = try daemon.get("/1")
      #expect(plain["content-length"] == "3" && plain.text == "abc")
    }
  }

  @Test func `answers without content end with their head`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      switch request.path {
      case "/head": try service.respond(request.stream, 200, [("content-length", "7")])
      case "/204": try service.respond(request.stream, 204)
      case "/304": try service.respond(request.stream, 304, [("etag", "\"a\"")])
      default: try service.respond(request.stream, 200, [("grpc-status", "5")])
      }
    }
    try withDaemon(Self.configuration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      for (number, (method, path)) in [
        ("HEAD", "/head"), ("GET", "/204"), ("GET", "/304"), ("POST", "/trailers-only"),
      ].enumerated() {
        try client.request(UInt32(2 * number + 1), method, path)
        var frame = try client.next()
        while frame.type == FrameType.windowUpdate { frame = try client.next() }
        #expect(frame.type == FrameType.headers && frame.endsStream, "\(path): \(frame)")
      }
      let head = try daemon.get("/head", method: "HEAD")
      #expect(head.status == 200 && head["content-length"] == "7")
      let empty = try daemon.connect()
      for path in ["/204", "/304", "/trailers-only"] {
        try empty.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try empty.readResponse()
        #expect(response.text.isEmpty)
        #expect((response["content-length"] == "0") == (path == "/trailers-only"))
      }
    }
  }

  @Test func `interim answers are passed on as from HTTP/1`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      for status in [100, 102, 103] { try service.head(request.stream, status, [("link", "<a>")]) }
      try service.respond(request.stream, 200, [], "ok")
    }
    for (word, passed) in [("on", [103]), ("off", [])] {
      let configuration = Self.configuration([origin.address], route: "early-hints \(word)")
      try withDaemon(configuration) { daemon in
        let client = try HTTP2Connection(try daemon.connect())
        try client.request(1, "GET", "/1")
        let answer = try client.answer(1)
        #expect(answer.informational == passed && answer.status == 200, "\(word)")
      }
    }
  }
}
