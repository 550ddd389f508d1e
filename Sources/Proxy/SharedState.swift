import Caching
import Primitives
import Resilience
import Synchronization
import Telemetry
import Transport

/// One backend as every worker knows it: found by a number that is never used for another one.
///
/// Keyed by `BackendOptions.key` (upstream, name, address, Host): a backend that stays in the
/// configuration keeps its number, and with it its pooled connections and its counters, across
/// reloads.
public final class BackendState: Sendable {
  public let id: Int
  public let upstreamName: String
  public let name: String
  public let endpoint: Endpoint
  /// What happened to its breaker and health.
  public let tally = BackendTally()
  /// Host field for `host backend`.
  let authority: FixedOctets
  /// Upstream and backend as the access log names them.
  let logNames: FixedOctets
  /// For `next-hop` in `Proxy-Status`.
  let nameOctets: FixedOctets
  /// `BackendOptions.key`
  public let key: String
  let serverName: String?
  /// The name that it is an address of.
  let query: NameQuery?

  init(id: Int, upstreamName: String, _ options: BackendOptions) {
    self.id = id
    self.upstreamName = upstreamName
    name = options.name
    endpoint = Endpoint(options.address)
    key = options.key(of: upstreamName)
    serverName = options.serverName
    query = options.query
    authority = FixedOctets(options.authority)
    nameOctets = FixedOctets(name)
    logNames = FixedOctets(AccessRecord.preparedDestination(upstream: upstreamName, backend: name))
  }
}

/// How often a backend's condition changed, since the process began.
public final class BackendTally: Sendable {
  /// By `CircuitBreaker.Reason`.
  private let opened = CircuitBreaker.Reason.allCases.map { _ in Counter() }
  private let closed = Counter()
  private let passed = Counter()
  private let failed = Counter()
  private let failure = Lock<CheckFailure?>(nil)

  private final class Counter: Sendable {
    let value = Atomic<UInt64>(0)
  }

  public func openings(_ reason: CircuitBreaker.Reason) -> UInt64 {
    opened[Int(reason.rawValue)].value.load(ordering: .relaxed)
  }

  public var closings: UInt64 { closed.value.load(ordering: .relaxed) }

  public var checksPassed: UInt64 { passed.value.load(ordering: .relaxed) }
  public var checksFailed: UInt64 { failed.value.load(ordering: .relaxed) }

  /// Why the last check that failed did.
  public var lastFailure: CheckFailure? { failure.withLock { $0 } }

  /// `why`: it failed.
  func checked(_ why: CheckFailure?) {
    (why == nil ? passed : failed).value.add(1, ordering: .relaxed)
    if let why { failure.withLock { $0 = why } }
  }

  func count(_ transition: CircuitBreaker.Transition) {
    switch transition {
    case .opened(let reason, _):
      opened[Int(reason.rawValue)].value.add(1, ordering: .relaxed)
    case .closed: closed.value.add(1, ordering: .relaxed)
    case .halfOpened: break
    }
  }
}

/// Everything that outlives a snapshot, by name.
public final class SharedState: Sendable {
  private struct Registry {
    var upstreams: [String: UpstreamState] = [:]
    var backends: [BackendState] = []
    var backendIDs: [String: Int] = [:]
    var routeIDs: [String: Int] = [:]
    var clientContexts: [TLSClientContext] = []
    var caches: [String: CacheStore] = [:]
  }

  private let registry = Lock(Registry())
  /// Of the watch thread, which hears of every change of a backend's condition.
  public let watch = Mailbox<WatchMessage>()
  /// What DNS says of the names in the configuration.
  public let names = NameTable()
  /// Client connections open in all workers.
  public let connections = Atomic<Int>(0)
  public let clients: ClientCounter
  /// Keys of session tickets, of all listeners and through all reloads.
  public let tickets = SessionTickets()
  /// Signs the sticky cookies of upstreams without a key of their own.
  let stickyKey = MessageSeal.randomKey()
  public let seed: UInt64
  let workers = WorkerMailboxes()
  /// Signalled once: every health check of the first configuration has come to a verdict.
  public let firstHealthRound = Arrivals()
  /// Purges asked for so far, over all caches.
  public let purges = Atomic<UInt64>(0)

  public init(seed: UInt64) {
    self.seed = seed
    clients = ClientCounter(seed: seed)
  }

