import Foundation
import TestSupport
import Testing

/// What may be tried again, and what never is (rule 43; semantics 11).
@Suite(.blocking) struct `Retries` {
  /// A backend that reads a request and resets the connection, and counts how often.
  private func resettingOrigin() throws -> ScriptedOrigin {
    try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      _ = try? connection.readRequestBody(head)
      connection.reset()
    }
  }

  @Test func `a refused connection moves on to another backend, any method`() throws {
    let gone = "127.0.0.1:\(Ports.take())"
    let alive = try HTTPOrigin("alive")
    var configuration = DaemonConfiguration([gone, alive.address])
    configuration.upstream = "balance round-robin"
    try withDaemon(configuration) { daemon in
      for number in 0..<10 {
        let client = try daemon.connect()
        try client.send("POST /\(number) HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        #expect(try client.readResponse().text == "alive")
      }
    }
    #expect(alive.requests.map(\.contentCount) == Array(repeating: 3, count: 10))
    #expect(Set(alive.requests.map(\.head.target)).count == 10)
  }

  @Test func `with every backend refusing the answer says so`() throws {
    let gone = (0..<2).map { _ in "127.0.0.1:\(Ports.take())" }
    try withDaemon(DaemonConfiguration(gone)) { daemon in
      let client = try daemon.connect()
      for _ in 0..<2 {
        try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse()
        #expect([502, 503].contains(response.status))
        #expect(response["proxy-status"]?.contains("connection_refused") == true)
      }
    }
  }

  @Test func `a GET that was reset before any response byte is replayed once elsewhere`() throws {
    let broken = try resettingOrigin()
    let alive = try HTTPOrigin("alive")
    for method in ["GET", "HEAD", "OPTIONS"] {
      var configuration = DaemonConfiguration([broken.address, alive.address])
      configuration.upstream = "balance round-robin"
      try withDaemon(configuration) { daemon in
        for _ in 0..<4 {
          let client = try daemon.connect()
          try client.send("\(method) /x HTTP/1.1\r\nHost: a\r\n\r\n")
          let response = try client.readResponse(to: method)
          #expect(response.status == 200 && response["x-origin"] == "alive", "\(method)")
        }
      }
    }
    #expect(broken.records.count > 0)
  }

  @Test func `what was sent and may have been done is never sent twice`() throws {
    for method in ["POST", "PATCH", "PUT", "DELETE"] {
      let broken = try (0..<2).map { _ in try resettingOrigin() }
      try withDaemon(DaemonConfiguration(broken.map(\.address))) { daemon in
        let client = try daemon.connect()
        try client.send("\(method) /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        let response = try client.readResponse()
        #expect(response.status == 502, "\(method)")
        #expect(response["proxy-status"]?.contains("connection_terminated") == true, "\(method)")
      }
      let sent = broken.flatMap(\.records).filter { $0.receivedCount > 0 }
      #expect(sent.count == 1, "\(method) was sent \(sent.count) times")
    }
  }

  @Test func `a replayed GET is sent twice at most`() throws {
    let broken = try (0..<4).map { _ in try resettingOrigin() }
    try withDaemon(DaemonConfiguration(broken.map(\.address))) { daemon in
      #expect(try daemon.get("/x").status == 502)
      _ = try daemon.get("/y")
    }
    let sent = broken.flatMap(\.records).filter { $0.receivedCount > 0 }
    #expect(sent.count <= 4, "two requests, sent \(sent.count) times")
  }

  /// The reuse race (semantics 14): the backend closes an idle connection as a request leaves. Not
  /// a byte of it can have been read, but weir cannot know; a GET must not fail for it.
  @Test func `a pooled connection that was closed meanwhile does not fail a GET`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      // One answer each; the connection then closes without having said so.
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      for number in 0..<300 {
        try client.send("GET /\(number) HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.text == "ok", "\(number): \(response.head.text)")
      }
    }
  }

  @Test func `attempts 1 tries nothing again`() throws {
    let broken = try resettingOrigin()
    let gone = "127.0.0.1:\(Ports.take())"
    for address in [broken.address, gone] {
      let alive = try HTTPOrigin("alive")
      var configuration = DaemonConfiguration([address, alive.address])
      configuration.upstream = "balance round-robin\n  attempts 1"
      try withDaemon(configuration) { daemon in
        let statuses = try (0..<4).map { _ in try daemon.get("/x").status }
        #expect(statuses.contains(502) || statuses.contains(503))
        #expect(statuses.contains(200))
      }
    }
  }

  @Test func `backup backends serve only when no other can`() throws {
    let main = try HTTPOrigin("main")
    let backup = try HTTPOrigin("backup")
    let configuration = DaemonConfiguration([main.address, "\(backup.address) name=spare backup"])
    try withDaemon(configuration) { daemon in
      for _ in 0..<5 { #expect(try daemon.get("/")["x-origin"] == "main") }
      main.stop()
      // Pooled connections to it may still serve; a new one is refused.
      let moved = try Poll.until(.after(5)) {
        let response = try daemon.get("/close/1")
        #expect(response.status == 200)
        return response["x-origin"] == "backup"
      }
      #expect(moved)
    }
  }

  /// Must show 8 of the foundation: least connections, four backends, one killed under load.
  @Test func `kill -9 of a backend under load is seen by no client`() throws {
    let origins = try ["a", "b", "c", "d"].map { try OriginProcess($0) }
    var configuration = DaemonConfiguration(origins.map(\.address))
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let load = ClosedLoopLoad(port: daemon.port)
      #expect(load.waitForMore(1000))
      #expect(load.outcome.byOrigin.count == 4)
      origins[1].kill()
      #expect(load.waitForMore(1000))
      origins[2].kill()
      #expect(load.waitForMore(1000))
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5)) of \(outcome.completed)")
      #expect(outcome.completed >= 3000)
    }
  }
}
