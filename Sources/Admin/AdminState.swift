import Balancing
import Primitives
import Proxy
import Resilience
import Telemetry

/// What the admin endpoint can be asked about, as of one moment: references to what counts while
/// it is read, and plain values for the rest. Making one costs nothing.
public struct AdminState: Sendable {
  public var version: String
  /// Instance name, as in `Via`.
  public var instance: String
  public var processID: Int
  public var workers: [WorkerMetrics]
  public var snapshot: Snapshot
  public var shared: SharedState
  public var lastReload: ReloadRecord
  public var isDraining: Bool
  /// Why the last upgrade came to nothing; empty where none did.
  public var upgradeFailure = ""
  public var isUpgrading = false
  /// Of the start, in seconds since the Unix epoch.
  public var startedAt: Int64
  public var uptime: TimeAmount
  public var now: MonotonicTime
  /// Lines that the log's writer lost, beside what workers counted.
  public var droppedLogLines: UInt64
  /// Asked only where an answer shows it: counting descriptors may take a while.
  public var usage: @Sendable () -> ProcessUsage

  public init(
    version: String, instance: String, processID: Int, workers: [WorkerMetrics],
    snapshot: Snapshot, shared: SharedState, lastReload: ReloadRecord, isDraining: Bool,
    startedAt: Int64, uptime: TimeAmount, now: MonotonicTime, droppedLogLines: UInt64,
    usage: @escaping @Sendable () -> ProcessUsage
  ) {
    self.version = version
    self.instance = instance
    self.processID = processID
    self.workers = workers
    self.snapshot = snapshot
    self.shared = shared
    self.lastReload = lastReload
    self.isDraining = isDraining
    self.startedAt = startedAt
    self.uptime = uptime
    self.now = now
    self.droppedLogLines = droppedLogLines
    self.usage = usage
  }

  var sums: MetricsSums { MetricsSums(workers: workers) }
}

/// What the process costs, as the kernel counts it.
public struct ProcessUsage: Sendable, Equatable, Codable {
  public var residentBytes: Int
  public var openDescriptors: Int
  public var maxDescriptors: Int
  /// User and system time of all threads.
  public var cpuSeconds: Double

  public init(
    residentBytes: Int, openDescriptors: Int, maxDescriptors: Int, cpuSeconds: Double
  ) {
    self.residentBytes = residentBytes
    self.openDescriptors = openDescriptors
    self.maxDescriptors = maxDescriptors
    self.cpuSeconds = cpuSeconds
  }
}

/// The outcome of a reload, for whoever asked for it and for those who look later.
public struct ReloadRecord: Sendable, Equatable {
  public var succeeded = false
  /// Seconds since the Unix epoch; 0: never reloaded.
  public var at: Int64 = 0
  /// The generation in use afterwards: the old one where the reload was refused.
  public var generation: UInt64 = 0
  /// As `weir check` prints them; warnings of a reload that succeeded, too.
  public var diagnostics: [String] = []
  /// What is different now, a line each.
  public var changes: [String] = []

  public init() {}
}

/// A backend of the running configuration with its live state.
struct LiveBackend {
  var options: BackendOptions
  /// `BackendState.id`: of its counters.
  var id: Int
  /// `nil` where the data plane has not met it.
  var view: BackendView?
  var tally: BackendTally

  var inFlight: Int { max(0, view?.inFlight ?? 0) }
  var isHeld: Bool { view?.isHeld ?? false }
  var breaker: CircuitBreaker.State { view?.breaker ?? .closed }
  var isAvailable: Bool { options.weight > 0 && view?.isAvailable ?? true }
  /// Of its weight, 0 to 1.
  var countedPart: Double { Double(view?.share ?? SlowStart.whole) / Double(SlowStart.whole) }
}

extension AdminState {
  /// Backends by upstream, both in the order of the file. Those that a reload removed are not
  /// among them: the same name may come back with another address, and a name must be one series.
  func liveBackends() -> [[LiveBackend]] {
    var known: [String: BackendState] = [:]
    for state in shared.backends() { known[state.key] = state }
    return zip(snapshot.options.upstreams, snapshot.upstreamStates).map { upstream, state in
      let views = Dictionary(
        state.views(now: now).map { ($0.backend, $0) }, uniquingKeysWith: { _, last in last })
      return upstream.backends.compactMap { options in
        guard let state = known[options.key(of: upstream.name)] else { return nil }
        return LiveBackend(
          options: options, id: state.id, view: views[state.id], tally: state.tally)
      }
    }
  }

  /// Routes of the running configuration, in the order of the file. Routes that differ in their
  /// conditions alone have one name, and one set of counters.
  func routeLabels() -> [RouteLabel] {
    let ids = Dictionary(uniqueKeysWithValues: shared.routeNames().map { ($0.name, $0.id) })
    var seen: Set<String> = []
    return snapshot.options.routes.compactMap { route in
      guard seen.insert(route.name).inserted, let id = ids[route.name] else { return nil }
      return RouteLabel(id: id, name: route.name)
    }
  }
}
