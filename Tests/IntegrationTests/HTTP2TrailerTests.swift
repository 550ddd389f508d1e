import Foundation
import TestSupport
import Testing

/// Trailers between HTTP/2 clients and HTTP/1 backends (safety rule 7; RFC 9113 §8.1).
@Suite(.blocking) struct `HTTP/2 trailers` {
  private static let te = [("te", "trailers")]

  /// Answers in chunks with content and trailers that the path decides: `/COUNT/SET`.
  private func origin() throws -> ScriptedOrigin {
    let sets = [
      "none": "",
      "grpc": "grpc-status: 0\r\nGRPC-Message: Well%20done\r\n",
      "dangerous": "Content-Length: 3\r\nSet-Cookie: a=b\r\nHost: x\r\nConnection: close\r\n"
        + "X_Under: 1\r\nTransfer-Encoding: gzip\r\nAuthorization: c\r\n",
      "both": "Content-Type: a/b\r\nX-Sum: 9\r\nTE: trailers\r\n",
      "large": "X-Large: " + String(repeating: "l", count: 7000) + "\r\n",
    ]
    return try ScriptedOrigin { connection, _ in
      connection.stepSeconds = 30
      while try connection.hasMore() {
        let head = try connection.readHead()
        let parts = head.target.split(separator: "/").map(String.init)
        let count = Int(parts.first ?? "") ?? 0
        try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if head.method != "HEAD" {
          try Pattern.sendChunked(count, on: connection, trailer: sets[parts.last ?? ""] ?? "")
        }
      }
    }
  }

