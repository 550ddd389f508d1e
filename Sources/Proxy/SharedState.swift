import Balancing
import Primitives
import Resilience
import Synchronization
import Transport

/// One backend as every worker knows it: found by a number that is never used for another one.
///
/// Keyed by (upstream name, backend name, address): a backend that stays in the configuration
/// keeps its number, and with it its pooled connections and its counters, across reloads.
public final class BackendState: Sendable {
  public let id: Int
  public let upstreamName: String
  public let name: String
  public let endpoint: Endpoint
  /// Host field for `host backend`.
  let authority: [UInt8]
  let nameOctets: [UInt8]

  init(id: Int, upstreamName: String, name: String, address: SocketAddress) {
    self.id = id
    self.upstreamName = upstreamName
    self.name = name
    endpoint = Endpoint(address)
    authority = Array(address.description.utf8)
    nameOctets = Array(name.utf8)
  }
}

/// A place taken on a backend for one attempt.
struct ReservedBackend: BitwiseCopyable {
  var slot: Int32
  /// `BackendState.id`
  var backend: Int32
  var isSpill: Bool
}

/// The live state of one upstream, shared by all workers and kept across reloads.
///
/// One lock, held for a few hundred instructions: choosing a backend and counting the request
/// there is one step, which is what makes least connections exact.
public final class UpstreamState: Sendable {
  struct Live: ~Copyable {
    var balancer: Balancer
    /// `BackendState.id` by slot.
    var backends: [Int32] = []
    /// Backends steered around after a failed connect, soonest end first (rule 45).
    var held: [(slot: Int, until: MonotonicTime)] = []
  }

  /// How long a backend that refused a connection gets no new requests, where others can serve.
  static let connectFailureHold = TimeAmount.milliseconds(200)

  public let name: String
  let nameOctets: [UInt8]
  private let live: Lock<Live>

  init(name: String, seed: UInt64) {
    self.name = name
    nameOctets = Array(name.utf8)
    live = Lock(Live(balancer: Balancer(policy: .roundRobin, backends: [], seed: seed)))
  }

  /// Takes over a configuration. The plan (sorting a ring) is made before the lock is taken.
  func update(policy: BalancePolicy, backends: [(spec: BackendSpec, id: Int)]) {
    let plan = BalancerPlan(policy: policy, backends: backends.map(\.spec))
    live.withLock { live in
      let slots = live.balancer.update(plan)
      let missing = live.balancer.slotCount - live.backends.count
      if missing > 0 { live.backends += [Int32](repeating: -1, count: missing) }
      for (index, slot) in slots.enumerated() { live.backends[slot] = Int32(backends[index].id) }
    }
  }

  /// Chooses a backend and counts the request there; `nil` where there is none to try.
  func reserve(hash: UInt64, tried: TriedBackends, now: MonotonicTime) -> ReservedBackend? {
    live.withLock { live in
      if !live.held.isEmpty { UpstreamState.endHolds(&live, now) }
      var found = live.balancer.reserve(hash: hash, tried: tried)
      if found == nil, !live.held.isEmpty {
        // Steering around is for when there is another way: never at the price of an answer.
        UpstreamState.endHolds(&live, .never)
        found = live.balancer.reserve(hash: hash, tried: tried)
      }
      guard let found else { return nil }
      return ReservedBackend(
        slot: Int32(found.slot), backend: live.backends[found.slot], isSpill: found.isSpill)
    }
  }

  func release(_ slot: Int32) { live.withLock { $0.balancer.release(Int(slot)) } }

  /// A connect to this backend failed: others are preferred for a moment.
  func connectFailed(_ slot: Int32, now: MonotonicTime) {
    live.withLock { live in
      guard live.balancer.isAvailable(Int(slot)) else { return }
      live.balancer.setAvailable(Int(slot), false)
      live.held.append((Int(slot), now + UpstreamState.connectFailureHold))
    }
  }

  private static func endHolds(_ live: inout Live, _ now: MonotonicTime) {
    while let first = live.held.first, first.until <= now || now == .never {
      live.held.removeFirst()
      live.balancer.setAvailable(first.slot, true)
    }
  }

  /// What the admin endpoint shows of each backend: its number, requests in flight and whether it
  /// is steered around. A hold that is over counts as over, though the next request ends it.
  public func backendsInFlight(
    now: MonotonicTime
  ) -> [(backend: Int, inFlight: Int, isHeld: Bool)] {
    live.withLock { live in
      let held = Set(live.held.lazy.filter { $0.until > now }.map(\.slot))
      return (0..<live.balancer.slotCount).compactMap { slot in
        guard slot < live.backends.count, live.backends[slot] >= 0 else { return nil }
        return (Int(live.backends[slot]), live.balancer.inFlight(slot), held.contains(slot))
      }
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
  }

  private let registry = Lock(Registry())
  /// Client connections open in all workers.
  public let connections = Atomic<Int>(0)
  public let clients: ClientCounter
  public let seed: UInt64

  public init(seed: UInt64) {
    self.seed = seed
    clients = ClientCounter(seed: seed)
  }

  /// The upstream's live state, made on first mention and brought to these options.
  func upstream(_ options: UpstreamOptions) -> UpstreamState {
    let state = registry.withLock { registry in
      if let known = registry.upstreams[options.name] { return known }
      let made = UpstreamState(
        name: options.name, seed: seed ^ StableHash.of(options.name))
      registry.upstreams[options.name] = made
      return made
    }
    let ids = options.backends.map { (spec: $0.spec, id: backend($0, of: options.name)) }
    state.update(policy: options.balance, backends: ids)
    return state
  }

  private func backend(_ options: BackendOptions, of upstream: String) -> Int {
    registry.withLock { registry in
      let key = "\(upstream)\n\(options.name)\n\(options.address)"
      if let known = registry.backendIDs[key] { return known }
      let id = registry.backends.count
      registry.backends.append(
        BackendState(
          id: id, upstreamName: upstream, name: options.name, address: options.address))
      registry.backendIDs[key] = id
      return id
    }
  }

  /// Backends with numbers from `known` on, for a worker that met one it does not know.
  public func backends(from known: Int = 0) -> [BackendState] {
    registry.withLock { Array($0.backends[known...]) }
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
