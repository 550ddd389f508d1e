import Foundation
import TestSupport
import Testing

/// Octets and behaviour that no table foresees, drawn from a fixed seed: weir must stay up, serve
/// the next request, and leave nothing behind.
@Suite(.blocking) struct `Hostile peers` {
  /// SplitMix64: the same run everywhere.
  struct Dice {
    var state: UInt64

    mutating func roll(_ sides: Int) -> Int {
      state &+= 0x9E37_79B9_7F4A_7C15
      var value = state
      value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
      return Int((value ^ (value >> 31)) % UInt64(sides))
    }

    /// A few octets changed, removed, doubled or inserted.
    mutating func mutated(_ text: String) -> [UInt8] {
      var octets = Array(text.utf8)
      for _ in 0...roll(4) where !octets.isEmpty {
        let at = roll(octets.count)
        switch roll(6) {
        case 0: octets[at] = UInt8(roll(256))
        case 1: octets.remove(at: at)
        case 2: octets.insert(Array("\r\n \t:;,0\u{0}%/".utf8)[roll(11)], at: at)
        case 3: octets.insert(contentsOf: octets[at..<min(at + 1 + roll(30), octets.count)], at: at)
        case 4: octets.removeSubrange(at..<min(at + 1 + roll(20), octets.count))
        default: octets.swapAt(at, roll(octets.count))
        }
      }
      return octets
    }
  }

  static let requests = [
    "GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\nCookie: a=b\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
      + "5;x=y\r\nhello\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n",
    "GET http://example.com/%41?q HTTP/1.1\r\nHost: b\r\nConnection: close, x\r\nX: y\r\n\r\n",
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /c HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\u{1}\u{2}",
  ]

