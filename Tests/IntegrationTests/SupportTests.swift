import TestSupport
import Testing

/// The means of proof are proven first: a test tool that cannot fail proves nothing.
@Suite(.blocking) struct `Test support` {
  @Test func `the origin answers what the path asks for, on one connection`() throws {
    let origin = try HTTPOrigin("a")
    let client = try WireConnection.connect(port: origin.port)
    for (path, count) in [("/bytes/70000", 70000), ("/chunked/70000", 70000), ("/x/bytes/0", 0)] {
      try client.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
      var check = PatternCheck()
      let response = try client.readResponse { check.add($0) }
      #expect(response.status == 200 && check.count == count && check.isIntact)
      #expect(response["X-Origin"] == "a")
    }
    try client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    try client.send(pieces: ["3\r\nab", "c\r\n0", "\r\nX-T: v\r\n\r\n"].map { Array($0.utf8) })
    let echo = try client.readResponse()
    #expect(echo.text.hasSuffix("\r\n\r\nabcX-T: v\r\n"))
    #expect(origin.records.count == 1)
    #expect(origin.requests.map(\.contentCount) == [0, 0, 0, 3])
  }

  @Test func `a response cut short, malformed or reset is an error`() throws {
    let cases: [(String, WireError)] = [
      ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", .endedEarly("2 of 5 octets missing")),
      (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        .endedEarly("")
      ),
      ("HTTP/1.1 200 OK\nA: b\n\n", .malformed("bare LF")),
      (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n",
        .malformed("chunk size: 0x3")
      ),
      ("HTTP/1.1 20 OK\r\n\r\n", .malformed("status line: HTTP/1.1 20 OK")),
    ]
    for (answer, expected) in cases {
      let origin = try ScriptedOrigin { connection, _ in
        _ = try connection.readHead()
        try connection.send(answer)
      }
      let client = try WireConnection.connect(port: origin.port)
      try client.send("GET / HTTP/1.1\r\n\r\n")
      #expect(throws: expected, "\(answer)") { try client.readResponse() }
    }
  }

  @Test func `FIN and RST are told apart`() throws {
    let origin = try ScriptedOrigin { connection, number in
      _ = try connection.readHead()
      try connection.send("x")
      if number == 1 { connection.reset() }
    }
    for expected in [WireConnection.Ending.fin, .reset] {
      let client = try WireConnection.connect(port: origin.port)
      try client.send("GET / HTTP/1.1\r\n\r\n")
      #expect(try client.readToEnd().ending == expected)
    }
    #expect(origin.wait { $0.count == 2 && $0.allSatisfy(\.hasEnded) })
    #expect(origin.records.first?.text == "GET / HTTP/1.1\r\n\r\n")
  }

  @Test func `a child's output, its exit code and its signal are seen`() throws {
    let done = try ChildProcess.run("/bin/sh", ["-c", "echo out; echo err >&2; exit 3"])
    #expect(done.ending == .exit(3))
    #expect(done.output.contains("out\n") && done.output.contains("err\n"))
    let child = try ChildProcess("/bin/sh", ["-c", "echo started; read x < /dev/tty; sleep 60"])
    child.kill(9)
    #expect(child.waitForEnd() == .signal(9))
  }

  @Test func `the load counts each failure`() throws {
    let origin = try HTTPOrigin("b")
    let load = ClosedLoopLoad(port: origin.port, connections: 4) { number in
      "GET /status/\(number % 10 == 0 ? 503 : 200) HTTP/1.1\r\nHost: a\r\n\r\n"
    }
    #expect(load.waitForMore(200))
    let outcome = load.stop()
    #expect(outcome.completed > 100 && outcome.failures.count >= 10)
    #expect(outcome.byOrigin["b"] == outcome.completed)
  }
}
