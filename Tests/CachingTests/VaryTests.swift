import Caching
import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `Vary` {
  private func names(_ lines: String) throws -> (Caching.Vary.Outcome, String) {
    try Heads.response("HTTP/1.1 200 OK\n\(lines)") { head in
      var outcome = Caching.Vary.Outcome.none
      let octets = Heads.appended { outcome = Caching.Vary.append(head, to: &$0) }
      return (outcome, text(octets))
    }
  }

  @Test(arguments: [
    ("X: y", ""), ("Vary: ", ""), ("Vary: X-Forwarded-Proto", "x-forwarded-proto"), ("Vary: ,", ""),
    ("Vary: Accept", "accept"),
    ("Vary: b, A", "a,b"), ("Vary: b\nvary: A, B", "a,b"),
    ("Vary: Accept-Encoding,accept-language , ACCEPT", "accept,accept-encoding,accept-language"),
  ])
  func `is one sorted list of small letters`(lines: String, expected: String) throws {
    let (outcome, list) = try names(lines)
    #expect(list == expected)
    #expect(outcome == (expected.isEmpty ? .none : .names(expected.utf8.count)))
  }

  @Test func `that no other request can match, or too long, is unbearable`() throws {
    let many = (0..<17).map { "n\($0)" }
    for lines in [
      "Vary: X-Forwarded-For", "Vary: a, forwarded", "Vary: x-request-id", "Vary: traceparent",
      "Vary: X-Client-Cert-SHA256", "Vary: x-client-cert-subject, a", "Vary: tracestate",
      "Vary: *", "Vary: a, *", "Vary: *\nVary: a", "Vary: a b", "Vary: (a)",
      "Vary: " + many.joined(separator: ","), "Vary: " + String(repeating: "x", count: 512),
    ] {
      #expect(try names(lines).0 == .unbearable, "\(lines)")
    }
    let most = many.dropLast().joined(separator: ",")
    #expect(try names("Vary: " + most + ", n0, N1").0 == .names(most.utf8.count))
  }

  private func key(_ names: String, _ lines: String) throws -> [UInt8] {
    try Heads.get("/", lines) { head in
      try #require(
        HeldText(names).read { names in
          Heads.appended { Caching.Vary.appendSecondaryKey(names: names, head, to: &$0) }
        })
    }
  }

  @Test func `tells requests apart by the values of the fields it names, and by nothing else`()
    throws
  {
    let requests = [
      "", "X-A: 1", "X-A: 2", "X-A:", "X-A: 1\nX-A: 2", "X-A: 12", "X-B: 1", "X-A: 1\nX-B: 1",
      "X-B: 1, 2", "X-A: a", "X-A: A", "Accept-Language: en", "Accept-Language: EN",
      "Accept-Language: de, en", "Accept-Language: de,en", "Accept-Language: en;q=1",
    ]
    var found = Set<[UInt8]>()
    for lines in requests {
      #expect(found.insert(try key("accept-language,x-a,x-b", lines)).inserted, "\(lines)")
    }
    #expect(try key("x-a", "X-A: 1, 2\nC: d") == key("x-a", "x-a: 1\nX-a: 2"))
    #expect(try key("x-a", "X-B: 1") == key("x-a", "X-B: 2"))
    #expect(try key("", "X-B: 1") == [])
  }

  @Test(arguments: [
    ("gzip, br", "br,gzip", true), ("gzip;q=0.5, br;q=1.0", "br, gzip", true),
    ("GZIP, BR", "gzip,br", true), ("x-gzip", "gzip", true), ("gzip, br;q=0", "gzip", true),
    ("gzip, identity", "gzip", true), ("gzip\nAccept-Encoding: br", "br, gzip", true),
    ("gzip, identity;q=0", "gzip", false), ("gzip, *;q=0", "gzip", false),
    ("gzip, *;q=0", "gzip, identity;q=0", true), ("gzip, *;q=0, identity", "gzip", true),
    ("gzip, br", "gzip", false), ("gzip", "zstd", false), ("gzip, deflate", "gzip", false),
    ("gzip, deflate, br, zstd", "zstd, br, deflate, gzip", true), ("", "identity", true),
    ("gzip, dcb;q=0", "gzip", true), ("gzip, dcb", "gzip", false), ("gzip, *", "gzip", false),
    ("gzip, *", "gzip,*", false), ("gzip;q=0.000", "identity", true),
    ("gzip;q=0.001", "gzip", true), ("gzip;q=1.1", "gzip", false), ("gzip;q=2", "gzip", false),
    ("gzip;q=", "gzip", false), ("gzip;level=1", "gzip", false), ("gzip ; Q=1", "gzip", true),
  ])
  func `knows two fields of accepted codings as one where they accept the same`(
    one: String, other: String, areSame: Bool
  ) throws {
    let first = try key("accept-encoding", "Accept-Encoding: \(one)")
    let second = try key("accept-encoding", "Accept-Encoding: \(other)")
    #expect((first == second) == areSame)
    #expect(first != (try key("accept-encoding", "X: y")))
  }
}
