import Foundation
import TestSupport
import Testing

/// RFC 9111 §4.3: clients that ask whether theirs is still good, and the daemon asking the origin.
@Suite(.blocking) struct `Cache validation` {
  private static let fresh = "Cache-Control: max-age=60"
  private static let modified = "Sat, 01 Jan 2022 00:00:00 GMT"
  private static let earlier = "Fri, 31 Dec 2021 23:59:59 GMT"
  private static let later = "Sun, 02 Jan 2022 00:00:00 GMT"

  @Test func `answers conditions of clients from what is stored`() throws {
    let origin = try CacheOrigin([
      "/both": [
        CacheOrigin.answer(
          200,
          [
            Self.fresh, "ETag: \"v1\"", "Last-Modified: \(Self.modified)", "Vary: Accept",
            "Content-Type: text/plain", "Content-Location: /x",
          ])
      ],
      "/weak": [CacheOrigin.answer(200, [Self.fresh, "ETag: W/\"v1\""])],
      "/date": [CacheOrigin.answer(200, [Self.fresh])],
      "/gone": [CacheOrigin.answer(404, [Self.fresh, "ETag: \"v1\""])],
    ])
    let none = "If-None-Match: "
    let since = "If-Modified-Since: "
    let rows: [(String, String, Int)] = [
      ("/both", "\(none)\"v1\"\r\n", 304), ("/both", "\(none)W/\"v1\"\r\n", 304),
      ("/both", "\(none)\"v0\", \"v1\"\r\n", 304),
      ("/both", "\(none)\"v0\"\r\n\(none)\"v1\"\r\n", 304),
      ("/both", "\(none)*\r\n", 304), ("/both", "\(none)\"v2\"\r\n", 200),
      ("/both", "\(none)v1\r\n", 200), ("/weak", "\(none)\"v1\"\r\n", 304),
      ("/both", "\(since)\(Self.modified)\r\n", 304), ("/both", "\(since)\(Self.later)\r\n", 304),
      ("/both", "\(since)\(Self.earlier)\r\n", 200), ("/both", "\(since)yesterday\r\n", 200),
      // RFC 9110 §13.2.2: the tag decides, whatever the date says.
      ("/both", "\(none)\"v2\"\r\n\(since)\(Self.later)\r\n", 200),
      ("/both", "\(none)\"v1\"\r\n\(since)\(Self.earlier)\r\n", 304),
      // Without Last-Modified the date of the response stands in.
      ("/date", "\(since)Fri, 31 Dec 2100 23:59:59 GMT\r\n", 304),
      ("/date", "\(since)\(Self.later)\r\n", 200),
      ("/gone", "\(none)\"v1\"\r\n", 404),
    ]
    try withDaemon(.cached([origin.address])) { daemon in
      for path in ["/both", "/weak", "/date", "/gone"] { _ = try daemon.get(path) }
      for (path, fields, status) in rows {
        for method in ["GET", "HEAD"] {
          let response = try daemon.get(path, fields: fields, method: method)
          #expect(response.status == status, "\(path) \(fields)")
          #expect(CacheWord(response).isHit && response["age"] != nil, "\(fields)")
        }
        // Where a connection is kept, plain requests take a shorter way; these may not.
        let client = try daemon.connect()
        try client.send("GET \(path) HTTP/1.1\r\nHost: example.com\r\n\(fields)\r\n")
        #expect(try client.readResponse().status == status, "\(path) \(fields)")
      }
      let bare = try daemon.get("/both", fields: "\(none)\"v1\"\r\n")
      // RFC 9110 §15.4.5: what would have told a 200 apart, and nothing that describes content.
      #expect(bare["etag"] == "\"v1\"" && bare["vary"] == "Accept" && bare["date"] != nil)
      #expect(bare["cache-control"] == "max-age=60" && bare["content-location"] == "/x")
      #expect(bare["content-type"] == nil && bare["content-length"] == nil)
      #expect(origin.requests.count == 4)
    }
  }

