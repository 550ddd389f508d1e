import Foundation
import TestSupport
import Testing

/// One fetch for all who ask at once, on all workers (rule 61).
@Suite(.blocking) struct `Cache coalescing` {
  private static let fresh = "Cache-Control: max-age=60"
  static let certificates = Result { try TestCertificates() }

  private func configuration(_ origin: CacheOrigin) -> DaemonConfiguration {
    var configuration = DaemonConfiguration.cached([origin.address], workers: 2)
    configuration.top += "\nmax-connections-per-client off"
    configuration.upstream = "circuit-breaker off"
    return configuration
  }

  /// Requests that joined the fetch of another one.
  private func collapsed(_ daemon: DaemonProcess) throws -> Int {
    let text = try daemon.admin("/metrics").text
    return text.split(separator: "\n")
      .filter { $0.hasPrefix("weir_cache_requests_total{") && $0.contains("\"collapsed\"") }
      .compactMap { $0.split(separator: " ").last.flatMap { Int($0) } }.reduce(0, +)
  }

  private func waitForCollapsed(_ daemon: DaemonProcess, _ count: Int) throws {
    let all = try Poll.until(.after(60)) { try collapsed(daemon) >= count }
    guard all else { throw TestFailure("\(try collapsed(daemon)) of \(count) joined") }
  }

  /// Until so many clients wait for fetches, whose number is returned. One for each resource,
  /// unless the machine is so slow that the clients come later than others wait for (5 s).
  private func waitForClients(
    _ daemon: DaemonProcess, _ count: Int, resources: Int = 1, since start: UInt64
  ) throws -> Int {
    var fetches = 0
    let all = try Poll.until(.after(60)) {
      fetches = try daemon.sum("weir_cache_fetches_in_flight")
      return try collapsed(daemon) + fetches >= count
    }
    guard all else { throw TestFailure("\(try collapsed(daemon)) of \(count) joined") }
    let seconds = Int((Deadline.nowNs() - start) / 1_000_000_000)
    #expect(fetches >= resources && fetches <= resources * (1 + seconds / 5), "\(seconds) s")
    return fetches
  }

  /// So many clients that have asked for `/a` and read nothing yet.
  private func ask(_ daemon: DaemonProcess, _ count: Int, tls: TestTLS? = nil) throws
    -> [WireConnection]
  {
    try (0..<count).map { _ in
      let client = try daemon.connect()
      client.stepSeconds = 60
      if let tls { try client.startTLS(tls, name: "example.com") }
      try client.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n")
      return client
    }
  }

