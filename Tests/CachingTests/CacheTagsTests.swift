import Caching
import HTTP
import Primitives
import Testing

@Suite struct `The tags of a response` {
  private func tags(
    _ lines: String, _ names: [String] = []
  ) throws -> (tags: [String], dropped: Int) {
    var rule = CacheRule()
    rule.tagHeaders = names
    let compiled = CompiledCacheRule(rule)
    return try Heads.response("HTTP/1.1 200 OK\n\(lines)") { head in
      var found: [String] = []
      let count = CacheTags.collect(head, rule: compiled) { found.append($0.string) }
      #expect(count.taken == found.count)
      return (found, count.dropped)
    }
  }

  @Test(
    arguments: [
      ("X: y", []), ("Cache-Tag: a", ["a"]), ("Cache-Tag: a, b c ,,d", ["a", "b c", "d"]),
      ("cache-tag: a\nCache-Tag: b", ["a", "b"]),
      ("Surrogate-Key: a b\tc  d ", ["a", "b", "c", "d"]),
      ("Surrogate-Key: a,b", ["a,b"]), ("Cache-Tag: a\nSurrogate-Key: b a", ["a", "b"]),
      ("Cache-Tag: a, A, a", ["a", "A"]), ("xkey: a", []), ("Cache-Tag:", []),
      ("Cache-Tag: ,, ,", []), ("Surrogate-Key:  ", []),
    ] as [(String, [String])])
  func `stand between commas or blanks, each once`(lines: String, expected: [String]) throws {
    let (found, dropped) = try tags(lines)
    #expect(found == expected && dropped == 0)
  }

  @Test func `are found under the names that a rule adds`() throws {
    let lines = "xkey: a b,c\nXKEY: d\nX-Tags: e\nCache-Tag: f"
    #expect(try tags(lines, ["xkey", "X-Tags"]).tags == ["f", "a", "b", "c", "d", "e"])
    #expect(try tags(lines, ["X-Tags"]).tags == ["f", "e"])
    #expect(
      try tags("Cache-Tag: a b\nETag: \"z\"", ["cache-tag", "etag"]).tags == ["a b", "\"z\""])
  }

  @Test func `have a greatest length and number, and what is over is counted`() throws {
    let long = String(repeating: "x", count: 256)
    let (found, dropped) = try tags("Cache-Tag: \(long), \(long)y, z")
    #expect(found == [long, "z"] && dropped == 1)
    let many = (0..<140).map { "t\($0)" }
    let (taken, over) = try tags("Surrogate-Key: " + many.joined(separator: " ") + " t1 t2")
    #expect(taken == Array(many[..<128]) && over == 12)
  }
}

@Suite struct `An unsafe request` {
  @Test(arguments: [
    (HTTP.Method.post, 200, true), (.put, 204, true), (.delete, 200, true), (.patch, 302, true),
    (.other, 200, true), (.post, 400, false), (.post, 500, false), (.post, 101, false),
    (.get, 200, false), (.head, 200, false), (.options, 200, false),
  ])
  func `makes stored responses void with an answer that is no error`(
    method: HTTP.Method, status: Int, isDue: Bool
  ) {
    #expect(Invalidation.isDue(method, status: status) == isDue)
  }

  private func target(
    _ target: Invalidation.Target, _ lines: String, to path: String = "/a/b?q=1",
    host: String = "h", isSecure: Bool = false, _ change: (inout CacheRule) -> Void = { _ in }
  ) throws -> String? {
    var rule = CacheRule()
    change(&rule)
    let compiled = CompiledCacheRule(rule)
    return try Heads.request("POST \(path) HTTP/1.1\nHost: \(host)\nContent-Length: 1\nX-K: 1") {
      request in
      try Heads.response("HTTP/1.1 200 OK\n\(lines)") { response in
        var layout: CacheKey.Layout?
        let octets = Heads.appended { sink in
          layout = Invalidation.append(
            target, request, isSecure: isSecure, response, rule: compiled, to: &sink)
        }
        #expect((layout == nil) == (octets?.isEmpty ?? true))
        guard let layout, let octets else { return nil }
        #expect(layout.length == octets.count && layout.urlEnd == octets.count)
        return text(octets)
      }
    }
  }

  @Test func `makes its own URL void, in all its variants`() throws {
    #expect(try target(.uri, "A: b") == "http://h/a/b?q=1")
    let keyed = try target(.uri, "A: b", isSecure: true) { $0.keyHeaders = ["X-K"] }
    #expect(keyed == "https://h/a/b?q=1")
    #expect(try target(.uri, "A: b") { $0.query = .none } == "http://h/a/b")
  }

  @Test(arguments: [
    ("http://h/x?y#z", "http://h/x?y"), ("HTTP://H:80/x", "http://h/x"), ("/x/y", "http://h/x/y"),
    ("//h/x", "http://h/x"), ("c", "http://h/a/c"), ("c/d?e", "http://h/a/c/d?e"),
    ("./c", "http://h/a/c"), ("../c", "http://h/c"), ("../../../c", "http://h/c"),
    ("/x/../y/./z/..", "http://h/y/"), ("..", "http://h/"), (".", "http://h/a/"),
    ("?r=2", "http://h/a/b?r=2"), ("", "http://h/a/b?q=1"), ("#f", "http://h/a/b?q=1"),
    ("/x//y", "http://h/x//y"), ("a:b", nil), ("./a:b", "http://h/a/a:b"), ("mailto:x@h", nil),
    ("https://h/x", nil), ("http://h:8080/x", nil), ("//other/x", nil), ("http://other/x", nil),
    ("http://h@other/x", nil), ("http://h.other/x", nil), ("/a b", nil), ("http://", nil),
    ("ftp://h/x", nil), ("/ü", nil),
  ])
  func `makes void what the answer names of the same origin`(
    reference: String, expected: String?
  ) throws {
    #expect(try target(.location, "Location: \(reference)") == expected)
    #expect(try target(.contentLocation, "Content-Location: \(reference)") == expected)
    #expect(try target(.contentLocation, "Location: \(reference)") == nil)
  }

  @Test func `compares origins with their ports`() throws {
    let lines = "Location: https://h:8443/x"
    #expect(try target(.location, lines, host: "h:8443", isSecure: true) == "https://h:8443/x")
    #expect(try target(.location, lines, host: "h", isSecure: true) == nil)
    #expect(try target(.location, "Location: x", host: "h:8080") == "http://h:8080/a/x")
    #expect(
      try target(.location, "Location: x?u=1&v=2") { $0.query = .keep(["v"]) } == "http://h/a/x?v=2"
    )
  }
}
