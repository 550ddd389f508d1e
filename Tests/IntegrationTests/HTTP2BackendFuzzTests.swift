import Foundation
import TestSupport
import Testing

/// Backends of HTTP/2 that do anything at all with their streams and connections: what a client
/// gets is all of its own answer or visibly less, and nothing is left behind.
@Suite(.blocking) struct `HTTP/2 backends at random` {
  typealias Dice = `Hostile peers`.Dice

  /// Octets that only this request can have.
  private static func content(_ target: String, _ count: Int) -> [UInt8] {
    let unit = Array(target.utf8) + [10]
    return (0..<count).map { unit[$0 % unit.count] }
  }

  private static func content(of target: String) -> [UInt8] {
    content(target, Int(target.split(separator: "/").last ?? "") ?? 0)
  }

  // MARK: What a backend does

  private static func answer(
    _ service: HTTP2Service, _ request: StreamRequest, _ dice: inout Dice
  ) throws {
    let octets = content(of: request.path)
    let isHead = request[":method"] == "HEAD"
    let length = dice.roll(2) == 0 ? [("content-length", "\(octets.count)")] : []
    try service.head(request.stream, 200, length, ends: isHead || octets.isEmpty)
    if isHead || octets.isEmpty { return }
    let trailers = dice.roll(4) == 0
    try service.content(request.stream, octets, ends: !trailers)
    if trailers { try service.trailers(request.stream, [("x-sum", "1")]) }
  }

  /// One thing that a backend should not do, or not often. False where the connection ends with it.
  private static func misbehave(
    _ service: HTTP2Service, _ request: StreamRequest, _ dice: inout Dice
  ) throws -> Bool {
    let stream = request.stream
    switch dice.roll(16) {
    case 0: return false
    case 1:
      service.connection.wire.reset()
      return false
    case 2:
      try service.goAway(
        last: UInt32(max(0, Int(stream) + dice.roll(5) - 2)), UInt32(dice.roll(3)))
      return dice.roll(2) == 0
    case 3:
      try service.goAway(last: 0x7FFF_FFFF)
      try answer(service, request, &dice)
    case 4:
      // A stream of somebody else, that has ended, or that never was.
      let other = UInt32(dice.roll(Int(stream) + 8))
      try service.content(other, [9, 9, 9], ends: dice.roll(2) == 0)
      try service.reset(UInt32(dice.roll(Int(stream) + 8)), 0)
      try answer(service, request, &dice)
    case 5..<10: try flood(service, request, &dice)
    default: try misanswer(service, request, &dice)
    }
    return true
  }