  @Test func `of a backend reach the client that asked for them, without dangerous ones`() throws {
    let origin = try origin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      let rows: [(String, [String])] = [
        ("none", []), ("grpc", ["grpc-status: 0", "grpc-message: Well%20done"]),
        ("dangerous", []), ("both", ["x-sum: 9"]),
        ("large", ["x-large: " + String(repeating: "l", count: 7000)]),
      ]
      var stream: UInt32 = 1
      for (set, expected) in rows {
        for count in [0, 1, 16_384, 300_000] {
          for asks in [true, false] {
            try client.request(stream, "GET", "/\(count)/\(set)", asks ? Self.te : [])
            let answer = try client.answer(stream)
            #expect(answer.status == 200 && answer.resetCode == nil, "\(set) \(count)")
            #expect(Pattern.isPrefix(answer.content, count), "\(set) \(count)")
            let lines = answer.trailers.map { "\($0.name): \($0.value)" }
            #expect(lines == (asks ? expected : []), "\(set) \(count) \(asks)")
            stream += 2
          }
        }
      }
      try client.request(stream, "HEAD", "/5/grpc", Self.te)
      #expect(try client.answer(stream).trailers.isEmpty)
    }
    // The backend's connection can be used again behind them.
    #expect(origin.records.count == 1)
  }

  @Test func `wait for the window of the content before them, and need none`() throws {
    let origin = try origin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2(settings: [(4, 10)])
      try client.request(1, "GET", "/20/grpc", Self.te)
      client.givesWindow = false
      var count = 0
      while count < 10 {
        let frame = try client.next()
        client.keep(frame)
        if frame.type == FrameType.content { count += frame.payload.count }
      }
      try client.synchronize()
      #expect(client.wire.staysSilent(for: 0.2))
      // With the window comes another request, whose head must not mix with them.
      try client.wire.send(
        HTTP2Connection.frame(
          FrameType.windowUpdate, stream: 1, payload: HTTP2Connection.octets(UInt32(10)))
          + HTTP2Connection.frame(
            FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 3,
            payload: HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/7/none"))))
      #expect(try Pattern.isPrefix(client.answer(3).content, 7))
      let answer = try client.answer(1)
      #expect(Pattern.isPrefix(answer.content, 20) && answer.trailers.count == 2)
    }
  }

  /// All window is used up when the backend comes to them.
  @Test func `need no window where they come late`() throws {
    let goesOn = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        _ = try connection.readHead()
        try connection.send(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        guard goesOn.wait(until: .patient, for: { $0 }) else { return }
        try connection.send("0\r\ngrpc-status: 0\r\n\r\n")
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2(settings: [(4, 5)])
      client.givesWindow = false
      for stream in [1, 3] as [UInt32] {
        goesOn.update { $0 = false }
        try client.request(stream, "GET", "/", Self.te)
        var count = 0
        while count < 5 {
          let frame = try client.next()
          client.keep(frame)
          if frame.type == FrameType.content { count += frame.payload.count }
        }
        goesOn.update { $0 = true }
        let answer = try client.answer(stream)
        #expect(answer.content == Array("abcde".utf8) && answer.resetCode == nil)
        #expect(answer.trailers.map(\.name) == ["grpc-status"])
        // Window that comes too late is nobody's.
        if stream == 1 { try client.window(1, 5) }
      }
      try client.synchronize()
    }
  }

  @Test func `are off where the route says so`() throws {
    let origin = try origin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = "trailers off"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "GET", "/5/grpc", Self.te)
      let answer = try client.answer(1)
      #expect(answer.trailers.isEmpty && answer.content.count == 5)
    }
  }

  // MARK: Of requests

  private func send(
    _ client: HTTP2Connection, _ stream: UInt32, _ fields: [(String, String)],
    trailers: [(String, String)], content: [UInt8] = Array("abc".utf8)
  ) throws {
    try client.request(stream, "POST", "/echo", fields, ends: false)
    if !content.isEmpty { try client.content(stream, content, ends: false) }
    try client.send(
      FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: stream,
      payload: HTTP2Connection.block(trailers))
  }

  /// What the backend found behind the content, as `HTTPOrigin` echoes it.
  private func tail(_ answer: StreamAnswer) -> String {
    let text = String(decoding: answer.content, as: UTF8.self)
    return text.components(separatedBy: "\r\n\r\n").dropFirst().joined(separator: "\r\n\r\n")
  }

  @Test func `of a request reach the backend where the client said TE`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      let dangerous = [
        ("host", "x"), ("authorization", "y"), ("x_under", "z"), ("expect", "100-continue"),
        ("cookie", "a=b"),
      ]
      let rows: [([(String, String)], [(String, String)], String)] = [
        (Self.te, [("x-sum", "9"), ("grpc-timeout", "1S")], "x-sum: 9\r\ngrpc-timeout: 1S\r\n"),
        (Self.te, dangerous + [("x-sum", "9")], "x-sum: 9\r\n"),
        ([], [("x-sum", "9")], ""),
        // HTTP/1.1 has no place for them behind a length.
        (Self.te + [("content-length", "3")], [("x-sum", "9")], ""),
        (
          Self.te, [("x-large", String(repeating: "l", count: 7000))],
          "x-large: \(String(repeating: "l", count: 7000))\r\n"
        ),
      ]
      for (index, (fields, trailers, expected)) in rows.enumerated() {
        let stream = UInt32(index * 2 + 1)
        try send(client, stream, fields, trailers: trailers)
        let answer = try client.answer(stream)
        #expect(answer.status == 200 && tail(answer) == "abc" + expected, "\(index)")
      }
      try send(client, 101, Self.te, trailers: [("x-sum", "9")], content: [])
      #expect(try tail(client.answer(101)) == "x-sum: 9\r\n")
    }
    #expect(origin.records.count == 1)
  }

  @Test func `of a request are refused where they are no trailers`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      let rows: [[(String, String)]] = [
        [(":path", "/b")], [(":status", "200")], [("transfer-encoding", "chunked")],
        [("Capital", "a")], [("a", "b\r\nc: d")], [("a", "b\u{0}")], [("connection", "close")],
        [("content-length", "5")],
        // Over the limits of a head: of one field, of all.
        [("a", String(repeating: "b", count: 9000))],
        (0..<5).map { ("a\($0)", String(repeating: "b", count: 4000)) },
        (0..<120).map { ("a\($0)", "b") },
      ]
      for (index, trailers) in rows.enumerated() {
        let stream = UInt32(index * 2 + 1)
        try client.request(stream, "POST", "/echo", Self.te, ends: false)
        let block = HTTP2Connection.block(trailers)
        let first = block.prefix(16_384)
        let isWhole = first.count == block.count
        try client.send(
          FrameType.headers, flags: FrameFlags.endStream | (isWhole ? FrameFlags.endHeaders : 0),
          stream: stream, payload: Array(first))
        if !isWhole {
          try client.send(
            FrameType.continuation, flags: FrameFlags.endHeaders, stream: stream,
            payload: Array(block.dropFirst(16_384)))
        }
        let answer = try client.answer(stream)
        #expect(answer.resetCode == 1 || answer.status == 400, "\(index): \(answer)")
      }
      try client.request(1001, "GET", "/bytes/3")
      #expect(try client.answer(1001).content.count == 3)
      #expect(try daemon.comesToRest())
    }
    #expect(origin.requests.map(\.head.target) == ["/bytes/3"])
  }

  @Test func `arrive whole whatever pieces their block comes in`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let octets =
        HTTP2Connection.preface + HTTP2Connection.frame(FrameType.settings)
        + HTTP2Connection.frame(
          FrameType.headers, flags: FrameFlags.endHeaders, stream: 1,
          payload: HTTP2Connection.block(
            HTTP2Connection.requestFields("POST", "/echo", Self.te)))
        + HTTP2Connection.frame(FrameType.content, stream: 1, payload: [97])
      let trailers = HTTP2Connection.frame(
        FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 1,
        payload: HTTP2Connection.block([("x-sum", "9"), ("x-more", "10")]))
      for cut in stride(from: 1, to: trailers.count, by: 3) {
        let wire = try daemon.connect()
        try wire.send(
          pieces: [octets + trailers[..<cut], Array(trailers[cut...])], eachRead: true)
        let client = HTTP2Connection(speaking: wire)
        #expect(try tail(client.answer(1)) == "ax-sum: 9\r\nx-more: 10\r\n", "cut at \(cut)")
      }
    }
  }

  // MARK: Streams of a connection

  @Test func `a connection that has served its number of streams is retired in two steps`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "keep-alive-requests 5"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      for index in 0..<4 {
        try client.request(UInt32(index * 2 + 1), "GET", "/bytes/3")
        #expect(try client.answer(UInt32(index * 2 + 1)).status == 200)
      }
      try client.synchronize()
      #expect(client.goAway == nil)
      try client.request(9, "GET", "/hold/0")
      while client.goAway == nil { client.keep(try client.next()) }
      #expect(client.goAway?.lastStream == 0x7FFF_FFFF)
      // It crossed the notice.
      try client.request(11, "GET", "/bytes/3")
      #expect(try client.answer(11).status == 200)
      origin.release()
      #expect(try client.answer(9).status == 200)
      #expect(try client.untilEnd() == 0)
      #expect(client.goAway?.lastStream == 11)
    }
  }
}
