import Foundation
import TestSupport
import Testing

extension DaemonProcess {
  var openDescriptors: Int {
    (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
  }
}

/// Many streams, many connections, and frames that no table foresees.
@Suite(.blocking) struct `HTTP/2 endurance` {
  typealias Dice = `Hostile peers`.Dice

  /// Answers each request with octets that only this request can have: its target, repeated.
  private func mirror() throws -> ScriptedOrigin {
    try ScriptedOrigin { connection, _ in
      connection.stepSeconds = 60
      do {
        while try connection.hasMore() {
          let head = try connection.readHead()
          var content: [UInt8] = []
          _ = try connection.readRequestBody(head) { content.append(contentsOf: $0) }
          let parts = head.target.split(separator: "/")
          let count = Int(parts.last ?? "") ?? 0
          let octets = content.isEmpty ? Self.content(head.target, count) : content
          let isChunked = parts.first == "chunked"
          try connection.send(
            "HTTP/1.1 200 OK\r\n"
              + (isChunked
                ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: \(octets.count)\r\n\r\n"))
          guard isChunked else {
            try connection.send(octets)
            continue
          }
          for start in stride(from: 0, to: octets.count, by: 7777) {
            let piece = octets[start..<min(start + 7777, octets.count)]
            try connection.send(
              Array("\(String(piece.count, radix: 16))\r\n".utf8) + piece + Array("\r\n".utf8))
          }
          try connection.send("0\r\n\r\n")
        }
      } catch is WireError {}
    }
  }

  private static func content(_ target: String, _ count: Int) -> [UInt8] {
    let unit = Array(target.utf8) + [10]
    return (0..<count).map { unit[$0 % unit.count] }
  }

  /// A hundred streams at a time, up and down, with windows given in small pieces.
  private func exchangeManyStreams(_ client: HTTP2Connection, _ dice: inout Dice) throws {
    client.givesWindow = false
    try client.window(0, 0x3FFF_FFFF)
    var expected: [UInt32: [UInt8]] = [:]
    var received: [UInt32: [UInt8]] = [:]
    var owed: [UInt32: Int] = [:]
    for index in 0..<90 {
      let stream = UInt32(index * 2 + 1)
      let target = "/\(index % 3 == 0 ? "chunked" : "plain")/\(stream)/\(dice.roll(60_000))"
      if index % 4 == 1 {
        let content = Self.content(target, 1 + dice.roll(20_000))
        try client.request(
          stream, "POST", target, index % 8 == 1 ? [("content-length", "\(content.count)")] : [],
          ends: false)
        try client.content(stream, content)
        expected[stream] = content
      } else {
        try client.request(stream, "GET", target)
        expected[stream] = Self.content(target, Int(target.split(separator: "/").last!)!)
      }
      received[stream] = []
    }
    while !expected.isEmpty {
      let frame = try client.next()
      if frame.type == FrameType.reset || frame.type == FrameType.goAway {
        throw TestFailure("\(frame)")
      }
      guard frame.type == FrameType.content || frame.type == FrameType.headers else { continue }
      let stream = frame.stream
      if frame.type == FrameType.content {
        received[stream, default: []] += frame.payload
        owed[stream, default: 0] += frame.payload.count
      }
      if frame.endsStream {
        #expect(received[stream] == expected[stream], "stream \(stream)")
        expected[stream] = nil
      } else if let due = owed[stream], due > 0, dice.roll(3) == 0 || due > 499 {
        try client.window(stream, UInt32(due))
        owed[stream] = 0
      }
    }
  }

  @Test func `no octet of a hundred streams gets into another`() throws {
    let origin = try mirror()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      var dice = Dice(state: 1)
      for window: UInt32 in [1000, 16_384, 100_000] {
        try exchangeManyStreams(daemon.connect2(settings: [(4, window)]), &dice)
      }
      #expect(try daemon.comesToRest())
    }
  }

  @Test func `the same over TLS, on two workers`() throws {
    let origin = try mirror()
    var speech = try Speech(isEncrypted: true, [origin.address])
    speech.configuration.workers = 2
    try withDaemon(speech.configuration) { daemon in
      var dice = Dice(state: 2)
      for window: UInt32 in [1000, 16_384, 100_000, 65_535] {
        try exchangeManyStreams(speech.connect(daemon, settings: [(4, window)]), &dice)
      }
      #expect(try daemon.comesToRest())
    }
  }

  @Test func `ten thousand streams on one connection cost no memory`() throws {
    var configuration = DaemonConfiguration()
    configuration.listener = "keep-alive-requests 1000000"
    configuration.blocks = "route /fixed {\n  respond 200 body=\"hello\"\n}"
    let origin = try mirror()
    configuration.backends = [origin.address]
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      var stream: UInt32 = 1
      func run(_ count: Int) throws {
        for _ in 0..<(count / 50) {
          let first = stream
          for index in 0..<50 {
            try client.request(stream, "GET", index % 10 == 0 ? "/plain/100" : "/fixed")
            stream += 2
          }
          for number in stride(from: first, to: stream, by: 2) {
            let answer = try client.answer(number)
            #expect(answer.status == 200 && [5, 100].contains(answer.content.count))
          }
        }
      }
      try run(2000)
      let before = try daemon.memoryBytes()
      try run(8000)
      let grown = try daemon.memoryBytes() - before
      #expect(grown < 1 << 20, "\(grown) octets more")
    }
  }

