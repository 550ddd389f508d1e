import HTTP
import Primitives

/// The octets that name a resource in the cache (safety rule 57):
/// `scheme://host[:port]/path?query`, and, where the rule names fields or cookies, a NUL, which no
/// URL contains, and their values.
///
/// The path stands as it was received: what one backend takes for two resources is never one here.
/// What follows the origin is what has to be sent upstream, so that a key never stands for a
/// request that the backend did not see.
public enum CacheKey {
  /// A key never exceeds a head's target, host and chosen fields; what does not fit the sink is
  /// not cached. In octets.
  public static let separator: UInt8 = 0
  /// Ends the values of one name; no value is so long.
  static let endOfValues: UInt32 = .max

  /// Where the parts of a key are, in octets from its first.
  public struct Layout: Sendable, Equatable, BitwiseCopyable {
    /// Scheme, host and port end here, and path and query begin.
    public var targetStart: Int
    /// The URL ends here: keys with the same URL are purged together.
    public var urlEnd: Int
    /// With the extra parts.
    public var length: Int
  }

  /// Appends the key of a request; `nil` where it does not fit the sink, or the request names no
  /// host. No allocation.
  public static func append(
    _ head: borrowing RequestHead, isSecure: Bool, rule: borrowing CompiledCacheRule,
    to sink: inout ByteSink
  ) -> Layout? {
    let start = sink.count
    let host = head.host
    guard !host.isEmpty else { return nil }
    appendOrigin(host: host, port: port(head.authority, host), isSecure: isSecure, to: &sink)
    let targetStart = sink.count - start
    if head.path.isEmpty {
      sink.append(byte: UInt8(ascii: "/"))
    } else {
      sink.append(head.path)
    }
    if head.pathAndQueryRange.count > head.pathRange.count {
      rule.appendQuery(head.query, hasQuery: true, to: &sink)
    }
    let urlEnd = sink.count - start
    if rule.hasExtras { appendExtras(head, rule, to: &sink) }
    guard !sink.overflowed else { return nil }
    return Layout(targetStart: targetStart, urlEnd: urlEnd, length: sink.count - start)
  }

  /// `host` is in lower case; `port` 0: none was named.
  @inline(__always)
  static func appendOrigin(
    host: ByteView, port: Int, isSecure: Bool, to sink: inout ByteSink
  ) {
    if isSecure { sink.append("https://") } else { sink.append("http://") }
    sink.append(host)
    if port != 0, port != (isSecure ? 443 : 80) {
      sink.append(byte: UInt8(ascii: ":"))
      sink.append(decimal: port)
    }
  }

  /// The port of an authority that was checked already; 0 where it names none.
  @inline(__always)
  static func port(_ authority: ByteView, _ host: ByteView) -> Int {
    authority.count > host.count ? namedPort(authority, host) : 0
  }

  private static func namedPort(_ authority: ByteView, _ host: ByteView) -> Int {
    // A final dot of the name is not part of the host.
    let colon = authority[host.count] == UInt8(ascii: ":") ? host.count : host.count + 1
    guard colon < authority.count else { return 0 }
    return authority.slice(from: colon + 1).decimal ?? 0
  }

  private static func appendExtras(
    _ head: borrowing RequestHead, _ rule: borrowing CompiledCacheRule, to sink: inout ByteSink
  ) {
    sink.append(byte: separator)
    if rule.routeMark.count > 0 { appendValue(rule.routeMark.view, to: &sink) }
    for index in 0..<rule.keyHeaders.count {
      var line = unsafe rule.keyHeaders[index].pointee.firstIndex(in: head.fields, head.bytes)
      while let found = line {
        appendValue(head.value(found), to: &sink)
        line = unsafe rule.keyHeaders[index].pointee.firstIndex(
          in: head.fields, head.bytes, from: found + 1)
      }
      sink.append(word: endOfValues)
    }
    for index in 0..<rule.keyCookies.count {
      var line = head.fields.firstIndex(of: .cookie)
      while let found = line {
        var cookies = CookiePairs(head.value(found))
        while let pair = cookies.next() {
          guard unsafe pair.name.equals(rule.keyCookies[index].pointee.view) else { continue }
          appendValue(pair.value, to: &sink)
        }
        line = head.fields.firstIndex(of: .cookie, from: found + 1)
      }
      sink.append(word: endOfValues)
    }
  }

  /// With its length before it, so that no two lists of values have the same octets.
  static func appendValue(_ value: ByteView, to sink: inout ByteSink) {
    sink.append(word: UInt32(value.count))
    sink.append(value)
  }
}

extension ByteSink {
  /// Four octets, the lowest first.
  mutating func append(word: UInt32) {
    for shift: UInt32 in [0, 8, 16, 24] {
      append(byte: UInt8(truncatingIfNeeded: word &>> shift))
    }
  }
}

/// Walks the pairs of a Cookie field (RFC 6265 §4.2.1, as leniently as servers do).
struct CookiePairs {
  private let value: ByteView
  private var index = 0

  init(_ value: ByteView) { self.value = value }

  mutating func next() -> (name: ByteView, value: ByteView)? {
    while index < value.count {
      let end = value.firstIndex(of: UInt8(ascii: ";"), from: index) ?? value.count
      let pair = value.slice(index, end).trimmed()
      index = end + 1
      guard !pair.isEmpty else { continue }
      guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { return (pair, .empty) }
      return (pair.slice(0, equals).trimmed(), pair.slice(from: equals + 1).trimmed())
    }
    return nil
  }
}
