import Balancing
import Primitives
import Resilience
import Transport

/// A place taken on a backend for one attempt.
struct ReservedBackend: BitwiseCopyable {
  var slot: Int32
  /// `BackendState.id`
  var backend: Int32
  var isSpill: Bool
  /// To be recorded with the attempt's outcome, exactly once.
  var ticket: CircuitBreaker.Ticket
  var stickiness = Stickiness.none
}

/// What became of a request's wish for the backend that its cookie names.
enum Stickiness: UInt8, BitwiseCopyable {
  case none
  case kept
  /// For this one request: the backend is full, or its breaker is open.
  case elsewhere
  /// For good: the backend is down, in maintenance, or configured no more.
  case broken
}

/// What the admin endpoint shows of one backend.
public struct BackendView: Sendable {
  /// `BackendState.id`
  public var backend: Int
  public var inFlight: Int
  /// Steered around for a moment after a failed connect.
  public var isHeld: Bool
  public var mode: BackendMode
  /// The health check's last verdict; `nil` where there is no check.
  public var isUp: Bool?
  public var breaker: CircuitBreaker.State
  /// Of an open breaker: when it will let probes through.
  public var opensFor: TimeAmount?
  /// New requests may go there, its weight apart.
  public var isAvailable: Bool
  /// What part of its weight counts, in 1/`SlowStart.whole`.
  public var share: Int
}

/// The live state of one upstream, shared by all workers and kept across reloads.
///
/// One lock, held for a few hundred instructions: choosing a backend and counting the request
/// there is one step, which is what makes least connections exact. Circuit breakers live behind
/// the same lock, because an attempt takes it twice anyway: so they are exact over all workers,
/// and a healthy backend costs an attempt a few instructions and no further cache line
/// (docs/decisions/0402-breakers-behind-the-upstream-lock.md).
public final class UpstreamState: Sendable {
  struct Live: ~Copyable {
    var balancer: Balancer
    /// What `balancer` was made of: it shares the rings.
    var plan: BalancerPlan?
    /// By slot.
    var conditions = GrowingTable<BackendCondition>()
    /// By slot; empty where no backend is configured.
    var names: [String] = []
    var breakerOptions = BreakerOptions()
    var healthCheck: HealthCheckOptions?
    /// Some backend may have its address from DNS.
    var hasNames = false
    var slowStart: SlowStartOptions?
    /// `panic`, in per cent; 0: never.
    var panicBelow = 0
    var isPanicking = false
    /// A configuration has been taken over before.
    var isRunning = false
    /// The earliest time at which some condition changes by itself.
    var wakeAt = MonotonicTime.never
    /// When the watch thread will look whether that has happened, for the requests that wait.
    var alarmAt = MonotonicTime.never
    /// Slots by their number in sticky cookies.
    var stickySlots: [UInt64: Int] = [:]
    /// Breakers that a rate keeps from being closed, and backends configured.
    var outByRate = 0
    var configured = 0
    var budget = RetryBudget(share: 0)
    var random: SeededRandom
    /// Requests that wait for a place, and how many may.
    var queue = RequestQueue()
  }

  /// How long a backend that refused a connection gets no new requests, where others can serve.
  static let connectFailureHold = TimeAmount.milliseconds(200)
  /// A breaker just half open waits this long for requests that may be sent twice (semantics.md 8).
  static let idempotentProbeTime = TimeAmount.seconds(1)

  public let name: String
  let live: Lock<Live>
  let watch: Mailbox<WatchMessage>
  let workers: WorkerMailboxes

  init(
    name: String, seed: UInt64, watch: Mailbox<WatchMessage>, workers: WorkerMailboxes
  ) {
    self.name = name
    self.watch = watch
    self.workers = workers
    live = Lock(
      Live(
        balancer: Balancer(policy: .roundRobin, backends: [], seed: seed),
        random: SeededRandom(seed: ~seed)))
  }

