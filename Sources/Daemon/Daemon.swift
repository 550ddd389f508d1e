import Admin
import CLinux
import Config
import Glibc
import Primitives
import Proxy
import Routing
import Telemetry
import Transport

/// One running weir: composes the layers below and belongs to the control thread.
///
/// Configuration becomes a snapshot here and is handed to the workers; signals and the admin
/// endpoint are served here, off the data path.
public final class Daemon {
  /// Ends of `run`, as the process's exit status.
  public enum ExitStatus {
    public static let success: Int32 = 0
    /// The configuration is wrong, or an address cannot be listened on.
    public static let failure: Int32 = 1
  }

  /// For the last log lines to reach the disk.
  private static let logFlushTime = TimeAmount.seconds(2)

  /// For all workers to come round to a new configuration; a turn takes microseconds.
  private static let adoptionTime = TimeAmount.seconds(1)

  let path: String
  let environment: [String: String]
  let log: EventLog
  let shared: SharedState
  let startedAt = MonotonicTime.now()
  let startedAtWall = WallClock.now().seconds
  let instance: String
  let descriptorLimit: Int
  private let signals: Signals
  private(set) var options: ProxyOptions
  private(set) var snapshot: Snapshot
  private(set) var lastReload = ReloadRecord()
  /// `nil` where the access log is off.
  let accessLog: LogWriter?
  let workers: WorkerThreads
  private let admin: AdminServer
  private let watch: WatchThread
  private var drainStarted = MonotonicTime.never

  /// Loads, checks, listens and starts the workers. Every reason not to start is said on standard
  /// error before `nil` is returned.
  public init?(path: String, environment: [String: String]) {
    self.path = path
    self.environment = environment
    signals = Signals()
    log = EventLog(level: .info)
    guard var options = Daemon.load(path, environment, log) else { return nil }
    log.setLevel(options.logLevel)
    descriptorLimit = DescriptorLimit.raise(for: options)
    DescriptorLimit.fit(&options, limit: descriptorLimit, log: log)
    self.options = options
    var random = SystemRandomNumberGenerator()
    let seed = random.next()
    shared = SharedState(seed: seed)
    // Not from the seed: the name is sent to everybody.
    instance = options.name ?? Daemon.randomName(random.next())
    do {
      snapshot = try Snapshot(options, generation: 1, name: instance, shared: shared)
    } catch {
      log.error("configuration: \(error.text)")
      return nil
    }
    let sockets: [[WorkerListener]]
    do throws(ListenError) {
      sockets = try Daemon.listen(options)
      admin = try AdminServer(options.admin, log: log)
    } catch {
      log.error(error.message)
      return nil
    }
    accessLog = LogWriter(options.accessLog.target, eventLog: log)
    workers = WorkerThreads(
      snapshot: snapshot, shared: shared, listeners: sockets, seed: seed, log: accessLog)
    watch = WatchThread(snapshot, shared: shared, log: log)
    let addresses = options.listeners.flatMap { $0.bind.map(\.description) }
    log.info(
      "weir \(Version.text) ready: \(sockets.count) workers on "
        + addresses.joined(separator: ", "))
    warnOfUnverified(options)
  }

  private static func load(
    _ path: String, _ environment: [String: String], _ log: EventLog
  ) -> ProxyOptions? {
    let result = ConfigurationLoader.load(
      path: path, environment: environment, files: DiskFiles())
    for diagnostic in result.diagnostics { StandardError.write(diagnostic.rendered()) }
    return result.options
  }

  private static func randomName(_ seed: UInt64) -> String {
    String(seed & 0xFFFF_FFFF, radix: 16)
  }

  /// One socket for each worker and address, so that the kernel spreads connections and no lock
  /// is shared.
  private static func listen(
    _ options: ProxyOptions
  ) throws(ListenError) -> [[WorkerListener]] {
    let count = options.workers ?? max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    var sockets = [[WorkerListener]](repeating: [], count: count)
    for (index, listener) in options.listeners.enumerated() {
      for address in listener.bind {
        let endpoint = Daemon.endpoint(address)
        try Listener.requireFree(endpoint)
        for worker in 0..<count {
          let socket = try Listener(endpoint, backlog: listener.backlog, sharesPort: count > 1)
          sockets[worker].append(WorkerListener(socket: socket, options: index))
        }
      }
    }
    return sockets
  }

  /// `:port` is every address of both families, or of IPv4 where the machine has no IPv6.
  private static func endpoint(_ address: SocketAddress) -> Endpoint {
    guard case .ip(IPAddress(high: 0, low: 0), let port) = address, !Endpoint.hasIPv6 else {
      return Endpoint(address)
    }
    return Endpoint(.ip(IPAddress(v4: 0), port: port))
  }

  // MARK: The control loop