  @Test(arguments: [false, true])
  func `a thousand clients for a cold object cost one fetch`(isChunked: Bool) throws {
    let (head, middle) = (Gate(), Gate())
    let length = 150_000
    let origin = try CacheOrigin { _, _ in
      try head.pass()
      guard isChunked else {
        let text = "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nContent-Length: \(length)\r\n\r\n"
        return .octets(Array(text.utf8) + Pattern.prefix(length))
      }
      return .byHand { connection in
        try connection.send(
          "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nTransfer-Encoding: chunked\r\n\r\n")
        let octets = Pattern.prefix(length)
        for (index, part) in [octets[..<50_000], octets[50_000...]].enumerated() {
          if index == 1 { try middle.pass() }
          try connection.send("\(String(part.count, radix: 16))\r\n")
          try connection.send(Array(part) + [13, 10])
        }
        try connection.send("0\r\n\r\n")
      }
    }
    try withDaemon(configuration(origin)) { daemon in
      let start = Deadline.nowNs()
      let clients = try ask(daemon, 1000)
      let fetches = try waitForClients(daemon, 1000, since: start)
      head.open()
      if isChunked {
        // They read what there is before the rest has come.
        for client in clients { #expect(try client.hasMoreWithin(30)) }
        // One that comes in the middle joins as well.
        let late = try ask(daemon, 1)
        #expect(try late[0].hasMoreWithin(30))
        middle.open()
        let response = try late[0].readResponse()
        #expect(Pattern.isPrefix(response.body, length) && CacheWord(response).isCollapsed)
      }
      var firsts = 0
      for client in clients {
        let response = try client.readResponse()
        #expect(response.status == 200 && Pattern.isPrefix(response.body, length))
        #expect(response.framing == (isChunked ? .chunked : .length(length)))
        firsts += CacheWord(response).isCollapsed ? 0 : 1
      }
      #expect(firsts == fetches && origin.requests.count == fetches)
      try daemon.waitUntilStored("/a")
      let hit = try daemon.get("/a")
      #expect(CacheWord(hit).isHit && hit.framing == .length(length))
    }
  }

  @Test func `a thousand streams of HTTP/2, and clients of TLS, share it with the others`() throws {
    let certificates = try Self.certificates.get()
    let pair = try certificates.issue(["example.com"])
    let tls = try TestTLS(trusting: certificates.authority)
    let gate = Gate()
    let length = 40_000
    let origin = try CacheOrigin { _, _ in
      try gate.pass()
      let text = "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nContent-Length: \(length)\r\n\r\n"
      return .octets(Array(text.utf8) + Pattern.prefix(length))
    }
    var configuration = configuration(origin)
    configuration.blocks = """
      listener secure { \n bind 127.0.0.1:@PORT2@ \n tls { \n \(pair.directive) \n } \n }
      """
    let port = Ports.take()
    configuration.blocks = configuration.blocks
      .replacingOccurrences(of: "@PORT2@", with: "\(port)")
    try withDaemon(configuration) { daemon in
      let start = Deadline.nowNs()
      let streams = try (0..<10).map { _ in
        let client = try HTTP2Connection(daemon.connect())
        for stream in 0..<100 {
          try client.request(UInt32(stream * 2 + 1), "GET", "/a")
        }
        return client
      }
      // Their host is `a`: clients of HTTP/1 ask for the same.
      let plain = try (0..<20).map { _ in
        let client = try daemon.connect()
        try client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        return client
      }
      _ = try waitForClients(daemon, 1020, since: start)
      // Another scheme is another resource: one fetch more.
      let sealed = try (0..<40).map { _ in
        let client = try WireConnection.connect(port: port)
        client.stepSeconds = 60
        try client.startTLS(tls, name: "example.com")
        try client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        return client
      }
      let fetches = try waitForClients(daemon, 1020 + 40, resources: 2, since: start)
      gate.open()
      for client in streams {
        for stream in 0..<100 {
          let answer = try client.answer(UInt32(stream * 2 + 1))
          #expect(answer.status == 200 && Pattern.isPrefix(answer.content, length))
        }
      }
      for client in plain + sealed {
        let response = try client.readResponse()
        #expect(response.status == 200 && Pattern.isPrefix(response.body, length))
      }
      #expect(origin.requests.count == fetches)
    }
  }

  @Test func `of 200 for what cannot be stored one goes first, 199 at once, then 200 at once`()
    throws
  {
    struct Load: Sendable {
      var inFlight = 0
      var most = 0
    }
    let load = Monitor(Load())
    let first = Gate()
    let target = Monitor(199)
    let origin = try CacheOrigin { _, before in
      if before == 0 {
        try first.pass()
      } else {
        load.update {
          $0.inFlight += 1
          $0.most = max($0.most, $0.inFlight)
        }
        // Answered only when all of them are here.
        let due = target.current
        guard load.wait(until: .after(30), for: { $0.most >= due }) else {
          throw TestFailure("\(load.current.most) of \(due) at once")
        }
        load.update { $0.inFlight -= 1 }
      }
      return .text(CacheOrigin.answer(200, ["Cache-Control: private"], "mine"))
    }
    try withDaemon(configuration(origin)) { daemon in
      let clients = try ask(daemon, 200)
      try waitForCollapsed(daemon, 199)
      #expect(origin.wait { $0.count == 1 })
      first.open()
      for client in clients { #expect(try client.readResponse().text == "mine") }
      #expect(load.current.most == 199 && origin.requests.count == 200)
      load.update { $0 = Load() }
      target.update { $0 = 200 }
      for client in clients { try client.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n") }
      for client in clients {
        let response = try client.readResponse()
        #expect(response.text == "mine" && CacheWord(response).detail == "uncacheable")
      }
      #expect(load.current.most == 200 && origin.requests.count == 400)
    }
  }

  @Test(arguments: ["closes", "cuts the head", "answers 503", "cuts the content"])
  func `a fetch that fails answers all who wait, at once`(_ how: String) throws {
    let (gate, half) = (Gate(), Gate())
    let origin = try CacheOrigin { _, _ in
      try gate.pass()
      switch how {
      case "closes": return .byHand { _ in }
      case "cuts the head": return .byHand { try $0.send("HTTP/1.1 200 OK\r\nCache-Con") }
      case "answers 503": return .text(CacheOrigin.answer(503, [], "busy"))
      default:
        return .byHand {
          try $0.send("HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nContent-Length: 9\r\n\r\nhalf")
          try half.pass()
        }
      }
    }
    var configuration = configuration(origin)
    configuration.upstream += "\nretry off"
    try withDaemon(configuration) { daemon in
      let clients = try ask(daemon, 200)
      try waitForCollapsed(daemon, 199)
      gate.open()
      // Were the end there with the head, it would be no answer at all.
      if how == "cuts the content" { #expect(try clients[0].hasMoreWithin(30)) }
      half.open()
      for client in clients {
        switch how {
        case "cuts the content":
          // Whoever had the head is cut off; who had nothing yet gets an error instead.
          if let whole = try? client.readResponse() { #expect(whole.status == 502) }
        case "answers 503": #expect(try client.readResponse().text == "busy")
        default: #expect(try client.readResponse().status == 502)
        }
      }
      #expect(origin.requests.count == 1)
      // Nothing of it is kept: who asks now asks the origin.
      _ = try? daemon.get("/a")
      #expect(origin.requests.count == 2)
    }
  }

  @Test func `who waits gets what Vary selects for him, by a fetch of his own`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { head, before in
      if before == 0 { try gate.pass() }
      let language = head["accept-language"] ?? "none"
      return .text(CacheOrigin.answer(200, [Self.fresh, "Vary: Accept-Language"], language))
    }
    try withDaemon(configuration(origin)) { daemon in
      let languages = ["en", "de", "en", "fr", "de"]
      let clients = try languages.map { language in
        let client = try daemon.connect()
        try client.send(
          "GET /a HTTP/1.1\r\nHost: a\r\nAccept-Language: \(language)\r\n\r\n")
        return client
      }
      try waitForCollapsed(daemon, 4)
      gate.open()
      for (client, language) in zip(clients, languages) {
        #expect(try client.readResponse().text == language)
      }
      #expect(origin.requests.count <= 4)
    }
  }

  /// A connection's other end has closed.
  private func sawEnd(_ origin: CacheOrigin, _ connection: Int = 0) -> Bool {
    origin.waitForRecords { $0.count > connection && $0[connection].hasEnded }
  }

  @Test func `a fetch that nobody waits for any more is given up`() throws {
    let origin = try CacheOrigin { _, _ in .byHand { _ = try $0.hasMore() } }
    try withDaemon(configuration(origin)) { daemon in
      let clients = try ask(daemon, 2)
      try waitForCollapsed(daemon, 1)
      clients[0].reset()
      #expect(!origin.waitForRecords(0.2) { $0.first?.hasEnded == true }, "another one waits")
      clients[1].reset()
      #expect(sawEnd(origin))
    }
  }

  @Test func `a fetch goes on for the other when the first client leaves`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { _, _ in
      try gate.pass()
      return .text(CacheOrigin.answer(200, [Self.fresh], "for the second"))
    }
    try withDaemon(configuration(origin)) { daemon in
      let first = try ask(daemon, 1)
      #expect(origin.wait { $0.count == 1 })
      let second = try ask(daemon, 1)
      try waitForCollapsed(daemon, 1)
      first[0].reset()
      gate.open()
      let response = try second[0].readResponse()
      #expect(response.text == "for the second" && CacheWord(response).isCollapsed)
      #expect(origin.requests.count == 1)
    }
  }

  @Test func `a fetch goes on alone where what it brings is stored, and only there`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { head, _ in
      let isStored = head.target == "/a"
      return .byHand { connection in
        try connection.send(
          "HTTP/1.1 200 OK\r\nCache-Control: \(isStored ? "max-age=60" : "no-store")\r\n"
            + "Content-Length: 10\r\n\r\nfirst")
        if isStored {
          try gate.pass()
          try connection.send("-last")
        }
        _ = try connection.hasMore()
      }
    }
    try withDaemon(configuration(origin)) { daemon in
      let client = try ask(daemon, 1)
      #expect(try client[0].hasMoreWithin(30))
      client[0].reset()
      let other = try daemon.connect()
      try other.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try other.hasMoreWithin(30))
      other.reset()
      // What is not stored ends with its client.
      #expect(origin.waitForRecords { $0.count == 2 && $0[1].hasEnded && !$0[0].hasEnded })
      gate.open()
      let isStored = try Poll.until(.patient) {
        try daemon.get("/a", fields: "Cache-Control: only-if-cached\r\n").status == 200
      }
      #expect(isStored)
      #expect(try daemon.get("/a").text == "first-last")
    }
  }

  @Test func `after five seconds without a head one more fetch begins, and it answers all`() throws
  {
    let gate = Gate()
    let origin = try CacheOrigin { _, before in
      if before == 0 { try gate.pass() }
      return .text(CacheOrigin.answer(200, [Self.fresh], "\(before)"))
    }
    try withDaemon(configuration(origin)) { daemon in
      let early = try ask(daemon, 3)
      #expect(origin.wait { $0.count == 1 })
      // A time of the cache's own has to pass (semantics.md 16).
      #expect(early[0].staysSilent(for: 5.1))
      let late = try ask(daemon, 3)
      for client in early + late { #expect(try client.readResponse().text == "1") }
      #expect(origin.requests.count == 2)
      gate.open()
    }
  }
}
