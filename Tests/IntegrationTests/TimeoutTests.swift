import TestSupport
import Testing

/// Everything that waits has an end (rules 37, 39–41; semantics 13). Each case says how long the
/// end may take, far below the time that holds by default and with room for a loaded machine;
/// nothing here sleeps, each wait is for the event itself.
@Suite(.blocking) struct `Timeouts` {
  private func timed<Result>(
    _ body: () throws -> Result
  ) rethrows -> (result: Result, seconds: Double) {
    let start = Deadline.nowNs()
    let result = try body()
    return (result, Double(Deadline.nowNs() - start) / 1e9)
  }

  @Test func `a request head must be complete in time, whether silent or dripping`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "header-timeout 400ms"
    try withDaemon(configuration) { daemon in
      let silent = try daemon.connect()
      let (end, elapsed) = try timed { try silent.readToEnd() }
      #expect(end.ending == .fin)
      #expect(elapsed > 0.3 && elapsed < 8, "silent: \(elapsed)")
      let partial = try daemon.connect()
      try partial.send("GET / HTTP/1.1\r\nHost: a\r\n")
      let late = try timed { try partial.readResponse() }
      #expect(late.result.status == 408)
      #expect(late.seconds > 0.3 && late.seconds < 8, "partial: \(late.seconds)")
      // A drip that never pauses long must not move the deadline.
      let dripping = try daemon.connect()
      try dripping.send("GET / HTTP/1.1\r\nHost: a\r\n")
      let drip = timed {
        while dripping.staysSilent(for: 0.05) { try? dripping.send("A: b\r\n") }
      }
      #expect(try dripping.readResponse().status == 408)
      #expect(drip.seconds > 0.3 && drip.seconds < 8, "dripping: \(drip.seconds)")
      // The second request of a connection is bounded in the same way.
      let second = try daemon.connect()
      try second.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try second.readResponse().status == 200)
      try second.send("GET / HT")
      let next = try timed { try second.readResponse() }
      #expect(next.result.status == 408)
      #expect(next.seconds > 0.3 && next.seconds < 8, "second: \(next.seconds)")
    }
  }

  @Test func `an idle keep-alive connection ends with FIN and without a word`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "keep-alive-timeout 400ms"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      for _ in 0..<2 {
        try client.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readResponse().status == 200)
      }
      let (end, elapsed) = try timed { try client.readToEnd() }
      #expect(end == ([], .fin))
      #expect(elapsed > 0.3 && elapsed < 8, "\(elapsed)")
    }
  }

  @Test func `a request body that stops coming is 408, and the backend sees it cut`() throws {
    let origin = try ScriptedOrigin { connection, _ in _ = try? connection.readToEnd() }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "body-timeout 400ms"
    try withDaemon(configuration) { daemon in
      for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let client = try daemon.connect()
        try client.send("POST /x HTTP/1.1\r\nHost: a\r\n\(framing)\r\n\r\n5\r\nabcde\r\n")
        let (response, elapsed) = try timed { try client.readResponse() }
        #expect(response.status == 408)
        #expect(elapsed > 0.3 && elapsed < 8, "\(framing): \(elapsed)")
        #expect(try client.readToEnd().octets.isEmpty)
      }
      #expect(origin.wait { $0.count == 2 && $0.allSatisfy(\.hasEnded) })
      #expect(origin.records.allSatisfy { !$0.text.hasSuffix("0\r\n\r\n") })
    }
  }

  /// Rule 39's drip: each octet in time, all of them never. The grace is 5 s by default.
  @Test func `a body slower than min-body-rate ends after its grace`() throws {
    let origin = try ScriptedOrigin { connection, _ in _ = try? connection.readToEnd() }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "body-timeout 2s\n    min-body-rate 1KiB"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
      let (_, elapsed) = timed {
        let deadline = Deadline.patient
        while deadline.secondsLeft > 0 && client.staysSilent(for: 0.1) { try? client.send("x") }
      }
      #expect(try client.readResponse().status == 408)
      #expect(elapsed > 4 && elapsed < 19, "\(elapsed)")
    }
  }

  @Test func `a client that takes nothing of its response is reset`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "send-timeout 500ms"
    try withDaemon(configuration) { daemon in
      let client = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 4096)
      try client.send("GET /bytes/50000000 HTTP/1.1\r\nHost: a\r\n\r\n")
      let wasCut = Poll.until(.patient) { origin.records.first?.hasEnded == true }
      #expect(wasCut, "the response goes on although nobody reads it")
      #expect(try client.readToEnd().ending == .reset)
    }
  }

  @Test func `a backend that does not answer is 504 after first-byte-timeout`() throws {
    let origin = try ScriptedOrigin { connection, _ in _ = try? connection.readToEnd() }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "first-byte-timeout 400ms"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
      let (response, elapsed) = try timed { try client.readResponse() }
      #expect(response.status == 504)
      #expect(response["proxy-status"]?.contains("http_response_timeout") == true)
      #expect(elapsed > 0.3 && elapsed < 8, "\(elapsed)")
      #expect(origin.wait { $0.count == 1 && $0[0].hasEnded })
    }
  }

  @Test func `a backend that stops in its body ends the client's message, not normally`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
      _ = try? connection.readToEnd()
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "idle-timeout 400ms"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
      let (_, elapsed) = timed { #expect(throws: WireError.self) { try client.readResponse() } }
      #expect(elapsed > 0.3 && elapsed < 8, "\(elapsed)")
    }
  }

  @Test func `request-timeout bounds the whole request, whatever moves`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      while connection.staysSilent(for: 0.1) {
        try connection.send("HTTP/1.1 103 Early Hints\r\n\r\n")
        if connection.staysSilent(for: 10) { return }
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = "request-timeout 500ms"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
      let (response, elapsed) = try timed { try client.readResponse() }
      #expect(response.status == 504)
      #expect(elapsed > 0.4 && elapsed < 8, "\(elapsed)")
    }
  }

  /// A listening socket whose queue is full never answers a SYN.
  @Test func `a backend that does not accept is given up after connect-timeout`() throws {
    let full = try FullListener()
    let spare = try HTTPOrigin("spare")
    var configuration = DaemonConfiguration([full.address])
    // Not the default, which is a second.
    configuration.upstream = "connect-timeout 1500ms\n  retry off"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
      let (response, elapsed) = try timed { try client.readResponse() }
      #expect([502, 503, 504].contains(response.status))
      #expect(response["proxy-status"]?.contains("connection_timeout") == true)
      #expect(elapsed > 1.4 && elapsed < 8, "\(elapsed)")
    }
    var two = DaemonConfiguration([full.address, spare.address])
    two.upstream = "connect-timeout 300ms\n  balance round-robin"
    try withDaemon(two) { daemon in
      for _ in 0..<2 {
        let client = try daemon.connect()
        try client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        #expect(try client.readResponse().text == "spare", "unsent: any method moves on")
      }
    }
  }

  @Test func `an unused pooled connection is closed after pool-idle-timeout`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "pool-idle-timeout 400ms"
    try withDaemon(configuration) { daemon in
      _ = try daemon.get("/bytes/1")
      let (isClosed, elapsed) = timed {
        Poll.until(.patient) { origin.records.first?.hasEnded == true }
      }
      #expect(isClosed)
      #expect(elapsed > 0.2 && elapsed < 8, "\(elapsed)")
    }
  }
}
