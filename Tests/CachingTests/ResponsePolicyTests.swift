import Caching
import HTTP
import Primitives
import Testing

/// Sun, 06 Nov 1994 08:49:37 GMT.
private let now: Int64 = 784_111_777
private let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT"

private func judge(
  _ lines: String, status: Int = 200, delay: TimeAmount = .zero, age: Int? = nil,
  request: RequestConstraints = RequestConstraints(),
  _ change: (inout CacheRule) -> Void = { _ in }
) throws -> StoreVerdict {
  var rule = CacheRule()
  change(&rule)
  let compiled = CompiledCacheRule(rule)
  let more = lines.isEmpty ? "" : "\n\(lines)"
  return try Heads.response("HTTP/1.1 \(status) X\(more)") {
    ResponsePolicy.judge(
      request, $0, rule: compiled,
      timing: ResponseTiming(wallSeconds: now, delay: delay), age: age)
  }
}

private func asking(_ change: (inout RequestConstraints) -> Void) -> RequestConstraints {
  var constraints = RequestConstraints()
  change(&constraints)
  return constraints
}

private func stored(
  _ lines: String, status: Int = 200, _ change: (inout CacheRule) -> Void = { _ in }
) throws -> Freshness? {
  guard case .store(let freshness) = try judge(lines, status: status, change) else { return nil }
  return freshness
}

@Suite struct `A ttl of the rule` {
  @Test(arguments: ["", "Age: 500", "Date: Sun, 06 Nov 1994 07:00:00 GMT", "Age: x"])
  func `begins when the response comes, however old it is by then`(lines: String) throws {
    let freshness = try #require(try stored(lines) { $0.ttl = .seconds(60) })
    #expect(freshness.ttl(resident: .zero) == 60)
    #expect(freshness.state(resident: .milliseconds(59_999)) == .fresh)
    #expect(freshness.state(resident: .seconds(60)) != .fresh)
    // Its age is still told as it is.
    if lines == "Age: 500" { #expect(freshness.age(resident: .seconds(1)) == 501) }
  }

  @Test func `leaves what the response states as it states it`() throws {
    let lines = "Age: 500\nCache-Control: max-age=600"
    #expect(try stored(lines) { $0.ttl = .seconds(60) }?.ttl(resident: .zero) == 100)
  }
}

@Suite struct `Storing` {
  @Test(arguments: [
    ("Cache-Control: no-store, max-age=60", NotStored.noStore),
    ("Cache-Control: max-age=60\ncache-control: NO-STORE", .noStore),
    ("Cache-Control: private, max-age=60", .isPrivate),
    ("Cache-Control: private=\"Set-Cookie\", max-age=60", .isPrivate),
    ("Cache-Control: public, s-maxage=60, private", .isPrivate),
    ("Cache-Control: max-age=60\nSet-Cookie: a=b", .setCookie),
    ("Cache-Control: public, max-age=60\nset-cookie: a=b", .setCookie),
    ("Cache-Control: max-age=60\nVary: *", .vary),
    ("Cache-Control: max-age=60\nVary: Accept, *", .vary),
    ("Cache-Control: max-age=60\nVary: a\nVary: *", .vary),
    ("Cache-Control: max-age=60\nVary: a b", .vary),
    ("", .noLifetime), ("ETag: \"a\"", .noLifetime), ("Cache-Control: public", .noLifetime),
    ("Last-Modified: Sun, 06 Nov 1988 08:49:37 GMT", .noLifetime),
    ("Cache-Control: must-revalidate", .noLifetime),
    ("Cache-Control: max-age=0", .useless), ("Cache-Control: max-age=x", .useless),
    ("Cache-Control: max-age=60\nAge: 60", .useless), ("Expires: 0", .useless),
    ("Cache-Control: no-cache", .useless), ("Cache-Control: no-cache, max-age=60", .useless),
    ("Pragma: no-cache", .noLifetime),
  ])
  func `is refused`(lines: String, reason: NotStored) throws {
    #expect(try judge("\(date)\(lines.isEmpty ? "" : "\n")\(lines)") == .doNotStore(reason))
  }

