import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// What the watch thread is told.
public enum WatchMessage: Sendable {
  /// Check the backends of this configuration from now on.
  case adopt(Snapshot)
  /// Keep these names resolved from now on; signalled once something can be said of all of them.
  case resolve(NameWishes, Arrivals)
  /// A connect to this backend failed: check it now. At most one waits for each backend.
  case checkSoon(backend: Int)
  /// A connect to this backend failed, which has its address from DNS.
  case doubt(backend: Int)
  /// Requests of this upstream wait, and time alone may bring a backend back.
  case wake(UpstreamState, at: MonotonicTime)
  /// A worker, a check or an operator changed a backend's condition: say so.
  case changed(BackendChange)
  case stop
}

/// The thread that looks after backends off the data path, with an event loop of its own: it runs
/// health checks, keeps names resolved, and tells operators of every change, so that no worker ever
/// does any of that.
public final class BackendWatch {
  private static let mailboxKind: UInt8 = 1
  private static let probeKind: UInt8 = 2
  private static let namesKind: UInt8 = 3
  /// Checks of one backend that failed connects ask for keep at least this distance.
  private static let soonestAgain = TimeAmount.milliseconds(50)
  /// With so many checks under way, the thread lets their answers gather for this long: waking up
  /// for each of them by itself costs more than the answers do.
  private static let manyChecks = 4
  private static let answersGather = TimeAmount.milliseconds(1)
  /// Sockets that wait for the next check of their backend, with a connection or without: at most
  /// so many, and no more than this share of the descriptors there are, which clients and backends
  /// need.
  private static let mostSpares = 4096
  private static let spareShare = 16

  let shared: SharedState
  let log: EventLog
  private var poller: Poller
  private var wheel: TimerWheel
  private var now: MonotonicTime
  private var random: SeededRandom
  private var head = ResponseHead()
  /// For what checks receive and cannot send at once; each holds at most a few.
  private var pool = BufferPool(limit: 65_536)
  /// By seat; a seat's generation grows with each socket, so that late events find nothing.
  private var probes: [HealthProbe?] = []
  private var generations: [UInt32] = []
  /// Checks that have begun and not ended.
  private var underWay = 0
  private var spares = 0
  private var spareLimit = 0
  private var seats: [HealthProbe.Key: Int] = [:]
  private var seatsOfBackends: [Int: Int] = [:]
  /// Upstreams with waiting requests; a few at most, and of each the next time or two.
  private var alarms: [(at: MonotonicTime, upstream: UpstreamState)] = []
  private var names: NameWatch
  private var isStopping = false
  /// Seats of the first configuration's checks that have said nothing yet; `nil` once all have, or
  /// before there is a configuration.
  private var unheard: Set<Int>?
  private var isFirst = true

  /// Made on the thread that will call `run`, or take its turns. `nil` where the process has no
  /// descriptor left.
  public init?(shared: SharedState, log: EventLog, now: MonotonicTime = .now()) {
    guard let poller = Poller() else { return nil }
    self.poller = poller
    self.now = now
    self.shared = shared
    self.log = log
    wheel = TimerWheel(now: now)
    random = SeededRandom(seed: shared.seed ^ 0x5EED)
    names = NameWatch(shared.names, log: log)
    _ = self.poller.add(
      listener: shared.watch.descriptor,
      Handle(kind: BackendWatch.mailboxKind, generation: 0, index: 0))
  }

  /// Serves until told to stop.
  public func run() {
    while !isStopping {
      let count = poller.wait(timeoutMs: timeoutMs())
      _ = turn(count, .now())
      if underWay >= BackendWatch.manyChecks { Poller.pause(BackendWatch.answersGather) }
    }
    finish()
  }

  /// One turn for who has a clock of their own (the simulation): never waits. False where there was
  /// nothing to do; `finish` ends the series.
  public func turn(at time: MonotonicTime) -> Bool { turn(poller.wait(timeoutMs: 0), time) }

  /// Gives up the checks and questions under way.
  public func finish() {
    for probe in probes { probe?.finish(&pool) }
    names.finish()
  }

  /// When there will be something to do without an event; `never` where there will not.
  public var nextDue: MonotonicTime {
    alarms.reduce(min(wheel.nextDue, names.nextDue(now: now))) { min($0, $1.at) }
  }

  private func turn(_ count: Int, _ time: MonotonicTime) -> Bool {
    var hadWork = count > 0
    now = time
    for index in 0..<count {
      let (handle, readiness) = poller.event(index)
      if handle.kind == BackendWatch.mailboxKind {
        for message in shared.watch.take() { obey(message) }
      } else if handle.kind == BackendWatch.namesKind {
        names.turn(now)
      } else if let probe = probe(handle) {
        advance(Int(handle.index), probe, readiness)
      }
    }
    while let handle = wheel.popExpired(now: now) {
      hadWork = true
      guard let probe = probes[Int(handle.index)], handle.generation == 0 else { continue }
      probe.timer = .none
      timeIsUp(Int(handle.index), probe)
    }
    if !alarms.isEmpty, ringAlarms() { hadWork = true }
    if names.nextDue(now: now) <= now, names.turn(now) { hadWork = true }
    // Turns of this thread are few, and a burst of checks ends with one in which nothing is taken.
    if pool.hasSpare { pool.coolDown() }
    assert(countsAreRight, "\(underWay) under way, \(spares) spares")
    return hadWork
  }

