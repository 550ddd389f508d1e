import Primitives
import Routing
import Testing

/// The documented order, as slowly and plainly as it can be written: every route is tried, and
/// the best of those that fit is kept.
struct NaiveMatcher {
  var patterns: [RoutePattern]

  func match(_ request: SampleRequest) -> RouteMatch {
    let fitting = patterns.indices.filter { fits(patterns[$0], request) }
    let best = fitting.min { rank($0).lexicographicallyPrecedes(rank($1)) }
    return best.map { .route($0) } ?? .none
  }

  private func fits(_ pattern: RoutePattern, _ request: SampleRequest) -> Bool {
    let host = request.host.lowercased()
    let hostFits =
      switch pattern.host {
      case .any: true
      case .exact(let name): host == name
      case .wildcard(let name): host.hasSuffix("." + name) && host.count > name.count + 1
      }
    let path = request.routingPath
    let pathFits =
      switch pattern.path {
      case .any: true
      case .exact(let exact): path == exact
      case .prefix(let prefix): path == prefix || path.hasPrefix(prefix + "/")
      // The generated expressions are `^` and a literal.
      case .regex(let expression): path.hasPrefix(expression.dropFirst())
      }
    return hostFits && pathFits && pattern.conditions.allSatisfy { fits($0, request) }
  }

  private func fits(_ condition: RouteCondition, _ request: SampleRequest) -> Bool {
    switch condition {
    case .method(let names): names.contains(request.method)
    case .header(let name, let value):
      request.fields.contains { $0.name == name && (value == nil || $0.value == value) }
    case .query(let name, let value):
      request.query.split(separator: "&").contains { argument in
        let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
        return parts[0] == name && (value == nil || parts.count > 1 && parts[1] == value!)
      }
    }
  }

  /// Smaller is better.
  private func rank(_ route: Int) -> [Int] {
    let pattern = patterns[route]
    let host =
      switch pattern.host {
      case .exact: [0, 0]
      case .wildcard(let name): [1, -name.count]
      case .any: [2, 0]
      }
    let path =
      switch pattern.path {
      case .exact: [0, 0]
      case .prefix(let prefix): [1, -prefix.count]
      // The place of an expression is where it is first written under its host.
      case .regex:
        [2, patterns.firstIndex { $0.host == pattern.host && $0.path == pattern.path }!]
      case .any: [3, 0]
      }
    return host + path + [-pattern.conditions.count, route]
  }
}

@Suite struct RouteModelTests {
  static let labels = ["a", "b", "api", "example"]
  static let segments = ["", "a", "b", "media", "v1", "longer-than-eight", "admin"]

  static func pick<Element>(_ list: [Element], _ random: inout SeededRandom) -> Element {
    list[random.below(list.count)]
  }

  static func host(_ random: inout SeededRandom) -> String {
    (0...random.below(4)).map { _ in pick(labels, &random) }.joined(separator: ".")
  }

  static func path(_ random: inout SeededRandom) -> String {
    (0...random.below(4)).map { _ in "/" + pick(segments, &random) }.joined()
  }

  static func pattern(_ random: inout SeededRandom) -> RoutePattern {
    var pattern = RoutePattern()
    switch random.below(4) {
    case 0: break
    case 1: pattern.host = .wildcard(host(&random))
    default: pattern.host = .exact(host(&random))
    }
    switch random.below(8) {
    case 0: break
    case 1: pattern.path = .regex("^" + path(&random))
    case 2, 3, 4: pattern.path = .exact(path(&random))
    default: pattern.path = .prefix(path(&random))
    }
    if random.below(3) == 0 { pattern.conditions.append(.method([pick(["GET", "X"], &random)])) }
    if random.below(4) == 0 {
      pattern.conditions.append(.header(name: "x-a", value: pick([nil, "1"], &random)))
    }
    if random.below(4) == 0 {
      pattern.conditions.append(.query(name: "q", value: pick([nil, "1"], &random)))
    }
    return pattern
  }

  static func request(_ random: inout SeededRandom) -> SampleRequest {
    SampleRequest(
      method: pick(["GET", "POST", "X"], &random), host: host(&random), path: path(&random),
      query: pick(["", "q=1", "q=2&r=1", "r=1&q=1"], &random),
      fields: pick([[], [("x-a", "1")], [("x-a", "2")]], &random))
  }

  @Test(arguments: [1, 3, 10, 40, 200])
  func `the table agrees with the plain matcher`(size: Int) throws {
    let matcher = RouteMatcher()
    for round in 0..<60 {
      var random = SeededRandom(seed: UInt64(size * 1000 + round))
      let patterns = (0..<size).map { _ in Self.pattern(&random) }
      let table = try RouteTable(patterns)
      let model = NaiveMatcher(patterns: patterns)
      for _ in 0..<60 {
        let request = Self.request(&random)
        #expect(
          request.match(table, matcher) == model.match(request),
          "size \(size), round \(round), \(request)")
      }
    }
  }

  @Test func `ten thousand routes are all found`() throws {
    let patterns = (0..<10_000).map { index in
      switch index % 4 {
      case 0: RoutePattern(host: .exact("h\(index).example"), path: .prefix("/p"))
      case 1: RoutePattern(host: .exact("one.example"), path: .exact("/x/\(index)"))
      case 2: RoutePattern(host: .exact("one.example"), path: .prefix("/y/\(index)/z"))
      default: RoutePattern(host: .wildcard("w\(index).example"))
      }
    }
    let table = try RouteTable(patterns)
    let matcher = RouteMatcher()
    for index in 0..<10_000 {
      let request =
        switch index % 4 {
        case 0: SampleRequest(host: "h\(index).example", path: "/p/q")
        case 1: SampleRequest(host: "one.example", path: "/x/\(index)")
        case 2: SampleRequest(host: "one.example", path: "/y/\(index)/z/tail")
        default: SampleRequest(host: "sub.w\(index).example", path: "/")
        }
      #expect(request.match(table, matcher) == .route(index))
    }
  }

  @Test func `several threads may share one table`() async throws {
    let table = try RouteTable([RoutePattern(path: .regex("^/(a|b)+$")), RoutePattern()])
    await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<4 {
        group.addTask {
          let matcher = RouteMatcher()
          return (0..<500).allSatisfy { turn in
            let path = turn % 2 == 0 ? "/abab" : "/abc"
            return SampleRequest(path: path).match(table, matcher) == .route(turn % 2)
          }
        }
      }
      for await isRight in group { #expect(isRight) }
    }
  }
}
