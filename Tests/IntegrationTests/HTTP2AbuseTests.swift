import Foundation
import TestSupport
import Testing

/// Frames that break rules, and frames that are lawful but abusive (safety rules 28–35).
@Suite(.blocking) struct `HTTP/2 abuse` {
  private static let calm: UInt32 = 11

  private struct Flood: Sendable {
    let name: String
    /// Events on the account in each round.
    var cost: UInt32 = 1
    /// Frames for the n-th round, and what the connection ends with.
    let frames: @Sendable (UInt32) -> [UInt8]
  }

  private static func headers(_ stream: UInt32, ends: Bool = true) -> [UInt8] {
    HTTP2Connection.frame(
      FrameType.headers, flags: FrameFlags.endHeaders | (ends ? FrameFlags.endStream : 0),
      stream: stream, payload: HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/f")))
  }

  private static let floods: [Flood] = [
    Flood(name: "rapid reset") { round in
      headers(round * 2 + 1)
        + HTTP2Connection.frame(
          FrameType.reset, stream: round * 2 + 1, payload: HTTP2Connection.octets(UInt32(8)))
    },
    Flood(name: "resets that the server is made to send", cost: 2) { round in
      headers(round * 2 + 1)
        + HTTP2Connection.frame(
          FrameType.windowUpdate, stream: round * 2 + 1,
          payload: HTTP2Connection.octets(UInt32(0x7FFF_FFFF)))
    },
    Flood(name: "ping") { _ in
      HTTP2Connection.frame(FrameType.ping, payload: [0, 1, 2, 3, 4, 5, 6, 7])
    },
    Flood(name: "settings") { _ in HTTP2Connection.frame(FrameType.settings) },
    Flood(name: "priority") { round in
      HTTP2Connection.frame(
        FrameType.priority, stream: round * 2 + 1, payload: [0, 0, 0, 0, 15])
    },
    Flood(name: "window updates") { _ in
      HTTP2Connection.frame(FrameType.windowUpdate, payload: HTTP2Connection.octets(UInt32(1)))
    },
    Flood(name: "unknown frames") { _ in HTTP2Connection.frame(0xB0, payload: [1]) },
    Flood(name: "empty content") { round in
      (round == 0 ? headers(1, ends: false) : [])
        + HTTP2Connection.frame(FrameType.content, stream: 1)
    },
  ]

  @Test(arguments: floods.map(\.name))
  func `a flood is cut after a hundred frames, and no backend hears of it`(
    name: String
  ) throws {
    let flood = try #require(Self.floods.first { $0.name == name })
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      // There is a connection to the backend that a request could be sent on at once.
      let warm = try daemon.connect2()
      try warm.request(1, "GET", "/warm")
      #expect(try warm.answer(1).status == 200)
      let client = try daemon.connect2()
      // In one piece: nothing of it may be dispatched before all of it has been looked at.
      try? client.wire.send((0...100).flatMap { flood.frames($0) })
      #expect(try client.untilEnd() == Self.calm)
      #expect(try daemon.counts("\nweir_http2_floods_total 1\n"))
      let other = try daemon.connect2()
      try other.send(FrameType.ping, payload: [1, 2, 3, 4, 5, 6, 7, 8])
      #expect(try other.next().type != FrameType.goAway)
    }
    #expect(origin.requests.allSatisfy { $0.head.target == "/warm" })
  }

