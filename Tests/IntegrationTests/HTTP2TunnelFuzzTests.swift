import Foundation
import TestSupport
import Testing

/// Tunnels between clients and backends of either protocol, each of which may do anything: what
/// goes through is what was sent, nothing of a tunnel is a request, and nothing is left behind.
@Suite(.blocking) struct `Tunnels at random` {
  typealias Dice = `Hostile peers`.Dice

  private static let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

  // MARK: Backends

  private static func accept(_ key: String) throws -> String {
    let text = "\(key)258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    let command = "printf %s '\(text)' | openssl dgst -sha1 -binary | openssl base64"
    return try ChildProcess.run("/bin/sh", ["-c", command]).output
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// Of HTTP/1; what it sees of a tunnel's octets as a request is kept.
  private static func origin(_ requests: Monitor<[String]>) throws -> ScriptedOrigin {
    try ScriptedOrigin { wire, number in
      var dice = Dice(state: UInt64(number) << 32)
      wire.stepSeconds = 3
      do {
        while try wire.hasMore() {
          let head = try wire.readHead()
          requests.update { $0.append(head.target) }
          let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
          switch dice.roll(10) {
          case 0: try wire.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
          case 1: try wire.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
          case 2, 3:
            // Whoever goes on behind this gets what is no echo.
            let isOther = dice.roll(2) == 0
            try wire.send(
              switching + "Upgrade: \(isOther ? "other" : "websocket")\r\n"
                + "Sec-WebSocket-Accept: x\r\n\r\n")
            while try wire.hasMore() { try wire.send(try wire.read(1).map { $0 ^ 1 }) }
            return
          case 4: return
          case 5: return wire.reset()
          default:
            let proof = try accept(head["sec-websocket-key"] ?? "")
            try wire.send(
              switching + "Upgrade: websocket\r\nSec-WebSocket-Accept: \(proof)\r\n\r\n")
            while try wire.hasMore() {
              if dice.roll(9) == 0 { return dice.roll(2) == 0 ? wire.reset() : wire.close() }
              try wire.send(try wire.read(1))
            }
            return
          }
        }
      } catch is WireError {}
    }
  }

  /// Of HTTP/2.
  private static func streamOrigin() throws -> ScriptedOrigin {
    try ScriptedOrigin { wire, number in
      var dice = Dice(state: UInt64(number) << 32)
      wire.stepSeconds = 3
      do {
        let service = try HTTP2Service(wire, settings: dice.roll(8) == 0 ? [] : [(8, 1)])
        service.connection.givesWindow = true
        while true {
          let frame = try service.connection.next()
          switch frame.type {
          case FrameType.headers where dice.roll(5) == 0:
            try service.head(frame.stream, [200, 403, 101, 500][dice.roll(4)], ends: true)
          case FrameType.headers where dice.roll(6) == 0:
            try service.reset(frame.stream, UInt32(dice.roll(14)))
          case FrameType.headers: try service.head(frame.stream, 200)
          case FrameType.content:
            if dice.roll(30) == 0 { try service.goAway(last: frame.stream) }
            if dice.roll(30) == 0 { return }
            if dice.roll(20) == 0 {
              try service.reset(frame.stream, UInt32(dice.roll(14)))
              continue
            }
            if !frame.payload.isEmpty {
              try service.connection.window(frame.stream, UInt32(frame.payload.count))
            }
            try service.connection.send(
              FrameType.content, flags: frame.flags & FrameFlags.endStream, stream: frame.stream,
              payload: frame.payload)
          default: continue
          }
        }
      } catch is WireError {
      } catch is TestFailure {}
    }
  }

  // MARK: Clients

  private static func message(_ number: Int, _ dice: inout Dice) -> [UInt8] {
    let text = dice.roll(3) == 0 ? smuggled : "message \(number) "
    return Array(String(repeating: text, count: 1 + dice.roll(40)).utf8)
  }

  private static func useHTTP1(
    _ port: UInt16, _ number: Int, _ dice: inout Dice, _ faults: Monitor<[String]>
  ) throws {
    let client = try WireConnection.connect(port: port)
    try client.send(
      "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    let head = try client.readResponse()
    guard head.status == 101, head["upgrade"] == "websocket",
      head["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    else { return client.reset() }
    for _ in 0..<dice.roll(6) {
      let message = message(number, &dice)
      try client.send(message)
      if try client.read(message.count) != message {
        faults.update { $0.append("\(number): HTTP/1") }
      }
    }
    if dice.roll(2) == 0 { client.reset() } else { client.finishSending() }
    if dice.roll(2) == 0 { _ = try? client.readToEnd() }
  }

  private static func useHTTP2(
    _ client: HTTP2Connection, _ stream: UInt32, _ number: Int, _ dice: inout Dice,
    _ faults: Monitor<[String]>
  ) throws {
    try client.send(
      FrameType.headers, flags: FrameFlags.endHeaders, stream: stream,
      payload: HTTP2Connection.block([
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
        (":path", "/chat"), (":authority", "a"), ("sec-websocket-version", "13"),
      ]))
    // Before anything is granted, too: it must not reach a backend as a request.
    var sent: [UInt8] = []
    if dice.roll(3) == 0 {
      sent = Array(smuggled.utf8)
      try client.content(stream, sent, ends: false)
    }
    var got: [UInt8] = []
    var isOpen = false
    var turns = dice.roll(5)
    while true {
      let frame = try client.next()
      guard frame.stream == stream else { continue }
      switch frame.type {
      case FrameType.headers:
        let status = client.fields(of: frame).first { $0.name == ":status" }?.value ?? ""
        if frame.endsStream { return }
        isOpen = status == "200"
        if !isOpen {
          // The rest of the request may be declined behind the answer.
          return try client.send(
            FrameType.reset, stream: stream, payload: HTTP2Connection.octets(UInt32(8)))
        }
      case FrameType.content:
        got += frame.payload
        if !frame.payload.isEmpty { try client.window(stream, UInt32(frame.payload.count)) }
        if !sent.starts(with: got) { faults.update { $0.append("\(number): HTTP/2") } }
        if frame.endsStream { return }
      case FrameType.reset: return
      default: continue
      }
      guard isOpen, got.count == sent.count else { continue }
      guard turns > 0 else {
        if dice.roll(2) == 0 { return try client.content(stream, [], ends: true) }
        return try client.send(
          FrameType.reset, stream: stream, payload: HTTP2Connection.octets(UInt32(8)))
      }
      turns -= 1
      let message = message(number, &dice)
      sent += message
      try client.content(stream, message, ends: false)
    }
  }

  private static func drive(_ port: UInt16, _ number: Int, _ faults: Monitor<[String]>) {
    var dice = Dice(state: UInt64(number) << 40)
    var client: HTTP2Connection?
    var stream: UInt32 = 1
    for round in 0..<60 {
      do {
        if number % 2 == 0 {
          try useHTTP1(port, number * 100 + round, &dice, faults)
          continue
        }
        let open = try client ?? HTTP2Connection(WireConnection.connect(port: port))
        client = open
        try useHTTP2(open, stream, number * 100 + round, &dice, faults)
        stream += 2
        if open.goAway != nil || stream > 40 { (client, stream) = (nil, 1) }
      } catch WireError.timedOut(let what) {
        faults.update { $0.append("\(number) hangs in round \(round): \(what)") }
        (client, stream) = (nil, 1)
      } catch { (client, stream) = (nil, 1) }
    }
  }

  @Test(arguments: [false, true])
  func `carry what was sent, and no request`(toHTTP2: Bool) throws {
    let requests = Monitor<[String]>([])
    let origins = try (0..<2).map { _ in
      try toHTTP2 ? Self.streamOrigin() : Self.origin(requests)
    }
    var configuration = DaemonConfiguration(origins.map(\.address))
    configuration.upstream =
      "\(toHTTP2 ? "http2 on" : "")\ncircuit-breaker off\nfirst-byte-timeout 2s"
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let before = daemon.openDescriptors
      let faults = Monitor<[String]>([])
      let running = Monitor(6)
      let port = daemon.port
      for number in 1...6 {
        Thread.detachNewThread {
          Self.drive(port, number, faults)
          running.update { $0 -= 1 }
        }
      }
      #expect(running.wait(until: .after(150)) { $0 == 0 })
      #expect(faults.current.isEmpty, "\(faults.current.count): \(faults.current.prefix(5))")
      #expect(requests.current.allSatisfy { $0 == "/chat" }, "\(Set(requests.current))")
      let rests = try daemon.comesToRest()
      #expect(rests)
      for origin in origins { origin.stop() }
      let isClosed = Poll.until(.patient) { daemon.openDescriptors <= before + 12 }
      #expect(isClosed, "\(daemon.openDescriptors) after \(before)")
    }
  }
}
