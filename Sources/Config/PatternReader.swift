import Primitives
import Routing

/// `*`, `HOST`, `HOST/path`, `HOST/path/*`, `/path/*`, `*.example.com/…` → host and path.
enum PatternReader {
  static let pathLimit = 1024

  static func read(_ word: String) throws(ValueFault) -> RoutePattern {
    if word.isEmpty {
      throw ValueFault(message: "an empty pattern", notes: ["'*' takes every request"])
    }
    if word.contains("://") {
      throw ValueFault(
        message: "a route's pattern is a host and a path, without a scheme",
        notes: ["expected one such as 'www.example.com/media/*'"])
    }
    let slash = word.firstIndex(of: "/") ?? word.endIndex
    return RoutePattern(
      host: try host(String(word[..<slash])), path: try path(String(word[slash...])))
  }

  private static func host(_ word: String) throws(ValueFault) -> RoutePattern.Host {
    if word.isEmpty || word == "*" { return .any }
    var name = word.lowercased()
    let isWildcard = name.hasPrefix("*.")
    if isWildcard { name.removeFirst(2) }
    if name.contains("*") {
      throw ValueFault(
        message: "in a host '*' stands alone or before the first dot",
        notes: ["expected '*', 'www.example.com' or '*.example.com'"])
    }
    if !name.hasSuffix("]"), let colon = name.lastIndex(of: ":") {
      throw ValueFault(
        message: "a route's host has no port", notes: ["expected '\(name[..<colon])'"])
    }
    guard isWildcard ? HostName.isValid(name) : AddressReader.isHost(name) else {
      throw ValueFault(
        message: "'\(word)' is not a host name",
        notes: ["expected '*', 'www.example.com', '*.example.com' or a path"])
    }
    return isWildcard ? .wildcard(name) : .exact(name)
  }

  private static func path(_ word: String) throws(ValueFault) -> RoutePattern.Path {
    if word.isEmpty || word == "/*" { return .any }
    let isPrefix = word.hasSuffix("/*")
    let written = isPrefix ? String(word.dropLast(2)) : word
    try check(written, of: word)
    let path = try decodingUnreserved(written)
    let segments = path.split(separator: "/", omittingEmptySubsequences: false)
    if segments.contains(".") || segments.contains("..") {
      throw ValueFault(
        message: "a path with '.' or '..' segments is never matched",
        notes: ["such requests are refused with 400"])
    }
    return isPrefix ? .prefix(path) : .exact(path)
  }

  private static func check(_ path: String, of word: String) throws(ValueFault) {
    if path.contains("*") {
      throw ValueFault(
        message: "in a path '*' stands only at the end, after '/'",
        notes: ["expected one such as '/media/*', or an expression by 'when path ~ REGEX'"])
    }
    if path.contains("?") {
      throw ValueFault(
        message: "a route's pattern has no query",
        notes: ["a condition on a query argument is written 'when query NAME VALUE'"])
    }
    let bytes = Array(path.utf8)
    guard bytes.withByteView({ $0.endOfTarget(from: 0) == $0.count }), bytes.count <= pathLimit
    else {
      throw ValueFault(
        message: "'\(word)' has characters that no request path has",
        notes: ["percent-encode them; a path has at most \(written(bytes: pathLimit))"])
    }
  }

  /// Requests are matched with unreserved octets decoded (safety rule 10a), so is the pattern.
  private static func decodingUnreserved(_ path: String) throws(ValueFault) -> String {
    let bytes = Array(path.utf8)
    var decoded: [UInt8] = []
    var index = 0
    while index < bytes.count {
      guard bytes[index] == UInt8(ascii: "%") else {
        decoded.append(bytes[index])
        index += 1
        continue
      }
      guard index + 2 < bytes.count, let high = ASCII.hexValue(bytes[index + 1]),
        let low = ASCII.hexValue(bytes[index + 2])
      else {
        throw ValueFault(
          message: "'%' in a path is followed by two hexadecimal digits",
          notes: ["a percent sign itself is written '%25'"])
      }
      let octet = high << 4 | low
      if octet == 0 {
        throw ValueFault(
          message: "a path with '%00' is never matched",
          notes: ["such requests are refused with 400"])
      }
      if ASCII.isUnreserved(octet) {
        decoded.append(octet)
      } else {
        decoded += bytes[index..<(index + 3)]
      }
      index += 3
    }
    return String(decoding: decoded, as: UTF8.self)
  }
}
