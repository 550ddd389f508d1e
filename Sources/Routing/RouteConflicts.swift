import Primitives

/// A route that no request can take, because of one written elsewhere in the file.
public struct RouteConflict: Sendable, Equatable {
  public var route: Int
  /// The route that takes its requests.
  public var winner: Int
}

extension RouteTable {
  /// Routes with the same host, path and conditions as an earlier one, in file order. The order
  /// of conditions, and of methods within one, does not tell routes apart.
  public static func duplicates(in patterns: [RoutePattern]) -> [RouteConflict] {
    struct Key: Hashable {
      var host: RoutePattern.Host
      var path: RoutePattern.Path
      var conditions: Set<RouteCondition>
    }
    var first: [Key: Int] = [:]
    var found: [RouteConflict] = []
    for (route, pattern) in patterns.enumerated() {
      let conditions = pattern.conditions.map { condition -> RouteCondition in
        guard case .method(let names) = condition else { return condition }
        return .method(Set(names).sorted())
      }
      let path = pattern.path == .prefix("") ? .any : pattern.path
      let key = Key(host: pattern.host, path: path, conditions: Set(conditions))
      if let winner = first[key] {
        found.append(RouteConflict(route: route, winner: winner))
      } else {
        first[key] = route
      }
    }
    return found
  }

  /// Regular expressions that begin with `^` and a literal path under an unconditional prefix
  /// route of the same host: prefixes are tried first, so the expression is never asked.
  public static func hiddenRegexes(in patterns: [RoutePattern]) -> [RouteConflict] {
    var prefixes: [RoutePattern.Host: [String: Int]] = [:]
    for (route, pattern) in patterns.enumerated() where pattern.conditions.isEmpty {
      if case .prefix(let path) = pattern.path, prefixes[pattern.host]?[path] == nil {
        prefixes[pattern.host, default: [:]][path] = route
      }
    }
    var found: [RouteConflict] = []
    for (route, pattern) in patterns.enumerated() {
      guard case .regex(let expression) = pattern.path, let known = prefixes[pattern.host],
        let literal = literalStart(of: expression)
      else { continue }
      var end = literal.count
      while let slash = literal[..<end].lastIndex(of: UInt8(ascii: "/")) {
        if let winner = known[String(decoding: literal[..<slash], as: UTF8.self)] {
          found.append(RouteConflict(route: route, winner: winner))
          break
        }
        end = slash
      }
    }
    return found
  }

  /// The bytes every match begins with, or `nil` where that cannot be said simply.
  private static func literalStart(of expression: String) -> [UInt8]? {
    let bytes = Array(expression.utf8)
    guard bytes.first == UInt8(ascii: "^"), !bytes.contains(UInt8(ascii: "|")) else { return nil }
    var literal: [UInt8] = []
    for byte in bytes.dropFirst() {
      if "?*{".utf8.contains(byte) {
        // The quantifier makes the byte before it optional.
        if !literal.isEmpty { literal.removeLast() }
        break
      }
      guard ASCII.isLetter(byte) || ASCII.isDigit(byte) || "/-_~%".utf8.contains(byte) else {
        break
      }
      literal.append(byte)
    }
    return literal
  }
}
