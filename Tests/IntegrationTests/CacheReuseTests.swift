import Foundation
import TestSupport
import Testing

/// RFC 9111 §4: which stored response a request gets, how old it is, and what is said about it.
@Suite(.blocking) struct `Cache reuse` {
  private static let fresh = "Cache-Control: max-age=60"

  @Test func `tells the age that came with the response and what it has spent here`() throws {
    let origin = try CacheOrigin([
      "/aged": [CacheOrigin.answer(200, [Self.fresh, "Age: 30"])],
      "/new": [CacheOrigin.answer(200, [Self.fresh])],
    ])
    try withDaemon(.cached([origin.address])) { daemon in
      let miss = try daemon.get("/new")
      #expect(CacheWord(miss).forward == "uri-miss" && CacheWord(miss).isStored)
      let began = Deadline.nowNs()
      _ = try daemon.get("/aged")
      let hit = try daemon.get("/aged")
      let most = 31 + Int((Deadline.nowNs() - began) / 1_000_000_000)
      let age = try #require(hit["age"].flatMap { Int($0) })
      #expect((30...most).contains(age))
      // RFC 9211 §2.5: what is left; both are whole seconds of one lifetime.
      let left = try #require(CacheWord(hit).ttl)
      #expect((59...60).contains(left + age), "\(hit.head.text)")
      let young = try daemon.get("/new")
      #expect(try #require(young["age"].flatMap { Int($0) }) < 30)
    }
  }

