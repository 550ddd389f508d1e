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
  /// For the first answers of DNS, at the start and where a reload brings names: then weir serves
  /// without, and takes them when they come.
  static let firstNamesTime = TimeAmount.seconds(2)

  let path: String
  let environment: [String: String]
  let log: EventLog
  let shared: SharedState
  let startedAt = MonotonicTime.now()
  let startedAtWall = WallClock.now().seconds
  let instance: String
  let descriptorLimit: Int
  private let signals: Signals
  /// Listeners that were removed by a reload included. As written: the snapshot's have addresses
  /// for its names.
  var options: ProxyOptions
  var snapshot: Snapshot
  var lastReload = ReloadRecord()
  var sockets: ListeningSockets
  /// `nil` where the access log is off.
  let accessLog: LogWriter?
  let workers: WorkerThreads
  let admin: AdminServer
  let watch: WatchThread
  var notifier: ServiceNotifier
  /// What an upgrade starts; `nil`: there is no upgrade.
  let program: String?
  var upgrade = Upgrade()
  /// When new addresses are taken over; `never`: there are none.
  var namesDue = MonotonicTime.never
  /// When that was done last.
  var namesAdoptedAt = MonotonicTime.zero
  /// Another process has the sockets now, and their files.
  var isReplaced = false
  private var predecessor: Predecessor?
  private var heartbeat: Heartbeat?
  private var isReady = false
  private var hasEnded = false
  private let poller: Poller
  private var drainStarted = MonotonicTime.never

  /// Loads, checks, listens and starts the workers, unless another weir is to be replaced, which
  /// serves until this one is ready. Every reason not to start is said on standard error before
  /// `nil` is returned. `program`: what to start for an upgrade.
  public init?(path: String, environment: [String: String], program: String? = nil) {
    self.path = path
    self.environment = environment
    self.program = program
    notifier = ServiceNotifier(environment)
    guard let poller = Poller() else { return nil }
    self.poller = poller
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
    do throws(HandoverFault) {
      predecessor = try Predecessor(environment)
    } catch {
      log.error("upgrade: the old process did not hand over its sockets")
      return nil
    }
    // Not from the seed: the name is sent to everybody.
    instance = options.name ?? predecessor?.letter.instance ?? Daemon.randomName(random.next())
    shared.names.remember(predecessor?.letter.addresses ?? [:])
    watch = WatchThread(shared: shared, log: log)
    watch.resolve(options, within: Daemon.firstNamesTime)
    do {
      snapshot = try Snapshot(
        options.resolved(shared.names.addresses), generation: 1, name: instance, shared: shared)
    } catch {
      log.error("configuration: \(error.text)")
      watch.stop()
      return nil
    }
    var inherited = predecessor?.sockets ?? InheritedSockets.fromManager(environment, log: log)
    do throws(ListenError) {
      sockets = try ListeningSockets(workers: Daemon.workerCount(options))
        .adjusted(to: options.listeners, inherited: &inherited)
      admin = try AdminServer(options.admin, inherited: &inherited, log: log)
    } catch {
      log.error(error.message)
      watch.stop()
      return nil
    }
    InheritedSockets.closeUnwanted(inherited, log: log)
    accessLog = LogWriter(options.accessLog.target, eventLog: log)
    workers = WorkerThreads(
      snapshot: snapshot, shared: shared, listeners: sockets.assignments(options.listeners),
      seed: seed, log: accessLog)
    watch.adopt(snapshot)
    warnOfUnverified(options)
    for mode in predecessor?.letter.modes ?? [] { restore(mode) }
    if predecessor == nil { serve() }
  }

  private func serve() {
    workers.start()
    admin.open()
    let addresses = options.listeners.flatMap { $0.bind.map(\.description) }
    log.info(
      "weir \(Version.text) ready: \(workers.seats.count) workers on "
        + addresses.joined(separator: ", "))
  }

  private static func load(
    _ path: String, _ environment: [String: String], _ log: EventLog
  ) -> ProxyOptions? {
    let result = ConfigurationLoader.load(
      path: path, environment: environment, files: DiskFiles())
    for diagnostic in result.diagnostics { StandardError.write(diagnostic.rendered()) }
    return result.options
  }

  private static func workerCount(_ options: ProxyOptions) -> Int {
    options.workers ?? max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }

  private static func randomName(_ seed: UInt64) -> String {
    String(seed & 0xFFFF_FFFF, radix: 16)
  }

  // MARK: The control loop

  /// What the control loop polls, beside the admin endpoint's connections.
  private enum Source: UInt32 {
    case signals, workers, admin, health, names, heartbeat, upgrade, predecessor
  }

  private func poll(_ descriptor: Int32, _ source: Source) {
    _ = poller.add(
      listener: descriptor, Handle(kind: 1, generation: 0, index: source.rawValue))
  }

  /// Serves until told to stop. Returns the process's exit status.
  public func run() -> Int32 {
    Thread.becomePrompt()
    poll(signals.descriptor, .signals)
    poll(workers.endDescriptor, .workers)
    poll(admin.descriptor, .admin)
    poll(shared.firstHealthRound.descriptor, .health)
    poll(shared.names.changed.descriptor, .names)
    heartbeat = Heartbeat(limit: notifier.watchdog, now: .now())
    if let heartbeat { poll(heartbeat.answers.descriptor, .heartbeat) }
    if let predecessor { poll(predecessor.descriptor, .predecessor) }
    while !hasEnded {
      let count = poller.wait(timeoutMs: timeoutMs())
      for index in 0..<count {
        guard let source = Source(rawValue: poller.event(index).handle.index) else { continue }
        obey(source)
      }
      let now = MonotonicTime.now()
      if upgrade.deadline <= now { upgradeTimedOut() }
      if namesDue <= now { adoptNames(now) }
      beat(now)
      admin.turn(self)
    }
    return end()
  }

  private func timeoutMs() -> Int32 {
    let due = min(heartbeat?.nextDue ?? .never, upgrade.deadline, namesDue)
    guard due != .never else { return admin.timeoutMs }
    let wait = Int32(
      clamping: max(0, ((due - MonotonicTime.now()).nanoseconds + 999_999) / 1_000_000))
    return admin.timeoutMs < 0 ? wait : min(wait, admin.timeoutMs)
  }

  private func obey(_ source: Source) {
    switch source {
    case .signals: while let signal = signals.next() { obey(signal) }
    case .workers: hasEnded = workers.collectEnded()
    case .admin: break
    case .health: if shared.firstHealthRound.collect() > 0 { becomeReady() }
    case .names: namesChanged()
    case .heartbeat: if heartbeat?.isAnswered() == true { notifier.alive() }
    case .upgrade: upgradeAdvanced()
    case .predecessor: takeOver()
    }
  }

  private func obey(_ signal: Signals.Signal) {
    switch signal {
    case .stop: drain()
    case .reload: _ = reload()
    case .reopenLogs: accessLog?.reopen()
    case .upgrade: _ = beginUpgrade()
    }
  }

  func watchUpgrade(_ descriptor: Int32) { poll(descriptor, .upgrade) }

  /// While draining the workers end one after the other, each by its own deadline.
  private func beat(_ now: MonotonicTime) {
    let asked = isDraining || !workers.isRunning ? 0 : workers.seats.count
    heartbeat?.beat(now: now, workers: asked) { answers in
      if asked == 0 { notifier.alive() } else { workers.post(.answer(answers)) }
    }
  }

  // MARK: Readiness

  /// Every backend has been looked at once: requests go where they are answered.
  private func becomeReady() {
    guard !isReady else { return }
    isReady = true
    if let predecessor {
      predecessor.announce()
    } else {
      tellReady()
    }
  }

  /// The old process has given way.
  private func takeOver() {
    predecessor?.takeOver()
    predecessor = nil
    serve()
    tellReady()
  }

  /// To the service manager, which keeps the sockets over a crash from now on.
  private func tellReady() {
    notifier.forgetStored()
    notifier.store(sockets.all.map(\.descriptor))
    notifier.ready(serving)
  }

  /// For `systemctl status`.
  var serving: String {
    "serving generation \(snapshot.generation) on "
      + options.listeners.flatMap { $0.bind.map(\.description) }.joined(separator: ", ")
  }

  // MARK: Ending

  /// Whether requests are still welcome: `/ready` fails first when draining.
  var isDraining: Bool { drainStarted != .never }

  func drain() {
    guard !isDraining else { return }
    // Or the new process would go on where weir was told to stop.
    if upgrade.isRunning { upgrade.fail("weir was told to stop") }
    drainStarted = MonotonicTime.now()
    // A new process that is told to stop before it serves has nothing to finish.
    hasEnded = !workers.isRunning
    log.info("draining: at most \(options.drainTimeout.milliseconds) ms")
    // Nobody shall wait in the queue of a socket that the manager keeps for a service that is gone.
    notifier.forgetStored()
    notifier.stopping("draining: at most \(options.drainTimeout.milliseconds) ms")
    workers.post(.drain(until: drainStarted + options.drainTimeout))
  }

  private func end() -> Int32 {
    workers.join()
    watch.stop()
    _ = accessLog?.close(deadline: MonotonicTime.now() + Daemon.logFlushTime)
    admin.close()
    if !isReplaced { sockets.removeFiles() }
    log.info("stopped")
    return ExitStatus.success
  }
}
