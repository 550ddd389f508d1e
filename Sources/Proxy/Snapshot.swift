import Balancing
import Caching
import HTTP
import Primitives
import Resilience
import Routing
import Telemetry
import Transport

/// One compiled configuration: immutable, shared by all workers, replaced as a whole by a reload.
///
/// It holds no live state: what counts or changes is in `SharedState` and outlives it.
public final class Snapshot: Sendable {
  public let generation: UInt64
  public let options: ProxyOptions
  let table: RouteTable
  let routes: FixedStorage<RoutePlan>
  let upstreams: FixedStorage<UpstreamPlan>
  let listeners: FixedStorage<ListenerPlan>
  let costly: Costly
  /// Live state of each upstream, in the order of `options.upstreams`.
  public let upstreamStates: [UpstreamState]
  /// `BackendState.id` of every backend of this configuration.
  let backendIDs: Set<Int>
  /// The caches, in the order of `options.caches`.
  public let stores: [CacheStore]
  /// How URLs become keys in them.
  let cacheRules: FixedStorage<CacheRuleOfStore>
  let trustedProxies: [IPNetwork]
  let maxConnections: Int
  let maxConnectionsPerClient: Int
  /// `weir-<name>`, as in Via and Proxy-Status.
  let instance: FixedOctets
  /// The beginning of each hit's `Cache-Status`.
  let hitPrefix: FixedOctets

  /// Throws what the configuration's own checks cannot know.
  ///
  /// `before`: the one in use, of which this one differs in what DNS says of the backends alone.
  /// What costs much to make (the route table, contexts of TLS, hash rings of other upstreams) is
  /// taken from there: DNS must not be able to keep the control thread busy.
  public init(
    _ options: ProxyOptions, generation: UInt64, name: String, shared: SharedState,
    after before: Snapshot? = nil, now: MonotonicTime = .now()
  ) throws(SnapshotFault) {
    let costly = try Costly(options, shared, before)
    self.costly = costly
    table = costly.table
    let (servers, clients) = (costly.servers, costly.clients)
    self.generation = generation
    self.options = options
    instance = FixedOctets("weir-\(name)")
    hitPrefix = FixedOctets(CacheStatusField.hitPrefix(instance: Array("weir-\(name)".utf8)))
    listeners = FixedStorage(count: options.listeners.count) {
      ListenerPlan(options.listeners[$0], servers[$0])
    }
    trustedProxies = options.trustedProxies
    maxConnections = options.maxConnections
    maxConnectionsPerClient = options.maxConnectionsPerClient
    let stores = try Snapshot.stores(options, shared)
    self.stores = stores
    let rules = Snapshot.distinctRules(options)
    cacheRules = FixedStorage(count: rules.count) { CacheRuleOfStore(rules[$0]) }
    let states = options.upstreams.enumerated().map { index, upstream in
      if let before, before.options.upstreams[index] == upstream {
        return before.upstreamStates[index]
      }
      return shared.upstream(upstream, now: now)
    }
    upstreamStates = states
    backendIDs = Set(
      options.upstreams.flatMap { upstream in
        upstream.backends.map { shared.backendState($0, of: upstream.name).id }
      })
    let upstreams = FixedStorage(count: states.count) {
      UpstreamPlan(
        options.upstreams[$0], states[$0], clients[$0],
        sticky: shared.stickyPlan(options.upstreams[$0]))
    }
    routes = FixedStorage(count: options.routes.count) { index in
      let route = options.routes[index]
      return RoutePlan(route, id: shared.routeID(route.name), stores) { upstreams[$0] }
    }
    self.upstreams = upstreams
  }
}

/// Why a checked configuration cannot be run.
public enum SnapshotFault: Error {
  /// A regular expression that cannot be compiled.
  case routes(RouteTableError)
  /// Certificates or settings that OpenSSL does not take.
  case tls(TLSFault)
  /// There is no room for this cache.
  case cache(String)

  public var text: String {
    switch self {
    case .routes(let fault): "\(fault)"
    case .tls(let fault): fault.message
    case .cache(let name): "cache '\(name)': not enough address space for its memory"
    }
  }
}

extension Snapshot {
  private static func stores(
    _ options: ProxyOptions, _ shared: SharedState
  ) throws(SnapshotFault) -> [CacheStore] {
    var stores: [CacheStore] = []
    for cache in options.caches {
      guard let store = shared.cache(cache) else { throw .cache(cache.name) }
      stores.append(store)
    }
    return stores
  }

