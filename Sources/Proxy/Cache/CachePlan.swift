import Caching
import Primitives
import Telemetry

/// `cache NAME …` in a route: which cache, and by what rule.
public struct RouteCache: Sendable, Equatable {
  /// Index into `ProxyOptions.caches`.
  public var cache: Int
  public var rule = CacheRule()

  public init(cache: Int) { self.cache = cache }
}

/// A route's cache of one snapshot.
struct CachePlan: ~Copyable, Sendable {
  let rule: CompiledCacheRule
  /// Outlives the snapshot.
  let store: CacheStore
  /// The same without a reference counted: good as long as the snapshot.
  let borrowedStore: Unmanaged<CacheStore>

  init(_ options: RouteCache, _ store: CacheStore) {
    rule = CompiledCacheRule(options.rule)
    self.store = store
    borrowedStore = .passUnretained(store)
  }
}

/// An exchange that waits for a fetch, or reads what is stored.
///
/// Owned by its worker's slab; only exchanges that meet a cache have one.
struct CacheReading: BitwiseCopyable {
  /// Retained.
  var fill: Unmanaged<CacheFill>?
  /// Pinned.
  var object: StoredObject?
  /// The head has been sent, or is about to be.
  var isReading = false
  /// `object` is all there.
  var isComplete = false
  var sendsChunks = false
  var cursor = ContentCursor()
  /// Where reading ends in the content; -1: at its end, which is not known yet.
  var end = -1
  /// Octets of the whole content of an object that grows; -1: not known yet.
  var length = -1
  /// Where reading begins, once there is that much.
  var start = 0
  /// Octets of content there are so far.
  var available = 0
  /// Of several ranges, the one that is being sent.
  var ranges: MultipartRanges?
  var rangeIndex = 0
  /// Purges when the request began to wait.
  var joined: UInt64 = 0
  var constraints: RequestConstraints
  var status: CacheStatus

  init(_ constraints: RequestConstraints, _ status: CacheStatus) {
    self.constraints = constraints
    self.status = status
  }
}

/// What a record of a client connection is besides, where it stands for a fetch: the cache is the
/// client then, and the record's wire ends in the store.
struct Fetch: BitwiseCopyable {
  /// Retained; `nil`: the record is of a client.
  var fill: Unmanaged<CacheFill>?
  var handle = Handle.none
  /// The exchange that began it, which gets a response that cannot be stored.
  var origin = Handle.none
  var isSecure = false
  /// The store has been told how it ended.
  var isEnded = false
}

/// What the cache could do for a request: counted, and a word of its line in the access log.
enum CacheResult: UInt8, BitwiseCopyable {
  /// The route has no cache.
  case none
  case hit, stale, miss, collapsed, pass, bypass

  var word: StaticString {
    switch self {
    case .none: ""
    case .hit: "hit"
    case .stale: "stale"
    case .miss: "miss"
    case .collapsed: "collapsed"
    case .pass: "pass"
    case .bypass: "bypass"
    }
  }

  fileprivate var counter: ProxyCounter {
    switch self {
    case .none, .hit: .cacheHits
    case .stale: .cacheStaleHits
    case .miss: .cacheMisses
    case .collapsed: .cacheCollapsed
    case .pass: .cachePasses
    case .bypass: .cacheBypasses
    }
  }
}

extension Worker {
  @inline(__always)
  func note(_ result: CacheResult, _ exchange: UnsafeMutablePointer<Exchange>) {
    metrics.add(result.counter)
    exchange.pointee.cacheResult = result
  }
}