  @Test func `connections that are dropped at any moment leave nothing behind`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      var dice = Dice(state: 3)
      func drop(_ count: Int) throws {
        for _ in 0..<count {
          let client = try daemon.connect2(settings: [(4, UInt32(dice.roll(70_000)))])
          for index in 0...dice.roll(6) {
            let stream = UInt32(index * 2 + 1)
            switch dice.roll(4) {
            case 0: try client.request(stream, "GET", "/bytes/\(dice.roll(300_000))")
            case 1: try client.request(stream, "GET", "/chunked/\(dice.roll(300_000))")
            case 2:
              try client.request(stream, "POST", "/echo", ends: false)
              try client.content(stream, .init(repeating: 1, count: dice.roll(4000)), ends: false)
            default: try client.request(stream, "GET", "/a/../b")
            }
          }
          for _ in 0..<dice.roll(3) { _ = try client.next() }
          if dice.roll(2) == 0 { client.wire.reset() } else { client.wire.close() }
        }
        #expect(try daemon.comesToRest())
      }
      try drop(200)
      let descriptors = daemon.openDescriptors
      let memory = try daemon.memoryBytes()
      try drop(600)
      let isClosed = Poll.until(.patient) { daemon.openDescriptors <= descriptors + 8 }
      #expect(isClosed, "\(daemon.openDescriptors) after \(descriptors)")
      let grown = try daemon.memoryBytes() - memory
      #expect(grown < 2 << 20, "\(grown) octets more")
    }
  }

  // MARK: Frames at random

  private static func frames(_ dice: inout Dice) -> [UInt8] {
    var octets = HTTP2Connection.preface + HTTP2Connection.frame(FrameType.settings)
    var next: UInt32 = 1
    for _ in 0...dice.roll(40) {
      let stream = dice.roll(3) == 0 ? UInt32(dice.roll(12)) : (next > 2 ? next - 2 : 1)
      var frame: [UInt8]
      switch dice.roll(12) {
      case 0...3:
        let target = ["/bytes/10", "/echo", "/chunked/70000", "/a/../b", "/delay/5"][dice.roll(5)]
        let method = ["GET", "POST", "HEAD", "CONNECT", "OPTIONS"][dice.roll(5)]
        var fields = HTTP2Connection.requestFields(method, target)
        if dice.roll(4) == 0 { fields.append(("content-length", "\(dice.roll(20))")) }
        if dice.roll(4) == 0 { fields.append(("te", "trailers")) }
        if dice.roll(6) == 0 { fields.append(("cookie", "a=b")) }
        if dice.roll(6) == 0 { fields.swapAt(dice.roll(fields.count), dice.roll(fields.count)) }
        frame = HTTP2Connection.frame(
          FrameType.headers, flags: UInt8([4, 5, 5, 1, 0][dice.roll(5)]), stream: next,
          payload: HTTP2Connection.block(fields))
        next += 2
      case 4...6:
        frame = HTTP2Connection.frame(
          FrameType.content, flags: UInt8([0, 0, 1, 8, 9][dice.roll(5)]), stream: stream,
          payload: .init(repeating: UInt8(dice.roll(9)), count: dice.roll(300)))
      case 7:
        frame = HTTP2Connection.frame(
          FrameType.windowUpdate, stream: dice.roll(2) == 0 ? 0 : stream,
          payload: HTTP2Connection.octets(UInt32(dice.roll(100_000))))
      case 8:
        frame = HTTP2Connection.frame(
          FrameType.settings,
          payload: HTTP2Connection.settings([(UInt16(dice.roll(8)), UInt32(dice.roll(70_000)))]))
      case 9:
        frame = HTTP2Connection.frame(
          FrameType.headers, flags: UInt8([4, 5][dice.roll(2)]), stream: stream,
          payload: HTTP2Connection.block([("x-trailer", "b")]))
      case 10:
        frame = HTTP2Connection.frame(
          FrameType.reset, stream: stream, payload: HTTP2Connection.octets(UInt32(dice.roll(14))))
      default:
        frame = HTTP2Connection.frame(
          UInt8(dice.roll(20)), flags: UInt8(dice.roll(256)), stream: stream,
          payload: (0..<dice.roll(30)).map { _ in UInt8(dice.roll(256)) })
      }
      // Most frames are as they should be: else nothing gets beyond the first.
      if dice.roll(12) == 0 { frame[dice.roll(frame.count)] = UInt8(dice.roll(256)) }
      octets += frame
    }
    return octets
  }

  @Test func `a thousand connections of random frames`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    // The neighbour is idle while a hundred others come and go.
    configuration.listener = "body-timeout 1s\n  keep-alive-timeout 10m"
    try withDaemon(configuration) { daemon in
      let neighbour = try daemon.connect2()
      for seed in 0..<1000 {
        var dice = Dice(state: UInt64(seed) << 32)
        let octets = Self.frames(&dice)
        let wire = try daemon.connect()
        // In pieces, and sometimes not all of it.
        let end = dice.roll(4) == 0 ? dice.roll(octets.count) : octets.count
        var start = 0
        do {
          while start < end {
            let size = min(1 + dice.roll(dice.roll(2) == 0 ? 40 : 3000), end - start)
            try wire.send(Array(octets[start..<start + size]))
            start += size
          }
          while dice.roll(5) > 0, try wire.hasMoreWithin(0.01), try wire.hasMore() {
            _ = try wire.read(1)
          }
        } catch is WireError {}
        if dice.roll(2) == 0 { wire.reset() } else { wire.close() }
        if seed % 100 == 99 {
          let stream = UInt32(seed / 100 * 2 + 1)
          try neighbour.request(stream, "GET", "/bytes/70000")
          let answer = try neighbour.answer(stream)
          #expect(Pattern.isPrefix(answer.content, 70_000) && answer.resetCode == nil, "\(seed)")
        }
      }
      #expect(try daemon.comesToRest(), "something is still in flight")
      let isClosed = Poll.until(.patient) { daemon.openDescriptors < 60 }
      #expect(isClosed, "\(daemon.openDescriptors) descriptors")
    }
  }

  /// What a backend says wrongly ends its stream, and no other.
  @Test func `three thousand mutated answers`() throws {
    let origin = try ScriptedOrigin { connection, number in
      var dice = Dice(state: UInt64(number) << 32)
      while try connection.hasMore() {
        let head = try connection.readHead()
        if head.target == "/good" {
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
          continue
        }
        let all = `Hostile peers`.responses
        try connection.send(dice.mutated(all[dice.roll(all.count)]))
        switch dice.roll(4) {
        case 0: return connection.reset()
        case 1: return
        default: break
        }
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "keep-alive-requests 100000"
    configuration.upstream =
      "first-byte-timeout 200ms\n  idle-timeout 200ms\n  circuit-breaker off\n  retry off"
    configuration.route = "early-hints on"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      var stream: UInt32 = 1
      for _ in 0..<60 {
        let first = stream
        for index in 0..<50 {
          try client.request(
            stream, index == 49 ? "HEAD" : "GET", index % 10 == 9 ? "/good" : "/bad",
            [("te", "trailers")])
          stream += 2
        }
        for number in stride(from: first, to: stream, by: 2) {
          let answer = try client.answer(number)
          #expect(answer.resetCode == 2 || answer.status >= 200, "\(answer)")
          #expect(answer.fields.allSatisfy { $0.name == $0.name.lowercased() })
        }
      }
      #expect(client.goAway == nil)
      #expect(try daemon.comesToRest())
    }
  }
}