  @Test func `sends its own validators upstream, never the client's`() throws {
    let stale = ["Cache-Control: max-age=0", "ETag: \"v1\"", "Last-Modified: \(Self.modified)"]
    let origin = try CacheOrigin([
      "/a": [
        CacheOrigin.answer(200, stale, "one"),
        CacheOrigin.answer(
          304,
          [
            Self.fresh, "ETag: \"v1\"", "X-New: yes", "Content-Encoding: br",
            "Content-Range: bytes 0-1/9", "Content-Length: 9",
          ]),
      ],
      "/b": [CacheOrigin.answer(200, stale, "one"), CacheOrigin.answer(200, [Self.fresh], "two")],
      "/c": [CacheOrigin.answer(200, [Self.fresh], "all of it")],
    ])
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/a")
      let renewed = try daemon.get("/a", fields: "If-None-Match: \"mine\"\r\n")
      let asked = try #require(origin.asked("/a").last)
      #expect(asked["if-none-match"] == "\"v1\"" && asked["if-modified-since"] == Self.modified)
      let word = CacheWord(renewed)
      #expect(renewed.status == 200 && renewed.text == "one")
      #expect(word.forward == "stale" && word.forwardStatus == 304, "\(word.text)")
      // RFC 9111 §3.2: the fields are the 304's, but for those of the content.
      let hit = try daemon.get("/a")
      #expect(CacheWord(hit).isHit && hit.text == "one" && hit["x-new"] == "yes")
      #expect(hit["content-encoding"] == nil && hit["content-length"] == "3")
      #expect(hit["content-range"] == nil && hit.head.all("content-length").count == 1)
      #expect(hit["last-modified"] == Self.modified && hit["cache-control"] == "max-age=60")
      #expect(origin.asked("/a").count == 2)
      // RFC 9111 §4.3.3: a full answer replaces it.
      _ = try daemon.get("/b")
      #expect(try daemon.get("/b").text == "two")
      let replaced = try daemon.get("/b")
      #expect(replaced.text == "two" && CacheWord(replaced).isHit && replaced["etag"] == nil)
      // A miss fetches all, whatever the client has.
      let miss = try daemon.get(
        "/c", fields: "If-None-Match: \"mine\"\r\nRange: bytes=0-2\r\nIf-Range: \"mine\"\r\n")
      #expect(miss.text == "all of it")
      for name in ["range", "if-none-match", "if-range"] {
        #expect(origin.asked("/c").first?.all(name).isEmpty == true, "\(name)")
      }
    }
  }

  @Test func `gives the client its 304 where the origin has confirmed what the client has`() throws
  {
    let origin = try CacheOrigin([
      "/a": [
        CacheOrigin.answer(200, ["Cache-Control: no-cache", "ETag: \"v1\""], "one"),
        CacheOrigin.answer(304, ["ETag: \"v1\""]),
      ]
    ])
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/a")
      let response = try daemon.get("/a", fields: "If-None-Match: \"v1\"\r\n")
      #expect(response.status == 304 && CacheWord(response).forwardStatus == 304)
      #expect(origin.asked("/a").count == 2)
    }
  }

  @Test func `believes no 304 that is about something else`() throws {
    let stale = "Cache-Control: max-age=0"
    let dates = [Self.earlier, Self.later].map { "Last-Modified: \($0)" }
    let origin = try CacheOrigin([
      "/tag": [
        CacheOrigin.answer(200, [stale, "ETag: \"v1\""], "one"),
        CacheOrigin.answer(304, ["ETag: \"v2\""]),
        CacheOrigin.answer(200, [Self.fresh, "ETag: \"v2\""], "two"),
      ],
      "/date": [
        CacheOrigin.answer(200, [stale, dates[0]], "one"), CacheOrigin.answer(304, [dates[1]]),
        CacheOrigin.answer(200, [Self.fresh, dates[1]], "two"),
      ],
      "/unasked": [CacheOrigin.answer(304, [Self.fresh, "ETag: \"v1\""])],
    ])
    try withDaemon(.cached([origin.address])) { daemon in
      for path in ["/tag", "/date"] {
        _ = try daemon.get(path)
        let response = try daemon.get(path)
        #expect(response.text == "two", "\(path): \(response.head.text)")
        let last = origin.asked(path).last
        #expect(last?["if-none-match"] == nil && last?["if-modified-since"] == nil)
      }
      // Nobody asked whether anything had changed.
      #expect(try daemon.get("/unasked").status == 502)
    }
  }

  @Test func `confirms a variant with that variant's own tag`() throws {
    let origin = try CacheOrigin { head, _ in
      let tag = "\"\(head["x-kind"] ?? "")\""
      if head["if-none-match"] == tag {
        return .text(CacheOrigin.answer(304, ["ETag: \(tag)", "Cache-Control: no-cache"]))
      }
      return .text(
        CacheOrigin.answer(
          200, ["Cache-Control: no-cache", "Vary: X-Kind", "ETag: \(tag)"], "body of \(tag)"))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      for _ in 0..<3 {
        for kind in ["a", "b"] {
          let response = try daemon.get("/v", fields: "X-Kind: \(kind)\r\n")
          #expect(response.text == "body of \"\(kind)\"")
        }
      }
      let tags = origin.requests.map { $0.head["if-none-match"] }
      #expect(tags == [nil, nil, "\"a\"", "\"b\"", "\"a\"", "\"b\""])
    }
  }
}