  /// Takes over a configuration. The plan (sorting a ring) is made before the lock is taken, and
  /// the rings it replaces, which may be of a million points, are freed after it is given back.
  /// `ids` are `BackendState.id`, in the order of the options.
  func update(
    _ options: UpstreamOptions, ids: [Int], sticky: StickyPlan? = nil, now: MonotonicTime
  ) {
    let plan = BalancerPlan(
      policy: options.balance,
      backends: options.backends.map { $0.spec(limit: options.maxRequests) })
    let numbers = options.backends.map { backend in
      sticky.map { plan in Array(backend.name.utf8).withByteView { plan.number(ofBackend: $0) } }
    }
    let (replaced, grants) = live.withLock { live in
      let replaced = live.plan
      live.plan = plan
      let slots = live.balancer.update(plan)
      live.breakerOptions = options.breaker
      live.healthCheck = options.healthCheck
      live.hasNames = !options.names.isEmpty
      live.slowStart = options.slowStart
      live.panicBelow = options.panicBelow
      live.budget.share = options.retry.budget
      live.configured = slots.count
      while live.conditions.count < live.balancer.slotCount {
        live.conditions.append(BackendCondition(options.breaker))
      }
      live.forgetModes(but: slots, options.backends.map(\.name))
      for (slot, id) in zip(slots, ids) { live.adopt(slot, Int32(id), options.breaker, now) }
      live.stickySlots = [:]
      for (slot, number) in zip(slots, numbers) {
        if let number { live.stickySlots[number] = slot }
      }
      live.isRunning = true
      live.recountOutByRate(slots)
      judgePanic(&live, now)
      live.settle()
      live.pace(now)
      live.queue.limit = options.queueSize
      return (replaced, grantPlaces(&live, now))
    }
    withExtendedLifetime(replaced) {}
    post(grants)
  }

  // MARK: Requests

  /// Chooses a backend and counts the request there; `nil` where there is none to try.
  /// `isIdempotent`: it may be sent twice, and so may try out a backend that failed before.
  /// `isFirst`: a request's first attempt, which adds to the budget of retries.
  /// `pauses`: a retry, which backends may have asked to be spared (semantics.md 12).
  /// `sticky`: the number of the backend that the request's cookie names; 0: none.
  func reserve(
    hash: UInt64, tried: TriedBackends, isIdempotent: Bool, isFirst: Bool = true,
    sticky: UInt64 = 0, minds pauses: Bool = true, now: MonotonicTime
  ) -> ReservedBackend? {
    live.withLock { live in
      if isFirst { live.budget.requestBegan(now: now) }
      if live.wakeAt <= now { wake(&live, now) }
      var stickiness = Stickiness.none
      if sticky != 0 {
        stickiness = live.stickiness(sticky, tried, isIdempotent)
        if stickiness == .kept, let reserved = live.reserveSticky(sticky, now) { return reserved }
        stickiness = stickiness == .kept ? .elsewhere : stickiness
      }
      var found = live.balancer.reserve(hash: hash, tried: tried)
      if found == nil, live.endHolds() {
        // Steering around is for when there is another way: never at the price of an answer.
        found = live.balancer.reserve(hash: hash, tried: tried)
      }
      if !isFirst, pauses, let first = found {
        found = live.pastPauses(first, hash: hash, tried: tried, now)
      }
      guard let found else { return nil }
      let slot = found.slot
      var reserved =
        live.conditions[slot].breaker.state == .closed
        ? live.admitted(found, now)
        : live.probing(found, hash: hash, tried: tried, isIdempotent: isIdempotent, now)
      reserved.stickiness = stickiness
      return reserved
    }
  }

  /// Takes a retry from the budget; false where that is used up.
  func takeRetry(now: MonotonicTime) -> Bool { live.withLock { $0.budget.take(now: now) } }