  @Test(arguments: floods.map(\.name))
  func `ninety-nine such events are forgiven`(name: String) throws {
    let flood = try #require(Self.floods.first { $0.name == name })
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      let request = HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/bytes/3"))
      // The acknowledgement of weir's settings, sent below, is the hundredth event.
      try client.wire.send(
        (0..<99 / flood.cost).flatMap { flood.frames($0) }
          + HTTP2Connection.frame(
            FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 1001,
            payload: request))
      #expect(try client.answer(1001).content.count == 3)
    }
  }

  /// Rule 29: eight pieces behind the first are a block, nine are not.
  @Test func `a header block of many pieces is cut`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for count in [8, 9] {
        let client = try daemon.connect2()
        try client.send(
          FrameType.headers, flags: FrameFlags.endStream, stream: 1,
          payload: HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/bytes/3")))
        for index in 1...count {
          try client.send(
            FrameType.continuation, flags: index == count ? FrameFlags.endHeaders : 0, stream: 1,
            payload: HTTP2Connection.block([("a\(index)", "b")]))
        }
        if count == 8 {
          #expect(try client.answer(1).content.count == 3)
        } else {
          #expect(try client.untilEnd() == Self.calm)
        }
      }
      let client = try daemon.connect2()
      try client.send(
        FrameType.headers, flags: FrameFlags.endStream, stream: 1,
        payload: HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/")))
      for index in 0..<50 {
        try? client.send(
          FrameType.continuation, stream: 1, payload: HTTP2Connection.block([("a\(index)", "b")]))
      }
      #expect(try client.untilEnd() != nil)
    }
    #expect(origin.requests.count == 1)
  }

  /// Rule 31, where the connection goes on.
  @Test func `a request that is reset in the same read is not begun`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      // There is a connection to the backend that it could be sent on at once.
      try client.request(1, "GET", "/warm")
      #expect(try client.answer(1).status == 200)
      for round in 1...20 {
        let stream = UInt32(round * 4 - 1)
        // By the client; by an error that nghttp2 finds.
        try client.wire.send(
          Self.headers(stream)
            + HTTP2Connection.frame(FrameType.reset, stream: stream, payload: [0, 0, 0, 8])
            + Self.headers(stream + 2)
            + HTTP2Connection.frame(
              FrameType.windowUpdate, stream: stream + 2, payload: [0x7F, 0xFF, 0xFF, 0xFF]))
        #expect(try client.answer(stream + 2).resetCode == 3)
      }
      try client.synchronize()
    }
    #expect(origin.requests.map(\.head.target) == ["/warm"])
  }

  /// The section, what is sent behind the preface, and the code of RFC 9113 §7.
  private static let connectionErrors: [(String, [UInt8], UInt32)] = [
    (
      "§4.2: a frame above SETTINGS_MAX_FRAME_SIZE",
      HTTP2Connection.frame(
        FrameType.content, stream: 1, payload: .init(repeating: 0, count: 16_385)),
      6
    ),
    ("§5.1.1: an even stream", headers(2), 1),
    ("§5.1.1: a stream below one that was opened", headers(5) + headers(3), 1),
    (
      "§5.1: DATA on an idle stream",
      HTTP2Connection.frame(FrameType.content, stream: 7, payload: [1]), 1
    ),
    ("§6.1: DATA on stream 0", HTTP2Connection.frame(FrameType.content, payload: [1]), 1),
    (
      "§6.1: padding longer than the frame",
      headers(1, ends: false)
        + HTTP2Connection.frame(
          FrameType.content, flags: FrameFlags.padded, stream: 1, payload: [9, 1]), 1
    ),
    ("§6.2: HEADERS on stream 0", headers(0), 1),
    (
      "§6.4: RST_STREAM on stream 0",
      HTTP2Connection.frame(FrameType.reset, payload: [0, 0, 0, 8]), 1
    ),
    (
      "§6.4: RST_STREAM on an idle stream",
      HTTP2Connection.frame(FrameType.reset, stream: 9, payload: [0, 0, 0, 8]), 1
    ),
    (
      "§6.4: RST_STREAM of a wrong size",
      headers(1) + HTTP2Connection.frame(FrameType.reset, stream: 1, payload: [0, 8]), 6
    ),
    ("§6.5: SETTINGS on a stream", HTTP2Connection.frame(FrameType.settings, stream: 1), 1),
    (
      "§6.5: an acknowledgement with content",
      HTTP2Connection.frame(
        FrameType.settings, flags: FrameFlags.acknowledgement, payload: [0, 1, 0, 0, 0, 0]), 6
    ),
    (
      "§6.5: SETTINGS of a wrong size",
      HTTP2Connection.frame(FrameType.settings, payload: [0, 1, 0]), 6
    ),
    (
      "§6.5.2: ENABLE_PUSH above 1",
      HTTP2Connection.frame(
        FrameType.settings, payload: HTTP2Connection.settings([(2, 2)])), 1
    ),
    (
      "§6.5.2: a window above 2^31-1",
      HTTP2Connection.frame(
        FrameType.settings, payload: HTTP2Connection.settings([(4, 0x8000_0000)])), 3
    ),
    (
      "§6.5.2: a frame size below 16,384",
      HTTP2Connection.frame(
        FrameType.settings, payload: HTTP2Connection.settings([(5, 100)])), 1
    ),
    (
      "§6.6: PUSH_PROMISE from a client",
      headers(1)
        + HTTP2Connection.frame(
          FrameType.pushPromise, flags: FrameFlags.endHeaders, stream: 1,
          payload: [0, 0, 0, 2] + HTTP2Connection.block([(":method", "GET")])), 1
    ),
    (
      "§6.7: PING on a stream",
      HTTP2Connection.frame(FrameType.ping, stream: 1, payload: .init(repeating: 0, count: 8)), 1
    ),
    ("§6.7: PING of a wrong size", HTTP2Connection.frame(FrameType.ping, payload: [1]), 6),
    (
      "§6.8: GOAWAY on a stream",
      HTTP2Connection.frame(
        FrameType.goAway, stream: 1, payload: .init(repeating: 0, count: 8)), 1
    ),
    (
      "§6.9: WINDOW_UPDATE of 0 for the connection",
      HTTP2Connection.frame(FrameType.windowUpdate, payload: [0, 0, 0, 0]), 1
    ),
    (
      "§6.9: WINDOW_UPDATE of a wrong size",
      HTTP2Connection.frame(FrameType.windowUpdate, payload: [0, 0, 1]), 6
    ),
    (
      "§6.9.1: a window above 2^31-1",
      HTTP2Connection.frame(FrameType.windowUpdate, payload: [0x7F, 0xFF, 0xFF, 0xFF]), 3
    ),
    (
      "§6.10: CONTINUATION without HEADERS",
      HTTP2Connection.frame(FrameType.continuation, stream: 1, payload: []), 1
    ),
    (
      "§6.2: another frame inside a header block",
      HTTP2Connection.frame(
        FrameType.headers, stream: 1,
        payload: HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/")))
        + HTTP2Connection.frame(FrameType.ping, payload: .init(repeating: 0, count: 8)), 1
    ),
    (
      "RFC 7541 §2.3.3: an index beyond the table",
      HTTP2Connection.frame(
        FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 1,
        payload: [0xFF, 0x80, 0x7F]), 9
    ),
    (
      "RFC 7541 §6.3: a table above what was allowed",
      HTTP2Connection.frame(
        FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 1,
        payload: [0x3F, 0xE2, 0x1F]
          + HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/"))), 9
    ),
    (
      "§5.1: HEADERS on a stream that the client has ended",
      headers(1) + headers(1), 5
    ),
    (
      "§5.1: DATA on a stream that the client has ended",
      headers(1) + HTTP2Connection.frame(FrameType.content, stream: 1, payload: [1]), 5
    ),
    (
      "§5.1: WINDOW_UPDATE on an idle stream",
      HTTP2Connection.frame(
        FrameType.windowUpdate, stream: 5, payload: HTTP2Connection.octets(UInt32(1))), 1
    ),
    (
      "§6.9: WINDOW_UPDATE of 0 for a stream",
      headers(1, ends: false)
        + HTTP2Connection.frame(FrameType.windowUpdate, stream: 1, payload: [0, 0, 0, 0]), 1
    ),
    (
      "§6.10: CONTINUATION behind END_HEADERS",
      headers(1) + HTTP2Connection.frame(FrameType.continuation, stream: 1, payload: [1]), 1
    ),
    (
      "§6.3: PRIORITY on stream 0",
      HTTP2Connection.frame(FrameType.priority, payload: [0, 0, 0, 3, 1]), 1
    ),
    (
      "§6.3: PRIORITY of a wrong size",
      headers(1) + HTTP2Connection.frame(FrameType.priority, stream: 1, payload: [0, 0, 0, 3]), 6
    ),
    (
      "§6.2: padding longer than the header block",
      HTTP2Connection.frame(
        FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.padded, stream: 1,
        payload: [200, 0x82]), 1
    ),
    (
      "§6.6 of RFC 7541: a field cut short",
      HTTP2Connection.frame(
        FrameType.headers, flags: FrameFlags.endHeaders, stream: 1, payload: [0x10, 5, 97]), 9
    ),
  ]

  /// The code that a connection ends with; `nil` where there is none, or a PING is answered.
  private static func ending(_ client: HTTP2Connection) throws -> UInt32? {
    do {
      while try client.next().type != FrameType.ping {}
      return nil
    } catch WireError.endedEarly(_) {
    } catch WireError.reset {}
    return client.goAway?.errorCode
  }

  /// What a peer may never do ends the connection with the code of RFC 9113 §7.
  @Test(arguments: [false, true])
  func `errors of the connection have their code`(isEncrypted: Bool) throws {
    let origin = try HTTPOrigin()
    let speech = try Speech(isEncrypted: isEncrypted, [origin.address])
    try withDaemon(speech.configuration) { daemon in
      for (name, octets, code) in Self.connectionErrors {
        // There is a connection to the backend that a request could be sent on at once.
        let warm = try speech.connect(daemon)
        try warm.request(1, "GET", "/warm")
        #expect(try warm.answer(1).status == 200)
        let client = try speech.connect(daemon)
        let ping = HTTP2Connection.frame(FrameType.ping, payload: .init(repeating: 0, count: 8))
        try client.wire.send(octets + ping)
        let started = Date()
        client.wire.stepSeconds = 9
        let got = try? Self.ending(client)
        #expect(got == code, "\(name)")
        // Below every timeout that would end it anyway.
        try #require(Date().timeIntervalSince(started) < 9, "\(name): closed late")
      }
    }
    // Rule 31: what stands before a fatal frame in the same read is not begun.
    #expect(origin.requests.allSatisfy { $0.head.target == "/warm" })
  }

  @Test func `frames for a stream that has ended are an error, unless weir reset it`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for (type, payload) in [
        (FrameType.content, [UInt8(1)]),
        (
          FrameType.headers,
          HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/bytes/1"))
        ),
      ] {
        let client = try daemon.connect2()
        try client.request(1, "GET", "/bytes/1")
        #expect(try client.answer(1).status == 200)
        try client.send(
          type, flags: type == FrameType.headers ? FrameFlags.endHeaders : 0, stream: 1,
          payload: payload)
        #expect(try client.untilEnd() == 5, "STREAM_CLOSED")
      }
      // The answer came before the content: weir resets the stream, and content is under way.
      let client = try daemon.connect2()
      try client.request(1, "POST", "/a/../b", ends: false)
      let answer = try client.answer(1)
      #expect(answer.status == 400)
      // More than half of the connection's window, all of which comes back.
      try client.content(1, .init(repeating: 1, count: 600_000))
      var frame = try client.next()
      while frame.type != FrameType.windowUpdate || frame.stream != 0 { frame = try client.next() }
      try client.request(3, "GET", "/bytes/1")
      #expect(try client.answer(3).status == 200)
    }
  }

  @Test func `more streams than allowed are refused, the others are served`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      var octets: [UInt8] = []
      for index in 0..<110 {
        octets += HTTP2Connection.frame(
          FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream,
          stream: UInt32(index * 2 + 1),
          payload: HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/hold/0")))
      }
      try client.wire.send(octets)
      for index in 100..<110 {
        let answer = try client.answer(UInt32(index * 2 + 1))
        #expect(answer.resetCode == 7)
      }
      origin.release()
      for index in 0..<100 {
        let answer = try client.answer(UInt32(index * 2 + 1))
        #expect(answer.status == 200)
      }
    }
  }

  /// Rule 35: what priorities say is of no meaning, also where it is nonsense.
  @Test func `a stream that depends on itself is served`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let octets =
        HTTP2Connection.frame(FrameType.priority, stream: 1, payload: [0, 0, 0, 1, 15])
        + HTTP2Connection.frame(
          FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream | 0x28, stream: 1,
          payload: [2, 0x80, 0, 0, 1, 15]
            + HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/bytes/3")) + [0, 0])
        + HTTP2Connection.frame(FrameType.priority, stream: 1, payload: [0, 0, 0, 1, 15])
      // Cut within the name, too.
      for cut in 9..<32 {
        let client = try daemon.connect2()
        let pieces = [Array(octets[..<cut]), Array(octets[cut...])]
        try client.wire.send(pieces: pieces, eachRead: true)
        #expect(try client.answer(1).content.count == 3, "cut at \(cut)")
      }
    }
  }

  @Test func `a stream that is reset cancels its request to the backend`() throws {
    let closed = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      _ = try connection.readToEnd()
      closed.update { $0 = true }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "GET", "/wait")
      let hasCome = origin.wait { ($0.first?.receivedCount ?? 0) > 0 }
      #expect(hasCome)
      try client.send(FrameType.reset, stream: 1, payload: [0, 0, 0, 8])
      let isClosed = closed.wait(until: .patient) { $0 }
      #expect(isClosed)
    }
  }
}
