import Primitives

/// One cache of the configuration (`cache NAME memory=512MiB`): its name and its limits.
public struct CacheOptions: Sendable, Equatable {
  /// Below this a cache would hold hardly more than its own tables.
  public static let leastMemoryBytes = 1 << 20
  /// One object may take at most memory / 8, so that storing it never empties the cache.
  public static let objectsAtLeast = 8
  public static let defaultMaxObjectBytes = 16 << 20
  /// What any configuration may allow (`max-variants`): looking one up is a walk over them.
  public static let mostVariants = 1024

  public var name: String
  /// Everything the cache takes, overhead included; at least `leastMemoryBytes`.
  public var memoryBytes = 64 << 20
  /// As configured; `nil`: `defaultMaxObjectBytes`.
  public var maxObjectBytes: Int?
  /// Objects that differ only in what `Vary` names, for one key (safety rule 58).
  public var maxVariants = 64
  /// The memory is in pages of 2 MiB, where the system grants them.
  public var usesHugePages = true

  public init(name: String) { self.name = name }

  /// The largest content that is stored, in octets: never above an eighth of the memory.
  public var objectLimitBytes: Int {
    min(
      maxObjectBytes ?? CacheOptions.defaultMaxObjectBytes,
      memoryBytes / CacheOptions.objectsAtLeast)
  }
}

/// What a route says about caching (`cache main ttl=10m …`); the defaults are those of RFC 9111
/// without any heuristic.
public struct CacheRule: Sendable, Equatable {
  /// Lifetime of a response with this status that states none.
  public struct StatusTTL: Sendable, Equatable {
    /// 200–599, neither 206 nor 304.
    public var status: Int
    public var ttl: TimeAmount

    public init(status: Int, ttl: TimeAmount) {
      self.status = status
      self.ttl = ttl
    }
  }

  /// Which parameters of the query belong to the resource. Names are compared octet by octet
  /// with what stands before `=`; a name that ends in `*` means all that begin so.
  public enum Query: Sendable, Equatable {
    case all, none
    case keep([String])
    case drop([String])
  }

  /// A request that has this is neither answered from the cache nor stored.
  public enum Bypass: Sendable, Equatable {
    case header(String)
    case cookie(String)
    case query(String)
  }

  /// Lifetime of responses that state none and whose status is 200, 203, 204, 300, 301 or 308.
  public var ttl: TimeAmount?
  /// `ttl`, and those by status, hold although the response states a lifetime (`max-age`,
  /// `s-maxage`, `Expires`).
  /// What forbids storing or reuse (`no-store`, `private`, `no-cache`, `must-revalidate`) stays.
  public var ttlOverrides = false
  /// By status, before `ttl`. A status of 500 or above is stored only where it is named here.
  public var statusTTLs: [StatusTTL] = []
  /// Of responses that do not say it themselves (RFC 5861 §3).
  public var staleWhileRevalidate: TimeAmount?
  /// Of responses that do not say it themselves (RFC 5861 §4).
  public var staleIfError: TimeAmount?
  /// Share of the time since `Last-Modified` that a response without a lifetime is fresh
  /// (RFC 9111 §4.2.2), at most a day; 0–100, 0: never.
  public var heuristicPercent = 0
  public var query: Query = .all
  /// The parameters that are kept are put in the order of their names.
  public var sortsQuery = false
  /// Fields of the request that belong to the key, whatever `Vary` says.
  public var keyHeaders: [String] = []
  public var keyCookies: [String] = []
  /// Response fields with tags besides `Cache-Tag` and `Surrogate-Key`.
  public var tagHeaders: [String] = []
  /// Clients see the fields with tags.
  public var exposesTags = false
  /// `Surrogate-Control` of the response is obeyed, and not sent on.
  public var obeysSurrogateControl = false
  /// `no-cache`, `max-age`, `min-fresh` and `max-stale` of the request are obeyed: anybody could
  /// send every request to the backends.
  public var obeysRequestDirectives = false
  /// A response with `Set-Cookie` is stored, and its cookie given to everybody.
  public var storesSetCookie = false
  public var bypass: [Bypass] = []
  /// Tells the keys of routes apart that take the same URLs by other conditions; empty: the URL
  /// alone leads to the route. Part of the key, not of the URL that is purged.
  public var routeMark = ""

  public init() {}
}
