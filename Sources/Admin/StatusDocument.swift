import Caching
import Primitives
import Proxy
import Telemetry
import Transport

/// `GET /v1/status`: the daemon as a whole, and its routes.
public struct StatusDocument: Codable, Sendable {
  public struct Connections: Codable, Sendable {
    public var open: Int
    public var limit: Int
    public var accepted: UInt64
    public var rejected: UInt64
  }

  public struct Listener: Codable, Sendable {
    public var name: String
    public var addresses: [String]
  }

  /// A certificate that clients can get.
  public struct Certificate: Codable, Sendable {
    public var listener: String
    public var file: String
    public var names: [String]
    public var key: String
    public var fingerprint: String
    public var expires: String
    /// Negative once it has expired.
    public var daysLeft: Int64
  }

  /// Since the start.
  public struct Totals: Codable, Sendable {
    public var requests: UInt64
    public var requestBytes: UInt64
    public var responseBytes: UInt64
    public var badRequests: UInt64
    public var unroutedRequests: UInt64
    public var clientTimeouts: UInt64
    public var clientAborts: UInt64
    public var unsentRetries: UInt64
    public var replays: UInt64
    public var noBackendAvailable: UInt64
    public var tunnels: UInt64
    public var cacheHits: UInt64
    public var cacheMisses: UInt64
    public var logLinesDropped: UInt64
  }

  /// A cache, and what its routes' requests came to, over all caches.
  public struct Cache: Codable, Sendable {
    public var name: String
    public var objects: Int
    public var bytes: Int
    public var memoryBytes: Int
    public var fetchesInFlight: Int
    public var evictions: UInt64
    public var purged: UInt64
  }

  public struct Route: Codable, Sendable {
    /// The pattern as written.
    public var name: String
    public var responses: StatusClasses
    public var truncatedResponses: UInt64
    public var latencyMs: Quantiles?
  }

  public var version: String
  public var instance: String
  public var pid: Int
  public var startedAt: String
  public var uptimeSeconds: Int64
  public var generation: UInt64
  public var draining: Bool
  public var upgrading: Bool
  /// Why the last upgrade came to nothing.
  public var upgradeFailure: String?
  public var workers: Int
  /// Absent where nothing was reloaded yet.
  public var lastReload: ReloadDocument?
  public var connections: Connections
  public var listeners: [Listener]
  public var certificates: [Certificate]
  public var totals: Totals
  public var caches: [Cache]
  public var process: ProcessUsage
  public var routes: [Route]

  init(_ state: AdminState) {
    let sums = state.sums
    version = state.version
    instance = state.instance
    pid = state.processID
    startedAt = Timestamp.text(state.startedAt)
    uptimeSeconds = state.uptime.nanoseconds / 1_000_000_000
    generation = state.snapshot.generation
    draining = state.isDraining
    upgrading = state.isUpgrading
    upgradeFailure = state.upgradeFailure.isEmpty ? nil : state.upgradeFailure
    workers = state.workers.count
    lastReload = state.lastReload.at > 0 ? ReloadDocument(state.lastReload) : nil
    connections = Connections(
      open: state.shared.connections.load(ordering: .relaxed),
      limit: state.snapshot.options.maxConnections,
      accepted: sums.count(.connectionsAccepted),
      rejected: sums.count(.rejectedAtLimit) + sums.count(.rejectedAtClientLimit)
        + sums.count(.rejectedWithoutDescriptors) + sums.count(.rejectedWithoutProxyHeader))
    listeners = state.snapshot.options.listeners.filter { !$0.isRemoved }.map {
      Listener(name: $0.name, addresses: $0.bind.map(\.description))
    }
    certificates = state.snapshot.options.listeners.flatMap { listener in
      guard !listener.isRemoved else { return [Certificate]() }
      return (listener.tls?.credentials ?? []).map { Certificate(listener.name, $0) }
    }
    totals = Totals(sums, droppedLogLines: state.droppedLogLines)
    caches = state.snapshot.stores.map { Cache($0) }
    process = state.usage()
    routes = state.routeLabels().map { route in
      Route(
        name: route.name,
        responses: StatusClasses { sums.count(.responses(status: $0), route: route.id) },
        truncatedResponses: sums.count(.truncatedResponses, route: route.id),
        latencyMs: Quantiles(sums.latency(route: route.id)))
    }
  }
}

