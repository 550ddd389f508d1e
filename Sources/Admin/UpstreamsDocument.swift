import Balancing
import Primitives
import Proxy
import Resilience
import Telemetry

/// `GET /v1/upstreams`: each backend of the running configuration and what became of the requests
/// sent to it.
public struct UpstreamsDocument: Codable, Sendable {
  public struct Upstream: Codable, Sendable {
    public var name: String
    /// As `balance` is written.
    public var balance: String
    /// Requests that wait for a place at a backend.
    public var queued: Int
    /// Too few can serve: health checks are ignored.
    public var panic: Bool
    public var backends: [Backend]
    /// What DNS says of its host names; absent where it has none.
    public var names: [Name]?
  }

  /// A host name whose addresses are backends.
  public struct Name: Codable, Sendable {
    public var name: String
    /// `pending`, `resolved`, `failing` (the last addresses are kept) or `absent` (for a while).
    public var state: String
    /// Why it fails or is absent.
    public var reason: String?
    public var addresses: Int
    /// DNS names more of them than are used.
    public var cut: Bool
    /// Until it is asked again; absent while it is being asked.
    public var nextInMs: Int64?
    /// Answers since the start, by what they brought.
    public var answered: UInt64
    public var answeredNone: UInt64
    public var failed: UInt64
  }

  public struct Backend: Codable, Sendable {
    public var name: String
    public var address: String
    public var weight: Int
    /// Per cent of it that counts; below 100 while the backend starts slowly.
    public var weightCounted: Int
    public var backup: Bool
    public var inFlight: Int
    /// The most it may be; absent: no limit.
    public var maxRequests: Int?
    /// What people said: `ready`, `drain` or `maint`.
    public var state: String
    /// May get new requests.
    public var available: Bool
    /// Steered around for a moment after a failed connect.
    public var held: Bool
    /// `up`, `down` or `unchecked`.
    public var health: String
    /// Why the last check failed; absent unless `health` is `down`.
    public var healthReason: String?
    public var checksPassed: UInt64
    public var checksFailed: UInt64
    /// `closed`, `open` or `half_open`.
    public var breaker: String
    /// Until an open breaker lets a request through to try the backend out.
    public var breakerOpensInMs: Int64?
    /// How often the breaker has opened.
    public var breakerOpenings: UInt64
    public var attempts: UInt64
    public var responses: StatusClasses
    /// Failed attempts by the error type that RFC 9209 gives them; those that happened.
    public var failures: [String: UInt64]
    public var retriedAway: UInt64
    public var spills: UInt64
    public var connectionsOpened: UInt64
    public var connectionsReused: UInt64
    public var requestBytes: UInt64
    public var responseBytes: UInt64
    /// From the first octet of an attempt to the head of its response; absent before the first.
    public var latencyMs: Quantiles?
  }

  public var upstreams: [Upstream]

  init(_ state: AdminState) {
    let sums = state.sums
    let states = state.snapshot.upstreamStates
    let (table, now) = (state.shared.names, state.now)
    upstreams = zip(zip(state.snapshot.options.upstreams, states), state.liveBackends()).map {
      upstream, backends in
      let (options, state) = upstream
      return Upstream(
        name: options.name, balance: options.balance.written, queued: state.queuedCount,
        panic: state.isPanicking,
        backends: backends.map { backend in
          var shown = Backend(backend, sums)
          shown.maxRequests = backend.options.maxRequests ?? options.maxRequests
          return shown
        }, names: UpstreamsDocument.names(options, table, now))
    }
  }

  private static func names(
    _ upstream: UpstreamOptions, _ table: NameTable, _ now: MonotonicTime
  ) -> [Name]? {
    guard !upstream.names.isEmpty else { return nil }
    return upstream.names.map { Name($0, table.status($0.query) ?? NameStatus(), now) }
  }
}

extension UpstreamsDocument.Name {
  fileprivate init(_ options: BackendNameOptions, _ status: NameStatus, _ now: MonotonicTime) {
    name = options.name
    (state, reason) =
      switch status.state {
      case .pending: ("pending", nil)
      case .resolved: ("resolved", nil)
      case .failing(let failure): ("failing", failure.rawValue)
      case .absent(let absence): ("absent", absence.rawValue)
      }
    addresses = status.addresses.count
    cut = status.isCut
    nextInMs = status.nextDue == .never ? nil : max(0, (status.nextDue - now).milliseconds)
    answered = status.counts.addresses
    answeredNone = status.counts.absent
    failed = status.counts.failed
  }
}

extension UpstreamsDocument.Backend {
  fileprivate init(_ backend: LiveBackend, _ sums: MetricsSums) {
    let id = backend.id
    name = backend.options.name
    address = backend.options.address.description
    weight = backend.options.weight
    weightCounted = Int((backend.countedPart * 100).rounded())
    backup = backend.options.isBackup
    inFlight = backend.inFlight
    state = (backend.view?.mode ?? .ready).rawValue
    available = backend.isAvailable
    held = backend.isHeld
    health = backend.view?.isUp.map { $0 ? "up" : "down" } ?? "unchecked"
    if health == "down" { healthReason = backend.tally.lastFailure?.text }
    checksPassed = backend.tally.checksPassed
    checksFailed = backend.tally.checksFailed
    breaker = backend.breaker.text
    breakerOpensInMs = backend.view?.opensFor?.milliseconds
    breakerOpenings = CircuitBreaker.Reason.allCases.reduce(0) {
      $0 + backend.tally.openings($1)
    }
    attempts = sums.count(.attempts, backend: id)
    responses = StatusClasses { sums.count(.responses(status: $0), backend: id) }
    failures = [:]
    for counter in BackendCounter.allCases {
      guard let label = counter.metric.fixedLabel, label.name == "error" else { continue }
      let count = sums.count(counter, backend: id)
      if count > 0 { failures[label.value] = count }
    }
    retriedAway = sums.count(.retriedAway, backend: id)
    spills = sums.count(.spills, backend: id)
    connectionsOpened = sums.count(.connectionsOpened, backend: id)
    connectionsReused = sums.count(.connectionsReused, backend: id)
    requestBytes = sums.count(.requestOctets, backend: id)
    responseBytes = sums.count(.responseOctets, backend: id)
    latencyMs = Quantiles(sums.latency(backend: id))
  }
}

extension CircuitBreaker.State {
  fileprivate var text: String {
    switch self {
    case .closed: "closed"
    case .halfOpen: "half_open"
    case .open: "open"
    }
  }
}

extension BalancePolicy {
  /// As in a configuration.
  fileprivate var written: String {
    switch self {
    case .roundRobin: "round-robin"
    case .leastConnections: "least-connections"
    case .twoChoices: "two-choices"
    case .hash(let options):
      "hash \(options.key.written)" + (options.bound.map { " bound=\($0)" } ?? "")
    }
  }
}

extension HashKey {
  fileprivate var written: String {
    switch self {
    case .path: "path"
    case .url: "url"
    case .clientAddress: "client-address"
    case .header(let name): "header \(name)"
    case .cookie(let name): "cookie \(name)"
    case .query(let name): "query \(name)"
    }
  }
}