  /// Rules that differ in how they make a key.
  private static func distinctRules(_ options: ProxyOptions) -> [RouteCache] {
    var found: [RouteCache] = []
    for route in options.routes {
      guard let cache = route.cache else { continue }
      let isKnown = found.contains {
        $0.cache == cache.cache && $0.rule.query == cache.rule.query
          && $0.rule.sortsQuery == cache.rule.sortsQuery
      }
      if !isKnown { found.append(cache) }
    }
    return found
  }

  /// Whether forwarding fields from this peer are believed.
  func isTrusted(_ address: IPAddress) -> Bool {
    for network in trustedProxies where network.contains(address) { return true }
    return false
  }
}

/// A listener's options in the form that requests need.
///
/// The plans of a snapshot are noncopyable and reached by address: looking at one counts no
/// reference, and whoever holds the address holds the snapshot too.
struct ListenerPlan: ~Copyable, Sendable {
  let options: ListenerOptions
  /// Its connections end after the request they are at.
  let isRemoved: Bool
  let limits: HeadLimits
  let headerTimeout: TimeAmount
  let keepAliveTimeout: TimeAmount
  let keepAliveRequests: Int
  let keepAliveTime: TimeAmount
  let bodyTimeout: TimeAmount
  let minBodyRate: Int
  let sendTimeout: TimeAmount
  let defaultHost: [UInt8]
  let strictPath: Bool
  let http2: Bool
  let tls: TLSServerContext?
  /// A finished line, or nothing (RFC 6797).
  let transportSecurity: FixedOctets
  let redirectToHTTPS: RedirectTemplate?
  /// Looked at for every request.
  let redirectsToHTTPS: Bool
  let namesBackends: Bool
  /// Not empty: connections come from these only, and begin with a PROXY header.
  let proxies: [IPNetwork]

  func isProxy(_ address: IPAddress) -> Bool { proxies.contains { $0.contains(address) } }

  init(_ options: ListenerOptions, _ tls: TLSServerContext?) {
    self.tls = tls
    self.options = options
    isRemoved = options.isRemoved
    limits = options.limits
    headerTimeout = options.headerTimeout
    keepAliveTimeout = options.keepAliveTimeout
    keepAliveRequests = options.keepAliveRequests
    keepAliveTime = options.keepAliveTime
    bodyTimeout = options.bodyTimeout
    minBodyRate = options.minBodyRate
    sendTimeout = options.sendTimeout
    defaultHost = Array((options.defaultHost ?? "").utf8)
    strictPath = options.strictPath
    http2 = options.http2
    transportSecurity = FixedOctets(
      options.transportSecurity.map { "Strict-Transport-Security: \($0)\r\n" } ?? "")
    redirectsToHTTPS = options.redirectToHTTPS != nil
    redirectToHTTPS = options.redirectToHTTPS.map { redirect in
      RedirectTemplate(
        status: redirect.status,
        location: "https://$host\(redirect.port == 443 ? "" : ":\(redirect.port)")$request-uri")
    }
    namesBackends = options.namesBackends
    proxies = options.proxies
  }
}

/// An upstream of one snapshot: its options, and the way to its live state.
struct UpstreamPlan: ~Copyable, Sendable {
  /// `SharedState` and the snapshot keep it.
  let state: UpstreamState
  /// The same one, where no reference is to be counted.
  let borrowedState: Unmanaged<UpstreamState>
  let hashKey: CompiledHashKey
  /// Looked at for every request.
  let usesHash: Bool
  let connectTimeout: TimeAmount
  let firstByteTimeout: TimeAmount
  let idleTimeout: TimeAmount
  let poolIdleTimeout: TimeAmount
  let poolSize: Int
  /// Connections begin with the client's address, and are its alone.
  let proxyProtocol: ProxyProtocolHeader.Version?
  /// Requests at once on one connection of HTTP/2; 0: HTTP/1.
  let http2Streams: Int
  /// It has names, and no backend: DNS has no address of theirs.
  let isUnresolved: Bool
  /// Some backend may have so many requests and no more.
  let hasLimits: Bool
  let queueTimeout: TimeAmount
  let retry: RetryOptions
  let sticky: StickyPlan?
  /// Looked at for every request.
  let usesSticky: Bool
  /// It may ignore its health checks.
  let mayPanic: Bool
  let attemptTimeout: TimeAmount?
  /// An answer whose head takes longer counts as slow (`circuit-breaker slow-call=`).
  let slowCall: TimeAmount?
  let limits: HeadLimits
  let host: CompiledHost
  let tls: TLSClientContext?
  /// Number of the rules of TLS (`SharedState.clientContext`); 0: plain.
  let security: Int32

