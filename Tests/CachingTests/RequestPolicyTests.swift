import Caching
import HTTP
import Primitives
import Testing

@Suite struct `A request before the cache` {
  private func judge(
    _ text: String, _ change: (inout CacheRule) -> Void = { _ in }
  ) throws -> RequestVerdict {
    var rule = CacheRule()
    change(&rule)
    let compiled = CompiledCacheRule(rule)
    return try Heads.request(text) { RequestPolicy.judge($0, rule: compiled) }
  }

  private func lookup(
    _ lines: String, obeys: Bool = false, method: String = "GET"
  ) throws -> RequestConstraints? {
    let verdict = try judge("\(method) / HTTP/1.1\nHost: h\n\(lines)") {
      $0.obeysRequestDirectives = obeys
    }
    guard case .lookup(let constraints) = verdict else { return nil }
    return constraints
  }

  /// Every field that weir knows, and the beginnings of requests that are not plain by themselves.
  @Test func `is plain only where it is looked up without constraints`() throws {
    var plain = 0
    for bypass in [false, true] {
      var rule = CacheRule()
      rule.obeysRequestDirectives = true
      if bypass { rule.bypass = [.cookie("session")] }
      let compiled = CompiledCacheRule(rule)
      for start in [
        "GET / HTTP/1.1\nHost: h", "HEAD / HTTP/1.1\nHost: h", "GET / HTTP/1.0",
        "get / HTTP/1.1\nHost: h", "GET / HTTP/1.1\nHost: h\nContent-Length: 1",
        "POST / HTTP/1.1\nHost: h\nContent-Length: 1",
      ] {
        let names = FieldName.allCases.dropFirst().map { "\($0.text): 1" }
        for line in ["", "X-Other: 1", "Cache-Control: no-store", "Cache-Control: no-cache"] + names
        {
          let text = line.isEmpty ? start : "\(start)\n\(line)"
          let found = try? Heads.request(text) { head in
            let isPlain = RequestPolicy.isPlain(head, rule: compiled)
            return (isPlain, RequestPolicy.judge(head, rule: compiled))
          }
          guard let (isPlain, verdict) = found, isPlain else { continue }
          plain += 1
          #expect(verdict == .lookup(RequestConstraints()), "\(text)")
        }
      }
    }
    #expect(plain > FieldName.allCases.count / 2, "hardly anything is")
  }

  @Test(arguments: [
    ("POST / HTTP/1.1\nHost: h\nContent-Length: 1", BypassReason.method),
    ("PUT / HTTP/1.1\nHost: h\nContent-Length: 0", .method),
    ("DELETE / HTTP/1.1\nHost: h", .method), ("OPTIONS * HTTP/1.1\nHost: h", .method),
    ("get / HTTP/1.1\nHost: h", .method), ("QUERY / HTTP/1.1\nHost: h", .method),
    ("GET / HTTP/1.1\nHost: h\nContent-Length: 1", .content),
    ("GET / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked", .content),
    ("HEAD / HTTP/1.1\nHost: h\nContent-Length: 5", .content),
    ("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: websocket", .upgrade),
    ("GET / HTTP/1.1\nHost: h\nIf-Match: \"a\"", .precondition),
    ("GET / HTTP/1.1\nHost: h\nIf-Unmodified-Since: x", .precondition),
    ("GET / HTTP/1.0\nAccept: x", .noHost),
  ])
  func `passes by where no stored response can answer it`(
    text: String, reason: BypassReason
  ) throws {
    #expect(try judge(text) == .bypass(reason))
  }

  @Test(arguments: [
    ("/", "X-No-Cache: 1", true), ("/", "x-no-cache:", true), ("/", "X-No-Cachex: 1", false),
    ("/", "Authorization: x", true), ("/", "Cookie: a=1; session=2", true),
    ("/", "Cookie: sessionx=1; a=session=1", false), ("/", "Cookie: session", true),
    ("/?preview", "", true), ("/?a=1&preview=2", "", true), ("/?previews=1", "", false),
    ("/?a=preview", "", false), ("/?debug_x=1", "", true), ("/preview", "", false),
  ])
  func `passes by where the rule says so`(target: String, lines: String, isBypassed: Bool) throws {
    let more = lines.isEmpty ? "" : "\n\(lines)"
    let verdict = try judge("GET \(target) HTTP/1.1\nHost: h\(more)") {
      $0.bypass = [
        .header("X-No-Cache"), .header("Authorization"), .cookie("session"), .query("preview"),
        .query("debug_*"),
      ]
    }
    #expect((verdict == .bypass(.condition)) == isBypassed)
  }

  @Test func `says what it wants of a stored response`() throws {
    #expect(try lookup("Accept: x") == RequestConstraints())
    #expect(try lookup("Accept: x", method: "HEAD")?.isHead == true)
    #expect(try lookup("Range: bytes=0-1")?.hasRange == true)
    #expect(try lookup("Range: bytes=0-1", method: "HEAD")?.hasRange == false)
    #expect(try lookup("If-None-Match: *")?.hasConditional == true)
    #expect(try lookup("If-Modified-Since: x")?.hasConditional == true)
    #expect(try lookup("Authorization: Basic x")?.hasAuthorization == true)
    #expect(try lookup("Content-Length: 0") == RequestConstraints())
  }

  @Test func `is obeyed in only-if-cached and no-store, in the others where the rule trusts it`()
    throws
  {
    let lines =
      "Cache-Control: no-cache, max-age=1\ncache-control: No-Store, ONLY-IF-CACHED"
      + "\nCache-Control: min-fresh=2, max-stale=3"
    var expected = RequestConstraints()
    expected.noStore = true
    expected.onlyIfCached = true
    #expect(try lookup(lines) == expected)
    expected.noCache = true
    expected.maxAge = 1
    expected.minFresh = 2
    expected.maxStale = 3
    #expect(try lookup(lines, obeys: true) == expected)
    // RFC 9111 §5.4: Pragma is nothing any more.
    #expect(try lookup("Pragma: no-cache", obeys: true) == RequestConstraints())
  }
}
