import Foundation
import TestSupport
import Testing

/// What ends a stored response's use before its time: unsafe requests (RFC 9111 §4.4), and purges
/// by every way there is.
@Suite(.blocking) struct `Cache invalidation` {
  private static let fresh = "Cache-Control: max-age=60"

  /// Numbers its answers, so that a fetch is told from a hit by its content alone.
  private func origin(_ fields: [String] = []) throws -> CacheOrigin {
    try CacheOrigin { head, before in
      guard head.method == "GET" else {
        let status = Int(head["x-status"] ?? "") ?? 200
        return .text(
          CacheOrigin.answer(
            status,
            ["Location", "Content-Location"].compactMap { name in
              head["x-\(name)"].map { "\(name): \($0)" }
            }, "done"))
      }
      return .text(CacheOrigin.answer(200, [Self.fresh] + fields, "\(before)"))
    }
  }

  @Test func `is done by unsafe requests that succeed`() throws {
    let origin = try origin(["Vary: X-Kind"])
    let rows: [(String, String, Bool)] = [
      ("POST", "", true), ("PUT", "", true), ("DELETE", "", true), ("PATCH", "", true),
      ("BREW", "", true), ("POST", "X-Status: 204\r\n", true),
      ("POST", "X-Status: 303\r\n", true), ("POST", "X-Status: 404\r\n", false),
      ("POST", "X-Status: 500\r\n", false), ("OPTIONS", "", false), ("HEAD", "", false),
      ("GET", "", false),
    ]
    try withDaemon(.cached([origin.address])) { daemon in
      for (index, (method, fields, isVoid)) in rows.enumerated() {
        let path = "/\(index)?q=1"
        for kind in ["a", "b"] { _ = try daemon.get(path, fields: "X-Kind: \(kind)\r\n") }
        let answer = try daemon.get(path, fields: fields + "X-Kind: a\r\n", method: method)
        if ["POST", "PUT", "DELETE", "PATCH", "BREW", "OPTIONS"].contains(method) {
          #expect(CacheWord(answer).forward == "method", "\(answer.head.text)")
        }
        for kind in ["a", "b"] {
          let after = try daemon.get(path, fields: "X-Kind: \(kind)\r\n")
          #expect(CacheWord(after).isHit != isVoid, "\(method) \(fields) \(kind)")
        }
      }
    }
  }

  @Test func `reaches what the answer names, of the same origin only`() throws {
    let origin = try origin()
    let rows: [(String, String, Bool)] = [
      ("X-Location", "/other", true), ("X-Content-Location", "/other", true),
      ("X-Location", "http://example.com/other", true),
      ("X-Location", "http://EXAMPLE.com:80/other", true), ("X-Location", "other", true),
      ("X-Location", "//example.com/other", true),
      ("X-Location", "https://example.com/other", false),
      ("X-Location", "http://example.com:81/other", false),
      ("X-Location", "http://example.org/other", false),
      ("X-Content-Location", "http://example.org/other", false),
    ]
    try withDaemon(.cached([origin.address])) { daemon in
      for (name, value, isVoid) in rows {
        _ = try daemon.get("/other")
        _ = try daemon.get("/other", host: "example.org")
        _ = try daemon.get("/form", fields: "\(name): \(value)\r\n", method: "POST")
        #expect(try CacheWord(daemon.get("/other")).isHit != isVoid, "\(name): \(value)")
        #expect(try CacheWord(daemon.get("/other", host: "example.org")).isHit, "\(value)")
      }
    }
  }

