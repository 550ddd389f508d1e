import Caching
import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A cache key` {
  private func key(
    _ target: String, _ lines: String = "", host: String = "example.com", isSecure: Bool = false,
    _ change: (inout CacheRule) -> Void = { _ in }
  ) throws -> (octets: [UInt8], layout: CacheKey.Layout)? {
    var rule = CacheRule()
    change(&rule)
    let compiled = CompiledCacheRule(rule)
    var layout: CacheKey.Layout?
    let octets = try Heads.get(target, lines, host: host) { head in
      Heads.appended { sink in
        sink.append("before")
        layout = CacheKey.append(head, isSecure: isSecure, rule: compiled, to: &sink)
      }
    }
    guard let octets, let layout else { return nil }
    let own = Array(octets.dropFirst(6))
    #expect(own.count == layout.length)
    return (own, layout)
  }

  private func url(
    _ target: String, _ lines: String = "", host: String = "example.com", isSecure: Bool = false,
    _ change: (inout CacheRule) -> Void = { _ in }
  ) throws -> String {
    guard let key = try key(target, lines, host: host, isSecure: isSecure, change) else {
      return "none"
    }
    return text(Array(key.octets[..<key.layout.urlEnd]))
  }

  @Test(arguments: [
    ("/", "example.com", false, "http://example.com/"),
    ("/a/b", "EXAMPLE.com", true, "https://example.com/a/b"),
    ("/a", "example.com.", false, "http://example.com/a"),
    ("/a", "example.com:80", false, "http://example.com/a"),
    ("/a", "example.com:080", false, "http://example.com/a"),
    ("/a", "example.com:443", true, "https://example.com/a"),
    ("/a", "example.com:443", false, "http://example.com:443/a"),
    ("/a", "example.com:8080", false, "http://example.com:8080/a"),
    ("/a", "example.com.:8080", true, "https://example.com:8080/a"),
    ("/a", "[::1]:8080", false, "http://[::1]:8080/a"),
    ("/A/%7e/%2F;x", "h", false, "http://h/A/%7e/%2F;x"),
    ("/a//b/", "h", false, "http://h/a//b/"),
    ("/a?", "h", false, "http://h/a?"),
    ("/a?x=1&X=2&&x=1", "h", false, "http://h/a?x=1&X=2&&x=1"),
    ("/a?b?c=/d", "h", false, "http://h/a?b?c=/d"),
    ("http://other.org", "h", false, "http://other.org/"),
    ("http://other.org?q", "h", false, "http://other.org/?q"),
    ("http://other.org:81/x?q", "h", false, "http://other.org:81/x?q"),
  ])
  func `is scheme, host, exact path and query`(
    target: String, host: String, isSecure: Bool, expected: String
  ) throws {
    #expect(try url(target, host: host, isSecure: isSecure) == expected)
    let found = try #require(try key(target, host: host, isSecure: isSecure))
    #expect(found.layout.length == found.layout.urlEnd)
    let slash = expected.dropFirst(8).firstIndex(of: "/")!
    #expect(text(Array(found.octets[found.layout.targetStart...])) == expected[slash...])
  }

  @Test(arguments: [
    (CacheRule.Query.none, false, "http://h/p"),
    (.all, false, "http://h/p?b=2&utm_id=7&a&c=%31&b=1&utm=3"),
    (.all, true, "http://h/p?a&b=2&b=1&c=%31&utm=3&utm_id=7"),
    (.keep(["b"]), false, "http://h/p?b=2&b=1"),
    (.keep(["c", "a"]), true, "http://h/p?a&c=%31"),
    (.keep(["z"]), false, "http://h/p"),
    (.keep([]), false, "http://h/p"),
    (.drop(["utm*"]), false, "http://h/p?b=2&a&c=%31&b=1"),
    (.drop(["utm"]), true, "http://h/p?a&b=2&b=1&c=%31&utm_id=7"),
    (.drop([]), false, "http://h/p?b=2&utm_id=7&a&c=%31&b=1&utm=3"),
    (.drop(["B", "%63"]), false, "http://h/p?b=2&utm_id=7&a&c=%31&b=1&utm=3"),
  ])
  func `keeps of the query what the rule says`(
    query: CacheRule.Query, sorts: Bool, expected: String
  ) throws {
    let found = try url("/p?b=2&utm_id=7&a&c=%31&b=1&utm=3", host: "h") {
      $0.query = query
      $0.sortsQuery = sorts
    }
    #expect(found == expected)
    // A purge of the same URL under the same rule names the same resource.
    var rule = CacheRule()
    rule.query = query
    rule.sortsQuery = sorts
    let compiled = CompiledCacheRule(rule)
    let purged = try HeldText("HTTP://H:80/p?b=2&utm_id=7&a&c=%31&b=1&utm=3").read { url in
      try Heads.appended { _ = try CacheKey.append(url: url, rule: compiled, to: &$0) }
    }
    #expect(text(purged) == expected)
  }

  @Test func `sorts at most 64 parameters and leaves more as they came`() throws {
    let names = (0..<64).map { "p\(String(100 + $0).dropFirst())=\($0)" }
    let sorted = try url("/?" + names.reversed().joined(separator: "&"), host: "h") {
      $0.sortsQuery = true
    }
    #expect(sorted == "http://h/?" + names.joined(separator: "&"))
    let many = names.reversed() + ["a=1"]
    let unsorted = try url("/?" + many.joined(separator: "&"), host: "h") { $0.sortsQuery = true }
    #expect(unsorted == "http://h/?" + many.joined(separator: "&"))
  }

  @Test func `of chosen fields and cookies differs wherever one of them does`() throws {
    let requests = [
      "", "X-A: 1", "X-A: 2", "x-a: 1\nX-A: 2", "X-A: 1, 2", "X-A:", "X-B: 1", "X-A: 1\nX-B: 1",
      "Cookie: s=1", "Cookie: s=2", "Cookie: s=1; s=2", "Cookie: s=12", "Cookie: s=",
      "Accept: 1", "X-A: 1\nCookie: s=1", "Cookie: t=\u{1}".replacing("\u{1}", with: "s=1"),
      "Cookie: s=\"1\"",
    ]
    var found: [[UInt8]: String] = [:]
    for lines in requests {
      let made = try #require(
        try key("/p?q", lines, host: "h") {
          $0.keyHeaders = ["X-A", "X-B", "Accept"]
          $0.keyCookies = ["s"]
        })
      #expect(text(Array(made.octets[..<made.layout.urlEnd])) == "http://h/p?q")
      #expect(made.octets[made.layout.urlEnd] == CacheKey.separator)
      #expect(made.octets[..<made.layout.urlEnd].allSatisfy { $0 != CacheKey.separator })
      let isNew = found.updateValue(lines, forKey: made.octets) == nil
      // `t=s=1` is a cookie that the rule does not name: it is as if there were none.
      #expect(isNew || lines.hasPrefix("Cookie: t"), "\(lines)")
    }
    let one = try key("/", "Cookie: a=x; s=1 ;b=2", host: "h") { $0.keyCookies = ["s"] }
    let other = try key("/", "Cookie: s=1", host: "h") { $0.keyCookies = ["s"] }
    #expect(one?.octets == other?.octets)
    // What a route adds for itself counts as a chosen value does.
    let marked = try ["", "1", "2"].map { mark in
      try key("/", host: "h") { $0.routeMark = mark }?.octets
    }
    #expect(Set(marked).count == 3)
  }

  @Test func `that does not fit is none`() throws {
    let rule = CompiledCacheRule(CacheRule())
    try Heads.get("/abc?d", host: "h") { head in
      for capacity in 0..<14 {
        _ = Heads.appended(capacity: capacity) {
          #expect(CacheKey.append(head, isSecure: false, rule: rule, to: &$0) == nil)
        }
      }
      let whole = Heads.appended(capacity: 14) {
        #expect(CacheKey.append(head, isSecure: false, rule: rule, to: &$0) != nil)
      }
      #expect(text(whole) == "http://h/abc?d")
    }
  }
}

@Suite struct `The URL of a purge` {
  private func key(_ url: String, capacity: Int = 4096) throws -> String {
    try HeldText(url).read { url in
      text(try Heads.appended(capacity: capacity) { _ = try CacheKey.append(url: url, to: &$0) })
    }
  }

  @Test(arguments: [
    ("http://example.com", "http://example.com/"),
    ("HTTPS://Example.COM:443/A?b", "https://example.com/A?b"),
    ("http://example.com.:80/a", "http://example.com/a"),
    ("http://example.com:443/a", "http://example.com:443/a"),
    ("https://h?q=1", "https://h/?q=1"),
    ("https://[::1]:8443/x%2f", "https://[::1]:8443/x%2f"),
  ])
  func `has the octets of a request for it`(url: String, expected: String) throws {
    #expect(try key(url) == expected)
  }

  @Test(arguments: [
    ("", CacheURLFault.scheme), ("/a", .scheme), ("ftp://h/", .scheme), ("http:/h/", .scheme),
    ("http://", .scheme), ("http:///a", .host), ("http://a b/", .host), ("http://u@h/", .host),
    ("http://h:0/", .host), ("http://h:65536/", .host), ("http://h:x/", .host),
    ("http://a..b/", .host), ("http://[::g]/", .host), ("http://h/a b", .target),
    ("http://h/#f", .target), ("http://h#f", .target), ("http://h/\u{1}", .target),
    ("http://h/ü", .target),
  ])
  func `is refused where it names no resource, and nothing stays behind`(
    url: String, fault: CacheURLFault
  ) throws {
    #expect(throws: fault) { try key(url) }
    let rest = HeldText(url).read { url in
      Heads.appended { sink in
        sink.append("x")
        #expect(throws: fault) { try CacheKey.append(url: url, to: &sink) }
      }
    }
    #expect(text(rest) == "x")
  }

  @Test func `is refused where it does not fit`() throws {
    for capacity in 0..<21 {
      #expect(throws: CacheURLFault.tooLong) {
        try key("http://example.com/ab", capacity: capacity)
      }
    }
    #expect(try key("http://example.com/ab", capacity: 21) == "http://example.com/ab")
  }

  @Test func `of random octets is refused or is a key that means itself`() throws {
    var random = SeededRandom(seed: 5)
    let alphabet = Array("http://ex.am:80/?&=%#[]@ AZ\u{0}é".utf8)
    let start = Array("https://h.x:443/a?b=c".utf8)
    for _ in 0..<20_000 {
      var url = start
      for _ in 0..<(1 + random.below(4)) {
        let octet = alphabet[random.below(alphabet.count)]
        switch random.below(3) {
        case 0: url[random.below(url.count)] = octet
        case 1: url.insert(octet, at: random.below(url.count + 1))
        default: url.remove(at: random.below(url.count))
        }
      }
      guard let made = try? key(String(decoding: url, as: UTF8.self)) else { continue }
      let again = try key(made)
      if again != made { Issue.record("\(made) became \(again)") }
    }
  }
}
