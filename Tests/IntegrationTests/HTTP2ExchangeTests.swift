import Foundation
import TestSupport
import Testing

extension DaemonProcess {
  /// The sum of a metric over all its labels.
  func sum(_ name: String) throws -> Int {
    try admin("/metrics").text.split(separator: "\n")
      .filter { $0.hasPrefix(name + " ") || $0.hasPrefix(name + "{") }
      .reduce(0) { $0 + (Int($1.split(separator: " ").last ?? "") ?? 0) }
  }

  /// Nothing is counted as in flight at any backend, now or soon: before the 10 s after which a
  /// timeout would have ended it.
  func comesToRest(_ seconds: Double = 9) throws -> Bool {
    try Poll.until(.after(seconds)) { try sum("weir_backend_in_flight") == 0 }
  }
}

extension HTTP2Connection {
  func reset(_ stream: UInt32, _ code: UInt32 = 8) throws {
    try send(FrameType.reset, stream: stream, payload: HTTP2Connection.octets(code))
  }

  /// A PING and its answer: everything sent before has been looked at.
  func synchronize() throws {
    try send(FrameType.ping, payload: [0, 0, 0, 0, 0, 0, 0, 7])
    while true {
      let frame = try next()
      if frame.type == FrameType.ping { return }
      guard frame.type != FrameType.goAway else { throw TestFailure("GOAWAY \(frame.errorCode)") }
      keep(frame)
    }
  }
}

