import Caching
import Config
import Glibc
import Primitives
import Proxy
import Synchronization
import Telemetry
import Transport

/// A run of the workers that ship, under a clock of its own and one seed, on one thread: clients
/// and backends are this process's other ends of real unix sockets (docs/decisions/0403).
public final class Simulation {
  /// What came of a seed.
  public struct Outcome: Sendable {
    public var seed: UInt64
    public var digest: UInt64
    public var violations: [String]
    public var lines: [String]
    public var counts: Counts
  }

  static let start: UInt64 = 1_000_000_000_000_000
  private static let silence = EventLog(
    level: .error, descriptor: open("/dev/null", O_WRONLY | O_CLOEXEC))

  private var scenario: Scenario
  private let folder: String
  private var world: World
  private var random: Draw
  private let shared: SharedState
  private var snapshot: Snapshot
  private var mailboxes: [Mailbox<WorkerMessage>] = []
  private var metrics: [WorkerMetrics] = []
  private var workers: [Worker] = []
  private let watch: BackendWatch
  private var clients: [any Asker] = []
  private var backends: [Backend] = []
  private var sockets: [[WorkerListener]] = []
  /// A reload that not every worker has taken over yet.
  private var adoption: Arrivals?
  private var generation: UInt64 = 1
  /// How many connections there had been when buffers were made small last.
  private var tightened = 0
  /// Rounds in a row in which weir had something to do, and nobody else.
  private var turnsAlone = 0

  public static func run(seed: UInt64, keepsTrace: Bool = false) -> Outcome {
    // As the daemon does: splice has no other way to be told.
    signal(SIGPIPE, SIG_IGN)
    let simulation = Simulation(seed: seed, keepsTrace: keepsTrace)
    simulation.play()
    if !simulation.scenario.drainsAtOnce { simulation.quieten() }
    simulation.drain()
    return simulation.end()
  }

  // MARK: The stage

  private init(seed: UInt64, keepsTrace: Bool) {
    var scenario = Scenario(seed: seed)
    folder = Simulation.makeFolder()
    let now = MonotonicTime(nanoseconds: Simulation.start)
    shared = SharedState(seed: seed)
    let options = Simulation.load(scenario.configuration(folder: folder))
    guard
      let snapshot = try? Snapshot(options, generation: 1, name: "sim", shared: shared, now: now),
      let watch = BackendWatch(shared: shared, log: Simulation.silence, now: now)
    else { preconditionFailure("the scenario of seed \(seed) cannot be set up") }
    self.snapshot = snapshot
    self.watch = watch
    world = World(
      now: Simulation.start, trace: Trace(isKept: keepsTrace),
      ledger: Ledger(objects: scenario.objects, mostAttempts: scenario.mostAttempts),
      largestBody: scenario.largestBody, isCalm: scenario.isCalm, requestsLeft: scenario.requests)
    random = scenario.draw.split()
    self.scenario = scenario
    makeActors()
    makeWorkers(options, seed: seed, now: now)
    shared.watch.post(.adopt(snapshot))
  }

  private static func makeFolder() -> String {
    let path = "/tmp/weir-simulation-\(getpid())"
    mkdir(path, 0o700)
    return path
  }

  private static func load(_ text: String) -> ProxyOptions {
    let result = ConfigurationLoader.load(
      path: "proxy.conf", environment: [:], files: RunFiles(configuration: text))
    guard let options = result.options else {
      preconditionFailure(result.diagnostics.map { $0.rendered() }.joined() + text)
    }
    return options
  }

  private func makeActors() {
    var names = (0..<scenario.backends).map { "b\($0)" }
    if scenario.hasSpare { names.append("spare") }
    for name in names {
      backends.append(
        Backend(
          role(name, path: name), mostRequests: name == "spare" ? 0 : scenario.mostRequests,
          speaksHTTP2: name != "spare" && scenario.speakHTTP2))
    }
    for index in 0..<scenario.clients {
      let isStream = index < scenario.streamClients
      let role = role("\(isStream ? "h" : "c")\(index)", path: Scenario.clientPath)
      let objects = scenario.objects
      clients.append(
        isStream ? StreamClient(role, objects: objects) : Client(role, objects: objects))
    }
  }

