import Foundation
import TestSupport
import Testing

/// One rule: a request, what the origin answers, a second request, and what becomes of that.
struct CacheRow: Sendable {
  enum Second: Sendable, Equatable {
    /// From the cache; the origin sees nothing.
    case hit
    /// From the cache although it is stale; the origin may be asked behind it.
    case stale
    /// The origin is asked without a condition.
    case asks
    /// The origin is asked to confirm what is stored.
    case confirms
    /// This status, without a word to the origin.
    case refused(Int)
  }

  /// The words of docs/CACHING.md.
  var rule: String
  var method = "GET"
  /// Fields of the first request, with CRLF.
  var first = ""
  var status = 200
  /// Fields of the origin's first answer.
  var answer: [String] = []
  var second = ""
  var expect: Second

  init(
    _ rule: String, _ answer: [String] = [], status: Int = 200, method: String = "GET",
    first: String = "", second: String = "", _ expect: Second
  ) {
    self.rule = rule
    self.answer = answer
    self.status = status
    self.method = method
    self.first = first
    self.second = second
    self.expect = expect
  }

  /// Drives every row through one daemon, each on a path of its own.
  static func run(_ rows: [CacheRow], _ options: String = "") throws {
    var answers: [String: [String]] = [:]
    for (index, row) in rows.enumerated() {
      answers["/\(index)"] = [
        CacheOrigin.answer(row.status, row.answer, "first"),
        CacheOrigin.answer(200, ["Cache-Control: no-store"], "second"),
      ]
    }
    let origin = try CacheOrigin(answers)
    try withDaemon(.cached([origin.address], options)) { daemon in
      for (index, row) in rows.enumerated() { try row.check(daemon, origin, "/\(index)") }
    }
  }

  private func check(_ daemon: DaemonProcess, _ origin: CacheOrigin, _ path: String) throws {
    let before = try daemon.get(path, fields: first, method: method)
    #expect(before.status == status, "\(rule): \(before.head.text)")
    let after = try daemon.get(path, fields: second)
    let asked = origin.asked(path)
    let word = CacheWord(after)
    let hasCondition =
      asked.last?["if-none-match"] != nil || asked.last?["if-modified-since"] != nil
    let note: Comment = "\(rule): \(after.head.text)\n\(asked.last?.text ?? "")"
    switch expect {
    case .hit:
      #expect(asked.count == 1 && word.isHit, note)
      #expect(after["age"].flatMap { Int($0) } != nil, note)
      #expect(after.text == (status == 204 ? "" : "first") && after.status == status, note)
    case .stale: #expect(word.isHit && word.detail == "swr" && after.text == "first", note)
    case .asks:
      #expect(asked.count == 2 && !hasCondition && !word.isHit, note)
      #expect(after.text == "second" && after["age"] == nil, note)
    case .confirms: #expect(asked.count == 2 && hasCondition && !word.isHit, note)
    case .refused(let status): #expect(asked.count == 1 && after.status == status, note)
    }
    if [.hit, .asks, .confirms].contains(expect) { try checkKept(daemon, path) }
  }

  /// On a connection that is kept a hit takes a shorter way, which has to come to the same.
  private func checkKept(_ daemon: DaemonProcess, _ path: String) throws {
    let client = try daemon.connect()
    try client.send("GET \(path) HTTP/1.1\r\nHost: example.com\r\n\(second)\r\n")
    let response = try client.readResponse()
    let isHit = CacheWord(response).isHit && response["age"] != nil
    #expect(isHit == (expect == .hit), "\(rule): \(response.head.text)")
  }
}

/// RFC 9111 §3: what is stored and what is not, seen from both sides of the daemon.
@Suite(.blocking) struct `Cache storing` {
  static let fresh = "Cache-Control: max-age=60"
  static let tag = "ETag: \"v1\""

