import Foundation
import TestSupport
import Testing

/// The cache beside everything else that a daemon does: reload, drain, edits of fields, TLS, logs.
@Suite(.blocking) struct `Cache in the daemon` {
  private static let fresh = "Cache-Control: max-age=60"
  static let certificates = Result { try TestCertificates() }

  private func numbered() throws -> CacheOrigin {
    try CacheOrigin { _, before in .text(CacheOrigin.answer(200, [Self.fresh], "\(before)")) }
  }

  @Test func `a reload keeps what is stored, and a cache with other options begins empty`() throws {
    let origin = try numbered()
    var configuration = DaemonConfiguration.cached([origin.address])
    try withDaemon(configuration) { daemon in
      _ = try daemon.get("/a")
      // Another rule of the route, the same cache.
      configuration.route = "cache main stale-if-error=60s"
      #expect(try daemon.reload(configuration).ending == .exit(0))
      #expect(try CacheWord(daemon.get("/a")).isHit)
      // A faulty file changes nothing.
      var faulty = configuration
      faulty.route = "cache nothing"
      #expect(try daemon.reload(faulty).ending == .exit(1))
      #expect(try CacheWord(daemon.get("/a")).isHit)
      configuration.top = "cache main memory=32MiB"
      #expect(try daemon.reload(configuration).ending == .exit(0))
      let empty = try daemon.get("/a")
      #expect(!CacheWord(empty).isHit && empty.text == "1")
      #expect(try CacheWord(daemon.get("/a")).isHit)
      configuration.route = ""
      #expect(try daemon.reload(configuration).ending == .exit(0))
      let bare = try daemon.get("/a")
      #expect(bare.text == "2" && bare["cache-status"] == nil)
    }
  }

  @Test func `a reload while a fetch is in flight loses nobody's answer`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { _, before in
      if before == 0 { try gate.pass() }
      return .text(CacheOrigin.answer(200, [Self.fresh], "\(before)"))
    }
    var configuration = DaemonConfiguration.cached([origin.address], workers: 2)
    try withDaemon(configuration) { daemon in
      let clients = try (0..<8).map { _ in
        let client = try daemon.connect()
        try client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        return client
      }
      // All of them have been read: others would be asked for under the new configuration.
      let joined = try Poll.until(.patient) {
        try daemon.admin("/metrics").text.contains("result=\"collapsed\"} 7")
      }
      #expect(joined)
      configuration.top = "cache main memory=32MiB"
      #expect(try daemon.reload(configuration).ending == .exit(0))
      // Who comes now has the new, empty cache.
      #expect(try daemon.get("/a", host: "a").text == "1")
      gate.open()
      for client in clients { #expect(try client.readResponse().text == "0") }
      #expect(try daemon.get("/a", host: "a").text == "1")
    }
  }