  private func role(_ name: String, path: String) -> Role {
    Role(
      name: name, path: "\(folder)/\(path)", faults: scenario.faults, random: random.split())
  }

  private func makeWorkers(_ options: ProxyOptions, seed: UInt64, now: MonotonicTime) {
    let address = options.listeners[0].bind[0]
    unlink("\(folder)/\(Scenario.clientPath)")
    guard let first = try? Listener(Endpoint(address), backlog: 64, sharesPort: false) else {
      preconditionFailure("cannot listen in \(folder)")
    }
    mailboxes = (0..<scenario.workers).map { _ in Mailbox() }
    metrics = mailboxes.map { _ in WorkerMetrics() }
    shared.setMailboxes(mailboxes)
    for index in 0..<scenario.workers {
      let mine = index == 0 ? (scenario.workers > 1 ? first.shared() : first) : copy(of: first)
      sockets.append([WorkerListener(socket: mine, options: 0)])
      guard
        let worker = Worker(
          number: index, snapshot: snapshot, shared: shared, mailbox: mailboxes[index],
          listeners: sockets[index], metrics: metrics[index],
          log: AccessLogBuffer(nil, options.accessLog.format),
          seed: seed &+ UInt64(index) &* 0x1234_5678_9ABC, now: now)
      else { preconditionFailure("no descriptor left") }
      workers.append(worker)
    }
  }

  private func copy(of listener: Listener) -> Listener {
    guard let copy = try? listener.duplicate() else { preconditionFailure("no descriptor left") }
    return copy
  }

  // MARK: Steps

  private var time: MonotonicTime { MonotonicTime(nanoseconds: world.now) }

  private func turn(_ index: Int) -> Bool {
    let wall = world.now / 1_000_000_000 + 800_000_000
    let hadWork = workers[index].turn(
      at: time,
      wall: (Int64(wall), Int32(world.now % 1_000_000_000)))
    if hadWork, scenario.isTight, connectionsMade != tightened {
      tightened = connectionsMade
      Sockets.makeTight(below: Sockets.highest())
    }
    return hadWork
  }

  /// By all workers, from both sides.
  private var connectionsMade: Int {
    metrics.reduce(0) { sum, metrics in
      (0...scenario.backends).reduce(sum + Int(metrics.count(.connectionsAccepted))) {
        $0 + Int(metrics.backendIfUsed($1)?.count(.connectionsOpened) ?? 0)
      }
    }
  }

  /// While requests are made: who comes next is drawn from the seed.
  private func play() {
    var steps = 0
    while world.requestsLeft > 0 || random.chance(98), steps < 20_000 {
      steps += 1
      step()
      if steps % 16 == 0 { checkStructures() }
      if !world.ledger.violations.isEmpty { return }
    }
    world.requestsLeft = 0
  }

  private func step() {
    let choice = random.below(1000)
    world.trace.note(choice)
    switch choice {
    case ..<400: _ = turn(random.below(workers.count))
    case ..<650: _ = clients[random.below(clients.count)].step(&world)
    case ..<900: _ = backends[random.below(backends.count)].step(&world)
    case ..<940: _ = watch.turn(at: time)
    case ..<985: pass(random.below(scenario.isCalm ? 200_000 : 10_000_000))
    case ..<990: if !scenario.isCalm { pass(random.below(1_000_000_000)) }
    case ..<994: purge()
    case ..<997: reload()
    default: _ = sweep()
    }
    if scenario.faults.flapping > 0, random.below(1000) < scenario.faults.flapping {
      backends[random.below(backends.count)].become(random.one(of: Backend.Mode.allCases), &world)
    }
    if !scenario.isCalm, random.below(2000) == 0 { setMode() }
  }

