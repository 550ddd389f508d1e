import Routing
import Testing

@testable import Config

@Suite struct PatternReaderTests {
  @Test(arguments: [
    ("*", RoutePattern()), ("/*", RoutePattern()), ("*/*", RoutePattern()),
    ("www.Example.com", RoutePattern(host: .exact("www.example.com"))),
    ("www.example.com/*", RoutePattern(host: .exact("www.example.com"))),
    ("localhost", RoutePattern(host: .exact("localhost"))),
    ("[::1]/a", RoutePattern(host: .exact("[::1]"), path: .exact("/a"))),
    ("127.0.0.1/", RoutePattern(host: .exact("127.0.0.1"), path: .exact("/"))),
    ("*.example.com", RoutePattern(host: .wildcard("example.com"))),
    ("*.example.com/a/*", RoutePattern(host: .wildcard("example.com"), path: .prefix("/a"))),
    ("/", RoutePattern(path: .exact("/"))), ("/a", RoutePattern(path: .exact("/a"))),
    ("/a/", RoutePattern(path: .exact("/a/"))), ("/a/*", RoutePattern(path: .prefix("/a"))),
    ("*/a/*", RoutePattern(path: .prefix("/a"))), ("//*", RoutePattern(path: .prefix("/"))),
    ("/a//*", RoutePattern(path: .prefix("/a/"))), ("/%41%7e", RoutePattern(path: .exact("/A~"))),
    ("/a%2Fb%c3", RoutePattern(path: .exact("/a%2Fb%c3"))),
    ("/Case", RoutePattern(path: .exact("/Case"))),
  ])
  func `a pattern is a host and a path`(word: String, pattern: RoutePattern) throws {
    #expect(try PatternReader.read(word) == pattern)
  }

  @Test(arguments: [
    "http://a/b", "a.*.com", "*a.com", "*.", "*.*.a", "a..b", ".a", "a.", "a:80/b", "a b", "a_b!",
    "[::1", "[127.0.0.1]", "*.[::1]", "/a*", "/*/b", "/a/*/b", "/a?b=1", "/a b", "/ä", "/a#b",
    "/../a", "/a/..", "/./a", "/%2e%2E/a", "/%2e", "/a%", "/a%2", "/a%zz", "/a%00", "/a\"b",
    "/a\\b", "",
    "/" + String(repeating: "a", count: 1100), String(repeating: "a.", count: 140) + "com",
    String(repeating: "a", count: 64) + ".com",
  ])
  func `what no request can have is refused`(word: String) {
    #expect(throws: ValueFault.self) { try PatternReader.read(word) }
  }
}