  init(
    _ options: UpstreamOptions, _ state: UpstreamState,
    _ tls: (context: TLSClientContext, number: Int32)?, sticky: StickyPlan?
  ) {
    self.sticky = sticky
    usesSticky = sticky != nil
    self.tls = tls?.context
    security = tls?.number ?? 0
    self.state = state
    borrowedState = .passUnretained(state)
    connectTimeout = options.connectTimeout
    firstByteTimeout = options.firstByteTimeout
    idleTimeout = options.idleTimeout
    poolIdleTimeout = options.poolIdleTimeout
    poolSize = options.proxyProtocol == nil ? options.poolSize : 0
    proxyProtocol = options.proxyProtocol
    http2Streams = options.http2 ? options.http2Streams : 0
    isUnresolved = options.backends.isEmpty && !options.names.isEmpty
    hasLimits =
      options.maxRequests != nil || options.backends.contains { $0.maxRequests != nil }
    queueTimeout = options.queueTimeout
    retry = options.retry
    mayPanic = options.panicBelow > 0
    attemptTimeout = options.attemptTimeout
    slowCall = options.breaker.slowCall
    limits = options.limits
    host = CompiledHost(options.host)
    if case .hash(let hash) = options.balance {
      hashKey = CompiledHashKey(hash.key)
      usesHash = true
    } else {
      hashKey = .none
      usesHash = false
    }
  }
}

/// `host` with its name as octets.
enum CompiledHost: ~Copyable, Sendable {
  case preserve, backend
  case literal(FixedOctets)

  init(_ policy: HostPolicy) {
    switch policy {
    case .preserve: self = .preserve
    case .backend: self = .backend
    case .literal(let name): self = .literal(FixedOctets(name))
    }
  }
}

/// `balance hash` with its name as octets.
enum CompiledHashKey: Sendable {
  case none, path, url, clientAddress
  case header([UInt8])
  case cookie([UInt8])
  case query([UInt8])

  init(_ key: HashKey) {
    switch key {
    case .path: self = .path
    case .url: self = .url
    case .clientAddress: self = .clientAddress
    case .header(let name): self = .header(Array(name.utf8))
    case .cookie(let name): self = .cookie(Array(name.utf8))
    case .query(let name): self = .query(Array(name.utf8))
    }
  }
}

/// A route of one snapshot, with every inherited value resolved.
///
/// `@unchecked Sendable` is sound because the one address in it is of a plan of the same snapshot,
/// which is never written after it was made.
struct RoutePlan: ~Copyable, @unchecked Sendable {
  /// What weir answers by itself.
  enum LocalAction: Sendable {
    case redirect(RedirectTemplate)
    case respond(status: Int, contentType: [UInt8], body: [UInt8])
  }

  /// Of the route's counters.
  let id: Int
  /// As the access log writes it.
  let logName: FixedOctets
  let hitLogText: FixedOctets
  /// `nil` where weir answers by itself.
  let upstream: UnsafePointer<UpstreamPlan>?
  let localAction: LocalAction?
  let requestTimeout: TimeAmount?
  let connectTimeout: TimeAmount
  let attemptTimeout: TimeAmount?
  let trustsIdempotencyKey: Bool
  let passesDeadline: Bool
  let firstByteTimeout: TimeAmount
  let idleTimeout: TimeAmount
  let tunnelTimeout: TimeAmount
  let maxBodyBytes: Int
  let requestEdits: CompiledEdits
  let responseEdits: CompiledEdits
  let upgrades: [[UInt8]]
  let earlyHints: Bool
  let trailers: Bool
  let fallbackPage: FallbackPage?
  /// The route has an upstream or a page to fall back to.
  let hasLadder: Bool
  /// The same route with its fallback upstream, or nothing.
  private let fallbackPlans: FixedStorage<RoutePlan>

  /// `nil` where the route has no other upstream to ask.
  var fallback: UnsafePointer<RoutePlan>? { fallbackPlans.count > 0 ? fallbackPlans[0] : nil }

  /// One or none.
  private let cachePlans: FixedStorage<CachePlan>

  /// `nil` where the route has no cache.
  @inline(__always)
  var cachePlan: UnsafePointer<CachePlan>? { cachePlans.count > 0 ? cachePlans[0] : nil }

