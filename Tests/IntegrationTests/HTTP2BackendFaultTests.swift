import Foundation
import TestSupport
import Testing

/// What goes wrong between weir and a backend of HTTP/2, and who learns of it.
@Suite(.blocking) struct `HTTP/2 backends at fault` {
  private static let post = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"

  /// Answers every request.
  private func sound() throws -> ScriptedOrigin {
    try ScriptedOrigin(http2: []) { service, request, _ in
      try service.respond(
        request.stream, 200, [],
        "\(request[":method"]!) \(String(decoding: request.content, as: UTF8.self))")
    }
  }

  // MARK: Unsent

  @Test func `a refused stream goes to another backend, whatever its method`() throws {
    let refusing = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.reset(request.stream, 7)
    }
    let sound = try sound()
    let configuration = `HTTP/2 to backends`.configuration(
      [refusing.address, sound.address], upstream: "balance round-robin")
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      for _ in 0..<4 {
        try client.send(Self.post)
        let response = try client.readResponse()
        #expect(response.status == 200 && response.text == "POST body")
      }
      let none = "weir_retries_total{kind=\"unsent\"} 0\n"
      #expect(try daemon.counts(beyond: none))
    }
    #expect(refusing.records.count == 1 && refusing.failures.allSatisfy { $0.contains("ended") })
  }

  @Test func `content in chunks is chunked again for a fallback of HTTP/1`() throws {
    let refusing = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      while true { try service.reset(try service.requestHead().stream, 7) }
    }
    let origin = try HTTPOrigin()
    var configuration = `HTTP/2 to backends`.configuration(
      [refusing.address], route: "fallback-upstream other")
    configuration.blocks = "upstream other {\nbackend \(origin.address)\n}"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
      let hasCome = Poll.until(.patient) { origin.receivedCount > 0 }
      #expect(hasCome)
      try client.send("4\r\nbody\r\n0\r\n\r\n")
      let response = try client.readResponse()
      #expect(response.status == 200 && response["x-content-count"] == "4", "\(response)")
    }
  }

  @Test func `one that every backend refuses is answered`() throws {
    let refusing = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.reset(request.stream, 7)
    }
    try withDaemon(`HTTP/2 to backends`.configuration([refusing.address])) { daemon in
      let client = try daemon.connect()
      try client.send(Self.post)
      let response = try client.readResponse()
      #expect(response.status == 502)
      #expect(response["proxy-status"]?.contains("error=connection_terminated") == true)
    }
  }

  @Test func `what a GOAWAY leaves out is sent on a new connection`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, number in
      if number == 0, request.stream > 1 { return try service.goAway(last: 1) }
      try service.respond(request.stream, 200, [], "\(number)")
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try daemon.connect()
      for expected in ["0", "1", "1"] {
        try client.send(Self.post)
        #expect(try client.readResponse().text == expected)
      }
    }
    #expect(origin.records.count == 2)
  }

  @Test func `a connection that goes away finishes what it has`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, number in
      if request.path == "/slow" {
        try service.goAway(last: 0x7FFF_FFFF)
        // Nothing new comes: only what is under way is left.
        try service.head(request.stream, 200)
        try service.content(request.stream, Array("begun".utf8), ends: false)
        try service.connection.send(FrameType.ping, payload: Array(repeating: 1, count: 8))
        while try service.connection.next().type != FrameType.ping {}
        try service.content(request.stream, Array(" ended".utf8))
      } else {
        try service.respond(request.stream, 200, [], "\(number)")
      }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let slow = try daemon.get("/slow")
      let next = try daemon.get("/a")
      #expect(slow.text == "begun ended" && next.text == "1")
    }
    #expect(origin.wait { $0.first?.hasEnded == true })
  }

  // MARK: Sent

  @Test func `a reset before the head is repeated only where that is safe`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.reset(request.stream, 8)
    }
    let sound = try sound()
    let configuration = `HTTP/2 to backends`.configuration(
      [origin.address, sound.address], upstream: "balance round-robin")
    try withDaemon(configuration) { daemon in
      for _ in 0..<2 {
        let response = try daemon.get("/")
        #expect(response.status == 200)
      }
      let client = try daemon.connect()
      var statuses: [Int] = []
      for _ in 0..<2 {
        try client.send(Self.post)
        let response = try client.readResponse()
        statuses.append(response.status)
        guard response.status == 502 else { continue }
        #expect(response["proxy-status"]?.contains("error=connection_terminated") == true)
      }
      #expect(statuses.sorted() == [200, 502])
    }
    // The connection is none the worse.
    #expect(origin.records.count == 1)
  }

  @Test func `a connection that ends takes its requests along`() throws {
    let origin = try ScriptedOrigin { wire, _ in
      _ = try HTTP2Service(wire).request()
    }
    try withDaemon(
      `HTTP/2 to backends`.configuration([origin.address], upstream: "retry attempts=1")
    ) { daemon in
      let response = try daemon.get("/")
      #expect(response.status == 502)
      #expect(response["proxy-status"]?.contains("error=connection_terminated") == true)
    }
  }

  @Test(arguments: [8, 2, 0] as [UInt32])
  func `content that is cut is never taken for whole`(_ code: UInt32) throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.head(request.stream, 200)
      try service.content(request.stream, Array("begun".utf8), ends: false)
      try service.reset(request.stream, code)
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let old = try daemon.connect()
      try old.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(throws: (any Error).self) { try old.readResponse() }
      let client = try HTTP2Connection(try daemon.connect())
      try client.request(1, "GET", "/")
      let answer = try client.answer(1)
      #expect(answer.resetCode == 2, "\(answer)")
      #expect(try daemon.counts("error=\"http_response_incomplete\"} 2\n"))
    }
    #expect(origin.records.count == 1)
  }

  @Test(arguments: [false, true])
  func `a backend of HTTP/1 is none`(speaksFirst: Bool) throws {
    let origin = try ScriptedOrigin { wire, _ in
      // The preface, and the request with it.
      if !speaksFirst { _ = try wire.read(24) }
      try wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      while try wire.hasMore() { _ = try wire.read(1) }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let response = try daemon.get("/")
      #expect(response.status == 502)
      // What comes before the request has gone out may end the connection as one that was refused.
      let errors = ["http_protocol_error"] + (speaksFirst ? ["connection_terminated"] : [])
      let told = response["proxy-status"] ?? ""
      #expect(errors.contains { told.contains("error=\($0)") }, "\(response)")
    }
  }

  // MARK: Malformed

  /// Blocks of response fields that break a rule.
  private static let malformed: [(String, [(String, String)])] = [
    ("no status", [("a", "b")]),
    ("two statuses", [(":status", "200"), (":status", "200")]),
    ("no number", [(":status", "2xx")]),
    ("four digits", [(":status", "2000")]),
    ("600", [(":status", "600")]),
    ("101", [(":status", "101"), ("upgrade", "websocket")]),
    ("a late pseudo-field", [("a", "b"), (":status", "200")]),
    ("an unknown one", [(":status", "200"), (":path", "/")]),
    ("connection", [(":status", "200"), ("connection", "close")]),
    ("transfer-encoding", [(":status", "200"), ("transfer-encoding", "chunked")]),
    ("upgrade", [(":status", "200"), ("upgrade", "h2c")]),
    ("capitals", [(":status", "200"), ("X-A", "b")]),
    ("a line feed", [(":status", "200"), ("a", "b\nset-cookie: c")]),
    ("a return", [(":status", "200"), ("a", "b\r")]),
    ("nul", [(":status", "200"), ("a", "b\0c")]),
    ("a colon in a name", [(":status", "200"), ("a:b", "c")]),
    ("a blank in a name", [(":status", "200"), ("a b", "c")]),
    ("no name", [(":status", "200"), ("", "c")]),
    ("two lengths", [(":status", "200"), ("content-length", "1"), ("content-length", "2")]),
    ("a signed length", [(":status", "200"), ("content-length", "+1")]),
    ("a length of nothing", [(":status", "200"), ("content-length", "5")]),
  ]

  @Test func `a malformed head is 502, and costs only its stream`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      if request.path == "/ok" { return try service.respond(request.stream, 200, [], "ok") }
      let number = Int(request.path.dropFirst())!
      try service.connection.send(
        FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream,
        stream: request.stream, payload: HTTP2Connection.block(Self.malformed[number].1))
    }
    let configuration = `HTTP/2 to backends`.configuration(
      [origin.address], upstream: "circuit-breaker off")
    try withDaemon(configuration) { daemon in
      for (number, (name, _)) in Self.malformed.enumerated() {
        let client = try daemon.connect()
        try client.send("GET /\(number) HTTP/1.1\r\nHost: a\r\n\r\n")
        guard let response = try? client.readResponse() else {
          Issue.record("\(name): no answer")
          continue
        }
        #expect(response.status == 502, "\(name)")
        #expect(
          response["proxy-status"]?.contains("error=http_protocol_error") == true,
          "\(name): \(response["proxy-status"] ?? "")")
        try client.send("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect((try? client.readResponse().text) == "ok", "\(name)")
      }
    }
    #expect(origin.records.count == 1)
  }

  @Test func `a head over a limit is 502`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      let fields = (0..<Int(request.path.dropFirst())!).map {
        ("x-\($0)", String(repeating: "v", count: 150))
      }
      try service.respond(request.stream, 200, fields, "ok")
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      for (path, status) in [("/90", 200), ("/101", 502), ("/90", 200)] {
        let response = try daemon.get(path)
        #expect(response.status == status)
      }
    }
  }

  @Test func `too much content, or content where there is none, ends the stream`() throws {
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.head(
        request.stream, request.path == "/304" ? 304 : 200,
        request.path == "/long" ? [("content-length", "3")] : [])
      try service.content(request.stream, Array("abcdef".utf8))
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try client.request(1, "GET", "/long")
      let long = try client.answer(1)
      #expect(long.resetCode != nil || long.status == 502, "\(long)")
      #expect(long.content.count <= 3 || long.status == 502)
      let old = try daemon.connect()
      for (method, path) in [("HEAD", "/head"), ("GET", "/304")] {
        try old.send("\(method) \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try old.readResponse(to: method)
        #expect(response.text.isEmpty)
      }
    }
  }

  // MARK: Floods

  @Test(
    arguments: [
      ("settings", HTTP2Connection.frame(FrameType.settings)),
      ("ping", HTTP2Connection.frame(FrameType.ping, payload: .init(repeating: 0, count: 8))),
      ("unknown", HTTP2Connection.frame(200)),
      ("priority", HTTP2Connection.frame(FrameType.priority, stream: 1, payload: [0, 0, 0, 0, 1])),
      ("empty content", HTTP2Connection.frame(FrameType.content, stream: 1)),
      ("window", HTTP2Connection.frame(FrameType.windowUpdate, payload: [0, 0, 0, 1])),
      (
        "go away",
        HTTP2Connection.frame(
          FrameType.goAway, payload: [0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0])
      ),
    ])
  func `a backend that floods is cut`(_ name: String, _ frame: [UInt8]) throws {
    let ended = Monitor<UInt32?>(nil)
    let origin = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      let request = try service.request()
      try service.head(request.stream, 200)
      do {
        for _ in 0..<100 { try wire.send((0..<100).flatMap { _ in frame }) }
      } catch {}
      let code = try? service.connection.untilEnd()
      ended.update { $0 = code ?? 999 }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      // Its head may have come in the same read, and then is not passed on.
      if let response = try? client.readResponse() { #expect(response.status == 502) }
      #expect(ended.wait(until: .patient) { $0 != nil })
      #expect(try daemon.counts("\nweir_http2_floods_total 1\n"))
    }
  }

  @Test func `interim answers without end are 502`() throws {
    let origin = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      let request = try service.request()
      for _ in 0..<2000 { try service.head(request.stream, 102) }
      while true { try service.step() }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let response = try daemon.get("/")
      #expect(response.status == 502)
    }
  }
}