/// What becomes of a stream when one of its sides ends at an unusual moment.
@Suite(.blocking) struct `HTTP/2 exchanges` {
  /// RFC 9113 §8.1: the answer is complete, then the rest of the request is declined.
  @Test(arguments: ["204 No Content\r\n", "200 OK\r\nContent-Length: 0\r\n"])
  func `an answer without content comes before its upload is declined`(head: String) throws {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 \(head)\r\n")
      _ = try connection.readToEnd()
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "POST", "/", [("content-length", "10")], ends: false)
      let answer = try client.answer(1)
      #expect(answer.status == Int(head.prefix(3)), "\(answer)")
      let reset = try client.next()
      #expect(reset.type == FrameType.reset && reset.errorCode == 0)
    }
  }

  /// Frames that make weir (or nghttp2) reset a stream whose request is at a backend.
  private static let provocations: [(String, @Sendable (HTTP2Connection) throws -> Void, UInt32)] =
    [
      ("a window above 2^31-1", { try $0.window(1, 0x7FFF_FFFF) }, 3),
      ("more content than announced", { try $0.content(1, .init(repeating: 1, count: 11)) }, 1),
      ("less content than announced", { try $0.content(1, [1]) }, 1),
      (
        "trailers with a pseudo-field",
        {
          try $0.send(
            FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream, stream: 1,
            payload: HTTP2Connection.block([(":path", "/")]))
        }, 1
      ),
      (
        "a second head",
        {
          try $0.send(
            FrameType.headers, flags: FrameFlags.endHeaders, stream: 1,
            payload: HTTP2Connection.block([("a", "b")]))
        }, 1
      ),
      ("RST_STREAM", { try $0.reset(1) }, 0),
    ]

  /// Rule 31: else a client could have work begun without end by provoking resets.
  @Test(arguments: provocations.map(\.0))
  func `a stream that ends by an error lets go of its backend`(name: String) throws {
    let (_, provoke, code) = try #require(Self.provocations.first { $0.0 == name })
    let closed = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      connection.stepSeconds = 120
      _ = try connection.readHead()
      _ = try connection.readToEnd()
      closed.update { $0 = true }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "body-timeout 5m"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "POST", "/", [("content-length", "10")], ends: false)
      let hasCome = origin.wait { ($0.first?.receivedCount ?? 0) > 0 }
      #expect(hasCome)
      try provoke(client)
      if code > 0 { #expect(try client.answer(1).resetCode == code) }
      let isClosed = closed.wait(until: .patient) { $0 }
      #expect(isClosed)
      #expect(try daemon.comesToRest())
      try client.synchronize()
    }
    // No chunk and no length was completed.
    #expect(origin.records.count == 1)
  }

  @Test func `content behind a refused request does no harm to the others`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      var octets: [UInt8] = []
      for index in 0..<105 {
        let stream = UInt32(index * 2 + 1)
        octets += HTTP2Connection.frame(
          FrameType.headers, flags: FrameFlags.endHeaders, stream: stream,
          payload: HTTP2Connection.block(HTTP2Connection.requestFields("POST", "/echo")))
        octets += HTTP2Connection.frame(
          FrameType.content, flags: FrameFlags.endStream, stream: stream, payload: [1])
      }
      try client.wire.send(octets)
      let answers = try (0..<105).map { try client.answer(UInt32($0 * 2 + 1)) }
      let served = answers.count { $0.status == 200 }
      #expect(served >= 100 && answers.count { $0.resetCode == 7 } == 105 - served)
      #expect(client.goAway == nil)
    }
  }

  /// RFC 9113 §6.8: frames of streams above the last one are ignored; those below are served.
  @Test func `requests that cross the last GOAWAY disturb nobody`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "GET", "/hold/0")
      let hasCome = origin.wait { $0.count == 1 }
      #expect(hasCome)
      daemon.process.kill(SIGTERM)
      while (client.goAway?.lastStream ?? .max) > 1 { try client.keep(client.next()) }
      try client.request(3, "POST", "/echo", ends: false)
      try client.content(3, [1, 2, 3])
      origin.release()
      let answer = try client.answer(1)
      #expect(answer.status == 200 && answer.resetCode == nil)
      #expect(try client.untilEnd() == 0)
      #expect(daemon.process.waitForEnd() == .exit(0))
    }
    #expect(origin.requests.count == 1)
  }

  /// The end of the request may come while the answer's last frame is on its way.
  @Test func `an answer that came before the request's end is no abort`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      connection.stepSeconds = 60
      while try connection.hasMore() {
        let head = try connection.readHead()
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        _ = head
        _ = try connection.readToEnd()
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      for index in 0..<100 {
        let stream = UInt32(index * 2 + 1)
        try client.request(stream, "POST", "/", ends: false)
        while true {
          let frame = try client.next()
          if frame.stream == stream, frame.type == FrameType.content { break }
        }
        try client.send(FrameType.content, flags: FrameFlags.endStream, stream: stream)
      }
      #expect(try daemon.comesToRest())
      #expect(try daemon.sum("weir_client_aborts_total") == 0)
    }
  }

  /// Where an exchange stands when its stream is reset.
  enum Moment: String, CaseIterable, Sendable {
    case connecting, awaiting, uploading, relaying, stalled, retrying, flushing
  }

  @Test(arguments: Moment.allCases)
  func `a reset leaves nothing behind, whatever the exchange was doing`(moment: Moment) throws {
    let full = try FullListener()
    let origin = try ScriptedOrigin { connection, _ in
      connection.stepSeconds = 120
      while try connection.hasMore() {
        let head = try connection.readHead()
        switch head.target {
        case "/relaying":
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
          _ = try connection.readToEnd()
        case "/stalled":
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
          try connection.send([UInt8](repeating: 97, count: 9_000_000))
        case "/flushing":
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
          try connection.send([UInt8](repeating: 97, count: 9000))
        case "/retrying": return
        default: _ = try connection.readToEnd()
        }
      }
    }
    var configuration = DaemonConfiguration([
      moment == .connecting ? full.address : origin.address
    ])
    configuration.upstream =
      "circuit-breaker off\n  retry attempts=8 backoff=60s max-backoff=60s budget=100%"
    configuration.route = "connect-timeout 60s"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2(settings: [(4, 1000)])
      client.givesWindow = false
      for round in 0..<20 {
        let stream = UInt32(round * 2 + 1)
        let uploads = moment == .uploading
        try client.request(stream, uploads ? "POST" : "GET", "/\(moment)", ends: !uploads)
        if uploads { try client.content(stream, .init(repeating: 1, count: 20_000), ends: false) }
        switch moment {
        case .connecting, .retrying: try client.synchronize()
        case .awaiting, .uploading:
          let hasCome = origin.wait { $0.count { $0.receivedCount > 0 } > round }
          #expect(hasCome)
        case .relaying, .stalled, .flushing:
          while true {
            let frame = try client.next()
            if frame.stream == stream, frame.type == FrameType.content { break }
          }
        }
        try client.reset(stream)
      }
      try client.synchronize()
      #expect(try daemon.comesToRest())
      #expect(try daemon.sum("weir_client_aborts_total") == 20)
    }
  }

  @Test func `a backend that dies within its answers takes only those with it`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      guard head.target == "/dies" else {
        _ = try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return
      }
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
      connection.reset()
    }
    var configuration = DaemonConfiguration([origin.address])
    // Five of them in a row would take the only backend out.
    configuration.upstream = "circuit-breaker off"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      for round in 0..<40 {
        try client.request(UInt32(round * 2 + 1), "GET", round % 2 == 0 ? "/dies" : "/lives")
      }
      for round in 0..<40 {
        let answer = try client.answer(UInt32(round * 2 + 1))
        if round % 2 == 0 {
          // The reset may overtake the head.
          #expect(answer.resetCode == 2 || answer.status == 502, "\(answer)")
        } else {
          #expect(answer.status == 200 && answer.content == Array("ok".utf8), "\(answer)")
        }
      }
      #expect(try daemon.comesToRest())
    }
  }

  /// The answer of weir's own lasts longer than the backend's connection.
  @Test func `interim answers that cannot be are a bad gateway`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      let interim =
        head.target == "/101"
        ? "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        : String(repeating: "HTTP/1.1 102 Processing\r\n\r\n", count: 11)
      try connection.send(interim + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
      _ = try connection.readToEnd()
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      for (index, target) in ["/101", "/102", "/101", "/102"].enumerated() {
        try client.request(UInt32(index * 2 + 1), "GET", target)
        #expect(try client.answer(UInt32(index * 2 + 1)).status == 502, "\(target)")
      }
      #expect(try daemon.comesToRest())
    }
  }

  /// A deadline that is over is no reason to take back the answer that says so.
  @Test func `a request whose time is over is answered, window or not`() throws {
    let origin = try ScriptedOrigin { connection, _ in _ = try connection.readToEnd() }
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = "request-timeout 200ms"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      let other = try daemon.connect2(settings: [(4, 0)])
      for connection in [client, other] { try connection.request(1, "GET", "/") }
      let answer = try client.answer(1)
      #expect(answer.status == 504 && answer.content.starts(with: Array("504".utf8)))
      // Its head needs no window.
      var head = try other.next()
      while head.type != FrameType.headers { head = try other.next() }
      other.keep(head)
      try other.synchronize()
      #expect(other.wire.staysSilent(for: 0.3))
      try other.window(1, 1000)
      let late = try other.answer(1)
      #expect(late.status == 504 && late.content == answer.content)
    }
  }

  /// An answer may wait for its client long after the wait for the next attempt is over.
  @Test func `what has been answered is not tried again`() throws {
    let origin = try ScriptedOrigin { connection, number in
      _ = try connection.readHead()
      guard number >= 20 else { return connection.reset() }
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n200")
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream =
      "circuit-breaker off\n  retry attempts=8 backoff=800ms max-backoff=800ms budget=100%"
    configuration.route = "request-timeout 200ms"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2(settings: [(4, 0)])
      for index in 0..<20 { try client.request(UInt32(index * 2 + 1), "GET", "/") }
      // All of them are answered, and wait for a window.
      var heads = 0
      while heads < 20 {
        let frame = try client.next()
        client.keep(frame)
        if frame.type == FrameType.headers { heads += 1 }
      }
      let attempts = try daemon.sum("weir_backend_attempts_total")
      // Longer than any wait between attempts.
      _ = Poll.until(.after(1.5)) { false }
      #expect(try daemon.sum("weir_backend_attempts_total") == attempts, "asked in vain")
      for index in 0..<20 {
        let stream = UInt32(index * 2 + 1)
        try? client.window(stream, 1000)
        let answer = try client.answer(stream)
        #expect(
          answer.resetCode == 2
            || answer.content.starts(with: Array("\(answer.status)".utf8)), "\(answer)")
        #expect([0, 200, 502, 504].contains(answer.status))
      }
      #expect(try daemon.comesToRest())
    }
  }

  @Test func `a reload in the middle of streams disturbs none of them`() throws {
    let origin = try HTTPOrigin("one")
    let other = try HTTPOrigin("two")
    let configuration = DaemonConfiguration([origin.address])
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2(settings: [(4, 5000)])
      try client.request(1, "GET", "/bytes/300000")
      try client.request(3, "GET", "/hold/0")
      try client.request(5, "POST", "/echo", ends: false)
      let hasCome = origin.wait { $0.count == 2 }
      #expect(hasCome)
      let (ending, output) = try daemon.reload(DaemonConfiguration([other.address]))
      #expect(ending == .exit(0), "\(output)")
      origin.release()
      try client.content(5, [1, 2, 3])
      try client.request(7, "GET", "/name")
      #expect(try client.answer(1).content.count == 300_000)
      #expect(try client.answer(3).status == 200)
      #expect(try client.answer(5).resetCode == nil)
      #expect(try client.answer(7).content == Array("two".utf8))
      #expect(try daemon.comesToRest())
    }
  }

  @Test func `a client's GOAWAY lets its streams finish and ends the connection`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2(settings: [(4, 0)])
      try client.request(1, "GET", "/bytes/3")
      try client.send(FrameType.goAway, payload: .init(repeating: 0, count: 8))
      try client.synchronize()
      let hasCome = origin.wait { $0.count == 1 }
      #expect(hasCome)
      try client.window(1, 10)
      #expect(try client.answer(1).content.count == 3)
      _ = try client.untilEnd()
      #expect(try daemon.comesToRest())
      // The connection ended with the answer's last frame; that took nothing from the answer.
      #expect(try daemon.sum("weir_client_aborts_total") == 0)
    }
  }
}