  @Test(arguments: [
    (100, NotStored.status), (103, .status), (206, .partial), (304, .notModified),
    (500, .serverError), (503, .serverError), (501, .serverError),
  ])
  func `is refused by status, whatever the lifetime`(status: Int, reason: NotStored) throws {
    #expect(try judge("Cache-Control: max-age=60, public", status: status) == .doNotStore(reason))
  }

  @Test(arguments: [200, 203, 204, 299, 301, 302, 307, 308, 400, 404, 410, 418])
  func `with a stated lifetime is done at any other status`(status: Int) throws {
    #expect(try stored("Cache-Control: max-age=60", status: status)?.lifetime == 60)
  }

  @Test(arguments: [
    ("X: y", NotStored.serverError), ("Cache-Control: private", .isPrivate),
    ("Cache-Control: no-store", .noStore), ("Set-Cookie: a=b", .setCookie), ("Vary: *", .vary),
  ])
  func `of an error is refused for what is in it before its status`(
    lines: String, reason: NotStored
  ) throws {
    #expect(try judge(lines, status: 503) == .doNotStore(reason))
    let asked = asking { $0.hasAuthorization = true }
    let verdict = try judge("X: y", status: 503, request: asked)
    #expect(verdict == .doNotStore(.authorization))
  }

  @Test func `is refused where the request forbids it`() throws {
    let lines = "Cache-Control: max-age=60"
    #expect(try judge(lines, request: asking { $0.isHead = true }) == .doNotStore(.method))
    #expect(try judge(lines, request: asking { $0.noStore = true }) == .doNotStore(.requestNoStore))
  }

  @Test(arguments: [
    ("max-age=60", false), ("max-age=60, public", true), ("s-maxage=60", true),
    ("max-age=60, must-revalidate", true), ("max-age=60, proxy-revalidate", false),
    ("max-age=60, s-maxage=60, private", false), ("max-age=60, immutable", false),
  ])
  func `of an answer to Authorization needs the response's word`(
    control: String, isStored: Bool
  ) throws {
    let verdict = try judge(
      "Cache-Control: \(control)", request: asking { $0.hasAuthorization = true })
    guard case .store = verdict else { return #expect(!isStored) }
    #expect(isStored)
  }

  @Test func `with must-understand depends on the status alone`() throws {
    let lines = "Cache-Control: must-understand, no-store, max-age=60"
    #expect(try stored(lines)?.lifetime == 60)
    #expect(try judge(lines, status: 299) == .doNotStore(.status))
    #expect(
      try judge("Cache-Control: must-understand, max-age=60", status: 299) == .doNotStore(.status))
    #expect(
      try judge("Cache-Control: must-understand, no-store, private, max-age=60")
        == .doNotStore(.isPrivate))
  }

  @Test func `of a cookie is done only where the rule says so`() throws {
    let lines = "Cache-Control: max-age=60\nSet-Cookie: a=b"
    #expect(try judge(lines) == .doNotStore(.setCookie))
    #expect(try stored(lines) { $0.storesSetCookie = true }?.lifetime == 60)
  }

  @Test func `of what can only be confirmed needs a validator`() throws {
    let validator = "\nETag: \"a\""
    let noCache = try #require(try stored("Cache-Control: no-cache" + validator))
    #expect(noCache.flags == .noCache && noCache.lifetime == 0)
    #expect(noCache.state(resident: .zero) == .dead)
    let field = try #require(try stored("Cache-Control: no-cache=\"x\", max-age=9" + validator))
    #expect(field.flags == .noCache && field.state(resident: .zero) == .mustRevalidate)
    #expect(try stored("Cache-Control: max-age=0" + validator)?.state(resident: .zero) == .dead)
    #expect(
      try judge("Cache-Control: no-cache" + validator, status: 302) == .doNotStore(.noLifetime))
  }
}

