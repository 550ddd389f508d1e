import HTTP
import Primitives
import Synchronization

/// A rule in the form that requests need: names as octets, times in seconds or nanoseconds.
///
/// Made once for a snapshot; looking at it counts no reference.
public struct CompiledCacheRule: ~Copyable, Sendable {
  enum QueryChoice: UInt8, Sendable { case all, none, keep, drop }

  public let options: CacheRule
  let query: QueryChoice
  let sortsQuery: Bool
  /// For `keep` and `drop`.
  let queryNames: FixedStorage<ParameterName>
  let keyHeaders: FixedStorage<CompiledName>
  let keyCookies: FixedStorage<FixedOctets>
  let bypassHeaders: FixedStorage<CompiledName>
  let bypassCookies: FixedStorage<FixedOctets>
  let bypassParameters: FixedStorage<ParameterName>
  let tagHeaders: FixedStorage<CompiledName>
  let exposesTags: Bool
  let obeysSurrogateControl: Bool
  let obeysRequestDirectives: Bool
  let storesSetCookie: Bool
  @usableFromInline let hasBypass: Bool
  let routeMark: FixedOctets
  /// A key is more than its URL.
  let hasExtras: Bool
  /// Never used: as in `RequestHead`, it keeps the compiler from copying what it lends.
  private let place = Atomic<Bool>(false)

  public init(_ rule: CacheRule) {
    options = rule
    var parameters: [String] = []
    switch rule.query {
    case .all: query = .all
    case .none: query = .none
    case .keep(let names):
      query = .keep
      parameters = names
    case .drop(let names):
      query = .drop
      parameters = names
    }
    sortsQuery = rule.sortsQuery
    queryNames = FixedStorage(parameters) { ParameterName($0) }
    keyHeaders = FixedStorage(rule.keyHeaders) { CompiledName($0) }
    keyCookies = FixedStorage(rule.keyCookies) { FixedOctets($0) }
    var headers: [String] = []
    var cookies: [String] = []
    var queries: [String] = []
    for condition in rule.bypass {
      switch condition {
      case .header(let name): headers.append(name)
      case .cookie(let name): cookies.append(name)
      case .query(let name): queries.append(name)
      }
    }
    bypassHeaders = FixedStorage(headers) { CompiledName($0) }
    bypassCookies = FixedStorage(cookies) { FixedOctets($0) }
    bypassParameters = FixedStorage(queries) { ParameterName($0) }
    hasBypass = !rule.bypass.isEmpty
    routeMark = FixedOctets(rule.routeMark)
    hasExtras =
      !rule.keyHeaders.isEmpty || !rule.keyCookies.isEmpty || !rule.routeMark.isEmpty
    tagHeaders = FixedStorage(rule.tagHeaders) { CompiledName($0) }
    exposesTags = rule.exposesTags
    obeysSurrogateControl = rule.obeysSurrogateControl
    obeysRequestDirectives = rule.obeysRequestDirectives
    storesSetCookie = rule.storesSetCookie
  }

  /// The lifetime the rule gives a response that states none; `nil`: it gives none.
  func lifetime(_ status: Int) -> TimeAmount? {
    for entry in options.statusTTLs where entry.status == status { return entry.ttl }
    return CompiledCacheRule.hasPlainTTL(status) ? options.ttl : nil
  }

  /// The statuses that `ttl` is meant for: successes and permanent answers that RFC 9110 §15.1
  /// lets a cache keep without being told; errors only where the rule names them.
  static func hasPlainTTL(_ status: Int) -> Bool {
    switch status {
    case 200, 203, 204, 300, 301, 308: true
    default: false
    }
  }

  /// Whether this field of the request belongs to the key.
  public func keys(_ name: FieldName) -> Bool {
    for index in 0..<keyHeaders.count where unsafe keyHeaders[index].pointee.known == name {
      return true
    }
    return false
  }

  func names(_ status: Int) -> Bool { options.statusTTLs.contains { $0.status == status } }
}

/// A field name: its number where weir knows it, and its octets.
struct CompiledName: ~Copyable, Sendable {
  let known: FieldName
  let lowercased: FixedOctets

  init(_ name: String) {
    lowercased = FixedOctets(name.lowercased())
    known = FieldName(lowercased.view)
  }

  /// Index of the first line at or after `start` with this name, or `nil`.
  func firstIndex(
    in fields: borrowing Fields, _ head: ByteView, from start: Int = 0
  ) -> Int? {
    if known != .other { return fields.firstIndex(of: known, from: start) }
    return fields.firstIndex(named: lowercased.view, in: head, from: start)
  }
}

/// The name of a parameter of the query, or the beginning of several.
struct ParameterName: ~Copyable, Sendable {
  let octets: FixedOctets
  let isPrefix: Bool

  init(_ name: String) {
    isPrefix = name.hasSuffix("*")
    octets = FixedOctets(isPrefix ? String(name.dropLast()) : name)
  }

  func matches(_ name: ByteView) -> Bool {
    guard isPrefix else { return name.equals(octets.view) }
    return name.count >= octets.count && name.slice(0, octets.count).equals(octets.view)
  }
}

extension FixedStorage where Element: ~Copyable {
  /// One element for each name, in order.
  init(_ names: [String], make: (String) -> Element) {
    self.init(count: names.count) { make(names[$0]) }
  }
}