  /// Serves until told to stop. Returns the process's exit status.
  public func run() -> Int32 {
    guard let poller = Poller() else { return ExitStatus.failure }
    let sources = [signals.descriptor, workers.endDescriptor, admin.descriptor]
    for (index, descriptor) in sources.enumerated() {
      _ = poller.add(listener: descriptor, Handle(kind: 1, generation: 0, index: UInt32(index)))
    }
    while true {
      let count = poller.wait(timeoutMs: admin.timeoutMs)
      for index in 0..<count {
        switch poller.event(index).handle.index {
        case 0: while let signal = signals.next() { obey(signal) }
        case 1: if workers.collectEnded() { return end() }
        default: break
        }
      }
      admin.turn(self)
    }
  }

  private func obey(_ signal: Signals.Signal) {
    switch signal {
    case .stop: drain()
    case .reload: _ = reload()
    case .reopenLogs: accessLog?.reopen()
    }
  }

  /// Whether requests are still welcome: `/ready` fails first when draining.
  var isDraining: Bool { drainStarted != .never }

  private func drain() {
    guard !isDraining else { return }
    drainStarted = MonotonicTime.now()
    log.info("draining: at most \(options.drainTimeout.milliseconds) ms")
    workers.post(.drain(until: drainStarted + options.drainTimeout))
  }

  private func end() -> Int32 {
    workers.join()
    watch.stop()
    _ = accessLog?.close(deadline: MonotonicTime.now() + Daemon.logFlushTime)
    admin.close()
    log.info("stopped")
    return ExitStatus.success
  }

  // MARK: Reload

  /// Parses, checks, builds and swaps one snapshot. On any fault nothing changes, and the
  /// diagnostics say why.
  func reload() -> ReloadRecord {
    var record = ReloadRecord()
    record.at = WallClock.now().seconds
    let result = ConfigurationLoader.load(
      path: path, environment: environment, files: DiskFiles())
    record.diagnostics = result.diagnostics.map { $0.rendered() }
    if var loaded = result.options {
      DescriptorLimit.fit(&loaded, limit: descriptorLimit, log: log)
      if let fault = unchangeable(in: loaded) {
        record.diagnostics.append(fault)
      } else {
        adopt(&loaded, &record)
      }
    }
    finish(&record, what: "configuration")
    if record.succeeded { warnOfUnverified(options) }
    return record
  }

  /// Reads certificates, keys and authorities again, and nothing else: connections stay, and new
  /// handshakes get what is new. On any fault nothing changes.
  func reloadCertificates() -> ReloadRecord {
    var record = ReloadRecord()
    record.at = WallClock.now().seconds
    var loaded = options
    record.diagnostics = CertificateReading.reread(&loaded, files: DiskFiles())
    if record.diagnostics.isEmpty { adopt(&loaded, &record) }
    finish(&record, what: "certificates")
    return record
  }

  private func finish(_ record: inout ReloadRecord, what: String) {
    record.generation = snapshot.generation
    lastReload = record
    if record.succeeded {
      log.info("\(what) reloaded: generation \(snapshot.generation)")
    } else {
      // A line each: the event log lets no message make lines of its own.
      for diagnostic in record.diagnostics {
        for line in diagnostic.split(separator: "\n") { log.error(String(line)) }
      }
      log.error("reload refused, generation \(snapshot.generation) keeps running")
    }
  }

  /// Loud on purpose: it is meant to be a passing state.
  private func warnOfUnverified(_ options: ProxyOptions) {
    for upstream in options.upstreams where upstream.tls?.verifies == false {
      log.warning(
        "upstream \(upstream.name): backends are NOT verified ('verify off'): whoever answers at "
          + "their address gets the requests")
    }
  }

  private func adopt(_ loaded: inout ProxyOptions, _ record: inout ReloadRecord) {
    // The workers know listeners by their place in the first configuration.
    loaded.listeners = options.listeners.map { known in
      loaded.listeners.first { $0.name == known.name } ?? known
    }
    do {
      snapshot = try Snapshot(
        loaded, generation: snapshot.generation + 1, name: instance, shared: shared)
    } catch {
      record.diagnostics.append("configuration: \(error.text)")
      return
    }
    options = loaded
    log.setLevel(loaded.logLevel)
    if !workers.adopt(snapshot, within: Daemon.adoptionTime) {
      log.warning("generation \(snapshot.generation): a worker has not taken it over yet")
    }
    watch.adopt(snapshot)
    record.succeeded = true
  }

  /// What this version sets up once, at the start: a change of it is refused rather than ignored.
  private func unchangeable(in loaded: ProxyOptions) -> String? {
    func sockets(_ options: ProxyOptions) -> [String] {
      options.listeners.map { listener in
        ([listener.name] + listener.bind.map(\.description)).joined(separator: " ")
      }.sorted()
    }
    func refusal(_ what: String) -> String {
      "\(path): error: \(what) cannot be changed by a reload; restart weir to change it"
    }
    if sockets(loaded) != sockets(options) { return refusal("listener names and addresses") }
    if loaded.workers != options.workers { return refusal("workers") }
    if loaded.admin != options.admin { return refusal("admin") }
    if loaded.accessLog != options.accessLog { return refusal("access-log") }
    if (loaded.name ?? instance) != instance { return refusal("name") }
    return nil
  }
}