  @Test func `by URL, prefix, tag and everything matches exactly what it says`() throws {
    let origin = try CacheOrigin { head, before in
      let tag = head.target.split(separator: "/").last.map(String.init) ?? ""
      return .text(
        CacheOrigin.answer(
          200, [Self.fresh, "Cache-Tag: all, \(tag)", "Surrogate-Key: k-\(tag) site"],
          "\(before)"))
    }
    let paths = ["/n/a", "/n/b", "/n/ab", "/m/a", "/n"]
    /// Arguments of `weir purge`, and what they remove.
    let rows: [([String], Set<String>)] = [
      (["--url", "http://example.com/n/a"], ["/n/a"]),
      (["--url", "http://EXAMPLE.com:80/n/a", "--url", "http://example.com/n"], ["/n/a", "/n"]),
      (["--url", "https://example.com/n/a"], []), (["--url", "http://example.com/n/a?"], []),
      (["--prefix", "http://example.com/n/"], ["/n/a", "/n/b", "/n/ab"]),
      (["--prefix", "http://example.com/n/a"], ["/n/a", "/n/ab"]),
      (["--tag", "a"], ["/n/a", "/m/a"]), (["--tag", "k-b", "--tag", "ab"], ["/n/b", "/n/ab"]),
      (["--tag", "A"], []), (["--tag", "site"], Set(paths)), (["--all"], Set(paths)),
      (["--all", "--dry-run"], []), (["--all", "--cache", "main"], Set(paths)),
    ]
    try withDaemon(.cached([origin.address])) { daemon in
      for (arguments, gone) in rows {
        for path in paths { _ = try daemon.get(path) }
        let (ending, output) = try ChildProcess.run(
          DaemonProcess.binary, ["purge", "--admin", "unix:\(daemon.adminPath)"] + arguments)
        #expect(ending == .exit(0), "\(output)")
        let count = arguments.contains("--dry-run") ? paths.count : gone.count
        #expect(output.hasPrefix("\(count) responses"), "\(arguments): \(output)")
        for path in paths {
          #expect(
            CacheWord(try daemon.get(path)).isHit != gone.contains(path), "\(arguments) \(path)")
        }
      }
      let refused = try daemon.command(
        "purge", "--admin", "unix:\(daemon.adminPath)", "--url", "example.com/n")
      #expect(refused.ending == .exit(1))
      let unknown = try daemon.command(
        "purge", "--admin", "unix:\(daemon.adminPath)", "--all", "--cache", "other")
      #expect(unknown.ending == .exit(1))
    }
  }

  @Test func `by the endpoint answers with counts, and by the method PURGE as well`() throws {
    let origin = try origin(["Cache-Tag: news"])
    try withDaemon(.cached([origin.address])) { daemon in
      func purge(_ head: String, _ body: String = "") throws -> WireResponse {
        let client = try WireConnection.connect(path: daemon.adminPath)
        try client.send(
          "\(head)Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)")
        return try client.readResponse()
      }
      let post = "POST /v1/purge HTTP/1.1\r\nHost: a\r\n"
      var last = -1
      let requests: [(String, String)] = [
        (post, #"{"tags":["news"]}"#), (post, #"{"urls":["http://example.com/a"]}"#),
        (post, #"{"prefix":"http://example.com/"}"#), (post, #"{"all":true}"#),
        ("PURGE /a HTTP/1.1\r\nHost: example.com\r\n", ""),
        ("PURGE http://example.com/a HTTP/1.1\r\nHost: example.com\r\n", ""),
        ("PURGE /x HTTP/1.1\r\nHost: a\r\nSurrogate-Key: news\r\n", ""),
        ("PURGE /x HTTP/1.1\r\nHost: a\r\nCache-Tag: x, news\r\n", ""),
      ]
      for (head, body) in requests {
        _ = try daemon.get("/a")
        let answer = try purge(head, body)
        let object = try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any]
        #expect(answer.status == 200 && object?["matched"] as? Int == 1, "\(body) \(answer.text)")
        #expect((object?["bytes"] as? Int ?? 0) > 0)
        let sequence = object?["sequence"] as? Int ?? -1
        #expect(sequence > last)
        last = sequence
        #expect(try !CacheWord(daemon.get("/a")).isHit, "\(head)\(body)")
      }
      #expect(try purge(post, #"{"tag":["news"]}"#).status == 400)
      #expect(try purge(post, "{}").status == 422)
      // Never through the proxy.
      let through = try daemon.get("/a", method: "PURGE")
      #expect(CacheWord(through).forward == "method" && through.text == "done")
    }
  }

  @Test func `reaches who asked after it and waits for a fetch that began before it`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { _, before in
      if before == 0 { try gate.pass() }
      return .text(CacheOrigin.answer(200, [Self.fresh, "Cache-Tag: t"], "\(before)"))
    }
    try withDaemon(.cached([origin.address], workers: 2)) { daemon in
      let early = try daemon.connect()
      try early.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origin.wait { $0.count == 1 })
      // Nobody can know yet that it has the tag.
      let done = try daemon.command(
        "purge", "--admin", "unix:\(daemon.adminPath)", "--tag", "t")
      #expect(done.output.hasPrefix("0 responses"), "\(done.output)")
      let late = try daemon.connect()
      try late.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      let hasJoined = try Poll.until(.patient) {
        try daemon.admin("/metrics").text.contains("result=\"collapsed\"} 1\n")
      }
      #expect(hasJoined)
      gate.open()
      #expect(try late.readResponse().text == "1")
      #expect(try early.readResponse().text == "0")
      #expect(try daemon.get("/a", host: "a").text == "1")
    }
  }

  @Test func `made soft is served once more where stale responses are, and fetched anew`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { head, before in
      if before > 0 { try gate.pass() }
      let window = head.target == "/swr" ? ", stale-while-revalidate=60" : ""
      return .text(
        CacheOrigin.answer(
          200, ["Cache-Control: max-age=60\(window)", "Cache-Tag: t"], "\(before)"))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      for path in ["/swr", "/plain"] { _ = try daemon.get(path) }
      let done = try daemon.command(
        "purge", "--admin", "unix:\(daemon.adminPath)", "--tag", "t", "--soft")
      #expect(done.output.hasPrefix("2 responses made stale"))
      for _ in 0..<3 {
        let stale = try daemon.get("/swr")
        #expect(stale.text == "0" && CacheWord(stale).detail == "swr")
      }
      gate.open()
      #expect(try daemon.get("/plain").text == "1")
      let isRenewed = try Poll.until(.patient) { try daemon.get("/swr").text == "1" }
      #expect(isRenewed && origin.asked("/swr").count == 2)
    }
  }
}
