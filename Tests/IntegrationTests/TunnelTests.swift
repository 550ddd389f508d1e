import TestSupport
import Testing

/// Upgrades: octets go through raw only after the backend's 101 (rule 17).
@Suite(.blocking) struct `Tunnels` {
  static let handshake =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
  static let accepted =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

  /// Answers the handshake, then sends back whatever comes until FIN, then `bye`.
  private func echoOrigin() throws -> ScriptedOrigin {
    try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      guard head["upgrade"] == "websocket", head["connection"]?.lowercased() == "upgrade" else {
        try connection.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        return
      }
      try connection.send(Self.accepted + "hello")
      while try connection.hasMore() { try connection.send(try connection.read(1)) }
      try connection.send("bye")
    }
  }

  @Test func `a websocket carries octets both ways, and each side's end`() throws {
    let origin = try echoOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send(Self.handshake)
      let response = try client.readResponse()
      #expect(response.status == 101)
      #expect(response["upgrade"] == "websocket")
      #expect(response["connection"]?.lowercased() == "upgrade")
      #expect(response["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
      #expect(try client.read(5) == Array("hello".utf8))
      // Octets that would be a request are none here.
      let message = "GET /smuggled HTTP/1.1\r\n\r\n\u{0}\u{1}"
      for _ in 0..<20 {
        try client.send(message)
        #expect(try client.read(message.utf8.count) == Array(message.utf8))
      }
      client.finishSending()
      #expect(try client.readToEnd() == (Array("bye".utf8), .fin))
    }
    #expect(origin.records.count == 1)
  }

  @Test func `much data passes a tunnel in both directions at once`() throws {
    let count = 20_000_000
    let origin = try ScriptedOrigin(keepLimit: 1000) { connection, _ in
      _ = try connection.readHead()
      try connection.send(Self.accepted)
      try Pattern.send(count, on: connection)
      var check = PatternCheck()
      while try connection.hasMore() {
        try connection.read(min(65536, count - check.count)).withUnsafeBytes { check.add($0) }
        if check.count == count { break }
      }
      try connection.send(check.isIntact ? "intact" : "broken")
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send(Self.handshake)
      #expect(try client.readResponse().status == 101)
      let received = Monitor<PatternCheck?>(nil)
      // The origin sends all before it reads, so a relay that serves only one side would stand.
      var check = PatternCheck()
      while check.count < count {
        try client.read(min(65536, count - check.count)).withUnsafeBytes { check.add($0) }
      }
      received.update { $0 = check }
      try Pattern.send(count, on: client)
      #expect(try client.read(6) == Array("intact".utf8))
      #expect(check.isIntact)
    }
  }

  @Test func `after any other status the next octets are a request`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let head = try connection.readHead()
        try connection.send(
          "HTTP/1.1 200 OK\r\nContent-Length: \(head.target.count)\r\n\r\n\(head.target)")
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send(Self.handshake + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.readResponse().text == "/chat")
      #expect(try client.readResponse().text == "/next")
    }
    #expect(origin.records.map(\.text).joined().contains("X-Forwarded-For"))
  }

  @Test func `what is not a configured upgrade loses its Upgrade field`() throws {
    let origin = try HTTPOrigin()
    let rows = [
      (
        "h2c", "GET",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
      ),
      ("unknown", "GET", "Connection: Upgrade\r\nUpgrade: exotic\r\n"),
      ("without Connection", "GET", "Upgrade: websocket\r\n"),
      ("POST", "POST", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n"),
      ("two at once", "GET", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"),
    ]
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for (name, method, fields) in rows {
        let client = try daemon.connect()
        try client.send(
          "\(method) /\(name.prefix(1)) HTTP/1.1\r\nHost: a\r\n\(fields)\r\n"
            + (method == "POST" ? "ab" : "")
        )
        let response = try client.readResponse()
        #expect(response.status == 200, "\(name)")
        let seen = origin.requests.last?.head.all("upgrade") ?? []
        #expect(
          seen.allSatisfy { !$0.contains("h2c") && !$0.contains("exotic") }, "\(name): \(seen)")
        if name != "two at once" { #expect(seen.isEmpty, "\(name): \(seen)") }
      }
    }
  }

  @Test func `a tunnel without traffic ends after its timeout`() throws {
    let origin = try echoOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = "tunnel-timeout 1s"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send(Self.handshake)
      #expect(try client.readResponse().status == 101)
      #expect(try client.read(5) == Array("hello".utf8))
      let seconds = try Deadline.measure { _ = try client.readToEnd() }
      #expect(seconds > 0.8 && seconds < 9)
    }
  }
}