  /// O(checks), for debug builds.
  private var countsAreRight: Bool {
    let known = probes.compactMap { $0 }
    return underWay == known.count { !$0.isWaiting } && spares == known.count { $0.holdsSocket }
  }

  private func ringAlarms() -> Bool {
    let due = alarms.filter { $0.at <= now }
    alarms.removeAll { $0.at <= now }
    for alarm in due { alarm.upstream.alarmRang(now: now) }
    return !due.isEmpty
  }

  private func timeoutMs() -> Int32 {
    let due = nextDue
    guard due != .never else { return -1 }
    return Int32(clamping: max(0, ((due - MonotonicTime.now()).nanoseconds + 999_999) / 1_000_000))
  }

  private func probe(_ handle: Handle) -> HealthProbe? {
    let seat = Int(handle.index)
    guard handle.generation == generations[seat] & 0xFF_FFFF else { return nil }
    return probes[seat]
  }

  private func obey(_ message: WatchMessage) {
    switch message {
    case .adopt(let snapshot): adopt(snapshot)
    case .resolve(let wishes, let arrivals): resolve(wishes, arrivals)
    case .checkSoon(let backend): checkSoon(backend)
    case .doubt(let backend):
      if let backend = shared.backend(backend), let query = backend.query,
        case .ip(let address, _) = backend.endpoint.address
      {
        names.doubted(query, address)
      }
    case .wake(let upstream, let time): alarms.append((time, upstream))
    case .changed(let change): tell(change)
    case .stop: isStopping = true
    }
  }

  // MARK: Checks

  private func arm(_ seat: Int, _ probe: HealthProbe, at time: MonotonicTime) {
    probe.due = time
    wheel.arm(
      &probe.timer,
      Handle(kind: BackendWatch.probeKind, generation: 0, index: UInt32(seat)), at: time)
  }

  private func timeIsUp(_ seat: Int, _ probe: HealthProbe) {
    guard !probe.isWaiting else { return begin(seat, probe) }
    // A loop that ran late has given the backend less time than it seems: no verdict.
    let late = now - probe.due
    let isLate = late.nanoseconds * 2 > probe.key.options.timeout.nanoseconds
    conclude(seat, probe, isLate ? .unknown : .failed(.timedOut))
  }

  private func advance(_ seat: Int, _ probe: HealthProbe, _ readiness: Readiness) {
    if !probe.isWaiting {
      conclude(seat, probe, probe.advance(readiness, &head, &pool))
    } else if probe.keepsConnection, !probe.isStillGood(readiness, &pool) {
      dropConnection(probe)
    }
  }

  /// Between two checks. The next one makes a new connection.
  private func dropConnection(_ probe: HealthProbe) {
    probe.finish(&pool, leaving: .socket)
    if !probe.holdsSocket { spares -= 1 }
  }

  private func begin(_ seat: Int, _ probe: HealthProbe) {
    guard probe.isWatched else {
      // For who takes the backend down, and because it may rest until nobody knows of it.
      if probe.keepsConnection { dropConnection(probe) }
      heard(seat)
      return arm(seat, probe, at: now + probe.key.options.interval)
    }
    if probe.holdsSocket { spares -= 1 }
    underWay += 1
    let isKept = probe.keepsConnection
    var result = probe.start(now: now)
    if result == .pending {
      guard probe.isRegistered || register(seat, probe) else {
        return conclude(seat, probe, .unknown)
      }
      arm(seat, probe, at: now + probe.key.options.timeout)
      if isKept { result = probe.advance([], &head, &pool) }
    }
    conclude(seat, probe, result)
  }

  private func register(_ seat: Int, _ probe: HealthProbe) -> Bool {
    generations[seat] &+= 1
    let handle = Handle(
      kind: BackendWatch.probeKind, generation: generations[seat], index: UInt32(seat))
    probe.isRegistered = poller.add(connection: probe.descriptor, handle)
    return probe.isRegistered
  }

  private func conclude(_ seat: Int, _ probe: HealthProbe, _ result: HealthProbe.Result) {
    guard result != .pending else { return }
    underWay -= 1
    if result == .again {
      probe.finish(&pool)
      return begin(seat, probe)
    }
    if result != .unknown { learn(probe, result) }
    // Over a connection that was there before, which says nothing of new ones.
    let isUnsettled = probe.isKept && probe.isDoubted && result == .passed
    probe.finish(&pool, leaving: leftover(probe, result))
    if probe.holdsSocket { spares += 1 }
    heard(seat)
    if isUnsettled { return arm(seat, probe, at: soonest(probe)) }
    let delay = probe.tracker.delay(isUrgent: isUrgent(probe), random: &random)
    arm(seat, probe, at: BackendWatch.gathered(now + delay, after: delay))
  }

