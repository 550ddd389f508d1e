import Caching
import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A conditional request` {
  private static let modified = "Sun, 06 Nov 1994 08:49:37 GMT"
  private static let seconds: Int64 = 784_111_777

  private func outcome(
    _ lines: String, status: Int = 200, etag: String = "\"a\"", modified: String = Self.modified,
    date: Int64 = Self.seconds + 100, method: String = "GET"
  ) throws -> ConditionalRequest.Outcome {
    let tag = HeldText(etag)
    let last = HeldText(modified)
    return try withExtendedLifetime((tag, last)) {
      try Heads.request("\(method) / HTTP/1.1\nHost: h\n\(lines)") {
        ConditionalRequest.evaluate(
          $0, status: status,
          StoredValidators(etag: tag.view, lastModified: last.view, dateSeconds: date))
      }
    }
  }

  @Test(arguments: [
    ("\"a\"", "\"a\"", true), ("W/\"a\"", "\"a\"", true), ("\"a\"", "W/\"a\"", true),
    ("W/\"a\"", "W/\"a\"", true), ("\"b\"", "\"a\"", false), ("\"A\"", "\"a\"", false),
    ("*", "\"a\"", true), (" * ", "", true), ("\"b\", \"a\"", "\"a\"", true),
    ("\"b\",W/\"a\",", "\"a\"", true), ("\"a,b\"", "\"a,b\"", true),
    ("\"a,b\"", "\"b\"", false), ("\"x\", \"a,b\"", "\"a,b\"", true), ("a", "a", true),
    ("a, b", "b", true), ("\"a\"", "", false), ("", "\"a\"", false), ("\"", "\"a\"", false),
    ("w/\"a\"", "\"a\"", false), ("\"a", "\"a\"", false), ("\"\"", "\"\"", true),
    ("\"a\"\nIf-None-Match: \"b\"", "\"b\"", true), ("\"*\"", "\"a\"", false),
  ])
  func `of entity tags compares weakly`(value: String, etag: String, matches: Bool) throws {
    let found = try outcome("If-None-Match: \(value)", etag: etag)
    #expect((found == .notModified) == matches)
    #expect(
      try outcome("If-None-Match: \(value)", etag: etag, method: "HEAD") == found)
  }

  @Test(arguments: [
    ("Sun, 06 Nov 1994 08:49:37 GMT", true), ("Sun, 06 Nov 1994 08:49:38 GMT", true),
    ("Sun, 06 Nov 1994 08:49:36 GMT", false), ("Sunday, 06-Nov-94 08:49:37 GMT", true),
    ("yesterday", false), ("", false), ("0", false),
    ("Sun, 06 Nov 1994 08:49:37 GMT\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", false),
  ])
  func `of a date compares with the last change`(value: String, matches: Bool) throws {
    #expect((try outcome("If-Modified-Since: \(value)") == .notModified) == matches)
  }

  @Test func `of a date takes the response's date where no change is known`() throws {
    let lines = "If-Modified-Since: \(Self.modified)"
    #expect(try outcome(lines, modified: "", date: Self.seconds) == .notModified)
    #expect(try outcome(lines, modified: "", date: Self.seconds + 1) == .full)
    #expect(try outcome(lines, modified: "x", date: Self.seconds + 1) == .full)
  }

  @Test func `looks at the date only where no tag is sent`() throws {
    let since = "\nIf-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT"
    #expect(try outcome("If-None-Match: \"b\"" + since) == .full)
    #expect(try outcome("If-None-Match: \"a\"\nIf-Modified-Since: x") == .notModified)
  }

  @Test(arguments: [(204, true), (301, false), (404, false), (500, false), (200, true)])
  func `is ignored where the answer is no success`(status: Int, counts: Bool) throws {
    let found = try outcome("If-None-Match: *", status: status)
    #expect((found == .notModified) == counts)
  }

  private func allowsRange(
    _ lines: String, etag: String = "\"a\"", modified: String = Self.modified, later: Int64 = 1
  ) throws -> Bool {
    let tag = HeldText(etag)
    let last = HeldText(modified)
    return try withExtendedLifetime((tag, last)) {
      try Heads.get("/", lines) {
        ConditionalRequest.allowsRange(
          $0,
          StoredValidators(
            etag: tag.view, lastModified: last.view, dateSeconds: Self.seconds + later))
      }
    }
  }

  @Test(arguments: [
    ("X: y", true), ("If-Range: \"a\"", true), ("If-Range: \"b\"", false),
    ("If-Range: W/\"a\"", false), ("If-Range: Sun, 06 Nov 1994 08:49:37 GMT", true),
    ("If-Range: Sun, 06 Nov 1994 08:49:38 GMT", false),
    ("If-Range: Sunday, 06-Nov-94 08:49:37 GMT", false), ("If-Range: ", false),
    ("If-Range: a", false), ("If-Range: \"a\"\nIf-Range: \"a\"", false),
  ])
  func `of a range compares strongly`(lines: String, allows: Bool) throws {
    #expect(try allowsRange(lines) == allows)
  }

  @Test func `of a range trusts no weak validator`() throws {
    #expect(try !allowsRange("If-Range: W/\"a\"", etag: "W/\"a\""))
    #expect(try !allowsRange("If-Range: \"a\"", etag: ""))
    // Changed in the second in which it was sent: it may have changed again.
    #expect(try !allowsRange("If-Range: \(Self.modified)", later: 0))
    #expect(try !allowsRange("If-Range: x", modified: "x"))
  }
}
