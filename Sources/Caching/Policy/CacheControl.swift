import HTTP
import Primitives

/// A set of directives, combined over all lines of a message (RFC 9111 §5.2).
///
/// Where two of them disagree the one holds that lets a cache do less; what is malformed counts as
/// the least it could mean, so that a lifetime nobody can read is over (§4.2.1). `private` and
/// `no-cache` with a list of fields are taken for the ones without, as §5.2.2.4 and §5.2.2.7 allow.
public struct CacheControl: Sendable, Equatable, BitwiseCopyable {
  /// Directives without an argument.
  public struct Flags: OptionSet, Sendable, BitwiseCopyable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let noStore = Flags(rawValue: 1)
    public static let noCache = Flags(rawValue: 2)
    public static let isPrivate = Flags(rawValue: 4)
    public static let isPublic = Flags(rawValue: 8)
    public static let mustRevalidate = Flags(rawValue: 16)
    public static let proxyRevalidate = Flags(rawValue: 32)
    public static let mustUnderstand = Flags(rawValue: 64)
    public static let immutable = Flags(rawValue: 128)
    public static let onlyIfCached = Flags(rawValue: 256)
  }

  /// RFC 9111 §1.2.2: what overflows, and the largest value, in seconds.
  public static let mostSeconds = 1 << 31

  public var flags: Flags = []
  /// All in seconds, 0–2^31; `nil`: not said.
  public var maxAge: Int?
  public var sMaxAge: Int?
  public var staleWhileRevalidate: Int?
  public var staleIfError: Int?
  public var minFresh: Int?
  /// `max-stale` without an argument is `mostSeconds`.
  public var maxStale: Int?

  public init() {}

  /// Of all Cache-Control lines of a head.
  public init(_ fields: borrowing Fields, _ head: ByteView) {
    self.init()
    var line = fields.firstIndex(of: .cacheControl)
    while let index = line {
      add(head.slice(fields[index].valueRange))
      line = fields.firstIndex(of: .cacheControl, from: index + 1)
    }
  }

  /// Adds the directives of one line.
  public mutating func add(_ value: ByteView) {
    var members = Directives(value)
    while let directive = members.next() { add(directive) }
  }

  private mutating func add(_ directive: Directives.Element) {
    let name = directive.name
    switch name.count {
    case 6 where name.equalsLowercased("public"): flags.insert(.isPublic)
    case 7 where name.equalsLowercased("max-age"):
      CacheControl.lower(&maxAge, directive.seconds ?? 0)
    case 7 where name.equalsLowercased("private"): flags.insert(.isPrivate)
    case 8 where name.equalsLowercased("s-maxage"):
      CacheControl.lower(&sMaxAge, directive.seconds ?? 0)
    case 8 where name.equalsLowercased("no-store"): flags.insert(.noStore)
    case 8 where name.equalsLowercased("no-cache"): flags.insert(.noCache)
    case 9 where name.equalsLowercased("immutable"): flags.insert(.immutable)
    case 9 where name.equalsLowercased("max-stale"):
      let isBare = directive.argument == nil
      CacheControl.lower(
        &maxStale, isBare ? CacheControl.mostSeconds : directive.seconds ?? 0)
    case 9 where name.equalsLowercased("min-fresh"):
      minFresh = max(minFresh ?? 0, directive.seconds ?? CacheControl.mostSeconds)
    case 14 where name.equalsLowercased("stale-if-error"):
      CacheControl.lower(&staleIfError, directive.seconds ?? 0)
    case 14 where name.equalsLowercased("only-if-cached"): flags.insert(.onlyIfCached)
    case 15 where name.equalsLowercased("must-revalidate"): flags.insert(.mustRevalidate)
    case 15 where name.equalsLowercased("must-understand"): flags.insert(.mustUnderstand)
    case 16 where name.equalsLowercased("proxy-revalidate"): flags.insert(.proxyRevalidate)
    case 22 where name.equalsLowercased("stale-while-revalidate"):
      CacheControl.lower(&staleWhileRevalidate, directive.seconds ?? 0)
    default: break
    }
  }

  static func lower(_ value: inout Int?, _ seconds: Int) {
    value = min(value ?? seconds, seconds)
  }
}

/// Walks the directives of one line: `name`, `name=token` or `name="quoted"`.
struct Directives {
  struct Element {
    /// Up to the first octet that no token has; in any case.
    var name: ByteView
    /// Without its quotes; `nil` where nothing but the name was found. Escapes are left as they
    /// are: no argument that weir reads needs any.
    var argument: ByteView?

    /// The argument as delta-seconds, saturated; `nil` where it is none.
    var seconds: Int? { argument?.deltaSeconds }
  }

  private let value: ByteView
  private var index = 0

  init(_ value: ByteView) { self.value = value }

  mutating func next() -> Element? {
    while index < value.count {
      let byte = value[index]
      if byte == UInt8(ascii: ",") || ASCII.isBlank(byte) {
        index += 1
        continue
      }
      let start = index
      let nameEnd = value.endOfToken(from: start)
      let name = value.slice(start, nameEnd)
      index = nameEnd
      guard nameEnd < value.count, value[nameEnd] == UInt8(ascii: "=") else {
        // What follows the name and is no argument belongs to nothing.
        let end = endOfMember(from: nameEnd)
        let rest = value.slice(nameEnd, end).trimmed()
        index = end
        if name.isEmpty { continue }
        return Element(name: name, argument: rest.isEmpty ? nil : rest)
      }
      return Element(name: name, argument: takeArgument(from: nameEnd + 1))
    }
    return nil
  }

  /// The comma that ends a member, or the end of the line.
  private func endOfMember(from start: Int) -> Int {
    value.firstIndex(of: UInt8(ascii: ","), from: start) ?? value.count
  }

  private mutating func takeArgument(from start: Int) -> ByteView {
    if start < value.count, value[start] == UInt8(ascii: "\""),
      let close = endOfQuoted(from: start + 1)
    {
      let end = endOfMember(from: close + 1)
      index = end
      // Something behind the closing quote makes the whole malformed: it is shown as it stands.
      let isWhole = value.slice(close + 1, end).trimmed().isEmpty
      return isWhole ? value.slice(start + 1, close) : value.slice(start, end)
    }
    // A quote that never closes hides nothing of what follows it.
    let end = endOfMember(from: start)
    index = end
    return value.slice(start, end).trimmed()
  }

  /// Where the quoted string that begins at `start` closes (RFC 9110 §5.6.4).
  private func endOfQuoted(from start: Int) -> Int? {
    var index = start
    while index < value.count {
      switch value[index] {
      case UInt8(ascii: "\""): return index
      case UInt8(ascii: "\\"): index += 2
      default: index += 1
      }
    }
    return nil
  }
}

extension ByteView {
  /// RFC 9111 §1.2.2: digits only; what does not fit is 2^31. `nil` for anything else.
  var deltaSeconds: Int? {
    guard count > 0 else { return nil }
    var value = 0
    for index in 0..<count {
      guard ASCII.isDigit(self[index]) else { return nil }
      value = Swift.min(value * 10 + Int(self[index] - UInt8(ascii: "0")), CacheControl.mostSeconds)
    }
    return value
  }
}