  /// The attempt has ended.
  func release(
    _ slot: Int32, _ ticket: CircuitBreaker.Ticket, _ outcome: CircuitBreaker.Outcome,
    now: MonotonicTime
  ) {
    let somebodyWaits = live.withLock { live in
      let slot = Int(slot)
      live.balancer.release(slot)
      if !live.conditions[slot].breaker.recordHealthy(ticket, outcome, now: now) {
        record(&live, slot, ticket, outcome, now)
      }
      return !live.queue.isEmpty
    }
    if somebodyWaits { offerPlaces(now) }
  }

  /// Judges an attempt before it ends: one that may go on for hours must not keep a probe's place.
  /// Its ticket is used up; it is released with `CircuitBreaker.Outcome.abandoned` and a new one.
  func judge(
    _ slot: Int32, _ ticket: CircuitBreaker.Ticket, _ outcome: CircuitBreaker.Outcome,
    now: MonotonicTime
  ) {
    live.withLock { record(&$0, Int(slot), ticket, outcome, now) }
    offerPlaces(now)
  }

  /// A connect to this backend failed: others are preferred for a moment.
  func connectFailed(_ slot: Int32, now: MonotonicTime) {
    live.withLock { live in
      let slot = Int(slot)
      guard !live.conditions[slot].isHeld else { return }
      live.conditions[slot].heldUntil = now + UpstreamState.connectFailureHold
      live.settle(slot)
      setAlarm(&live)
      if live.hasNames { watch.post(.doubt(backend: Int(live.conditions[slot].backend))) }
      guard live.healthCheck != nil, !live.conditions[slot].isCheckAsked else { return }
      live.conditions[slot].isCheckAsked = true
      watch.post(.checkSoon(backend: Int(live.conditions[slot].backend)))
    }
  }

  // MARK: Transitions

  private func record(
    _ live: inout Live, _ slot: Int, _ ticket: CircuitBreaker.Ticket,
    _ outcome: CircuitBreaker.Outcome, _ now: MonotonicTime
  ) {
    let mayOpenByRate = live.mayOpenByRate
    var random = live.random
    let transition = live.conditions[slot].breaker.record(
      ticket, outcome, now: now, mayOpenByRate: mayOpenByRate, random: &random)
    live.random = random
    if let transition {
      if case .opened(let reason, _) = transition, reason.isRate { live.outByRate += 1 }
      if transition == .closed, live.conditions[slot].breaker.reason.isRate {
        live.outByRate = max(0, live.outByRate - 1)
      }
      report(.breaker(transition), live.conditions[slot].backend, now)
    }
    if transition != nil || ticket.isProbe { live.settle(slot) }
    if transition != nil { judgePanic(&live, now) }
    if transition == .closed { live.startSlowly(slot, now) }
  }

  /// Ends what was to end by now.
  func wake(_ live: inout Live, _ now: MonotonicTime) {
    for slot in live.conditions.indices {
      guard live.conditions[slot].wakeAt <= now else { continue }
      if live.conditions[slot].heldUntil <= now { live.conditions[slot].heldUntil = .zero }
      if let transition = live.conditions[slot].breaker.coolDownEnded(now: now) {
        report(.breaker(transition), live.conditions[slot].backend, now)
      }
      live.settle(slot)
    }
    judgePanic(&live, now)
    live.pace(now)
    live.settle()
  }

  func report(_ kind: BackendChange.Kind, _ backend: Int32, _ now: MonotonicTime) {
    watch.post(
      .changed(BackendChange(upstream: name, backend: Int(backend), kind: kind, at: now)))
  }

  // MARK: Looking

  /// For tests: traps where the structures contradict each other.
  package func checkInvariants() {
    live.withLock { live in
      live.balancer.checkInvariants()
      for slot in live.conditions.indices { live.conditions[slot].breaker.checkInvariants() }
    }
  }