extension StatusDocument.Certificate {
  init(_ listener: String, _ credential: Credential) {
    self.listener = listener
    file = credential.files.certificate
    names = credential.names
    key = credential.keyKind.rawValue
    fingerprint = credential.fingerprint
    expires = Timestamp.text(credential.notAfter)
    daysLeft = credential.daysLeft(now: WallClock.now().seconds)
  }
}

extension StatusDocument.Cache {
  init(_ store: CacheStore) {
    let usage = store.usage
    name = store.name
    objects = usage.objects
    bytes = usage.bytes
    memoryBytes = store.options.memoryBytes
    fetchesInFlight = usage.fetches
    evictions = usage.evicted
    purged = usage.purged
  }
}

extension StatusDocument.Totals {
  fileprivate init(_ sums: MetricsSums, droppedLogLines: UInt64) {
    requests = sums.count(.requests)
    requestBytes = sums.count(.requestOctets)
    responseBytes = sums.count(.responseOctets)
    badRequests = sums.count(.badRequests)
    unroutedRequests = sums.count(.unroutedRequests)
    clientTimeouts =
      sums.count(.handshakeTimeouts) + sums.count(.headerTimeouts) + sums.count(.bodyTimeouts)
      + sums.count(.sendTimeouts)
      + sums.count(.idleTimeouts)
    clientAborts = sums.count(.clientAborts)
    unsentRetries = sums.count(.unsentRetries)
    replays = sums.count(.replays)
    noBackendAvailable = sums.count(.noBackendAvailable)
    tunnels = sums.count(.tunnels)
    // Those that shared a fetch have missed it too; what passed it by has not asked it.
    cacheHits = sums.count(.cacheHits) + sums.count(.cacheStaleHits)
    cacheMisses = sums.count(.cacheMisses) + sums.count(.cacheCollapsed)
    logLinesDropped = sums.count(.logLinesDropped) &+ droppedLogLines
  }
}

/// A reload as `POST /v1/reload` and `GET /v1/status` tell of it.
public struct ReloadDocument: Codable, Sendable, Equatable {
  public var succeeded: Bool
  public var at: String
  public var generation: UInt64
  public var diagnostics: [String]
  public var changes: [String]

  init(_ record: ReloadRecord) {
    succeeded = record.succeeded
    at = Timestamp.text(record.at)
    generation = record.generation
    diagnostics = record.diagnostics
    changes = record.changes
  }
}

/// Responses by the first digit of their status.
public struct StatusClasses: Codable, Sendable, Equatable {
  public var informational: UInt64
  public var success: UInt64
  public var redirection: UInt64
  public var clientError: UInt64
  public var serverError: UInt64

  enum CodingKeys: String, CodingKey {
    case informational = "1xx"
    case success = "2xx"
    case redirection = "3xx"
    case clientError = "4xx"
    case serverError = "5xx"
  }

  /// `count` is asked with one status of each class.
  init(count: (_ status: Int) -> UInt64) {
    informational = count(100)
    success = count(200)
    redirection = count(300)
    clientError = count(400)
    serverError = count(500)
  }

  public var total: UInt64 {
    informational + success + redirection + clientError + serverError
  }
}

/// Quantiles of durations since the start, in milliseconds, within 6 %.
public struct Quantiles: Codable, Sendable, Equatable {
  public var p50: Double
  public var p95: Double
  public var p99: Double

  /// `nil` where nothing was measured.
  init?(_ histogram: HistogramSnapshot) {
    guard let p50 = histogram.quantile(0.5), let p95 = histogram.quantile(0.95),
      let p99 = histogram.quantile(0.99)
    else { return nil }
    self.p50 = Double(p50) / 1000
    self.p95 = Double(p95) / 1000
    self.p99 = Double(p99) / 1000
  }
}

/// Times in documents (RFC 3339, UTC, whole seconds).
enum Timestamp {
  static func text(_ unixSeconds: Int64) -> String {
    let time = CivilTime(unixSeconds: unixSeconds)
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(time.year)-\(two(time.month))-\(two(time.day))"
      + "T\(two(time.hour)):\(two(time.minute)):\(two(time.second))Z"
  }
}
