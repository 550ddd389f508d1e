import Foundation
import TestSupport
import Testing

/// RFC 9110 §14: parts of what is stored.
@Suite(.blocking) struct `Cache ranges` {
  private static let length = 200_000
  private static let modified = "Sat, 01 Jan 2022 00:00:00 GMT"

  private func origin() throws -> CacheOrigin {
    try CacheOrigin { head, _ in
      let fields = [
        "Cache-Control: max-age=60", "ETag: \"v1\"", "Last-Modified: \(Self.modified)",
        "Content-Type: text/x-pattern", "Content-Length: \(Self.length)",
      ]
      guard head.target == "/big" else {
        return .text(CacheOrigin.answer(200, Array(fields.dropLast()), "0123456789"))
      }
      let text = (["HTTP/1.1 200 OK"] + fields).joined(separator: "\r\n") + "\r\n\r\n"
      return .octets(Array(text.utf8) + Pattern.prefix(Self.length))
    }
  }

  @Test func `are cut from the whole that the first of them fetched`() throws {
    let origin = try origin()
    let all = Pattern.prefix(Self.length)
    try withDaemon(.cached([origin.address])) { daemon in
      let first = try daemon.get("/big", fields: "Range: bytes=5-9\r\n")
      #expect(try #require(origin.requests.first).head["range"] == nil)
      #expect(first.status == 206 || first.body == all)
      try daemon.waitUntilStored("/big")
      let rows: [(String, Range<Int>)] = [
        ("0-0", 0..<1), ("0-", 0..<Self.length), ("5-9", 5..<10),
        ("65535-65537", 65_535..<65_538), ("199999-", 199_999..<200_000),
        ("-1", 199_999..<200_000), ("-70000", 130_000..<200_000),
        ("100000-999999999", 100_000..<200_000), ("-999999999", 0..<200_000),
      ]
      for (range, part) in rows {
        let response = try daemon.get("/big", fields: "Range: bytes=\(range)\r\n")
        #expect(response.status == 206, "\(range)")
        #expect(response.body == Array(all[part]), "\(range)")
        #expect(
          response["content-range"]
            == "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(Self.length)", "\(range)")
        #expect(response["content-length"] == "\(part.count)" && response["age"] != nil)
        #expect(CacheWord(response).isHit && response["etag"] == "\"v1\"")
      }
      #expect(origin.requests.count == 1)
    }
  }

  @Test func `that say nothing useful get everything, or 416`() throws {
    let origin = try origin()
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/a")
      let whole = [
        "Range: octets=0-1\r\n", "Range: bytes=3-1\r\n", "Range: bytes=x-1\r\n",
        "Range: bytes=\r\n", "Range: bytes=0-0\r\nRange: bytes=1-1\r\n",
        // Overlapping, or more than eight.
        "Range: bytes=0-5,3-7\r\n", "Range: bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8\r\n",
        // Two, with more than the object around them.
        "Range: bytes=0-0,2-2\r\n",
      ]
      for fields in whole {
        let response = try daemon.get("/a", fields: fields)
        #expect(response.status == 200 && response.text == "0123456789", "\(fields)")
      }
      // The same where parts would be shorter than the whole.
      _ = try daemon.get("/big")
      try daemon.waitUntilStored("/big")
      for range in ["0-9,5-19", "0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16"] {
        let response = try daemon.get("/big", fields: "Range: bytes=\(range)\r\n")
        #expect(response.status == 200 && response.body.count == Self.length, "\(range)")
      }
      let beyond = try daemon.get("/a", fields: "Range: bytes=10-\r\n")
      #expect(beyond.status == 416 && beyond["content-range"] == "bytes */10")
      let nothing = try daemon.get("/a", fields: "Range: bytes=-0\r\n")
      #expect(nothing.status == 416)
      // RFC 9110 §14.2: of a HEAD a range means nothing.
      let head = try daemon.get("/a", fields: "Range: bytes=0-1\r\n", method: "HEAD")
      #expect(head.status == 200 && head["content-length"] == "10")
      // RFC 9110 §13.2.2: what has not changed has no parts.
      let same = try daemon.get("/a", fields: "Range: bytes=0-1\r\nIf-None-Match: \"v1\"\r\n")
      #expect(same.status == 304)
      #expect(origin.requests.count == 2)
    }
  }

  @Test func `hold only for the version that If-Range names`() throws {
    let origin = try origin()
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/a")
      let rows: [(String, Int)] = [
        ("\"v1\"", 206), ("\"v2\"", 200), ("W/\"v1\"", 200), (Self.modified, 206),
        ("Sun, 02 Jan 2022 00:00:00 GMT", 200), ("Fri, 31 Dec 2021 23:59:59 GMT", 200),
      ]
      for (value, status) in rows {
        let response = try daemon.get(
          "/a", fields: "Range: bytes=2-4\r\nIf-Range: \(value)\r\n")
        #expect(response.status == status, "\(value)")
        #expect(response.text == (status == 206 ? "234" : "0123456789"), "\(value)")
      }
      let kept = try daemon.connect()
      try kept.send("GET /a HTTP/1.1\r\nHost: example.com\r\nRange: bytes=2-4\r\n\r\n")
      #expect(try kept.readResponse().text == "234")
    }
  }

  @Test func `of what is still coming wait for their own octets, and are those`() throws {
    let gate = Gate()
    let all = Pattern.prefix(Self.length)
    let origin = try CacheOrigin { _, _ in
      .byHand { connection in
        try connection.send(
          "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: \(Self.length)\r\n\r\n")
        try connection.send(Array(all[..<50_000]))
        try gate.pass()
        try connection.send(Array(all[50_000...]))
      }
    }
    try withDaemon(.cached([origin.address], workers: 2)) { daemon in
      let first = try daemon.connect()
      try first.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try first.hasMoreWithin(20))
      func ask(_ range: String) throws -> WireConnection {
        let client = try daemon.connect()
        try client.send("GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=\(range)\r\n\r\n")
        return client
      }
      // What has come is answered at once.
      let early = try ask("100-199").readResponse()
      #expect(early.status == 206 && early.body == Array(all[100..<200]))
      let rows = [
        (100_000, 100_010), (49_990, 50_010), (199_999, 200_000), (150_000, 200_000), (0, 200_000),
      ]
      let waiting = try rows.map { try ask("\($0.0)-\($0.1 - 1)") }
      let several = try ask("150000-150009,0-9")
      for client in waiting { #expect(try client.readHead().status == 206) }
      gate.open()
      for (client, row) in zip(waiting, rows) {
        #expect(try client.read(row.1 - row.0) == Array(all[row.0..<row.1]), "\(row)")
      }
      let whole = try several.readResponse()
      #expect(whole.status == 200 ? whole.body == all : whole.status == 206)
      #expect(try first.readResponse().body == all)
      #expect(origin.requests.count == 1)
    }
  }

  @Test(arguments: [false, true])
  func `several come as parts with the heads of each`(overHTTP2: Bool) throws {
    let origin = try origin()
    let all = Pattern.prefix(Self.length)
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/big", host: "a")
      try daemon.waitUntilStored("/big", host: "a")
      let range = "bytes=0-9,70000-70099,-5"
      let body: [UInt8]
      let type: String
      if overHTTP2 {
        let client = try HTTP2Connection(daemon.connect())
        try client.request(1, "GET", "/big", [("range", range)])
        let answer = try client.answer(1)
        #expect(answer.status == 206)
        (body, type) = (answer.content, answer["content-type"] ?? "")
      } else {
        let response = try daemon.get("/big", host: "a", fields: "Range: \(range)\r\n")
        #expect(response.status == 206 && CacheWord(response).isHit)
        (body, type) = (response.body, response["content-type"] ?? "")
      }
      let boundary = try #require(type.split(separator: "=").last.map(String.init), "\(type)")
      #expect(type.hasPrefix("multipart/byteranges; boundary="))
      var expected: [UInt8] = []
      for part in [0..<10, 70_000..<70_100, 199_995..<200_000] {
        expected += Array(
          """
          \r\n--\(boundary)\r\nContent-Type: text/x-pattern\r\n\
          Content-Range: bytes \(part.lowerBound)-\(part.upperBound - 1)/\(Self.length)\r\n\r\n
          """.utf8)
        expected += all[part]
      }
      expected += Array("\r\n--\(boundary)--\r\n".utf8)
      // A line end before the first boundary is allowed, not needed (RFC 2046 §5.1.1).
      let shift = body.starts(with: [13, 10]) ? 0 : 2
      #expect(body == Array(expected.dropFirst(shift)), "\(String(decoding: body, as: UTF8.self))")
    }
    #expect(origin.requests.count == 1)
  }
}
