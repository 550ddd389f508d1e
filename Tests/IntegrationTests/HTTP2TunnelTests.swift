import Foundation
import TestSupport
import Testing

/// WebSockets over HTTP/2 (RFC 8441), between clients and backends of either protocol.
@Suite(.blocking) struct `Tunnels over HTTP/2` {
  private static let enable: (UInt16, UInt32) = (8, 1)

  /// Extended CONNECT.
  private static let connect: [(String, String)] = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/chat?a"),
    (":authority", "a.example"), ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "chat"), ("origin", "https://a.example"),
  ]

  private func open(
    _ client: HTTP2Connection, _ stream: UInt32 = 1, _ fields: [(String, String)] = connect
  ) throws {
    try client.send(
      FrameType.headers, flags: FrameFlags.endHeaders, stream: stream,
      payload: HTTP2Connection.block(fields))
  }

  /// The head of an answer.
  private func head(_ client: HTTP2Connection) throws -> [(name: String, value: String)] {
    while true {
      let frame = try client.next()
      if frame.type == FrameType.headers { return client.fields(of: frame) }
    }
  }

  /// Exactly so many octets of content of a stream.
  private func content(_ client: HTTP2Connection, _ stream: UInt32, _ count: Int) throws -> [UInt8]
  {
    var octets: [UInt8] = []
    while octets.count < count {
      let frame = try client.next()
      guard frame.type == FrameType.content, frame.stream == stream else { continue }
      octets += frame.payload
      try client.window(stream, UInt32(max(1, frame.payload.count)))
    }
    return octets
  }

  /// A WebSocket backend of HTTP/1 that sends back what comes until the end, and then `bye`. The
  /// accept that belongs to a key is OpenSSL's.
  private func webSocketOrigin(
    accept: (@Sendable (String) -> String)? = nil
  ) throws -> ScriptedOrigin {
    try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      guard head["upgrade"] == "websocket", let key = head["sec-websocket-key"],
        Data(base64Encoded: key)?.count == 16, head["sec-websocket-version"] == "13"
      else {
        try connection.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 4\r\n\r\nnone")
        return
      }
      let proof = try accept?(key) ?? Self.accept(key)
      try connection.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          + "Sec-WebSocket-Accept: \(proof)\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello")
      while try connection.hasMore() { try connection.send(try connection.read(1)) }
      try connection.send("bye")
    }
  }

  private static func accept(_ key: String) throws -> String {
    let text = "\(key)258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    let command = "printf %s '\(text)' | openssl dgst -sha1 -binary | openssl base64"
    return try ChildProcess.run("/bin/sh", ["-c", command]).output
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The same backend in HTTP/2; `/chat` is granted, anything else is 403.
  private func streamOrigin(
    settings: [(UInt16, UInt32)] = [enable], _ heads: Monitor<[StreamRequest]>
  ) throws -> ScriptedOrigin {
    try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire, settings: settings)
      while true {
        let request = try service.requestHead()
        heads.update { $0.append(request) }
        guard request.path.hasPrefix("/chat") else {
          try service.respond(request.stream, 403, [], "no")
          continue
        }
        try service.head(request.stream, 200, [("sec-websocket-protocol", "chat")])
        try service.content(request.stream, Array("hello".utf8), ends: false)
        while true {
          let frame = try service.step()
          guard frame.stream == request.stream else { continue }
          if frame.type == FrameType.reset { break }
          guard frame.type == FrameType.content else { continue }
          if !frame.payload.isEmpty {
            try service.content(request.stream, frame.payload, ends: false)
          }
          if frame.endsStream {
            try service.content(request.stream, Array("bye".utf8))
            break
          }
        }
      }
    }
  }

  /// Talks through an open tunnel, and ends it.
  private func talk(_ client: HTTP2Connection, _ stream: UInt32 = 1) throws {
    let hello = try content(client, stream, 5)
    #expect(hello == Array("hello".utf8))
    let message = Array("GET /smuggled HTTP/1.1\r\n\r\n\u{0}\u{1}".utf8)
    for _ in 0..<20 {
      try client.content(stream, message, ends: false)
      let back = try content(client, stream, message.count)
      #expect(back == message)
    }
    try client.send(FrameType.content, flags: FrameFlags.endStream, stream: stream)
    var rest: [UInt8] = []
    while true {
      let frame = try client.next()
      guard frame.stream == stream, frame.type != FrameType.windowUpdate else { continue }
      #expect(frame.type == FrameType.content, "\(frame)")
      guard frame.type == FrameType.content else { break }
      rest += frame.payload
      if frame.endsStream { break }
    }
    #expect(rest == Array("bye".utf8))
  }

  @Test func `weir says that it opens them`() throws {
    let origin = try webSocketOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      let settings = try client.rawNext()
      #expect(settings.type == FrameType.settings)
      let entries = stride(from: 0, to: settings.payload.count, by: 6).map {
        Array(settings.payload[$0..<$0 + 6])
      }
      #expect(entries.contains([0, 8, 0, 0, 0, 1]))
    }
  }

  @Test func `a stream becomes a WebSocket of HTTP/1, with a key of weir's own`() throws {
    let origin = try webSocketOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      // A key that the client sends is not the one.
      try open(client, 1, Self.connect + [("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")])
      let fields = try head(client)
      #expect(fields.first?.value == "200")
      #expect(fields.contains { $0.name == "sec-websocket-protocol" && $0.value == "chat" })
      #expect(!fields.contains { $0.name == "sec-websocket-accept" || $0.name == "upgrade" })
      try talk(client)
      // The connection goes on with other streams, tunnels among them.
      try open(client, 3)
      let again = try head(client)
      #expect(again.first?.value == "200")
      try talk(client, 3)
    }
    let text = try #require(origin.records.first?.text)
    #expect(text.hasPrefix("GET /chat?a HTTP/1.1\r\nHost: a.example\r\n"), "\(text)")
    #expect(!text.contains("AAAAAAAA") && text.lowercased().contains("upgrade: websocket\r\n"))
    #expect(origin.wait { $0.allSatisfy { $0.hasEnded } })
  }

  @Test func `streams meet streams, and clients of HTTP/1 too`() throws {
    let heads = Monitor<[StreamRequest]>([])
    let origin = try streamOrigin(heads)
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try open(client)
      let fields = try head(client)
      #expect(fields.first?.value == "200")
      try talk(client)
      let old = try daemon.connect()
      try old.send(`Tunnels`.handshake)
      let response = try old.readResponse()
      #expect(response.status == 101 && response["upgrade"] == "websocket")
      #expect(response["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
      let hello = try old.read(5)
      #expect(hello == Array("hello".utf8))
      try old.send("ping")
      let back = try old.read(4)
      #expect(back == Array("ping".utf8))
      old.finishSending()
      let rest = try old.readToEnd()
      #expect(rest == (Array("bye".utf8), .fin))
    }
    for request in heads.current {
      #expect(request[":method"] == "CONNECT" && request[":protocol"] == "websocket")
      #expect(request["sec-websocket-key"] == nil && request["upgrade"] == nil)
      #expect(request[":scheme"] == "http" && request.path.hasPrefix("/chat"))
    }
    #expect(heads.current.count == 2 && origin.records.count == 1)
  }

  @Test func `much passes in both directions at once`() throws {
    let heads = Monitor<[StreamRequest]>([])
    let origin = try streamOrigin(heads)
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try open(client)
      _ = try head(client)
      var received = try content(client, 1, 5).count - 5
      for _ in 0..<200 {
        try client.content(1, .init(repeating: 7, count: 16_000), ends: false)
        received += try content(client, 1, 16_000).count
      }
      #expect(received == 200 * 16_000)
    }
  }

  // MARK: Refused

  @Test(
    arguments: [
      ("a protocol that no route allows", ":protocol", "connect-udp", 501),
      ("a route without a backend", ":path", "/fixed", 501),
      ("a redirect of its own", ":path", "/moved", 501),
    ])
  func `no success is told where there is no tunnel`(
    _ what: String, _ name: String, _ value: String, _ status: Int
  ) throws {
    let origin = try webSocketOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.blocks =
      "route /fixed {\nrespond 200 body=\"fixed\"\n}\nroute /moved {\nredirect 308 /chat\n}"
    try withDaemon(configuration) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try open(client, 1, Self.connect.map { $0.0 == name ? (name, value) : $0 })
      let answer = try client.answer(1)
      #expect(answer.status == status && answer["proxy-status"] != nil, "\(what): \(answer)")
    }
    #expect(origin.receivedCount == 0)
  }

  @Test func `a backend that does not grant it is heard, one that lies is not`() throws {
    let refusing = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    }
    let granting = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }
    let lying = try webSocketOrigin { _ in "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }
    for (origin, status) in [(refusing, 403), (granting, 502), (lying, 502)] {
      try withDaemon(DaemonConfiguration([origin.address])) { daemon in
        let client = try HTTP2Connection(try daemon.connect())
        try open(client)
        let answer = try client.answer(1)
        #expect(answer.status == status, "\(answer)")
        if status == 502 {
          #expect(answer["proxy-status"]?.contains("error=http_upgrade_failed") == true)
        }
      }
    }
  }

  @Test func `a backend of HTTP/2 that opens none is not asked`() throws {
    let heads = Monitor<[StreamRequest]>([])
    let origin = try streamOrigin(settings: [], heads)
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let old = try daemon.connect()
      try old.send(`Tunnels`.handshake)
      let response = try old.readResponse()
      #expect(response.status == 502)
      #expect(response["proxy-status"]?.contains("error=http_upgrade_failed") == true)
    }
    #expect(heads.current.isEmpty)
  }

  @Test func `malformed ones are refused`() throws {
    let origin = try webSocketOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      let cases: [[(String, String)]] = [
        Self.connect.map { $0.0 == ":method" ? (":method", "GET") : $0 },
        Self.connect.filter { $0.0 != ":path" }, Self.connect.filter { $0.0 != ":scheme" },
        Self.connect.filter { $0.0 != ":authority" },
        Self.connect.map { $0.0 == ":protocol" ? (":protocol", "web socket\r\nx: y") : $0 },
        Self.connect + [("content-length", "5")],
        Self.connect + [("connection", "upgrade")], Self.connect + [("upgrade", "websocket")],
      ]
      for (number, fields) in cases.enumerated() {
        let stream = UInt32(2 * number + 1)
        try open(client, stream, fields)
        let answer = try? client.answer(stream)
        let isRefused = answer.map { $0.resetCode == 1 || (400...501).contains($0.status) }
        #expect(isRefused == true, "\(fields)")
      }
    }
    #expect(origin.receivedCount == 0)
  }

  // MARK: Cut

  @Test func `whoever cuts a tunnel cuts it on the other side`() throws {
    let heads = Monitor<[StreamRequest]>([])
    let origin = try streamOrigin(heads)
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      for number in 0..<3 {
        let client = try HTTP2Connection(try daemon.connect())
        try open(client)
        _ = try head(client)
        _ = try content(client, 1, 5)
        try client.send(FrameType.reset, stream: 1, payload: HTTP2Connection.octets(UInt32(8)))
        // The backend's loop for this stream has ended: it takes the next one.
        let next = try HTTP2Connection(try daemon.connect())
        try open(next)
        let fields = try head(next)
        #expect(fields.first?.value == "200" && heads.current.count == 2 * number + 2)
        _ = try content(next, 1, 5)
        next.wire.close()
      }
    }
    #expect(origin.records.count == 1)
    let cutting = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire, settings: [Self.enable])
      let request = try service.requestHead()
      try service.head(request.stream, 200)
      try service.reset(request.stream, 8)
      while true { try service.step() }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([cutting.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try open(client)
      let answer = try client.answer(1)
      // The grant may not even be told any more, where both come in one read.
      #expect([0, 200].contains(answer.status) && answer.resetCode == 8, "\(answer)")
    }
  }

  @Test func `what was said last reaches the backend, even if the client has left since`() throws {
    let isReleased = Monitor(false)
    let received = Monitor<(count: Int, ending: WireConnection.Ending)?>(nil)
    let origin = try ScriptedOrigin { connection, _ in
      let proof = try Self.accept(try connection.readHead()["sec-websocket-key"] ?? "")
      try connection.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          + "Sec-WebSocket-Accept: \(proof)\r\n\r\n")
      connection.finishSending()
      guard isReleased.wait(until: .patient, for: { $0 }) else { return }
      let all = try connection.readToEnd()
      received.update { $0 = (all.octets.count, all.ending) }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.blocks = "route /fixed {\nrespond 200 body=\"fixed\"\n}"
    configuration.workers = 1
    try withDaemon(configuration) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try open(client)
      let sent = try fill(client)
      try client.send(FrameType.content, flags: FrameFlags.endStream, stream: 1)
      // The session has seen both ends before the client leaves.
      try client.send(FrameType.ping, payload: [UInt8](repeating: 1, count: 8))
      while try client.next().type != FrameType.ping {}
      client.wire.close()
      #expect(try daemon.get("/fixed").status == 200, "the worker goes on")
      isReleased.update { $0 = true }
      let isReceived = received.wait(until: .patient) { $0 != nil }
      #expect(isReceived)
      let got = received.current
      #expect(got?.count == sent && got?.ending == .fin, "\(String(describing: got)) of \(sent)")
      let rests = try daemon.comesToRest()
      #expect(rests)
    }
  }

  /// Sends content until the backend and all buffers before it are full and the other side has
  /// ended; the number of octets.
  private func fill(_ client: HTTP2Connection) throws -> Int {
    let block = [UInt8](repeating: 7, count: 16_000)
    var (sent, hasEnded) = (0, false)
    // What weir allows a stream at first.
    var windows: [UInt32: Int] = [0: 65_535, 1: 16_384]
    while true {
      if hasEnded, windows.values.allSatisfy({ $0 >= block.count }) {
        try client.content(1, block, ends: false)
        sent += block.count
        for stream in windows.keys { windows[stream, default: 0] -= block.count }
      } else if try !hasEnded || client.wire.hasMoreWithin(1) {
        let frame = try client.next()
        if frame.type == FrameType.reset { throw TestFailure("reset: \(frame.errorCode)") }
        if frame.type == FrameType.content, frame.endsStream { hasEnded = true }
        if frame.type == FrameType.windowUpdate {
          windows[frame.stream, default: 0] += Int(frame.errorCode)
        }
      } else {
        return sent
      }
    }
  }
}