  @Test func `counts the time that the response took as age`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { _, _ in
      try gate.pass()
      return .text(CacheOrigin.answer(200, [Self.fresh]))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origin.wait { $0.count == 1 })
      // One of the few pauses: a second of the origin's own (RFC 9111 §4.2.3, response_delay).
      #expect(client.staysSilent(for: 1.1))
      gate.open()
      #expect(try client.readResponse().status == 200)
      let hit = try daemon.get("/a", host: "a")
      #expect(CacheWord(hit).isHit && (hit["age"].flatMap { Int($0) } ?? 0) >= 1)
    }
  }

  @Test func `gives each request the variant that Vary selects, and no other`() throws {
    let origin = try CacheOrigin { head, _ in
      .text(
        CacheOrigin.answer(
          200, [Self.fresh, "Vary: Accept-Language, X-Kind"],
          "\(head.all("accept-language").joined(separator: "+"))|\(head["x-kind"] ?? "-")"))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      let requests = [
        "", "Accept-Language: de\r\n", "Accept-Language: en\r\n",
        "Accept-Language: de\r\nX-Kind: a\r\n", "X-Kind: a\r\n", "X-Kind: \r\n",
        "Accept-Language: de, en\r\n",
      ]
      let bodies = try requests.map { try daemon.get("/v", fields: $0).text }
      #expect(origin.requests.count == requests.count)
      for (index, fields) in requests.enumerated() {
        let again = try daemon.get("/v", fields: fields)
        #expect(again.text == bodies[index] && CacheWord(again).isHit, "\(fields)")
      }
      // RFC 9110 §5.3: two lines are one list.
      let lines = try daemon.get("/v", fields: "Accept-Language: de\r\nAccept-Language: en\r\n")
      #expect(CacheWord(lines).isHit && lines.text == "de, en|-")
      #expect(origin.requests.count == requests.count)
    }
  }

  @Test func `knows accepted codings as one where they accept the same`() throws {
    let origin = try CacheOrigin { head, _ in
      .text(
        CacheOrigin.answer(
          200, [Self.fresh, "Vary: Accept-Encoding"], head["accept-encoding"] ?? "-"))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/v", fields: "Accept-Encoding: gzip, br\r\n")
      let rows: [(String, Bool)] = [
        ("Accept-Encoding: br;q=1.0, gzip;q=0.5\r\n", true),
        ("Accept-Encoding: BR,x-gzip\r\n", true), ("Accept-Encoding: gzip\r\n", false),
        ("Accept-Encoding: gzip, br;q=0\r\n", true), ("", false),
        ("Accept-Encoding: gzip, br, identity;q=0\r\n", false),
      ]
      for (fields, isHit) in rows {
        #expect(try CacheWord(daemon.get("/v", fields: fields)).isHit == isHit, "\(fields)")
      }
    }
  }

  @Test func `holds no more variants of one key than it may`() throws {
    let origin = try CacheOrigin { head, _ in
      .text(CacheOrigin.answer(200, [Self.fresh, "Vary: X-Kind"], head["x-kind"] ?? "-"))
    }
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.top = "cache main memory=16MiB max-variants=4"
    try withDaemon(configuration) { daemon in
      for kind in 0..<12 { _ = try daemon.get("/v", fields: "X-Kind: \(kind)\r\n") }
      var hits = 0
      for kind in 0..<12 {
        let response = try daemon.get(
          "/v", fields: "X-Kind: \(kind)\r\nCache-Control: only-if-cached\r\n")
        hits += CacheWord(response).isHit ? 1 : 0
        if CacheWord(response).isHit { #expect(response.text == "\(kind)") }
      }
      #expect(hits == 4)
    }
  }

  @Test func `answers HEAD from what a GET brought, and fetches all for a HEAD`() throws {
    let origin = try CacheOrigin([
      "/a": [CacheOrigin.answer(200, [Self.fresh, "ETag: \"1\""], "content")],
      "/b": [CacheOrigin.answer(200, ["Cache-Control: no-store"], "content")],
    ])
    try withDaemon(.cached([origin.address])) { daemon in
      let head = try daemon.get("/a", method: "HEAD")
      #expect(head.status == 200 && head["content-length"] == "7")
      #expect(origin.asked("/a").map(\.method) == ["GET"])
      let hit = try daemon.get("/a")
      #expect(CacheWord(hit).isHit && hit.text == "content")
      let again = try daemon.get("/a", method: "HEAD")
      #expect(CacheWord(again).isHit && again["etag"] == "\"1\"" && again["age"] != nil)
      // What cannot be stored is handed over; its content is not for who sent a HEAD.
      let client = try daemon.connect()
      for _ in 0..<3 {
        try client.send("HEAD /b HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse(to: "HEAD")
        #expect(response.status == 200 && response["content-length"] == "7")
      }
      try client.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n")
      #expect(try client.readResponse().text == "content")
    }
  }

  @Test func `takes a key of chosen parameters, fields and cookies`() throws {
    let origin = try CacheOrigin { head, _ in
      .text(CacheOrigin.answer(200, [Self.fresh], head.target))
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "cache main memory=16MiB"
    configuration.blocks = """
      route /keep { \n upstream app \n cache main query=keep:id,page sort-query=on \n }
      route /drop { \n upstream app \n cache main query=drop:utm_*,ref \n }
      route /none { \n upstream app \n cache main query=none \n }
      route /more { \n upstream app \n cache main key-headers=X-Kind key-cookies=plan \n }
      route /pass {
        upstream app
        cache main bypass=header:x-preview,cookie:session,query:nocache
      }
      """
    // A block that names an upstream may stand before it.
    try withDaemon(configuration) { daemon in
      /// Target, fields, whether from the cache, what the origin was asked for.
      let rows: [(String, String, Bool, String)] = [
        ("/keep?page=2&id=1&x=9", "", false, "/keep?id=1&page=2"),
        ("/keep?id=1&page=2", "", true, "/keep?id=1&page=2"),
        ("/keep?id=1", "", false, "/keep?id=1"),
        ("/drop?a=1&utm_source=x&ref=y", "", false, "/drop?a=1"),
        ("/drop?ref=z&a=1", "", true, "/drop?a=1"), ("/drop?a=2", "", false, "/drop?a=2"),
        ("/none?a=1", "", false, "/none"), ("/none", "", true, "/none"),
        ("/more", "X-Kind: a\r\n", false, "/more"), ("/more", "X-Kind: b\r\n", false, "/more"),
        ("/more", "X-Kind: a\r\n", true, "/more"),
        ("/more", "Cookie: plan=gold; s=1\r\n", false, "/more"),
        ("/more", "Cookie: s=2; plan=gold\r\n", true, "/more"),
        ("/more", "Cookie: plan=iron\r\n", false, "/more"),
        ("/pass", "", false, "/pass"), ("/pass", "X-Preview: 1\r\n", false, "/pass"),
        ("/pass", "Cookie: session=1\r\n", false, "/pass"),
        ("/pass?nocache=1", "", false, "/pass?nocache=1"), ("/pass", "", true, "/pass"),
      ]
      for (target, fields, isHit, asked) in rows {
        let response = try daemon.get(target, fields: fields)
        #expect(response.text == asked, "\(target)")
        #expect(CacheWord(response).isHit == isHit, "\(target) \(fields)")
      }
      let passed = try daemon.get("/pass", fields: "X-Preview: 1\r\n")
      #expect(CacheWord(passed).forward == "bypass")
    }
  }
}