  @Test func `a drain waits for fetches that somebody waits for`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { _, _ in
      try gate.pass()
      return .text(CacheOrigin.answer(200, [Self.fresh], "late"))
    }
    let daemon = try DaemonProcess(.cached([origin.address], workers: 2))
    let clients = try (0..<4).map { _ in
      let client = try daemon.connect()
      try client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      return client
    }
    #expect(origin.wait { $0.count == 1 })
    // All of them have been read: those that have not are not in flight.
    let joined = try Poll.until(.patient) {
      try daemon.admin("/metrics").text.contains("result=\"collapsed\"} 3")
    }
    #expect(joined)
    daemon.process.kill(SIGTERM)
    let isDraining = Poll.until(.patient) { (try? daemon.admin("/ready").status) == 503 }
    #expect(isDraining)
    gate.open()
    for client in clients {
      let response = try client.readResponse()
      #expect(response.text == "late" && response["connection"] == "close")
    }
    #expect(daemon.process.waitForEnd() == .exit(0))
  }

  @Test func `a drain does not wait for a fetch that nobody waits for`() throws {
    let origin = try CacheOrigin { _, before in
      guard before == 0 else { return .byHand { _ = try $0.hasMore() } }
      return .text(
        CacheOrigin.answer(
          200, ["Cache-Control: max-age=1, stale-while-revalidate=60", "Age: 10"], "old"))
    }
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.top += "\ndrain-timeout 20s"
    let daemon = try DaemonProcess(configuration)
    _ = try daemon.get("/a")
    #expect(try CacheWord(daemon.get("/a")).detail == "swr")
    #expect(origin.wait { $0.count == 2 })
    try daemon.stop(within: 15)
  }

  @Test func `edits of response fields hold on hits, in their form of today`() throws {
    let origin = try CacheOrigin([
      "/a": [CacheOrigin.answer(200, [Self.fresh, "X-Inner: 1", "Server: inner", "ETag: \"1\""])]
    ])
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.route += """

      response-header set X-Frame-Options deny
      response-header remove Server
      response-header add X-More yes
      """
    try withDaemon(configuration) { daemon in
      _ = try daemon.get("/a")
      for fields in ["", "If-None-Match: \"1\"\r\n", "Range: bytes=0-1\r\n"] {
        let hit = try daemon.get("/a", fields: fields)
        #expect(CacheWord(hit).isHit && hit["x-frame-options"] == "deny", "\(hit.head.text)")
        #expect(hit["server"] == nil && hit["x-more"] == "yes" && hit["x-inner"] == "1")
      }
      configuration.route = "cache main\nresponse-header set X-Frame-Options sameorigin"
      #expect(try daemon.reload(configuration).ending == .exit(0))
      let later = try daemon.get("/a")
      #expect(CacheWord(later).isHit && later["x-frame-options"] == "sameorigin")
      #expect(later["server"] == "inner")
    }
  }

  @Test func `over TLS hits are whole and say HSTS, which plain ones never do`() throws {
    let certificates = try Self.certificates.get()
    let pair = try certificates.issue(["example.com"])
    let tls = try TestTLS(trusting: certificates.authority)
    let origin = try CacheOrigin { _, _ in
      let text = "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nContent-Length: 300000\r\n\r\n"
      return .octets(Array(text.utf8) + Pattern.prefix(300_000))
    }
    var configuration = DaemonConfiguration.cached([origin.address])
    let port = Ports.take()
    configuration.blocks = """
      listener secure { \n bind 127.0.0.1:\(port) \n tls {
        \(pair.directive)
        hsts 30d
      } \n }
      """
    try withDaemon(configuration) { daemon in
      for turn in 0..<3 {
        let client = try WireConnection.connect(port: port)
        try client.startTLS(tls, name: "example.com")
        try client.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n")
        let response = try client.readResponse()
        // The second may still read while the first one's fetch ends.
        #expect(turn == 1 || CacheWord(response).isHit == (turn == 2))
        #expect(response["strict-transport-security"]?.hasPrefix("max-age=2592000") == true)
        #expect(Pattern.isPrefix(response.body, 300_000))
      }
      for _ in 0..<2 {
        let plain = try daemon.get("/a")
        #expect(plain["strict-transport-security"] == nil)
      }
      #expect(origin.requests.count == 2, "a scheme of its own is a key of its own")
    }
  }

  @Test func `clients of every protocol read hits as they can`() throws {
    let origin = try CacheOrigin { _, _ in
      .text(
        "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nTransfer-Encoding: chunked\r\n\r\n"
          + "5\r\nhello\r\n0\r\n\r\n"
      )
    }
    try withDaemon(.cached([origin.address])) { daemon in
      let miss = try daemon.get("/a", host: "a")
      #expect(miss.text == "hello")
      let old = try daemon.connect()
      try old.send("GET /a HTTP/1.0\r\nHost: a\r\n\r\n")
      let answer = try old.readResponse()
      #expect(answer.text == "hello" && answer.framing == .length(5) && CacheWord(answer).isHit)
      let kept = try daemon.connect()
      try kept.send("GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
      #expect(try kept.readResponse()["connection"] == "keep-alive")
      let streams = try HTTP2Connection(daemon.connect())
      try streams.request(1, "GET", "/a")
      try streams.request(3, "HEAD", "/a")
      let second = try streams.answer(1)
      #expect(second.content == Array("hello".utf8))
      #expect(second["cache-status"].map { CacheWord($0).isHit } == true)
      #expect(second["age"] != nil)
      let head = try streams.answer(3)
      #expect(head.status == 200 && head.content.isEmpty && head["content-length"] == "5")
      // Pipelined, in order.
      let pipeline = try daemon.connect()
      try pipeline.send(
        String(repeating: "GET /a HTTP/1.1\r\nHost: a\r\n\r\n", count: 50))
      for _ in 0..<50 { #expect(try pipeline.readResponse().text == "hello") }
      #expect(origin.requests.count == 1)
    }
  }

  @Test func `a hit has its line in the access log, with the word of the cache`() throws {
    let origin = try numbered()
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.top += "\naccess-log @DIRECTORY@/access.log format=json"
    try withDaemon(configuration) { daemon in
      for _ in 0..<2 { _ = try daemon.get("/a?x=1") }
      let path = "\(daemon.directory)/access.log"
      var lines: [[String: Any]] = []
      let isThere = Poll.until(.patient) {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        lines = text.split(separator: "\n").compactMap {
          try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }
        return lines.count >= 2
      }
      #expect(isThere)
      let hits = lines.filter { ($0["cache"] as? String) == "hit" }
      #expect(hits.count == 1, "\(lines)")
      #expect(hits.first?["status"] as? Int == 200)
    }
  }

  @Test func `metrics and status tell what the cache did`() throws {
    let origin = try numbered()
    try withDaemon(.cached([origin.address])) { daemon in
      for _ in 0..<3 { _ = try daemon.get("/a") }
      _ = try daemon.get("/a", method: "POST")
      for line in [
        "weir_cache_requests_total{result=\"hit\"} 2",
        "weir_cache_requests_total{result=\"miss\"} 1",
        "weir_cache_requests_total{result=\"bypass\"} 1", "weir_cache_fetches_total 1",
        "weir_cache_invalidations_total 1", "weir_cache_objects{cache=\"main\"} 0",
      ] { #expect(try daemon.counts(line + "\n"), "\(line)") }
      let status = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)")
      #expect(status.output.contains("cache main"))
    }
  }
}