  /// Of every backend that is configured or has requests in flight. What is over by `now` counts
  /// as over, though only the next request ends it.
  public func views(now: MonotonicTime) -> [BackendView] {
    live.withLock { live in
      live.conditions.indices.compactMap { slot in
        var condition = live.conditions[slot]
        guard condition.backend >= 0 else { return nil }
        if condition.heldUntil <= now { condition.heldUntil = .zero }
        let opensFor =
          condition.breaker.state == .open ? condition.breaker.openUntil - now : nil
        return BackendView(
          backend: Int(condition.backend), inFlight: live.balancer.inFlight(slot),
          isHeld: condition.isHeld, mode: condition.mode,
          isUp: live.healthCheck == nil ? nil : !condition.isDown,
          breaker: condition.breaker.state,
          opensFor: opensFor.map { max($0, .zero) }, isAvailable: condition.isAvailable,
          share: live.balancer.share(slot))
      }
    }
  }
}

extension UpstreamState.Live {
  /// A backend takes its slot. One that was there before keeps what is known of it.
  fileprivate mutating func adopt(
    _ slot: Int, _ id: Int32, _ options: BreakerOptions, _ now: MonotonicTime
  ) {
    if conditions[slot].backend == id {
      conditions[slot].breaker.update(options)
      if conditions[slot].isDown, healthCheck == nil { stopBelievingChecks(slot) }
      return
    }
    let mode = conditions[slot].mode
    conditions[slot] = BackendCondition(replacing: conditions[slot], id, options)
    conditions[slot].mode = mode
    // At the start everybody is new.
    if isRunning { conditions[slot].newSince = now }
    guard let healthCheck, healthCheck.startsDown(isRunning: isRunning) else { return }
    conditions[slot].isDown = true
    conditions[slot].breaker.healthFailed()
  }

  /// What people said of a backend belongs to its name, wherever that moves, and goes with it.
  fileprivate mutating func forgetModes(but slots: [Int], _ names: [String]) {
    var next = [String](repeating: "", count: conditions.count)
    for (slot, name) in zip(slots, names) { next[slot] = name }
    for slot in conditions.indices where slot >= self.names.count || next[slot] != self.names[slot]
    {
      conditions[slot].mode = .ready
    }
    self.names = next
  }

  /// There is no check any more that could bring the backend up again.
  private mutating func stopBelievingChecks(_ slot: Int) {
    conditions[slot].isDown = false
    _ = conditions[slot].breaker.healthRecovered(now: conditions[slot].breaker.changedAt)
  }

  fileprivate mutating func recountOutByRate(_ slots: [Int]) {
    outByRate = slots.count { slot in
      conditions[slot].breaker.state != .closed && conditions[slot].breaker.reason.isRate
    }
  }

  /// Rates may keep out `maxOut` of the backends, and never the last that can serve.
  fileprivate var mayOpenByRate: Bool {
    (outByRate + 1) * 100 <= breakerOptions.maxOut * configured && balancer.candidateCount > 1
  }

  /// Brings the balancer and the alarm up to date with one backend's condition.
  mutating func settle(_ slot: Int) {
    conditions[slot].mayServeDown = isPanicking
    balancer.setAvailable(slot, conditions[slot].isAvailable)
    wakeAt = min(wakeAt, conditions[slot].wakeAt)
  }

  mutating func settle() {
    wakeAt = .never
    for slot in conditions.indices { settle(slot) }
  }

  /// False where no backend was steered around.
  fileprivate mutating func endHolds() -> Bool {
    guard wakeAt != .never, conditions.indices.contains(where: { conditions[$0].isHeld }) else {
      return false
    }
    for slot in conditions.indices { conditions[slot].heldUntil = .zero }
    settle()
    return true
  }

  @inline(__always)
  mutating func admitted(
    _ found: Reservation, _ now: MonotonicTime
  ) -> ReservedBackend {
    let slot = found.slot
    var ticket = CircuitBreaker.Ticket()
    switch conditions[slot].breaker.admit(now: now) {
    case .allow(let given), .probe(let given): ticket = given
    case .reject: preconditionFailure("the balancer offers a backend that may not be used")
    }
    return ReservedBackend(
      slot: Int32(slot), backend: conditions[slot].backend, isSpill: found.isSpill,
      ticket: ticket)
  }

