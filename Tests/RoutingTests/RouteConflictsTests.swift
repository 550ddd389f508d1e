import Testing

@testable import Routing

@Suite struct RouteConflictsTests {
  @Test func `routes that differ in nothing that matters are duplicates`() {
    let patterns = [
      RoutePattern(path: .prefix("/a"), conditions: [.method(["GET", "POST"])]),
      RoutePattern(path: .prefix("/a")),
      RoutePattern(path: .prefix("/a"), conditions: [.method(["POST", "GET", "GET"])]),
      RoutePattern(path: .exact("/a")),
      RoutePattern(host: .exact("x"), path: .prefix("/a")),
      RoutePattern(path: .prefix("/a")),
      RoutePattern(),
      RoutePattern(path: .prefix("")),
    ]
    #expect(
      RouteTable.duplicates(in: patterns) == [
        RouteConflict(route: 2, winner: 0), RouteConflict(route: 5, winner: 1),
        RouteConflict(route: 7, winner: 6),
      ])
  }

  @Test(arguments: [
    ("^/media/[0-9]+", true), ("^/media/", true), ("^/media/x/y$", true), ("^/media/x?", true),
    ("^/media", false), ("^/media/?", false), ("^/media/*x", false), ("/media/[0-9]+", false),
    ("^/media/|^/other", false), ("^/(media)/", false), ("^/mediax/", false), ("^/m.dia/", false),
  ])
  func `an expression under an unconditional prefix is never asked`(
    expression: String, isHidden: Bool
  ) {
    let patterns = [
      RoutePattern(path: .regex(expression)), RoutePattern(path: .prefix("/media")),
    ]
    let expected = isHidden ? [RouteConflict(route: 0, winner: 1)] : []
    #expect(RouteTable.hiddenRegexes(in: patterns) == expected)
  }

  @Test func `a prefix with conditions or of another host hides nothing`() {
    let regex = RoutePattern(path: .regex("^/media/x"))
    let conditional = RoutePattern(path: .prefix("/media"), conditions: [.method(["GET"])])
    let elsewhere = RoutePattern(host: .exact("a"), path: .prefix("/media"))
    #expect(RouteTable.hiddenRegexes(in: [regex, conditional, elsewhere]).isEmpty)
  }
}
