import Balancing
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
        })
    }
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