  /// The choice fell on a backend whose breaker is half open: the request becomes a probe, unless
  /// it must not be sent twice and somebody else can take it.
  @inline(never)
  mutating func probing(
    _ found: Reservation, hash: UInt64, tried: TriedBackends, isIdempotent: Bool,
    _ now: MonotonicTime
  ) -> ReservedBackend {
    var found = found
    if !isIdempotent {
      var avoided = tried
      let first = found
      while conditions[found.slot].breaker.state == .halfOpen,
        now - conditions[found.slot].breaker.changedAt < UpstreamState.idempotentProbeTime
      {
        balancer.release(found.slot)
        avoided.insert(found.slot)
        guard avoided.count < TriedBackends.capacity,
          let other = balancer.reserve(hash: hash, tried: avoided)
        else {
          // Nobody else: better to try it out than to refuse the request.
          guard let again = balancer.reserve(hash: hash, tried: tried) else {
            preconditionFailure("\(first.slot) was offered a moment ago")
          }
          found = again
          break
        }
        found = other
      }
    }
    let reserved = admitted(found, now)
    if reserved.ticket.isProbe { settle(found.slot) }
    return reserved
  }
}

// MARK: Sticky clients

extension UpstreamState.Live {
  /// What the wish for this backend can come to. People's drain is for new clients only.
  fileprivate func stickiness(
    _ number: UInt64, _ tried: TriedBackends, _ isIdempotent: Bool
  ) -> Stickiness {
    guard let slot = stickySlots[number], balancer.isConfigured(slot) else { return .broken }
    let condition = conditions[slot]
    if condition.mode == .maint || (condition.isDown && !condition.mayServeDown) { return .broken }
    // A probe has to be a request that may be sent twice.
    let mustNotProbe = condition.breaker.state != .closed && !isIdempotent
    return condition.isHeld || tried.contains(slot) || !condition.breaker.mayAdmit || mustNotProbe
      ? .elsewhere : .kept
  }

  /// `nil` where it is full.
  fileprivate mutating func reserveSticky(
    _ number: UInt64, _ now: MonotonicTime
  ) -> ReservedBackend? {
    guard let slot = stickySlots[number], let found = balancer.reserve(at: slot) else { return nil }
    var reserved = admitted(found, now)
    reserved.stickiness = .kept
    if reserved.ticket.isProbe { settle(slot) }
    return reserved
  }
}

// MARK: Slow start

extension UpstreamState.Live {
  /// The backend has come, or come back.
  mutating func startSlowly(_ slot: Int, _ now: MonotonicTime) {
    guard slowStart != nil else { return }
    conditions[slot].newSince = now
    pace(now)
    settle()
  }

  /// Brings the shares of those that have come up to date. O(backends), at changes and at each
  /// step of the growth.
  fileprivate mutating func pace(_ now: MonotonicTime) {
    var new = 0
    var serving = 0
    for slot in conditions.indices {
      let since = conditions[slot].newSince
      if let slowStart, since > .zero, now - since < slowStart.window {
        new += conditions[slot].isAvailable ? 1 : 0
      } else {
        conditions[slot].newSince = .zero
      }
      serving += conditions[slot].isAvailable && balancer.weight(slot) > 0 ? 1 : 0
    }
    for slot in conditions.indices {
      var share = SlowStart.whole
      conditions[slot].growsAt = .never
      if let slowStart, conditions[slot].newSince > .zero {
        conditions[slot].growsAt = now + SlowStart.step(slowStart)
        if SlowStart.isOfUse(new: new, of: serving) {
          share = SlowStart.share(now - conditions[slot].newSince, slowStart)
        }
      }
      balancer.setShare(slot, share)
    }
  }
}

extension CircuitBreaker.Reason {
  var isRate: Bool { self == .failureRate || self == .slowRate }
}