@Suite struct `A lifetime` {
  @Test(
    arguments: [
      ("Cache-Control: max-age=60", 60), ("Cache-Control: max-age=60, s-maxage=30", 30),
      ("Cache-Control: s-maxage=90, max-age=60", 90),
      ("Cache-Control: max-age=60\nExpires: Sun, 06 Nov 1994 09:49:37 GMT", 60),
      ("Expires: Sun, 06 Nov 1994 09:49:37 GMT", 3600),
      ("Expires: Sun, 06 Nov 1994 09:49:37 GMT\nExpires: Sun, 06 Nov 1994 08:50:37 GMT", 60),
      ("Expires: Sunday, 06-Nov-94 08:50:37 GMT", 60),
      ("Expires: Sun Nov  6 08:50:37 1994", 60),
      ("Cache-Control: max-age=99999999999", 1 << 31),
      ("Expires: Fri, 31 Dec 9999 23:59:59 GMT", 1 << 31),
      ("Weir-Cache-Control: max-age=5\nCDN-Cache-Control: max-age=6\nCache-Control: max-age=7", 5),
      ("CDN-Cache-Control: max-age=6\nCache-Control: max-age=7, no-store, private", 6),
      ("CDN-Cache-Control: max-age=6\nExpires: 0", 6),
      ("Weir-Cache-Control: max-age=\nCDN-Cache-Control: max-age=6", 6),
      ("Weir-Cache-Control: \nCDN-Cache-Control: Max-Age=6\nCache-Control: max-age=7", 7),
      ("CDN-Cache-Control: max-age=6\nCDN-Cache-Control: max-age=8", 8),
      ("Surrogate-Control: max-age=9\nCache-Control: max-age=7", 7),
    ] as [(String, UInt32)])
  func `is the one that the order of fields gives`(lines: String, seconds: UInt32) throws {
    #expect(try stored("\(date)\n\(lines)")?.lifetime == seconds)
  }

