import TestSupport
import Testing

/// The chunked coding on both sides: re-framed, bounded, and never ambiguous (rules 5–7).
@Suite(.blocking) struct `Chunked bodies` {
  static let malformed: [String] = [
    "0x3\r\nabc\r\n0\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n", "-3\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n", "3_0\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n", ";a=b\r\nabc\r\n0\r\n\r\n", "g\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabc0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n", "3\r\nabc\rX0\r\n\r\n",
    "3\rX\nabc\r\n0\r\n\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n", "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "3;a\u{0}b\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\n\r\n", "3\r\nabc\r\n0\r\n\n",
    "8000000000000000\r\nabc", "fffffffffffffffff\r\nabc", "00000000000000003\r\nabc\r\n0\r\n\r\n",
    "3;\(String(repeating: "x", count: 5000))\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\n bad: fold\r\n\r\n", "3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    "3\r\nabc\r\n0\r\nA: \u{0}\r\n\r\n", "3\r\nabc\r\n0\r\nA : b\r\n\r\n",
    "3\r\nabc\r\n0\r\nA: b\n\r\n",
  ]

  @Test func `a malformed one ends in 400 and never completes at the backend`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      // The head may come, for it was lawful; what matters is what follows.
      _ = try? connection.readToEnd()
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for body in Self.malformed {
        for pieceSize in [Int.max, 1] {
          let name = "\(body.prefix(40).debugDescription), pieces of \(pieceSize)"
          let client = try daemon.connect()
          let bytes = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\(body)"
          try? client.send(
            pieces: split(
              Array((bytes + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").utf8), pieceSize))
          do {
            let response = try client.readResponse()
            #expect(response.status == 400, "\(name): \(response.head.text)")
            #expect(try client.readToEnd().octets.isEmpty, "\(name): answered twice")
          } catch {
            Issue.record("\(name): \(error)")
          }
        }
      }
      #expect(origin.wait { $0.allSatisfy(\.hasEnded) }, "weir left connections open")
      for record in origin.records {
        #expect(!record.text.contains("smuggled") && !record.text.hasSuffix("0\r\n\r\n"))
      }
    }
  }

  @Test func `extensions of one message end at 16 KiB in all`() throws {
    let origin = try HTTPOrigin()
    let chunk = "1;\(String(repeating: "e", count: 1000))\r\nx\r\n"
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for (count, status) in [(16, 200), (17, 400)] {
        let client = try daemon.connect()
        try? client.send(
          "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + String(repeating: chunk, count: count) + "0\r\n\r\n")
        #expect(try client.readResponse().status == status, "\(count) KB of extensions")
      }
    }
  }

  @Test func `chunks are made anew, extensions dropped`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let head = try connection.readHead()
        _ = try connection.readRequestBody(head)
        try connection.send(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "0003;secret=1\r\nabc\r\n2\r\nde\r\n000;x\r\n\r\n")
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      for pieceSize in [Int.max, 1, 3] {
        let request =
          "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
          + "0004;hidden=yes\r\nwxyz\r\n00\r\n\r\n"
        try client.send(pieces: split(Array(request.utf8), pieceSize))
        let response = try client.readResponse()
        #expect(response.text == "abcde" && response.framing == .chunked)
      }
    }
    let text = origin.records.map(\.text).joined()
    #expect(!text.contains("hidden") && !text.contains("\r\n0004"))
  }

  @Test func `a chunked body of any size and shape arrives intact, both ways`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect()
      for count in [0, 1, 2, 1000, 16383, 16384, 16385, 65536, 300_000, 3_000_000] {
        try client.send(
          "POST /chunked/\(count) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try Pattern.sendChunked(count, on: client)
        var check = PatternCheck()
        let response = try client.readResponse { check.add($0) }
        #expect(check.count == count && check.isIntact, "\(count) down")
        #expect(response["x-content-count"] == "\(count)", "\(count) up")
        #expect(response["x-content-intact"] == "yes", "\(count) up")
        #expect(response.trailers.isEmpty, "the client did not ask for trailers")
      }
    }
  }

  @Test func `trailers pass where the client said TE: trailers, without dangerous ones`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let head = try connection.readHead()
        _ = try connection.readRequestBody(head)
        try connection.send(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
            + "Grpc-Status: 0\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nHost: evil\r\n"
            + "Set-Cookie: a=b\r\nAuthorization: x\r\nConnection: y\r\n\r\n")
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for (fields, expected) in [("TE: trailers\r\n", ["grpc-status"]), ("", [])] {
        let client = try daemon.connect()
        try client.send(
          "POST /x HTTP/1.1\r\nHost: a\r\n\(fields)Transfer-Encoding: chunked\r\n\r\n"
            + "1\r\ny\r\n0\r\n"
            + "Checksum: 7\r\nHost: evil\r\nContent-Length: 4\r\nCookie: c=d\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.text == "x")
        #expect(response.trailers.map { $0.name.lowercased() } == expected, "\(fields)")
        // What the connection says next must not have been changed by a trailer.
        try client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readResponse().status == 200)
      }
    }
    let received = origin.records.map(\.text).joined()
    #expect(!received.lowercased().contains("evil") && !received.contains("c=d"))
  }
}