  /// Frames that are lawful one by one, or that are none.
  private static func flood(
    _ service: HTTP2Service, _ request: StreamRequest, _ dice: inout Dice
  ) throws {
    let stream = request.stream
    let connection = service.connection
    switch dice.roll(6) {
    case 0:
      for _ in 0...dice.roll(130) {
        let values = [0, 1, 100, 16_384, 65_535, 1 << 20, 0x7FFF_FFFF]
        try connection.send(
          FrameType.settings,
          payload: HTTP2Connection.settings([
            (UInt16(1 + dice.roll(6)), UInt32(values[dice.roll(values.count)]))
          ]))
      }
    case 1:
      for _ in 0..<dice.roll(130) {
        try connection.send(FrameType.ping, payload: .init(repeating: 1, count: 8))
      }
      try answer(service, request, &dice)
    case 2:
      try connection.send(
        FrameType.pushPromise, flags: FrameFlags.endHeaders, stream: stream,
        payload: HTTP2Connection.octets(UInt32(2))
          + HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/pushed")))
    case 3: try connection.wire.send((0..<(1 + dice.roll(60))).map { _ in UInt8(dice.roll(256)) })
    case 4:
      try connection.window(dice.roll(2) == 0 ? 0 : stream, UInt32(dice.roll(2)) * 0x7FFF_FFFF)
    default:
      try connection.send(
        FrameType.headers, flags: FrameFlags.endStream, stream: stream,
        payload: HTTP2Connection.block([(":status", "200")]))
      for index in 0..<dice.roll(12) {
        try connection.send(
          FrameType.continuation, stream: stream,
          payload: HTTP2Connection.block([("a\(index)", "b")]))
      }
    }
  }

  /// An answer that is none, that is cut, or that does not come.
  private static func misanswer(
    _ service: HTTP2Service, _ request: StreamRequest, _ dice: inout Dice
  ) throws {
    let stream = request.stream
    switch dice.roll(7) {
    case 0: try service.reset(stream, UInt32(dice.roll(15)))
    case 1:
      try service.head(stream, 200)
      let part = content(of: request.path).prefix(dice.roll(900))
      try service.content(stream, Array(part), ends: false)
      try service.reset(stream, UInt32(dice.roll(15)))
    case 2: try service.content(stream, [1, 2, 3], ends: dice.roll(2) == 0)
    case 3:
      let fields = [
        ("Upper", "x"), ("connection", "close"), (":path", "/"), ("a", "b\r\nc: d"),
        ("transfer-encoding", "chunked"), ("content-length", "\(dice.roll(2000))"),
        ("x", String(repeating: "y", count: dice.roll(9000))), ("", "empty"),
      ]
      try service.head(stream, 200, [fields[dice.roll(fields.count)]])
      try service.content(stream, content(of: request.path))
    case 4: for _ in 0..<dice.roll(14) { try service.head(stream, 100 + dice.roll(5)) }
    case 5:
      let statuses = [101, 204, 304, 99, 600, 1]
      try service.head(stream, statuses[dice.roll(statuses.count)], ends: dice.roll(2) == 0)
    default: break
    }
  }

  private static func origin() throws -> ScriptedOrigin {
    try ScriptedOrigin(keepLimit: 0) { wire, number in
      var dice = Dice(state: UInt64(number) << 32)
      do {
        wire.stepSeconds = 3
        let settings: [(UInt16, UInt32)] =
          dice.roll(3) == 0 ? [(UInt16(3), UInt32(1 + dice.roll(20)))] : []
        let service = try HTTP2Service(wire, settings: settings)
        while true {
          let request = try service.request()
          if dice.roll(3) > 0 {
            try answer(service, request, &dice)
          } else if try !misbehave(service, request, &dice) {
            return
          }
        }
      } catch is WireError {
      } catch is TestFailure {}
    }
  }

  // MARK: What clients get

  private static func target(_ number: Int, _ dice: inout Dice) -> String {
    "/\(number)/\(dice.roll(3) == 0 ? dice.roll(90_000) : dice.roll(2000))"
  }

  private static func readHTTP1(_ port: UInt16, _ number: Int, _ faults: Monitor<[String]>) {
    var dice = Dice(state: UInt64(number) << 40)
    var client: WireConnection?
    for round in 0..<120 {
      let target = target(number * 1000 + round, &dice)
      let method = ["GET", "GET", "POST", "PUT", "HEAD"][dice.roll(5)]
      let body = method == "POST" || method == "PUT" ? dice.roll(100_000) : 0
      do {
        let open = try client ?? WireConnection.connect(port: port)
        client = open
        try open.send(
          "\(method) \(target) HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n"
            + (body > 0 ? "Content-Length: \(body)\r\n\r\n" : "\r\n"))
        // An answer may come first, and end the connection.
        if body > 0 { try Pattern.send(body, on: open) }
        if dice.roll(20) == 0 {
          open.reset()
          client = nil
          continue
        }
        let response = try open.readResponse(to: method)
        if response["connection"] == "close" { client = nil }
        if response.status == 200, method != "HEAD", response.body != content(of: target) {
          faults.update {
            $0.append("\(method) \(target): \(response.body.count) octets of another")
          }
        }
      } catch WireError.malformed(let what) {
        faults.update { $0.append("\(target): \(what)") }
        client = nil
      } catch WireError.timedOut(let what) {
        faults.update { $0.append("\(target) hangs: \(what)") }
        client = nil
      } catch { client = nil }
    }
  }

  private static func readHTTP2(_ port: UInt16, _ number: Int, _ faults: Monitor<[String]>) {
    var dice = Dice(state: UInt64(number) << 40)
    var served = 0
    while served < 300 {
      do {
        let client = try HTTP2Connection(WireConnection.connect(port: port))
        var stream: UInt32 = 1
        while served < 300, stream < 200 {
          var open: [(UInt32, String)] = []
          for _ in 0...dice.roll(8) {
            let target = target(number * 1000 + served, &dice)
            try client.request(stream, "GET", target, [("te", "trailers")])
            if dice.roll(12) == 0 {
              try client.reset(stream)
            } else {
              open.append((stream, target))
            }
            stream += 2
            served += 1
          }
          for (stream, target) in open {
            let answer = try client.answer(stream)
            if answer.status == 200, answer.resetCode == nil, answer.content != content(of: target)
            {
              faults.update { $0.append("\(target): \(answer.content.count) octets of another") }
            }
          }
        }
      } catch WireError.timedOut(let what) {
        faults.update { $0.append("a stream hangs: \(what)") }
        return
      } catch {}
    }
  }

  @Test(arguments: [1, 2])
  func `give nobody what is another's, and leave nothing behind`(workers: Int) throws {
    let origins = try (0..<2).map { _ in try Self.origin() }
    var configuration = DaemonConfiguration(origins.map(\.address))
    configuration.upstream = """
      http2 on
      circuit-breaker off
      retry budget=100%
      first-byte-timeout 500ms
      idle-timeout 500ms
      """
    configuration.workers = workers
    try withDaemon(configuration) { daemon in
      let before = daemon.openDescriptors
      let faults = Monitor<[String]>([])
      let running = Monitor(6)
      let port = daemon.port
      for number in 1...6 {
        Thread.detachNewThread {
          if number > 4 {
            Self.readHTTP2(port, number, faults)
          } else {
            Self.readHTTP1(port, number, faults)
          }
          running.update { $0 -= 1 }
        }
      }
      #expect(running.wait(until: .after(150)) { $0 == 0 })
      #expect(faults.current.isEmpty, "\(faults.current.count): \(faults.current.prefix(5))")
      let rests = try daemon.comesToRest()
      #expect(rests)
      for origin in origins { origin.stop() }
      // Connections to backends that nothing uses stay for their time, a few for each worker.
      let isClosed = Poll.until(.patient) { daemon.openDescriptors <= before + 4 * workers + 4 }
      #expect(isClosed, "\(daemon.openDescriptors) after \(before)")
    }
  }
}