  @Test func `follows what the response says of itself`() throws {
    try CacheRow.run([
      CacheRow("a stated lifetime is stored", [Self.fresh], .hit),
      CacheRow("s-maxage", ["Cache-Control: s-maxage=60"], .hit),
      CacheRow("Expires", ["Expires: Fri, 31 Dec 2100 23:59:59 GMT"], .hit),
      CacheRow("no lifetime, no validator", [], .asks),
      CacheRow("public alone gives no lifetime", ["Cache-Control: public"], .asks),
      CacheRow("no-store", ["Cache-Control: no-store, max-age=60"], .asks),
      CacheRow(
        "no-store in another line and case", [Self.fresh, "cache-control: NO-Store"], .asks),
      CacheRow(
        "no-store as the name of a longer one", ["Cache-Control: no-storex, max-age=9"], .hit),
      CacheRow("private", ["Cache-Control: private, max-age=60"], .asks),
      CacheRow("private with a field", ["Cache-Control: private=\"x\", max-age=60"], .asks),
      CacheRow(
        "a quoted comma splits nothing", ["Cache-Control: a=\"b, no-store, c\", max-age=9"],
        .hit),
      CacheRow("a lifetime in quotes", ["Cache-Control: max-age=\"60\""], .hit),
      CacheRow("max-age that is no number", ["Cache-Control: max-age=x", Self.tag], .confirms),
      CacheRow("Expires that is no date", ["Expires: 0"], .asks),
      CacheRow("max-age before Expires", [Self.fresh, "Expires: 0"], .hit),
      CacheRow("s-maxage before max-age", ["Cache-Control: max-age=60, s-maxage=0"], .asks),
      CacheRow("of several lifetimes the least", ["Cache-Control: max-age=60, max-age=0"], .asks),
      CacheRow("seconds that overflow", ["Cache-Control: max-age=99999999999999999999"], .hit),
      CacheRow("Pragma means nothing", [Self.fresh, "Pragma: no-cache"], .hit),
      CacheRow("Set-Cookie", [Self.fresh, "Set-Cookie: a=b"], .asks),
      CacheRow("Vary: *", [Self.fresh, "Vary: *"], .asks),
      CacheRow("Vary: * among others", [Self.fresh, "Vary: Accept, *"], .asks),
      CacheRow("must-revalidate while fresh", ["Cache-Control: max-age=60, must-revalidate"], .hit),
      CacheRow(
        "no-cache beside a lifetime", ["Cache-Control: no-cache, max-age=60", Self.tag],
        .confirms),
      CacheRow("no-cache with a validator", ["Cache-Control: no-cache", Self.tag], .confirms),
      CacheRow(
        "no-cache with a date", ["Cache-Control: no-cache", "Last-Modified: \(Self.past)"],
        .confirms),
      CacheRow(
        "no-cache with a field", ["Cache-Control: no-cache=\"x\", max-age=60", Self.tag],
        .confirms),
      CacheRow("no-cache without a validator", ["Cache-Control: no-cache, max-age=60"], .asks),
      CacheRow("an age beyond the lifetime", [Self.fresh, "Age: 61"], .asks),
      CacheRow("an age that is no number", [Self.fresh, "Age: x"], .hit),
      CacheRow("of several ages the first", [Self.fresh, "Age: 1, 99"], .hit),
      CacheRow("a Date long ago counts as age", [Self.fresh, "Date: \(Self.past)"], .asks),
    ])
  }

  static let past = "Wed, 01 Jan 2020 00:00:00 GMT"

  @Test func `follows the status`() throws {
    var rows = [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 451].map {
      CacheRow("\($0) with a lifetime", [Self.fresh], status: $0, .hit)
    }
    rows += [500, 501, 502, 503, 504].map {
      CacheRow("\($0) with a lifetime", [Self.fresh], status: $0, .asks)
    }
    rows += [
      CacheRow(
        "206", [Self.fresh, "Content-Range: bytes 0-4/9"], status: 206,
        first: "Range: bytes=0-4\r\n", .asks),
      CacheRow(
        "must-understand, known", ["Cache-Control: max-age=9, no-store, must-understand"],
        .hit),
      CacheRow(
        "must-understand, unknown", ["Cache-Control: max-age=9, must-understand"],
        status: 299, .asks),
      CacheRow("an unknown status with a lifetime", [Self.fresh], status: 299, .hit),
      CacheRow("404 without a lifetime", [], status: 404, .asks),
    ]
    try CacheRow.run(rows)
  }