  @Test func `of a targeted field is all that counts`() throws {
    let lines = "\(date)\nCDN-Cache-Control: must-revalidate\nCache-Control: max-age=7"
    #expect(try judge(lines) == .doNotStore(.noLifetime))
    let expires = "\(date)\nCDN-Cache-Control: public\nExpires: Sun, 06 Nov 1994 09:49:37 GMT"
    #expect(try judge(expires) == .doNotStore(.noLifetime))
    #expect(
      try judge("\(date)\nCDN-Cache-Control: no-store\nCache-Control: max-age=7")
        == .doNotStore(.noStore))
  }

  @Test func `of a targeted field is the same over several lines as on one`() throws {
    let members = ["max-age=60", "stale-if-error=(1 \"a\")", "a=\"b\"", "must-revalidate;x"]
    let expected = try stored("CDN-Cache-Control: " + members.joined(separator: ", "))
    #expect(expected?.flags == .mustRevalidate && expected?.lifetime == 60)
    for cut in 1..<members.count {
      let lines = [members[..<cut], members[cut...]].map {
        "CDN-Cache-Control: " + $0.joined(separator: ",")
      }
      #expect(try stored(lines.joined(separator: "\n")) == expected)
    }
    // A line that ends in a comma leaves an empty member between.
    #expect(try stored("CDN-Cache-Control: max-age=60,\nCDN-Cache-Control: a") == nil)
  }

  @Test func `of a surrogate is obeyed where the rule says so`() throws {
    func surrogate(_ value: String) throws -> StoreVerdict {
      try judge("Surrogate-Control: \(value)\nCache-Control: max-age=7, private") {
        $0.obeysSurrogateControl = true
      }
    }
    guard case .store(let plain) = try surrogate("max-age=60, content=\"ESI/1.0\"") else {
      Issue.record("not stored")
      return
    }
    #expect(plain.lifetime == 60 && plain.staleWhileRevalidate == 0)
    guard case .store(let extended) = try surrogate("max-age=60+30;x") else {
      Issue.record("not stored")
      return
    }
    #expect(extended.lifetime == 60 && extended.staleWhileRevalidate == 30)
    #expect(try surrogate("no-store, max-age=60") == .doNotStore(.noStore))
    #expect(try surrogate("max-age=x") == .doNotStore(.useless))
    #expect(try surrogate("content=\"ESI/1.0\"") == .doNotStore(.isPrivate))
  }

  @Test(
    arguments: [
      (200, "", 600), (203, "", 600), (301, "", 600), (404, "", 5), (302, "", nil),
      (307, "", 7), (410, "", nil), (500, "", nil), (503, "", 1),
      (503, "Cache-Control: max-age=3", 3),
      (200, "Cache-Control: max-age=3", 3), (200, "Expires: Sun, 06 Nov 1994 08:49:40 GMT", 3),
      (404, "Cache-Control: max-age=3", 3), (200, "Cache-Control: no-store", nil),
      (200, "Set-Cookie: a=b", nil), (200, "Cache-Control: private", nil), (206, "", nil),
    ] as [(Int, String, UInt32?)])
  func `is the rule's where the response states none`(
    status: Int, lines: String, seconds: UInt32?
  ) throws {
    let all = lines.isEmpty ? date : "\(date)\n\(lines)"
    let found = try stored(all, status: status) {
      $0.ttl = .seconds(600)
      $0.statusTTLs = [
        CacheRule.StatusTTL(status: 404, ttl: .seconds(5)),
        CacheRule.StatusTTL(status: 307, ttl: .seconds(7)),
        CacheRule.StatusTTL(status: 503, ttl: .seconds(1)),
      ]
    }
    #expect(found?.lifetime == seconds)
  }

  @Test func `is the rule's in spite of the response where it overrides`() throws {
    func overridden(_ lines: String, status: Int = 200) throws -> StoreVerdict {
      try judge("\(date)\n\(lines)", status: status) {
        $0.ttl = .seconds(600)
        $0.ttlOverrides = true
      }
    }
    for lines in [
      "Cache-Control: max-age=3", "Cache-Control: s-maxage=3600", "Expires: 0", "X: y",
    ] {
      guard case .store(let found) = try overridden(lines) else {
        Issue.record("\(lines) is not stored")
        continue
      }
      #expect(found.lifetime == 600)
    }
    // It says nothing about what may be kept at all, nor about other statuses.
    #expect(try overridden("Cache-Control: no-store") == .doNotStore(.noStore))
    #expect(try overridden("Cache-Control: private") == .doNotStore(.isPrivate))
    #expect(try overridden("Set-Cookie: a=b") == .doNotStore(.setCookie))
    #expect(try overridden("Cache-Control: no-cache") == .doNotStore(.useless))
    guard case .store(let other) = try overridden("Cache-Control: max-age=3", status: 404) else {
      Issue.record("a stated lifetime is lost")
      return
    }
    #expect(other.lifetime == 3)
  }

  @Test(
    arguments: [
      // Ten days before: one day.
      (200, "Last-Modified: Thu, 27 Oct 1994 08:49:37 GMT", 10, 86_400),
      (200, "Last-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 10, 60),
      (200, "Last-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 25, 150),
      (200, "Last-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 0, nil),
      (200, "Last-Modified: Sun, 06 Nov 1988 08:49:37 GMT", 100, 86_400),
      (200, "Last-Modified: Sun, 06 Nov 1994 09:39:37 GMT", 10, 0),
      (200, "Last-Modified: yesterday", 10, nil), (200, "ETag: \"a\"", 10, nil),
      (404, "Last-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 10, 60),
      (302, "Last-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 10, nil),
      (302, "Cache-Control: public\nLast-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 10, 60),
      // Where one is stated, nothing is guessed.
      (200, "Cache-Control: max-age=3\nLast-Modified: Sun, 06 Nov 1994 08:39:37 GMT", 10, 3),
    ] as [(Int, String, Int, UInt32?)])
  func `is guessed only where the rule says so`(
    status: Int, lines: String, percent: Int, seconds: UInt32?
  ) throws {
    let found = try stored("\(date)\n\(lines)", status: status) { $0.heuristicPercent = percent }
    #expect(found?.lifetime == seconds)
  }
}

@Suite struct `The age on arrival` {
  @Test(arguments: [
    ("", 0, 0), ("Date: Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
    ("Date: Sun, 06 Nov 1994 08:49:27 GMT", 0, 10),
    ("Date: Sun, 06 Nov 1994 08:49:47 GMT", 0, 0), ("Date: x", 0, 0),
    ("Age: 5", 0, 5), ("Age: 5", 2, 7), ("Age: 5, 9", 0, 5), ("Age: 5\nAge: 9", 0, 5),
    ("Age: x", 2, 2), ("Age: -1", 0, 0), ("Age: 1.5", 0, 0), ("Age: \"5\"", 0, 0),
    ("Age: 3\nDate: Sun, 06 Nov 1994 08:49:27 GMT", 2, 10),
    ("Age: 30\nDate: Sun, 06 Nov 1994 08:49:27 GMT", 2, 32),
    ("Age: 99999999999999999999", 5, 1 << 31),
  ])
  func `is the greater of what the fields and the clock say`(
    lines: String, delay: Int64, seconds: Int
  ) throws {
    // A lifetime that no age ends would hide nothing: a validator keeps every one storable.
    let more = lines.isEmpty ? "" : "\n\(lines)"
    guard
      case .store(let freshness) = try judge(
        "Cache-Control: max-age=99999999999\nETag: \"a\"\(more)", delay: .seconds(delay))
    else {
      Issue.record("not stored")
      return
    }
    #expect(freshness.age(resident: .zero) == seconds)
    #expect(freshness.age(resident: .seconds(4)) == min(seconds + 4, 1 << 31))
  }

  @Test func `counts a delay below a second, and none that is negative`() throws {
    let lines = "Cache-Control: max-age=1\nETag: \"a\""
    for (delay, isFresh) in [(0, true), (999, true), (1000, false), (-5000, true)]
      as [(Int64, Bool)]
    {
      guard case .store(let found) = try judge(lines, delay: .milliseconds(delay)) else {
        Issue.record("not stored")
        return
      }
      #expect((found.state(resident: .zero) == .fresh) == isFresh, "\(delay)")
    }
  }

  @Test func `is that of a 304 where one has confirmed the response`() throws {
    let lines = "Cache-Control: max-age=60\nAge: 50"
    guard case .store(let found) = try judge(lines, age: 7) else {
      Issue.record("not stored")
      return
    }
    #expect(found.age(resident: .zero) == 7)
  }
}

@Suite struct `Permission to serve stale` {
  private func windows(_ control: String, ruled: Bool = false) throws -> [UInt32] {
    let found = try stored("Cache-Control: \(control)") {
      if ruled {
        $0.staleWhileRevalidate = .seconds(30)
        $0.staleIfError = .seconds(40)
      }
    }
    guard let found else { return [] }
    let mayBeStale = found.flags.contains(.mustRevalidate) ? 0 : 1 as UInt32
    return [found.staleWhileRevalidate, found.staleIfError, mayBeStale]
  }

  @Test(
    arguments: [
      ("max-age=9", false, [0, 0, 1]), ("max-age=9", true, [30, 40, 1]),
      ("max-age=9, stale-while-revalidate=3", false, [3, 0, 1]),
      ("max-age=9, stale-while-revalidate=3", true, [3, 40, 1]),
      ("max-age=9, stale-if-error=4", true, [30, 4, 1]),
      ("max-age=9, stale-if-error=0, stale-while-revalidate=0", true, [0, 0, 1]),
      ("max-age=9, stale-if-error=x", true, [30, 0, 1]),
      ("max-age=9, must-revalidate, stale-if-error=4", true, [30, 4, 0]),
      ("max-age=9, proxy-revalidate, stale-if-error=4", false, [0, 4, 0]),
      ("s-maxage=9", true, [0, 0, 0]), ("s-maxage=9, stale-if-error=4", true, [0, 4, 1]),
      ("s-maxage=9, stale-while-revalidate=3", false, [3, 0, 1]),
      ("s-maxage=9, must-revalidate, stale-if-error=4", false, [0, 4, 0]),
      ("max-age=9, stale-if-error=99999999999", false, [0, 1 << 31, 1]),
    ] as [(String, Bool, [UInt32])])
  func `is the response's own, else the rule's, and never against a prohibition`(
    control: String, ruled: Bool, expected: [UInt32]
  ) throws {
    #expect(try windows(control, ruled: ruled) == expected)
  }

  @Test func `keeps what has no lifetime left and no validator`() throws {
    #expect(try stored("Cache-Control: max-age=0, stale-while-revalidate=5") != nil)
    #expect(try stored("Cache-Control: max-age=0, stale-if-error=5") != nil)
    #expect(
      try judge("Cache-Control: max-age=0, stale-if-error=5, must-revalidate")
        == .doNotStore(.useless))
  }
}