  static let responses = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
      + "5;x\r\nhello\r\n2\r\nab\r\n0\r\nT: v\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive, x\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nraw",
  ]

  @Test func `three thousand mutated requests`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "header-timeout 300ms\n  body-timeout 300ms"
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      var dice = Dice(state: 20_261_122)
      for number in 0..<3000 {
        let client = try daemon.connect()
        let octets = dice.mutated(Self.requests[dice.roll(Self.requests.count)])
        try? client.send(pieces: split(octets, dice.roll(3) == 0 ? 1 + dice.roll(20) : .max))
        switch dice.roll(4) {
        case 0: client.reset()
        case 1:
          client.finishSending()
          _ = try? client.readToEnd()
        case 2: _ = try? client.readHead()
        default: client.close()
        }
        guard daemon.process.ending == nil else {
          throw TestFailure("died of request \(number): \(octets)")
        }
      }
      let last = try daemon.get("/bytes/3")
      #expect(last.body.count == 3)
    }
  }

  @Test func `three thousand mutated responses`() throws {
    let origin = try ScriptedOrigin { connection, number in
      var dice = Dice(state: UInt64(number) &+ 7)
      while try connection.hasMore() {
        let head = try connection.readHead()
        if head.target == "/good" {
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
          continue
        }
        let octets = dice.mutated(Self.responses[dice.roll(Self.responses.count)])
        try connection.send(pieces: split(octets, dice.roll(3) == 0 ? 1 + dice.roll(20) : .max))
        switch dice.roll(3) {
        case 0: return connection.reset()
        case 1: return
        default: break
        }
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    // No breaker: what is wanted is that every one of them comes through to the parser.
    configuration.upstream =
      "first-byte-timeout 200ms\n  idle-timeout 200ms\n  circuit-breaker off"
    configuration.route = "early-hints on"
    try withDaemon(configuration) { daemon in
      for number in 0..<3000 {
        let client = try daemon.connect()
        let upgrade = number % 5 == 0 ? "Upgrade: websocket\r\nConnection: upgrade\r\n" : ""
        try client.send("GET /\(number) HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\(upgrade)\r\n")
        client.finishSending()
        // Whatever comes must be one lawful answer or a cut; `readResponse` is strict.
        do {
          let response = try client.readResponse()
          #expect((101...599).contains(response.status))
        } catch let error as WireError {
          if case .malformed(let what) = error { Issue.record("\(number): passed on: \(what)") }
          if case .timedOut = error { Issue.record("\(number): hangs") }
        }
        guard daemon.process.ending == nil else { throw TestFailure("died of \(number)") }
      }
      let last = try daemon.get("/good")
      #expect(last.text == "good")
    }
  }

  /// A backend that accepts and resets at once leaves the request unsent, partly or wholly; what
  /// another backend gets must be all of it or nothing.
  @Test func `uploads survive a backend that resets on accept`() throws {
    let broken = try ScriptedOrigin { connection, number in
      if number % 3 == 0 { _ = try? connection.read(1 + number % 50) }
      connection.reset()
    }
    let alive = try HTTPOrigin("alive")
    var configuration = DaemonConfiguration([broken.address, alive.address])
    configuration.upstream = "balance round-robin"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      var served = 0
      var open = client
      for number in 0..<2000 {
        let count = [3, 1000, 100_000, 300_000][number % 4]
        do {
          let framing =
            number % 2 == 0 ? "Content-Length: \(count)" : "Transfer-Encoding: chunked"
          try open.send("POST /\(number) HTTP/1.1\r\nHost: a\r\n\(framing)\r\n\r\n")
          if number % 2 == 0 {
            try Pattern.send(count, on: open)
          } else {
            try Pattern.sendChunked(count, on: open)
          }
          let response = try open.readResponse()
          if response.status == 200 {
            served += 1
            #expect(response["x-content-count"] == "\(count)", "\(number)")
            #expect(response["x-content-intact"] == "yes", "\(number)")
          } else {
            #expect(response.status == 502, "\(number): \(response.head.text)")
          }
          if response["connection"] == "close" { open = try daemon.connect() }
        } catch WireError.timedOut(let what) {
          Issue.record("\(number): hangs: \(what)")
          open = try daemon.connect()
        } catch {
          // An answer in the middle of an upload ends the connection; sending may see it first.
          open = try daemon.connect()
        }
      }
      #expect(served >= 1000, "\(served)")
    }
    #expect(Set(alive.requests.map(\.head.target)).count == alive.requests.count, "sent twice")
  }

  /// Clients and backends that leave at any moment: afterwards nothing is in flight any more, and
  /// a drain has nothing to wait for.
  @Test func `after a storm of aborts nothing is left in flight`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 2
    configuration.listener = "body-timeout 100ms"
    try withDaemon(configuration, stopsWithin: 9) { daemon in
      var dice = Dice(state: 99)
      var held: [WireConnection] = []
      for number in 0..<800 {
        let client = try daemon.connect()
        // An upload that stays incomplete is answered only after body-timeout.
        client.stepSeconds = 0.15
        let target = ["/bytes/300000", "/chunked/100000", "/delay/30", "/close/5000"][dice.roll(4)]
        if dice.roll(3) == 0 {
          try? client.send("POST \(target) HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n")
          try? Pattern.send(dice.roll(50001), on: client)
        } else {
          try? client.send("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
        }
        switch dice.roll(4) {
        case 0: client.reset()
        case 1: _ = try? client.read(1 + dice.roll(100_000))
        case 2: client.finishSending()
        default: held.append(client)
        }
        if held.count > 20 { held.remove(at: dice.roll(held.count)).reset() }
        if number % 200 == 0 { #expect(try daemon.get("/bytes/1").body.count == 1) }
      }
      for client in held { client.reset() }
      held = []
      #expect(try daemon.get("/bytes/2").body.count == 2)
      let descriptors = {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(daemon.pid)/fd").count) ?? 0
      }
      // Pooled upstream connections may stay; connections of clients may not.
      let isSettled = Poll.until(.patient) { descriptors() < 300 }
      #expect(isSettled, "\(descriptors()) descriptors open")
    }
  }
}