  /// The upstream's live state, made on first mention and brought to these options.
  func upstream(
    _ options: UpstreamOptions, now: MonotonicTime = .now()
  ) -> UpstreamState {
    let state = registry.withLock { registry in
      if let known = registry.upstreams[options.name] { return known }
      let made = UpstreamState(
        name: options.name, seed: seed ^ StableHash.of(options.name), watch: watch,
        workers: workers)
      registry.upstreams[options.name] = made
      return made
    }
    state.update(
      options, ids: options.backends.map { backend($0, of: options.name) },
      sticky: stickyPlan(options), now: now)
    return state
  }

  func stickyPlan(_ options: UpstreamOptions) -> StickyPlan? {
    options.sticky.map { StickyPlan($0, upstream: options.name, key: stickyKey) }
  }

  private func backend(_ options: BackendOptions, of upstream: String) -> Int {
    registry.withLock { registry in
      let key = options.key(of: upstream)
      if let known = registry.backendIDs[key] { return known }
      let id = registry.backends.count
      registry.backends.append(BackendState(id: id, upstreamName: upstream, options))
      registry.backendIDs[key] = id
      return id
    }
  }

  /// The TLS side of an upstream and the number of its rules, from 1: the same for equal options,
  /// so that connections and sessions outlive a reload that did not change them.
  func clientContext(
    _ options: TLSClientOptions
  ) throws(TLSFault) -> (context: TLSClientContext, number: Int32) {
    let made = try TLSClientContext(options)
    return registry.withLock { registry in
      if let index = registry.clientContexts.firstIndex(where: { $0.options == options }) {
        return (registry.clientContexts[index], Int32(index + 1))
      }
      registry.clientContexts.append(made)
      return (made, Int32(registry.clientContexts.count))
    }
  }

  /// The cache of this name, made on first mention; made anew, and empty, where its options have
  /// changed. `nil` where there is no room for it.
  func cache(_ options: CacheOptions) -> CacheStore? {
    registry.withLock { registry in
      if let known = registry.caches[options.name], known.options == options { return known }
      guard let made = CacheStore(options, seed: seed) else { return nil }
      registry.caches[options.name] = made
      return made
    }
  }

  /// How workers reach each other; told once, before the first of them runs.
  public func setMailboxes(_ mailboxes: [Mailbox<WorkerMessage>]) {
    workers.list.withLock { $0 = mailboxes }
  }

  var workerCount: Int { workers.list.withLock { $0.count } }

  func post(_ message: WorkerMessage, to worker: Int) {
    workers.post(message, to: worker)
  }

  /// Backends with numbers from `known` on, for a worker that met one it does not know.
  public func backends(from known: Int = 0) -> [BackendState] {
    registry.withLock { Array($0.backends[known...]) }
  }

  /// The backend's state, made on first mention.
  func backendState(_ options: BackendOptions, of upstream: String) -> BackendState {
    let id = backend(options, of: upstream)
    return registry.withLock { $0.backends[id] }
  }

  /// `nil` where no backend has this number.
  func backend(_ id: Int) -> BackendState? {
    registry.withLock { $0.backends.indices.contains(id) ? $0.backends[id] : nil }
  }

  /// A number for the route's counters, the same as long as it is written the same.
  func routeID(_ name: String) -> Int {
    registry.withLock { registry in
      if let known = registry.routeIDs[name] { return known }
      let id = registry.routeIDs.count
      registry.routeIDs[name] = id
      return id
    }
  }

  public func routeNames() -> [(name: String, id: Int)] {
    registry.withLock { $0.routeIDs.map { ($0.key, $0.value) } }
  }
}

/// Open connections of each client, where `max-connections-per-client` limits them. Sharded, so
/// that workers accepting at once seldom meet at a lock; allocated when a limit first applies.
public final class ClientCounter: Sendable {
  private final class Shard: Sendable {
    let table = Lock<ClientConnectionTable?>(nil)
  }

  private static let shardCount = 16
  /// Different clients in one shard; what does not fit is let in and not counted.
  private static let clientsPerShard = 4096

  private let shards = (0..<ClientCounter.shardCount).map { _ in Shard() }
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed }

  private func shard(_ address: IPAddress) -> Shard {
    shards[
      ClientConnectionTable.shard(of: address, count: ClientCounter.shardCount, seed: seed)]
  }

  func admit(_ address: IPAddress, limit: Int) -> ClientConnectionTable.Admission {
    shard(address).table.withLock { table in
      if table == nil {
        table = ClientConnectionTable(capacity: ClientCounter.clientsPerShard, seed: seed)
      }
      return table?.admit(address, limit: limit) ?? .tableFull
    }
  }

  func leave(_ address: IPAddress) {
    shard(address).table.withLock { $0?.release(address) }
  }
}