  private func pass(_ nanoseconds: Int) {
    world.now += UInt64(nanoseconds)
    world.trace.note(nanoseconds)
  }

  /// Everybody once. False where nobody had anything to do.
  private func sweep() -> Bool {
    var hadWork = false
    for index in workers.indices where turn(index) { hadWork = true }
    if watch.turn(at: time) { hadWork = true }
    var othersHad = false
    for client in clients where client.step(&world) { othersHad = true }
    for backend in backends where backend.step(&world) { othersHad = true }
    // Clients may read octet by octet; weir by itself must come to an end soon.
    turnsAlone = hadWork && !othersHad ? turnsAlone + 1 : 0
    if turnsAlone == Simulation.mostTurnsAlone { world.ledger.violated("the loops spin") }
    return hadWork || othersHad
  }

  // MARK: What people do

  private func publishAndPurge(_ object: Int) {
    world.ledger.publish(object)
    var order = PurgeOrder()
    switch random.below(8) {
    case 0: order.prefix = "http://s/c/"
    case 1: order.all = true
    case 2...4: order.tags = ["o\(object)"]
    default: order.urls = ["http://s\(Paths.object(object))"]
    }
    order.soft = scenario.isNeverStale && random.chance(50)
    guard (try? snapshot.purge(order, now: time)) != nil else {
      return world.ledger.violated("a purge was refused")
    }
    let version = world.ledger.versions[object]
    world.ledger.mustSee(object, version)
    world.ledger.counts[.purges] += 1
    world.trace.say("object \(object) is purged and at version \(version)")
  }

  private func purge() {
    // The control thread waits for the workers to take over a configuration.
    guard scenario.hasCache, hasAdopted() else { return }
    publishAndPurge(random.below(scenario.objects))
  }

  private func hasAdopted() -> Bool {
    guard let waiting = adoption else { return true }
    guard waiting.collect() == workers.count else { return false }
    adoption = nil
    return true
  }

  private func reload() {
    guard hasAdopted() else { return }
    generation += 1
    let options = Simulation.load(scenario.configuration(folder: folder))
    guard
      let next = try? Snapshot(
        options, generation: generation, name: "sim", shared: shared, now: time)
    else { preconditionFailure("a reload failed") }
    snapshot = next
    let arrivals = Arrivals()
    for (mailbox, listeners) in zip(mailboxes, sockets) {
      mailbox.post(.adopt(next, listeners, arrivals))
    }
    adoption = arrivals
    shared.watch.post(.adopt(next))
    world.ledger.counts[.reloads] += 1
    world.trace.say("reload \(generation)")
  }

  private func setMode() {
    let name = "b\(random.below(scenario.backends))"
    let mode = random.one(of: [BackendMode.ready, .ready, .drain, .maint])
    world.ledger.counts[.modes] += 1
    for state in snapshot.upstreamStates where state.name == "app" {
      _ = state.setMode(name, mode, now: time)
    }
  }

  // MARK: The end

  private static let longestQuiet: UInt64 = 600_000_000_000
  private static let mostTurnsAlone = 10_000

  /// No new requests: what is in flight must end, by itself, in bounded time. Without faults it
  /// must end without any clock but the backends' own.
  private func quieten() {
    for backend in backends where backend.mode == .refusing || backend.mode == .dead {
      backend.become(.serving, &world)
    }
    let began = world.now
    while world.ledger.violations.isEmpty {
      if sweep() { continue }
      if clients.allSatisfy(\.isIdle) { return }
      let answers = backends.reduce(UInt64.max) { min($0, $1.nextDue) }
      if scenario.isCalm {
        guard answers != .max, answers > world.now else { return stuck("no event is left") }
        world.now = answers
        continue
      }
      checkPatience()
      let due = min(nextDue, answers)
      guard due != .max else { return stuck("no timer is left") }
      world.now = max(world.now + 1_000_000, due)
      guard world.now - began < Simulation.longestQuiet else { return stuck("more than 600 s") }
    }
  }

