import Testing

@testable import Routing

@Suite struct RouteTableTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var host = "example.com"
    var path: String
    var route: Int?
    var testDescription: String { "\(host)\(path)" }

    init(_ host: String, _ path: String, _ route: Int?) {
      (self.host, self.path, self.route) = (host, path, route)
    }
  }

  /// Route ids are positions in this list; more specific ones come late on purpose.
  static let patterns: [RoutePattern] = [
    RoutePattern(),  // 0
    RoutePattern(path: .prefix("/media")),  // 1
    RoutePattern(host: .wildcard("example.com")),  // 2
    RoutePattern(host: .wildcard("eu.example.com"), path: .prefix("/media")),  // 3
    RoutePattern(host: .exact("www.example.com"), path: .prefix("/media")),  // 4
    RoutePattern(host: .exact("www.example.com"), path: .prefix("/media/video")),  // 5
    RoutePattern(host: .exact("www.example.com"), path: .exact("/media/video/new")),  // 6
    RoutePattern(host: .exact("www.example.com"), path: .regex("\\.php$")),  // 7
    RoutePattern(host: .exact("www.example.com"), path: .regex("^/[a-z]+\\.p")),  // 8
    RoutePattern(host: .exact("a.eu.example.com"), path: .exact("/")),  // 9
    RoutePattern(path: .prefix("/admin")),  // 10
    RoutePattern(path: .exact("/a//b")),  // 11
    RoutePattern(path: .exact("/a%2Fb")),  // 12
    RoutePattern(path: .prefix("/a/")),  // 13
  ]

  static let cases: [Case] = [
    // Host: exact, then the longest wildcard, then any.
    Case("www.example.com", "/media/x", 4),
    Case("other.example.com", "/media/x", 2),
    Case("b.eu.example.com", "/media/x", 3),
    Case("b.eu.example.com", "/else", 2),
    Case("deep.below.eu.example.com", "/media", 3),
    Case("example.com", "/media/x", 1),
    Case("notexample.com", "/media/x", 1),
    Case(".example.com", "/media/x", 1),
    Case("WWW.Example.COM", "/media/x", 4),
    Case("www.example.com.", "/media/x", 4),
    Case("", "/media/x", 1),
    // A host whose own routes do not fit falls back to the next one.
    Case("www.example.com", "/none", 2),
    Case("a.eu.example.com", "/", 9),
    Case("a.eu.example.com", "/media/", 3),
    Case("a.eu.example.com", "/x", 2),
    // Path: exact, longest prefix, regular expressions in file order, any.
    Case("www.example.com", "/media/video/new", 6),
    Case("www.example.com", "/media/video/new/", 5),
    Case("www.example.com", "/media/video/newer", 5),
    Case("www.example.com", "/media/video", 5),
    Case("www.example.com", "/media/videos", 4),
    Case("www.example.com", "/media", 4),
    Case("www.example.com", "/media/x.php", 4),
    Case("www.example.com", "/index.php", 7),
    Case("www.example.com", "/index.phtml", 8),
    Case("www.example.com", "/mediax", 2),
    // Safety rule 10a: unreserved octets are decoded, everything else is kept distinct.
    Case("x", "/%61dmin", 10),
    Case("x", "/%61%64%6d%69%6E/users", 10),
    Case("x", "/admin%2Fusers", 0),
    Case("x", "//admin", 0),
    Case("x", "/ADMIN", 0),
    Case("x", "/admin/", 10),
    Case("x", "/admin//users", 10),
    Case("x", "/a//b", 11),
    Case("x", "/a/b", 0),
    Case("x", "/a//c", 13),
    Case("x", "/a/", 13),
    Case("x", "/a", 0),
    Case("x", "/a%2Fb", 12),
    Case("x", "/a%2Fc", 0),
  ]

  @Test(arguments: cases) func `the most specific route is taken`(_ sample: Case) throws {
    let table = try RouteTable(Self.patterns)
    let request = SampleRequest(host: sample.host, path: sample.path)
    let expected = sample.route.map { RouteMatch.route($0) } ?? .none
    #expect(request.match(table, RouteMatcher()) == expected)
  }

  @Test func `a request that fits nothing has no route`() throws {
    let patterns = [
      RoutePattern(host: .exact("a.example")), RoutePattern(host: .wildcard("b.example")),
    ]
    for host in ["b.example", "c.example", "", "xa.example", String(repeating: "a", count: 300)] {
      #expect(try SampleRequest(host: host).match(patterns) == .none)
    }
    #expect(try SampleRequest().match([]) == .none)
  }

  @Test func `an absent path is the root and an asterisk fits only any path`() throws {
    let patterns = [
      RoutePattern(path: .exact("/")), RoutePattern(path: .regex("")), RoutePattern(),
    ]
    #expect(try SampleRequest(path: "").match(patterns) == .route(0))
    #expect(try SampleRequest(method: "OPTIONS", path: "*").match(patterns) == .route(2))
    #expect(try SampleRequest(method: "OPTIONS", path: "").match(patterns) == .route(2))
  }

  @Test func `a faulty expression names its route, the reason and the place`() {
    let patterns = [RoutePattern(), RoutePattern(path: .regex("/a(b"))]
    #expect(throws: RouteTableError(route: 1, message: "missing closing parenthesis", offset: 4)) {
      try RouteTable(patterns)
    }
    #expect(throws: RegexError.self) { try RouteTable.check(regex: "(*UTF)a") }
    #expect(throws: RegexError.self) {
      try RouteTable.check(regex: String(repeating: "a", count: PathRegex.lengthLimit + 1))
    }
    #expect(throws: Never.self) { try RouteTable.check(regex: "^/[0-9]{4}/$") }
  }

  @Test func `an expression that would run for hours ends at its limit`() throws {
    let patterns = [RoutePattern(path: .regex("^/(a+)+$")), RoutePattern()]
    let path = "/" + String(repeating: "a", count: 4000) + "b"
    #expect(try SampleRequest(path: path).match(patterns) == .limitExceeded)
    #expect(try SampleRequest(path: "/aaaa").match(patterns) == .route(0))
  }

  @Test func `a matcher serves several tables in turn`() throws {
    let matcher = RouteMatcher()
    let first = try RouteTable([RoutePattern(path: .regex("^/a"))])
    let second = try RouteTable([RoutePattern(), RoutePattern(path: .regex("^/b"))])
    #expect(SampleRequest(path: "/b").match(first, matcher) == .none)
    #expect(SampleRequest(path: "/b").match(second, matcher) == .route(1))
    #expect(SampleRequest(path: "/a").match(first, matcher) == .route(0))
    #expect(SampleRequest(path: "/a").match(second, matcher) == .route(0))
  }
}