  /// A backend that is not well beyond doubt is asked whether it serves new connections.
  private func leftover(
    _ probe: HealthProbe, _ result: HealthProbe.Result
  ) -> HealthProbe.Leftover {
    guard result == .passed, spares < spareLimit else { return .nothing }
    return probe.leavesConnection && !probe.tracker.isInTransition ? .connection : .socket
  }

  /// Checks that are not in a hurry begin many at once, up to 50 ms sooner or later than drawn: a
  /// thousand of them, each by itself, would wake the thread for every one of its steps.
  private static func gathered(_ time: MonotonicTime, after delay: TimeAmount) -> MonotonicTime {
    guard delay >= .seconds(1) else { return time }
    let slot = UInt64(TimeAmount.milliseconds(100).nanoseconds)
    return MonotonicTime(nanoseconds: (time.nanoseconds + slot / 2) / slot * slot)
  }

  private func learn(_ probe: HealthProbe, _ result: HealthProbe.Result) {
    let passed = result == .passed
    if case .failed(let failure) = result { probe.lastFailure = failure }
    for subscriber in probe.subscribers {
      subscriber.tally.checked(passed ? nil : probe.lastFailure)
    }
    guard let change = probe.tracker.checked(passed: passed, isUrgent: isUrgent(probe)) else {
      return
    }
    for subscriber in probe.subscribers {
      subscriber.state.healthChanged(subscriber.backend, change, probe.lastFailure, now: now)
    }
  }

  /// Somebody who asks for this check has no backend left.
  private func isUrgent(_ probe: HealthProbe) -> Bool {
    probe.subscribers.contains { $0.state.needsChecks }
  }

  private func checkSoon(_ backend: Int) {
    guard let seat = seatsOfBackends[backend], let probe = probes[seat] else { return }
    for subscriber in probe.subscribers { subscriber.state.checkBegins(subscriber.backend) }
    guard probe.isWaiting else {
      probe.isDoubted = true
      return
    }
    if probe.keepsConnection { dropConnection(probe) }
    let time = soonest(probe)
    if time < probe.due { arm(seat, probe, at: time) }
  }

  private func soonest(_ probe: HealthProbe) -> MonotonicTime {
    max(now, probe.startedAt + BackendWatch.soonestAgain)
  }

  private func heard(_ seat: Int) {
    guard unheard != nil else { return }
    unheard?.remove(seat)
    guard unheard?.isEmpty == true else { return }
    unheard = nil
    shared.firstHealthRound.signal()
  }

  // MARK: Configuration

  private func resolve(_ wishes: NameWishes, _ heard: Arrivals) {
    let known = names.descriptor
    names.adopt(wishes, heard: heard, now: now)
    guard names.descriptor != known else { return }
    _ = poller.add(
      listener: names.descriptor, Handle(kind: BackendWatch.namesKind, generation: 0, index: 0))
  }

  /// Checks that stay go on undisturbed; new ones begin at once.
  private func adopt(_ snapshot: Snapshot) {
    spareLimit = min(
      BackendWatch.mostSpares, SocketCalls.descriptorLimit / BackendWatch.spareShare)
    var wanted: [HealthProbe.Key: [HealthProbe.Subscriber]] = [:]
    // In the order of the configuration: a dictionary's own order differs from run to run.
    var order: [HealthProbe.Key] = []
    for check in snapshot.healthChecks(shared) {
      if wanted[check.key] == nil { order.append(check.key) }
      wanted[check.key, default: []] += check.subscribers
    }
    for probe in probes {
      guard let key = probe?.key, let seat = seats[key], wanted[key] == nil else { continue }
      remove(seat, key)
    }
    seatsOfBackends = [:]
    for key in order {
      guard let subscribers = wanted[key] else { continue }
      let seat = seats[key] ?? add(key, subscribers)
      guard let probe = probes[seat] else { continue }
      probe.subscribers = subscribers
      for subscriber in subscribers {
        seatsOfBackends[subscriber.backend] = seat
        // One that joins a check which knows already.
        subscriber.state.adoptHealth(
          subscriber.backend, isUp: probe.tracker.isUp, probe.lastFailure, now: now)
      }
    }
    guard isFirst else { return }
    isFirst = false
    unheard = Set(seats.values)
    heard(-1)
  }

  private func add(_ key: HealthProbe.Key, _ subscribers: [HealthProbe.Subscriber]) -> Int {
    let isUp = subscribers.contains { $0.state.isUp($0.backend) }
    let probe = HealthProbe(key, isUp: isUp)
    let seat = probes.firstIndex { $0 == nil } ?? probes.count
    if seat == probes.count {
      probes.append(probe)
      generations.append(0)
    } else {
      probes[seat] = probe
    }
    seats[key] = seat
    arm(seat, probe, at: now)
    return seat
  }

  private func remove(_ seat: Int, _ key: HealthProbe.Key) {
    guard let probe = probes[seat] else { return }
    wheel.cancel(&probe.timer)
    if !probe.isWaiting { underWay -= 1 }
    if probe.holdsSocket { spares -= 1 }
    probe.finish(&pool)
    generations[seat] &+= 1
    probes[seat] = nil
    seats[key] = nil
    heard(seat)
  }
}
