import Foundation
import TestSupport
import Testing

/// RFC 9111 §4.2.4 and RFC 5861: what is served although it is stale, and until when. An origin's
/// `Age` makes a response as old as a row needs, so that only ends of windows take real time.
@Suite(.blocking) struct `Cache staleness` {
  private static let tag = "ETag: \"v1\""

  private enum Failure: String, CaseIterable {
    case refuses, closes, answers500, answers502, answers503, answers504, babbles
  }

  /// Answers well at first, then fails in the way that the path names.
  private static func answer(_ head: WireHead, _ before: Int, _ control: String)
    -> CacheOrigin.Answer
  {
    if before == 0 {
      return .text(
        CacheOrigin.answer(200, ["Cache-Control: \(control)", "Age: 20", Self.tag], "old"))
    }
    switch Failure(rawValue: String(head.target.dropFirst())) {
    case .answers500: return .text(CacheOrigin.answer(500))
    case .answers502: return .text(CacheOrigin.answer(502))
    case .answers503: return .text(CacheOrigin.answer(503))
    case .answers504: return .text(CacheOrigin.answer(504))
    case .babbles: return .byHand { try $0.send("HTTP/9 what\r\n\r\n") }
    case .closes, .refuses, nil: return .byHand { _ in }
    }
  }

  @Test func `stale-if-error serves on every way to fail, and only where it is said`() throws {
    let rows: [(String, String, Bool)] = [
      ("max-age=10, stale-if-error=60", "", true), ("max-age=10", "", false),
      ("max-age=10", "stale-if-error=60s", true),
      ("max-age=10, stale-if-error=0", "stale-if-error=60s", false),
      ("max-age=10, stale-if-error=5", "", false),
      ("max-age=10, must-revalidate, stale-if-error=60", "", false),
      ("max-age=10, must-revalidate", "stale-if-error=60s", false),
      ("max-age=10, proxy-revalidate", "stale-if-error=60s", false),
      ("s-maxage=10", "stale-if-error=60s", false),
      ("s-maxage=10, stale-if-error=60", "", true),
      ("max-age=10, no-cache", "stale-if-error=60s", false),
    ]
    for (control, options, isServed) in rows {
      let origin = try CacheOrigin { head, before in Self.answer(head, before, control) }
      var configuration = DaemonConfiguration.cached([origin.address], options)
      configuration.upstream = "circuit-breaker off"
      try withDaemon(configuration) { daemon in
        for failure in Failure.allCases where failure != .refuses {
          let path = "/\(failure.rawValue)"
          #expect(try daemon.get(path).text == "old")
          let response = try daemon.get(path)
          let note: Comment = "\(control) \(options) \(failure): \(response.head.text)"
          if isServed {
            #expect(response.status == 200 && response.text == "old", note)
            #expect(CacheWord(response).detail == "sie" && CacheWord(response).isHit, note)
            #expect((CacheWord(response).ttl ?? 0) <= -10, note)
            #expect((response["age"].flatMap { Int($0) } ?? 0) >= 20, note)
          } else {
            #expect((500...504).contains(response.status) && response.text != "old", note)
          }
        }
        origin.stop()
      }
    }
  }

  @Test func `who may not have the copy gets the error that it stands in for, as it is`() throws {
    let origin = try CacheOrigin { _, before in
      guard before > 0 else {
        return .text(
          CacheOrigin.answer(200, ["Cache-Control: max-age=10, stale-if-error=60"], "old"))
      }
      return .text(CacheOrigin.answer(503, ["X-Reason: maintenance"], "busy"))
    }
    var configuration = DaemonConfiguration.cached([origin.address], "request-directives=on")
    configuration.upstream = "circuit-breaker off\nretry off"
    try withDaemon(configuration) { daemon in
      _ = try daemon.get("/a")
      let strict = try daemon.get("/a", fields: "Cache-Control: no-cache\r\n")
      #expect(strict.status == 503 && strict.text == "busy", "\(strict.head.text)")
      #expect(strict["x-reason"] == "maintenance" && strict["proxy-status"] == nil)
      #expect(CacheWord(strict).forward == "stale", "\(strict.head.text)")
      let lenient = try daemon.get("/a")
      #expect(lenient.text == "old" && CacheWord(lenient).isHit)
    }
  }