  @Test func `follows the request`() throws {
    let authorization = "Authorization: Basic eDp5\r\n"
    try CacheRow.run([
      CacheRow("Authorization", [Self.fresh], first: authorization, .asks),
      CacheRow(
        "Authorization, public", ["Cache-Control: public, max-age=60"],
        first: authorization, .hit),
      CacheRow(
        "Authorization, s-maxage", ["Cache-Control: s-maxage=60"], first: authorization,
        .hit),
      CacheRow(
        "Authorization, must-revalidate", ["Cache-Control: max-age=60, must-revalidate"],
        first: authorization, .hit),
      CacheRow(
        "no-store of the request", [Self.fresh], first: "Cache-Control: no-store\r\n",
        .asks),
      CacheRow("If-Match", [Self.fresh, Self.tag], first: "If-Match: \"v1\"\r\n", .asks),
      CacheRow(
        "If-Unmodified-Since", [Self.fresh],
        first: "If-Unmodified-Since: \(Self.past)\r\n", .asks),
      CacheRow("POST", [Self.fresh], method: "POST", .asks),
      CacheRow("PUT", [Self.fresh], method: "PUT", .asks),
      CacheRow("a method nobody knows", [Self.fresh], method: "BREW", .asks),
      CacheRow("OPTIONS", [Self.fresh], method: "OPTIONS", .asks),
      CacheRow(
        "only-if-cached, and it is", [Self.fresh],
        second: "Cache-Control: only-if-cached\r\n", .hit),
      CacheRow(
        "only-if-cached, and it is not", [],
        second: "Cache-Control: only-if-cached\r\n", .refused(504)),
      CacheRow(
        "no-cache of strangers is not obeyed", [Self.fresh],
        second: "Cache-Control: no-cache\r\n", .hit),
      CacheRow("Pragma of a request", [Self.fresh], second: "Pragma: no-cache\r\n", .hit),
      CacheRow(
        "max-age of strangers", [Self.fresh, "Age: 9"],
        second: "Cache-Control: max-age=1\r\n", .hit),
    ])
  }

  @Test func `obeys the directives of requests where the route says so`() throws {
    func asking(_ directive: String) -> String { "Cache-Control: \(directive)\r\n" }
    let aged = [Self.fresh, "Age: 10", Self.tag]
    try CacheRow.run(
      [
        CacheRow("no-cache", aged, second: asking("no-cache"), .confirms),
        CacheRow("max-age below the age", aged, second: asking("max-age=5"), .confirms),
        CacheRow("max-age above the age", aged, second: asking("max-age=30"), .hit),
        CacheRow("min-fresh beyond what is left", aged, second: asking("min-fresh=55"), .confirms),
        CacheRow("min-fresh within it", aged, second: asking("min-fresh=20"), .hit),
        CacheRow(
          "immutable against max-age",
          ["Cache-Control: max-age=60, immutable", "Age: 10", Self.tag],
          second: asking("max-age=5"), .hit),
        CacheRow(
          "immutable beyond its lifetime",
          ["Cache-Control: max-age=5, immutable", "Age: 10", Self.tag],
          second: asking("max-age=5"), .confirms),
        CacheRow(
          "max-stale beyond the staleness",
          ["Cache-Control: max-age=5", "Age: 10", Self.tag],
          second: asking("max-stale=60"), .stale),
        CacheRow(
          "max-stale below it",
          ["Cache-Control: max-age=5", "Age: 10", Self.tag], second: asking("max-stale=2"),
          .confirms),
        CacheRow(
          "max-stale against must-revalidate",
          ["Cache-Control: max-age=5, must-revalidate", "Age: 10", Self.tag],
          second: asking("max-stale=60"), .confirms),
        CacheRow(
          "max-stale against s-maxage",
          ["Cache-Control: s-maxage=5", "Age: 10", Self.tag],
          second: asking("max-stale=60"), .confirms),
      ], "request-directives=on")
  }

  @Test func `takes the first targeted field that is valid and nothing beside it`() throws {
    let none = "Cache-Control: no-store"
    try CacheRow.run([
      CacheRow("CDN-Cache-Control instead", [none, "CDN-Cache-Control: max-age=60"], .hit),
      CacheRow("it forbids, too", [Self.fresh, "CDN-Cache-Control: no-store"], .asks),
      CacheRow(
        "Weir-Cache-Control first",
        ["Weir-Cache-Control: max-age=60", "CDN-Cache-Control: no-store"], .hit),
      CacheRow(
        "one that does not parse is void", [none, "CDN-Cache-Control: max-age=60, ="],
        .asks),
      CacheRow("an empty one is void", [none, "CDN-Cache-Control: "], .asks),
      CacheRow(
        "what stands beside an empty one counts", [Self.fresh, "CDN-Cache-Control: "], .hit),
      CacheRow(
        "Expires does not count beside it",
        ["Expires: Fri, 31 Dec 2100 23:59:59 GMT", "CDN-Cache-Control: public"], .asks),
      CacheRow("parameters are ignored", [none, "CDN-Cache-Control: max-age=60;a=b"], .hit),
      CacheRow("the last of a name", [none, "CDN-Cache-Control: max-age=0, max-age=60"], .hit),
      CacheRow(
        "Surrogate-Control is not obeyed unasked",
        [none, "Surrogate-Control: max-age=60"], .asks),
    ])
  }

