import Foundation
import TestSupport
import Testing

/// What becomes of fetches, of who waits for them and of who reads, where one of them ends early.
@Suite(.blocking) struct `Fetches for a cache` {
  static func configuration(
    _ backends: [String], cache: String = "memory=8MiB", rule: String = "", workers: Int = 1
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    configuration.top = "cache main \(cache)"
    configuration.route = "  cache main \(rule)"
    configuration.workers = workers
    return configuration
  }

  /// Answers each request as `answer` says, which is told its number and what it asks for.
  static func origin(
    _ answer: @escaping @Sendable (WireConnection, Int, WireHead) throws -> Void
  ) throws -> ScriptedOrigin {
    let count = Monitor(0)
    return try ScriptedOrigin { connection, _ in
      connection.stepSeconds = 60
      do {
        while try connection.hasMore() {
          let head = try connection.readHead()
          let number = count.update {
            $0 += 1
            return $0 - 1
          }
          try answer(connection, number, head)
        }
      } catch is WireError {}
    }
  }

  /// Until somebody waits for what another one asked for first.
  static func waitForSecond(_ daemon: DaemonProcess) throws {
    let hasCome = try Poll.until(.patient) {
      try daemon.admin("/metrics").text.contains("collapsed\"} 1")
    }
    guard hasCome else { throw TestFailure("nobody waits") }
  }

  static func comesToRest(_ daemon: DaemonProcess) throws -> Bool {
    try Poll.until(.patient) {
      try daemon.sum("weir_cache_fetches_in_flight") == 0
        && daemon.sum("weir_backend_in_flight") == 0
    }
  }

  @Test func `a background refresh may bring what cannot be stored`() throws {
    let origin = try Self.origin { connection, number, _ in
      let control = number == 0 ? "max-age=0, stale-while-revalidate=60" : "no-store"
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: \(control)\r\nContent-Length: 1\r\n\r\n\(number)")
    }
    try withDaemon(Self.configuration([origin.address])) { daemon in
      for _ in 0..<3 {
        let response = try daemon.get("/x")
        #expect(response.status == 200)
      }
      #expect(try Self.comesToRest(daemon))
    }
  }

