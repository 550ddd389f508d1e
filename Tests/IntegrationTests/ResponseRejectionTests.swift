import TestSupport
import Testing

/// What backends may not send (docs/THREAT-MODEL.md, rules 21 and 24–27).
@Suite(.blocking) struct `Responses that are refused` {
  static let heads: [(rule: String, head: String)] = [
    ("24", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    ("24", "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabc"),
    ("24", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc"),
    ("24", "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc"),
    ("24", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc"),
    ("24", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc"),
    (
      "24",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "3\r\nabc\r\n0\r\n\r\n"
    ),
    ("24", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
    ("24", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("24", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("24", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("24", "HTTP/2.0 200 OK\r\n\r\n"),
    ("24", "HTTP/1.2 200 OK\r\n\r\n"),
    ("24", "HTTP/1.1  200 OK\r\n\r\n"),
    ("24", "HTTP/1.1 20 OK\r\n\r\n"),
    ("24", "HTTP/1.1 2000 OK\r\n\r\n"),
    ("24", "HTTP/1.1 099 OK\r\n\r\n"),
    ("24", "HTTP/1.1 600 OK\r\n\r\n"),
    ("24", "HTTP/1.1 2x0 OK\r\n\r\n"),
    ("24", "HTTP/1.1\r\n\r\n"),
    ("24", "ICY 200 OK\r\n\r\n"),
    ("24", "garbage\r\n\r\n"),
    ("24", "<html>no head at all</html>"),
    ("24", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("24", "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n"),
    ("24", "HTTP/1.1 200 OK\r\nA: b\u{0}c\r\nContent-Length: 0\r\n\r\n"),
    ("24", "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n"),
    ("24", "HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 0\r\n\r\n"),
    ("24", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
    ("24", "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n"),
    ("24", "HTTP/1.1 200 OK\r\n: empty\r\nContent-Length: 0\r\n\r\n"),
    ("21", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("21", "HTTP/1.1 200 OK\r\nA: \(String(repeating: "a", count: 9000))\r\n\r\n"),
    ("21", "HTTP/1.1 200 OK\r\n" + String(repeating: "A: b\r\n", count: 101) + "\r\n"),
    (
      "21",
      "HTTP/1.1 200 OK\r\n"
        + String(repeating: "A: \(String(repeating: "b", count: 1000))\r\n", count: 17)
        + "\r\n"
    ),
    (
      "21",
      String(repeating: "HTTP/1.1 103 Early Hints\r\n\r\n", count: 11)
        + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    ),
  ]

  /// POST, because a GET would be tried again at the same backend.
  @Test func `a faulty head becomes 502 with its reason, and its connection is not used again`()
    throws
  {
    for (rule, head) in Self.heads {
      let origin = try ScriptedOrigin { connection, _ in
        while try connection.hasMore() {
          let request = try connection.readHead()
          _ = try connection.readRequestBody(request)
          if request.target == "/good" {
            try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
          } else {
            try connection.send(latin1(Array(head.utf8)))
            // A response without end would wait for more; the end makes it a fault.
            if head.hasPrefix("<") || head.hasPrefix("HTTP/1.1\r") { connection.finishSending() }
          }
        }
      }
      let name = "rule \(rule): \(head.prefix(70).debugDescription)"
      try withDaemon(DaemonConfiguration([origin.address])) { daemon in
        let client = try daemon.connect()
        try client.send("POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        do {
          let response = try client.readResponse()
          #expect(response.status == 502, "\(name): \(response.head.text)")
          let status = response["proxy-status"] ?? ""
          #expect(status.contains("error=http_"), "\(name): \(status)")
          // The client did nothing wrong: its connection serves on.
          try client.send("GET /good HTTP/1.1\r\nHost: a\r\n\r\n")
          #expect(try client.readResponse().text == "good", "\(name)")
        } catch {
          Issue.record("\(name): \(error)")
        }
        #expect(origin.records.count == 2, "\(name): used again")
        #expect(origin.wait { $0.first?.hasEnded == true }, "\(name): left open")
      }
    }
  }

  /// Bodies that end early, and what each client must see of them: never a normal end.
  static let truncated: [(name: String, bytes: String, isReset: Bool)] = [
    ("fewer octets than Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false),
    ("the same by RST", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true),
    (
      "no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false
    ),
    ("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", false),
    (
      "half a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
      false
    ),
    (
      "an invalid chunk",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n\r\n", false
    ),
    (
      "a chunk longer than its size",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", false
    ),
    ("RST of a close-delimited body", "HTTP/1.1 200 OK\r\n\r\nabc", true),
  ]

  @Test func `a body that ends early never looks complete`() throws {
    for (name, bytes, isReset) in Self.truncated {
      let gate = Monitor(false)
      let origin = try ScriptedOrigin { connection, _ in
        _ = try connection.readHead()
        try connection.send(bytes)
        // The head should be on its way before the cut, else this would be a retry.
        _ = gate.wait(until: .after(60)) { $0 }
        if isReset { connection.reset() }
      }
      try withDaemon(DaemonConfiguration([origin.address])) { daemon in
        let client = try daemon.connect()
        try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        // Reset at once is a lawful end, too: the fault may be seen before the head has left.
        _ = try? client.hasMore()
        gate.update { $0 = true }
        #expect(throws: WireError.self, "\(name)") { try client.readResponse() }
        #expect(origin.records.count == 1, "\(name): was tried again after a response byte")
      }
    }
  }

  @Test func `octets after a complete response reach nobody`() throws {
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    let answers: [(method: String, bytes: String)] = [
      ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"),
      ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n"),
      ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
      ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"),
      ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"),
    ]
    for (method, bytes) in answers {
      let origin = try ScriptedOrigin { connection, number in
        while try connection.hasMore() {
          let head = try connection.readHead()
          try connection.send(
            head.target == "/first"
              ? bytes + extra : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean")
        }
      }
      try withDaemon(DaemonConfiguration([origin.address])) { daemon in
        let client = try daemon.connect()
        try client.send("\(method) /first HTTP/1.1\r\nHost: a\r\n\r\n")
        let first = try client.readResponse(to: method)
        #expect(first.text == "good" || first.body.isEmpty, "\(bytes): \(first.text)")
        try client.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readResponse().text == "clean", "after \(bytes)")
        #expect(origin.wait { $0.first?.hasEnded == true }, "its connection was kept")
        #expect(origin.records.count == 2, "its connection was used again")
      }
    }
  }

  /// A pipe takes what is due, and leaves the rest with the kernel, which tells no more of it.
  @Test func `octets after a long response reach nobody, though the next request is there`()
    throws
  {
    let long = String(repeating: "0123456789", count: 10_000)
    let origin = try ScriptedOrigin { connection, number in
      while try connection.hasMore() {
        let head = try connection.readHead()
        try connection.send(
          head.target == "/first"
            ? "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n\(long)"
              + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
            : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean")
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send(
        "GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.readResponse().text == long)
      #expect(try client.readResponse().text == "clean")
      #expect(origin.wait { $0.first?.hasEnded == true }, "its connection was kept")
      #expect(origin.wait { $0.count == 2 }, "its connection was used again")
    }
  }

  @Test func `octets on an idle pooled connection close it`() throws {
    let gate = Monitor(false)
    let origin = try ScriptedOrigin { connection, number in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean")
      if number == 0 {
        _ = gate.wait(until: .after(60)) { $0 }
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
      }
      _ = try? connection.readToEnd()
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.readResponse().text == "clean")
      gate.update { $0 = true }
      #expect(origin.wait { $0.first?.hasEnded == true }, "one that spoke unasked is kept")
      try client.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
      #expect(try client.readResponse().text == "clean")
      #expect(origin.records.count == 2)
    }
  }

  /// Rule 27.
  @Test
  func `a response that comes before the request's end is delivered, its connection not kept`()
    throws
  {
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
      if head.method == "GET" { _ = try? connection.hasMore() }
      _ = try? connection.readToEnd()
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
      #expect(try client.readResponse().text == "early")
      let other = try daemon.connect()
      try other.send("GET /y HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try other.readResponse().text == "early")
      #expect(origin.records.count == 2, "a half-sent request's connection was used again")
      #expect(origin.wait { $0.first?.hasEnded == true }, "and must be closed")
    }
  }
}
