import TestSupport
import Testing

/// A half-open breaker lets as many requests through at once as it is told, whatever came back.
@Suite(.blocking) struct `Probes of a half-open breaker` {
  enum Mood: Sendable { case failing, chunked, silent }

  @Test func `a response judged by its head does not give up its place twice`() throws {
    let mood = Monitor(Mood.failing)
    let received = Monitor(0)
    let origin = try ScriptedOrigin { connection, _ in
      while (try? connection.hasMore()) == true {
        _ = try connection.readHead()
        let now = mood.current
        received.update { $0 += 1 }
        switch now {
        case .failing:
          try connection.send("HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n")
        case .chunked:
          try connection.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        case .silent:
          _ = mood.wait(until: .after(60)) { $0 != .silent }
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        }
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "circuit-breaker failures=2 open=50ms max-open=50ms successes=3"
    try withDaemon(configuration) { daemon in
      for _ in 0..<2 { #expect(try daemon.get("/", method: "POST").status == 503) }
      mood.update { $0 = .chunked }
      // The first probe, as soon as the breaker lets one through.
      let isTriedOut = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isTriedOut)
      mood.update { $0 = .silent }
      let known = received.current
      let probe = try daemon.connect()
      try probe.send("GET /probe HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(received.wait(until: .patient) { $0 == known + 1 })
      for _ in 0..<3 {
        let response = try daemon.get("/other")
        #expect(response.status == 503 && response["proxy-status"] != nil)
      }
      #expect(received.current == known + 1)
      mood.update { $0 = .chunked }
      #expect(try probe.readResponse().text == "late")
    }
  }

  @Test(arguments: [
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
  ])
  func `a client that keeps its backend waiting does not keep a probe's place`(
    slow: String
  ) throws {
    let mood = Monitor(Mood.failing)
    let received = Monitor(0)
    let origin = try ScriptedOrigin { connection, _ in
      while (try? connection.hasMore()) == true {
        let head = try connection.readHead()
        let isIll = mood.current == .failing
        received.update { $0 += 1 }
        if !isIll { _ = try connection.readRequestBody(head) }
        try connection.send("HTTP/1.1 \(isIll ? 503 : 200) Some\r\nContent-Length: 0\r\n\r\n")
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "body-timeout 1h"
    configuration.upstream = "circuit-breaker failures=2 open=50ms max-open=50ms successes=1"
    try withDaemon(configuration) { daemon in
      for _ in 0..<2 { #expect(try daemon.get("/", method: "DELETE").status == 503) }
      mood.update { $0 = .silent }
      // The one place is taken by a request that does not come to its end.
      let known = received.current
      var holder: WireConnection?
      let isHeld = try Poll.until(.patient) {
        let client = try daemon.connect()
        try client.send(slow)
        if received.wait(until: .after(1), for: { $0 > known }) { holder = client }
        return holder != nil
      }
      #expect(isHeld)
      let isBack = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isBack)
      withExtendedLifetime(holder) {}
    }
  }

  @Test func `switched off by a reload, the breaker lets go of its backend at once`() throws {
    let mood = Monitor(Mood.failing)
    let origin = try ScriptedOrigin { connection, _ in
      while (try? connection.hasMore()) == true {
        _ = try connection.readHead()
        let status = mood.current == .failing ? 503 : 200
        try connection.send("HTTP/1.1 \(status) Some\r\nContent-Length: 0\r\n\r\n")
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "circuit-breaker failures=2 open=1h max-open=1h"
    try withDaemon(configuration) { daemon in
      for _ in 0..<3 { #expect(try daemon.get("/", method: "POST").status == 503) }
      mood.update { $0 = .chunked }
      #expect(try daemon.get("/").status == 503)
      configuration.upstream = "circuit-breaker off"
      let reloaded = try daemon.reload(configuration)
      #expect(reloaded.ending == .exit(0))
      #expect(try daemon.get("/").status == 200)
    }
  }
}