  /// `plan`: the address of the snapshot's upstream with this index.
  init(
    _ options: RouteOptions, id: Int, _ stores: [CacheStore],
    plan: (Int) -> UnsafePointer<UpstreamPlan>
  ) {
    hasLadder = options.fallbackUpstream != nil || options.fallbackPage != nil
    fallbackPage = options.fallbackPage.map {
      FallbackPage(status: $0.status, contentType: Array($0.contentType.utf8), body: $0.body)
    }
    fallbackPlans = FixedStorage(count: options.fallbackUpstream == nil ? 0 : 1) { _ in
      var fallback = options
      if let upstream = options.fallbackUpstream { fallback.action = .upstream(upstream) }
      fallback.fallbackUpstream = nil
      // A page of its own or not: it is on a ladder.
      return RoutePlan(fallback, id: id, stores, plan: plan)
    }
    let cache = options.cache
    cachePlans = FixedStorage(count: cache == nil ? 0 : 1) { _ in
      guard let cache else { preconditionFailure("no cache") }
      return CachePlan(cache, stores[cache.cache])
    }
    self.id = id
    let logName = AccessRecord.preparedText(options.name)
    self.logName = FixedOctets(logName)
    hitLogText = FixedOctets(AccessRecord.preparedHit(route: logName))
    var upstream: UnsafePointer<UpstreamPlan>?
    var localAction: LocalAction?
    switch options.action {
    case .upstream(let index): upstream = plan(index)
    case .redirect(let status, let location):
      localAction = .redirect(RedirectTemplate(status: status, location: location))
    case .respond(let status, let contentType, let body):
      localAction = .respond(
        status: status, contentType: Array(contentType.utf8), body: Array(body.utf8))
    }
    self.upstream = upstream
    self.localAction = localAction
    requestTimeout = options.requestTimeout
    connectTimeout = options.connectTimeout ?? upstream?.pointee.connectTimeout ?? .zero
    attemptTimeout = options.attemptTimeout ?? upstream?.pointee.attemptTimeout
    trustsIdempotencyKey = options.trustsIdempotencyKey
    passesDeadline = options.passesDeadline
    firstByteTimeout = options.firstByteTimeout ?? upstream?.pointee.firstByteTimeout ?? .zero
    idleTimeout = options.idleTimeout ?? upstream?.pointee.idleTimeout ?? .zero
    tunnelTimeout = options.tunnelTimeout
    maxBodyBytes = options.maxBodyBytes
    requestEdits = CompiledEdits(options.requestHeaderEdits)
    responseEdits = CompiledEdits(options.responseHeaderEdits)
    upgrades = options.upgrades.map { Array($0.lowercased().utf8) }
    earlyHints = options.earlyHints
    trailers = options.trailers
  }
}

/// Header edits as the octets that a forwarded head needs.
struct CompiledEdits: ~Copyable, Sendable {
  /// Lower-case names whose lines are left out.
  let dropped: [[UInt8]]
  /// Finished lines, with CRLF, behind the forwarded ones.
  let added: FixedOctets
  /// Known names that are set or removed: weir adds none of them itself then.
  let names: FieldSet
  let isEmpty: Bool

  init(_ edits: [HeaderEdit]) {
    var dropped: [[UInt8]] = []
    var added = ""
    for edit in edits {
      switch edit {
      case .set(let name, let value):
        dropped.append(Array(name.lowercased().utf8))
        added += "\(name): \(value)\r\n"
      case .add(let name, let value): added += "\(name): \(value)\r\n"
      case .remove(let name): dropped.append(Array(name.lowercased().utf8))
      }
    }
    self.dropped = dropped
    self.added = FixedOctets(added)
    names = dropped.reduce(into: FieldSet()) { names, name in
      names.formUnion(FieldSet(name.withByteView { FieldName($0) }))
    }
    isEmpty = edits.isEmpty
  }

  /// Whether the edits set or remove fields of this lower-case name.
  func decide(_ name: StaticString) -> Bool {
    dropped.contains { $0.withByteView { $0.equals(name) } }
  }

  /// Marks the lines that the edits drop.
  func mark(_ fields: borrowing Fields, _ head: ByteView, in mask: inout FieldMask) {
    for name in dropped {
      name.withByteView { name in
        var index = fields.firstIndex(named: name, in: head)
        while let line = index {
          mask.insert(line)
          index = fields.firstIndex(named: name, in: head, from: line + 1)
        }
      }
    }
  }
}
