import Routing
import Testing

@Suite struct RouteConditionsTests {
  static func holds(_ condition: RouteCondition, _ request: SampleRequest) throws -> Bool {
    try request.match([RoutePattern(conditions: [condition])]) == .route(0)
  }

  @Test(arguments: [
    (["GET"], "GET", true), (["GET"], "get", false), (["GET"], "POST", false),
    (["GET", "POST"], "POST", true), (["PURGE"], "PURGE", true), (["PURGE"], "purge", false),
    (["PURGE"], "GET", false), (["GET"], "PURGE", false), (["BAN", "PURGE"], "PURGE", true),
  ])
  func `methods are compared byte for byte`(names: [String], sent: String, result: Bool) throws {
    #expect(try Self.holds(.method(names), SampleRequest(method: sent)) == result)
  }

  @Test(arguments: [
    ("x-canary", nil, true), ("x-canary", "1", true), ("x-canary", "2", true),
    ("x-canary", "3", false), ("x-canary", "", false), ("x-other", nil, false),
    ("accept-encoding", nil, true), ("accept-encoding", "gzip", true),
    ("accept-encoding", "GZIP", false), ("accept-encoding", "br", true), ("range", nil, false),
    ("x-empty", "", true), ("x-empty", nil, true),
  ])
  func `one line of the field must be the value`(
    name: String, value: String?, result: Bool
  ) throws {
    let request = SampleRequest(fields: [
      ("X-Canary", "1"), ("Accept-Encoding", "gzip"), ("x-CANARY", "2"),
      ("accept-encoding", "br"), ("X-Empty", ""),
    ])
    #expect(try Self.holds(.header(name: name, value: value), request) == result)
  }

  @Test(arguments: [
    ("a=1&b=2", "a", nil, true), ("a=1&b=2", "b", "2", true), ("a=1&b=2", "b", "1", false),
    ("a=1&a=2", "a", "2", true), ("", "a", nil, false), ("a", "a", nil, true),
    ("a", "a", "", true), ("a=", "a", "", true), ("aa=1", "a", nil, false),
    ("%61=%31", "a", "1", true), ("a=x+y", "a", "x y", true), ("a=x%20y", "a", "x y", true),
    ("a=x%2by", "a", "x+y", true), ("a=%4", "a", "%4", true), ("a=%zz", "a", "%zz", true),
    ("a=%", "a", "%", true), ("&&a=1&", "a", "1", true), ("b=a=1", "a", nil, false),
    ("b=a=1", "b", "a=1", true), ("a=12", "a", "1", false), ("a=1", "a", "12", false),
  ])
  func `query arguments are compared decoded`(
    query: String, name: String, value: String?, result: Bool
  ) throws {
    let request = SampleRequest(query: query)
    #expect(try Self.holds(.query(name: name, value: value), request) == result)
  }

  @Test func `more conditions win over fewer, then file order decides`() throws {
    let patterns = [
      RoutePattern(conditions: []),
      RoutePattern(conditions: [.method(["POST"])]),
      RoutePattern(conditions: [.header(name: "x-a", value: nil)]),
      RoutePattern(conditions: [.method(["POST"]), .header(name: "x-a", value: nil)]),
    ]
    let field = [(name: "X-A", value: "1")]
    #expect(try SampleRequest().match(patterns) == .route(0))
    #expect(try SampleRequest(method: "POST").match(patterns) == .route(1))
    #expect(try SampleRequest(fields: field).match(patterns) == .route(2))
    #expect(try SampleRequest(method: "POST", fields: field).match(patterns) == .route(3))
  }

  @Test func `where the conditions of a specific route fail the next best is tried`() throws {
    let post = [RouteCondition.method(["POST"])]
    let patterns = [
      RoutePattern(host: .exact("example.com"), path: .exact("/a/b"), conditions: post),
      RoutePattern(host: .exact("example.com"), path: .prefix("/a/b"), conditions: post),
      RoutePattern(host: .exact("example.com"), path: .prefix("/a")),
      RoutePattern(host: .exact("example.com"), path: .regex("c"), conditions: post),
      RoutePattern(path: .exact("/c")),
    ]
    #expect(try SampleRequest(method: "POST", path: "/a/b").match(patterns) == .route(0))
    #expect(try SampleRequest(path: "/a/b").match(patterns) == .route(2))
    #expect(try SampleRequest(method: "POST", path: "/c").match(patterns) == .route(3))
    #expect(try SampleRequest(path: "/c").match(patterns) == .route(4))
  }
}