  @Test func `takes lifetimes of the route where it has them`() throws {
    try CacheRow.run(
      [
        CacheRow("ttl where nothing is said", [], .hit),
        CacheRow("the response's word", ["Cache-Control: max-age=0"], .asks),
        CacheRow("no-store against ttl", ["Cache-Control: no-store"], .asks),
        CacheRow("ttl is not for errors", [], status: 410, .asks),
        CacheRow("status-ttl", [], status: 404, .hit),
        CacheRow("status-ttl of a server error", [], status: 503, .hit),
        CacheRow("an error that is not named", [Self.fresh], status: 500, .asks),
      ], "ttl=60s status-ttl=404:30s,503:9s")
    try CacheRow.run(
      [
        CacheRow("ttl-overrides", ["Cache-Control: max-age=0"], .hit),
        CacheRow("not no-store", ["Cache-Control: no-store"], .asks),
        CacheRow("not private", ["Cache-Control: private"], .asks),
        CacheRow("not no-cache", ["Cache-Control: no-cache", Self.tag], .confirms),
        CacheRow("not cookies", ["Set-Cookie: a=b"], .asks),
      ], "ttl=60s ttl-overrides=on")
    try CacheRow.run(
      [
        CacheRow("heuristic", ["Last-Modified: \(Self.past)"], .hit),
        CacheRow(
          "heuristic of a status that allows it", ["Last-Modified: \(Self.past)"],
          status: 404, .hit),
        CacheRow("of one that does not", ["Last-Modified: \(Self.past)"], status: 302, .asks),
        CacheRow(
          "of one that does not, but public",
          ["Last-Modified: \(Self.past)", "Cache-Control: public"], status: 302, .hit),
        CacheRow(
          "a stated lifetime comes first",
          ["Last-Modified: \(Self.past)", "Cache-Control: max-age=0"], .confirms),
        CacheRow("without Last-Modified", [], .asks),
      ], "heuristic=10%")
    try CacheRow.run(
      [
        CacheRow("store-set-cookie", [Self.fresh, "Set-Cookie: a=b"], .hit)
      ], "store-set-cookie=on")
    try CacheRow.run(
      [
        CacheRow(
          "surrogate-control",
          ["Cache-Control: no-store", "Surrogate-Control: max-age=60"], .hit)
      ], "surrogate-control=on")
  }

  @Test func `keeps every field that is the client's, and none that is not`() throws {
    let origin = try CacheOrigin([
      "/a": [
        CacheOrigin.answer(
          200,
          [
            Self.fresh, "X-Unknown: Ab,  c", "Connection: X-Hop", "X-Hop: 1",
            "Proxy-Authenticate: Basic", "Proxy-Authentication-Info: x",
            "Proxy-Authorization: Basic x", "Keep-Alive: timeout=9",
            "Cache-Tag: news", "Surrogate-Key: a b", "CDN-Cache-Control: max-age=50",
            "Cache-Status: inner; hit", "Content-Type: text/plain",
          ])
      ]
    ])
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/a")
      let hit = try daemon.get("/a")
      #expect(CacheWord(hit).isHit)
      #expect(hit["x-unknown"] == "Ab,  c" && hit["content-type"] == "text/plain")
      // RFC 9111 §5.2 and RFC 9213 §2.2: they pass on.
      #expect(hit["cache-control"] == "max-age=60")
      #expect(hit["cdn-cache-control"] == "max-age=50")
      // RFC 9211 §2: the caches nearer to the origin come first.
      #expect(hit.head.all("cache-status").first == "inner; hit")
      #expect(hit.head.all("cache-status").last?.hasPrefix("weir-test; hit; ttl=") == true)
      // RFC 9110 §6.6.1: the origin said no Date.
      #expect(hit["date"] != nil)
      for name in [
        "x-hop", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
        "keep-alive", "cache-tag", "surrogate-key",
      ] { #expect(hit.head.all(name).isEmpty, "\(name)") }
    }
  }
}