  @Test func `a dead origin: stale to the end of the window, exactly, then the error`() throws {
    // It came 20 s old, so the window ends 2 s after it was stored.
    let origin = try CacheOrigin([
      "/a": [
        CacheOrigin.answer(
          200, ["Cache-Control: max-age=10, stale-if-error=12", "Age: 20", "Connection: close"])
      ],
      "/b": [
        CacheOrigin.answer(
          200,
          [
            "Cache-Control: max-age=1, must-revalidate, stale-if-error=60", Self.tag,
            "Connection: close",
          ])
      ],
    ])
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.upstream = "circuit-breaker off\nretry off"
    try withDaemon(configuration) { daemon in
      _ = try daemon.get("/b")
      let before = Deadline.nowNs()
      _ = try daemon.get("/a")
      let after = Deadline.nowNs()
      origin.stop()
      var served = 0
      var refused = 0
      let end = after + 3_000_000_000
      while Deadline.nowNs() < end {
        let asked = Deadline.nowNs()
        let response = try daemon.get("/a")
        let answered = Deadline.nowNs()
        if response.status == 200, CacheWord(response).detail == "sie" {
          served += 1
          #expect(asked < after + 2_000_000_000, "stale beyond the window")
        } else {
          refused += 1
          #expect(answered >= before + 2_000_000_000, "refused within the window")
          #expect([502, 503, 504].contains(response.status))
        }
      }
      #expect(served > 0 && refused > 0)
      // must-revalidate: stale by now, and never served.
      #expect(try [502, 504].contains(daemon.get("/b").status))
    }
  }

  @Test func `stale-while-revalidate asks once behind the back of all`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { _, before in
      guard before > 0 else {
        return .text(
          CacheOrigin.answer(
            200, ["Cache-Control: max-age=10, stale-while-revalidate=60", "Age: 20", Self.tag],
            "old"))
      }
      try gate.pass()
      return .text(CacheOrigin.answer(200, ["Cache-Control: max-age=60"], "new"))
    }
    try withDaemon(.cached([origin.address], workers: 2)) { daemon in
      _ = try daemon.get("/a")
      let port = daemon.port
      let stale = try together(40) { _ in
        let client = try WireConnection.connect(port: port)
        try client.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n")
        return try client.readResponse()
      }
      for response in stale {
        #expect(response.text == "old" && CacheWord(response).detail == "swr")
        #expect((CacheWord(response).ttl ?? 0) < 0)
      }
      #expect(origin.wait { $0.count == 2 })
      #expect(origin.requests.last?.head["if-none-match"] == "\"v1\"")
      gate.open()
      let isNew = try Poll.until(.patient) { try daemon.get("/a").text == "new" }
      #expect(isNew && origin.requests.count == 2)
      #expect(try CacheWord(daemon.get("/a")).isHit)
    }
  }

  @Test func `stale-while-revalidate ends exactly where its window does`() throws {
    let origin = try CacheOrigin { head, before in
      guard before > 0 else {
        return .text(
          CacheOrigin.answer(
            200, ["Cache-Control: max-age=10, stale-while-revalidate=12", "Age: 20"], "old"))
      }
      // The refresh fails, so the copy stays what it is.
      return .text(CacheOrigin.answer(503, [], "failed"))
    }
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.upstream = "circuit-breaker off\nretry off"
    try withDaemon(configuration) { daemon in
      let before = Deadline.nowNs()
      _ = try daemon.get("/a")
      let after = Deadline.nowNs()
      var kinds: Set<Int> = []
      while Deadline.nowNs() < after + 2_500_000_000 {
        let asked = Deadline.nowNs()
        let response = try daemon.get("/a")
        kinds.insert(response.status)
        if response.status == 200 {
          #expect(asked < after + 2_000_000_000)
        } else {
          #expect(Deadline.nowNs() >= before + 2_000_000_000)
        }
      }
      #expect(kinds == [200, 503])
    }
  }

  @Test func `a lifetime ends exactly at its end`() throws {
    let origin = try CacheOrigin { _, before in
      .text(CacheOrigin.answer(200, ["Cache-Control: max-age=1"], "\(before)"))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      let before = Deadline.nowNs()
      _ = try daemon.get("/a")
      let after = Deadline.nowNs()
      var asked = before
      while true {
        asked = Deadline.nowNs()
        let response = try daemon.get("/a")
        if response.text != "0" { break }
        #expect(asked < after + 1_000_000_000, "fresh beyond its lifetime")
        #expect(CacheWord(response).isHit)
      }
      #expect(Deadline.nowNs() >= before + 1_000_000_000, "asked again within its lifetime")
    }
  }
}