  private var nextDue: UInt64 {
    workers.reduce(watch.nextDue.nanoseconds) { min($0, $1.nextDue.nanoseconds) }
  }

  /// All is quiet: whoever waits for a backend that says nothing has a timer for that.
  private func checkPatience() {
    let since = backends.reduce(UInt64.max) { min($0, $1.silentSince) }
    guard since != .max else { return }
    let due = since + UInt64(Scenario.firstByteSeconds) * 1_000_000_000
    // The wheel's grain.
    if nextDue > max(due, world.now) + 100_000_000 {
      world.ledger.violated("nobody gives up a backend that has been silent since \(since)")
    }
  }

  private func stuck(_ why: String) {
    let waiting = clients.filter { !$0.isIdle }.map(\.name).joined(separator: ", ")
    world.ledger.violated("a request never ends, of clients \(waiting): \(why)")
  }

  private func drain() {
    guard world.ledger.violations.isEmpty else { return }
    let deadline = time + .seconds(30)
    for mailbox in mailboxes { mailbox.post(.drain(until: deadline)) }
    while workers.contains(where: { !$0.isDone }) {
      guard world.ledger.violations.isEmpty else { return }
      if !sweep() { world.now = max(world.now + 1_000_000, min(nextDue, deadline.nanoseconds)) }
    }
    for worker in workers { worker.closeEverything() }
    // What workers still had to tell each other.
    _ = sweep()
    checkNothingIsLeft()
  }

  private func checkNothingIsLeft() {
    let open = shared.connections.load(ordering: .relaxed)
    if open != 0 { world.ledger.violated("\(open) connections are left after a drain") }
    for state in snapshot.upstreamStates {
      let inFlight = state.views(now: time).reduce(0) { $0 + $1.inFlight }
      if inFlight != 0 {
        world.ledger.violated("\(inFlight) requests are left at upstream \(state.name)")
      }
      if state.queuedCount != 0 { world.ledger.violated("somebody is left in a queue") }
      if !state.isIdle { world.ledger.violated("a breaker of \(state.name) counts a probe") }
    }
    for store in snapshot.stores where store.usage.fetches != 0 {
      world.ledger.violated("\(store.usage.fetches) fetches are left")
    }
    let accepted = metrics.reduce(0) { $0 + $1.count(.connectionsAccepted) }
    let closed = metrics.reduce(0) { $0 + $1.count(.connectionsClosed) }
    if accepted != closed {
      world.ledger.violated("\(accepted) connections were accepted, \(closed) closed")
    }
    checkStructures()
  }

  private func checkStructures() {
    for state in snapshot.upstreamStates { state.checkInvariants() }
    for store in snapshot.stores { store.checkInvariants() }
  }

  private func end() -> Outcome {
    for client in clients { client.leave(&world) }
    for backend in backends { backend.finish(&world) }
    watch.finish()
    for listener in sockets.joined() { listener.socket.close() }
    unlink("\(folder)/\(Scenario.clientPath)")
    rmdir(folder)
    return Outcome(
      seed: scenario.seed, digest: world.trace.digest, violations: world.ledger.violations,
      lines: world.trace.lines, counts: counts())
  }

  /// What was seen from outside, and what weir counted itself.
  private func counts() -> Counts {
    var counts = world.ledger.counts
    counts[.requests] = world.ledger.requests.count
    if scenario.isCalm { counts[.calm] = 1 }
    let parts: [(Counts.Part, [ProxyCounter])] = [
      (.hits, [.cacheHits, .cacheStaleHits]), (.collapsed, [.cacheCollapsed]),
      (.retries, [.unsentRetries, .replays, .statusRetries]), (.queued, [.requestsQueued]),
      (.noBackend, [.noBackendAvailable]), (.abortedByClients, [.clientAborts]),
    ]
    for (part, counters) in parts {
      for counter in counters {
        counts[part] = metrics.reduce(counts[part]) { $0 + Int($1.count(counter)) }
      }
    }
    return counts
  }
}