  @Test func `what cannot be stored finds nobody who asked for it, but others who waited`() throws {
    let release = Monitor(false)
    let origin = try Self.origin { connection, number, _ in
      if number == 0 { _ = release.wait(until: .after(60)) { $0 } }
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 1\r\n\r\n\(number)")
    }
    try withDaemon(Self.configuration([origin.address])) { daemon in
      let first = try daemon.connect()
      try first.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origin.wait { $0.count == 1 && $0[0].receivedCount > 0 })
      let second = try daemon.connect()
      try second.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
      try Self.waitForSecond(daemon)
      first.reset()
      let hasLeft = try Poll.until(.patient) { try daemon.sum("weir_client_aborts_total") > 0 }
      #expect(hasLeft)
      release.update { $0 = true }
      #expect(try second.readResponse().text == "1")
      #expect(try Self.comesToRest(daemon))
    }
  }

  @Test func `a range of what is still coming is the right part of it`() throws {
    let release = Monitor(false)
    let body = (0..<20_000).map { UInt8(33 + $0 % 89) }
    let origin = try Self.origin { connection, _, _ in
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 20000\r\n\r\n")
      try connection.send(Array(body[..<1000]))
      _ = release.wait(until: .after(60)) { $0 }
      try connection.send(Array(body[1000...]))
    }
    for range in ["bytes=15000-15099", "bytes=500-15000", "bytes=-10", "bytes=3-5,7-9"] {
      release.update { $0 = false }
      try withDaemon(Self.configuration([origin.address])) { daemon in
        let first = try daemon.connect()
        try first.send("GET /x HTTP/1.1\r\nHost: a\r\nRange: \(range)\r\n\r\n")
        let second = try daemon.connect()
        try second.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        // Its head has come.
        #expect(try second.hasMoreWithin(20))
        let third = try daemon.connect()
        try third.send("GET /x HTTP/1.1\r\nHost: a\r\nRange: \(range)\r\n\r\n")
        #expect(try third.hasMoreWithin(20))
        release.update { $0 = true }
        // Several ranges of what still grows are answered with all of it.
        let isStored = try Poll.until(.patient) { () throws -> Bool in
          try daemon.get("/x", fields: "Range: \(range)\r\n").status == 206
        }
        #expect(isStored, "\(range)")
        let expected = try daemon.get("/x", fields: "Range: \(range)\r\n")
        for client in [first, third] {
          let response = try client.readResponse()
          if response.status == 200 {
            #expect(response.body == body, "\(range)")
          } else {
            #expect(response.status == 206)
            #expect(response["content-range"] == expected["content-range"], "\(range)")
            if !range.contains(",") { #expect(response.body == expected.body, "\(range)") }
          }
        }
        #expect(try second.readResponse().body == body)
      }
    }
  }

  @Test func `who asks alone after waiting is tried at other backends as well`() throws {
    let waiting = Monitor(false)
    let origin = try Self.origin { connection, number, _ in
      guard number == 0 else { return connection.reset() }
      _ = waiting.wait(until: .after(60)) { $0 }
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\n"
          + "Content-Length: 1\r\n\r\n0")
      connection.close()
    }
    let spare = try Self.origin { connection, _, _ in
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 1\r\n\r\ns")
    }
    var configuration = Self.configuration([origin.address, "\(spare.address) backup"])
    configuration.upstream = "balance round-robin"
    try withDaemon(configuration) { daemon in
      let clients = try (0..<2).map { _ in
        let client = try daemon.connect()
        try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        return client
      }
      try Self.waitForSecond(daemon)
      waiting.update { $0 = true }
      #expect(try clients.map { try $0.readResponse().text }.sorted() == ["0", "s"])
      #expect(try Self.comesToRest(daemon))
    }
  }

  @Test func `an endless response that nobody reads any more is given up`() throws {
    let origin = try Self.origin { connection, _, _ in
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n")
      let chunk = "4000\r\n" + String(repeating: "x", count: 0x4000) + "\r\n"
      while true { try connection.send(chunk) }
    }
    try withDaemon(Self.configuration([origin.address])) { daemon in
      for path in ["/1", "/2", "/3"] {
        let client = try daemon.connect()
        try client.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
        _ = try client.read(1000)
        client.reset()
      }
      #expect(origin.wait { $0.count == 3 && $0.allSatisfy(\.hasEnded) })
      #expect(try Self.comesToRest(daemon))
    }
  }

  @Test func `what outgrows the limit reaches slow and quick readers whole`() throws {
    let body = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
    let origin = try Self.origin { connection, _, _ in
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n")
      var sent = 0
      while sent < body.count {
        let end = min(body.count, sent + 10_000)
        let size = String(end - sent, radix: 16)
        try connection.send(Array("\(size)\r\n".utf8) + Array(body[sent..<end]) + [13, 10])
        sent = end
      }
      try connection.send("0\r\n\r\n")
    }
    for workers in 1...2 {
      try withDaemon(Self.configuration([origin.address], workers: workers)) { daemon in
        let results = Monitor<[Bool]>([])
        let port = daemon.port
        for index in 0..<4 {
          Thread.detachNewThread {
            let client = try? WireConnection.connect(
              port: port, receiveBufferBytes: index == 0 ? 4096 : nil)
            try? client?.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            let response = try? client?.readResponse()
            results.update { $0.append(response?.body == body) }
          }
        }
        #expect(results.wait(until: .patient) { $0.count == 4 })
        #expect(results.current == [true, true, true, true])
        let rests = try Self.comesToRest(daemon)
        #expect(rests)
      }
    }
  }

  @Test(arguments: ["Content-Length: 9000\r\n", "Transfer-Encoding: chunked\r\n"])
  func `a response that is cut short is complete for nobody, and not stored`(framing: String)
    throws
  {
    let piece = String(repeating: "y", count: 4096)
    for isReset in [false, true] {
      let release = Monitor(false)
      let origin = try Self.origin { connection, _, _ in
        try connection.send(
          "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\(framing)\r\n"
            + (framing.contains("chunked") ? "1000\r\n\(piece)\r\n" : piece))
        _ = release.wait(until: .after(60)) { $0 }
        if isReset { connection.reset() } else { connection.close() }
      }
      try withDaemon(Self.configuration([origin.address], workers: 2)) { daemon in
        let clients = try (0..<4).map { _ in
          let client = try daemon.connect()
          try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
          #expect(try client.hasMoreWithin(20))
          return client
        }
        release.update { $0 = true }
        for client in clients {
          let (octets, ending) = try client.readToEnd()
          let text = String(decoding: octets, as: UTF8.self)
          #expect(ending == .reset && !text.hasSuffix("0\r\n\r\n"))
        }
        #expect(try Self.comesToRest(daemon))
        #expect(try daemon.sum("weir_cache_objects") == 0)
      }
    }
  }

  @Test func `a fetch is tried again like any request, and all who wait get what came`() throws {
    let waiting = Monitor(false)
    let origin = try Self.origin { connection, number, _ in
      _ = waiting.wait(until: .after(60)) { $0 }
      if number == 0 { return connection.reset() }
      if number == 1 {
        return try connection.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
      }
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok")
    }
    let gone = "127.0.0.1:\(Ports.take())"
    try withDaemon(Self.configuration([gone, origin.address], workers: 2)) { daemon in
      let clients = try (0..<6).map { _ in
        let client = try daemon.connect()
        try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        return client
      }
      let haveCome = try Poll.until(.patient) {
        try daemon.admin("/metrics").text.contains("collapsed\"} 5")
      }
      #expect(haveCome)
      waiting.update { $0 = true }
      let answers = try clients.map { try $0.readResponse() }
      #expect(Set(answers.map(\.status)).count == 1)
      #expect(try Self.comesToRest(daemon))
      let count = try daemon.sum("weir_cache_fetches_total")
      #expect(count == 1)
    }
  }

  @Test func `a drain lets readers finish, and ends what is for nobody at its time`() throws {
    let release = Monitor(false)
    let origin = try Self.origin { connection, _, _ in
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc")
      _ = release.wait(until: .after(60)) { $0 }
      try connection.send("def")
    }
    try withDaemon(Self.configuration([origin.address], workers: 2)) { daemon in
      let clients = try ["/x", "/x", "/y", "/z"].map { path in
        let client = try daemon.connect()
        try client.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.hasMoreWithin(20))
        return client
      }
      // Its fetch goes on for nobody.
      clients[3].reset()
      daemon.process.kill(SIGTERM)
      #expect(Poll.until(.patient) { (try? daemon.connect()) == nil })
      release.update { $0 = true }
      for client in clients.prefix(3) { #expect(try client.readResponse().text == "abcdef") }
    }
  }

  @Test func `a reload that takes the cache away, or changes it, ends no answer`() throws {
    let release = Monitor(false)
    let origin = try Self.origin { connection, _, head in
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc")
      if head.target != "/now" { _ = release.wait(until: .after(60)) { $0 } }
      try connection.send("def")
    }
    let with = Self.configuration([origin.address], workers: 2)
    var without = DaemonConfiguration([origin.address])
    without.workers = 2
    let other = Self.configuration([origin.address], cache: "memory=9MiB", workers: 2)
    for next in [without, other] {
      release.update { $0 = false }
      try withDaemon(with) { daemon in
        let clients = try (0..<4).map { index in
          let client = try daemon.connect()
          try client.send("GET /\(index / 2) HTTP/1.1\r\nHost: a\r\n\r\n")
          #expect(try client.hasMoreWithin(20))
          return client
        }
        #expect(try daemon.reload(next).ending == .exit(0))
        #expect(try daemon.get("/now").text == "abcdef")
        clients[0].reset()
        release.update { $0 = true }
        for client in clients.dropFirst() {
          #expect(try client.readResponse().text == "abcdef")
          try client.send("GET /now HTTP/1.1\r\nHost: a\r\n\r\n")
          #expect(try client.readResponse().text == "abcdef")
        }
        #expect(try Self.comesToRest(daemon))
      }
    }
  }

  @Test func `an error that a copy stands in for counts at its backend as what it is`() throws {
    let origin = try Self.origin { connection, number, _ in
      if number > 0 {
        return try connection.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
      }
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=0, stale-if-error=60\r\n"
          + "Content-Length: 2\r\n\r\nok")
    }
    try withDaemon(Self.configuration([origin.address])) { daemon in
      for _ in 0..<10 {
        let response = try daemon.get("/x")
        #expect(response.text == "ok")
      }
      // A 500 is no sign of a backend that cannot be reached: its breaker stays closed.
      let asked = origin.records.reduce(0) {
        $0 + $1.text.components(separatedBy: "GET ").count - 1
      }
      #expect(asked == 10)
    }
  }
}
