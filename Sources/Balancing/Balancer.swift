import Primitives

/// Chooses the backend of each request of one upstream, and counts what is in flight there.
///
/// A plain value without a clock: the same calls with the same seed choose the same backends. The
/// data plane keeps one for each upstream, behind one lock that all workers share, so that least
/// connections is exact; `reserve` and `release` take a few hundred instructions for any number of
/// backends and allocate nothing.
///
/// Backends are known by *slot*, a small index that stays the same while the backend is configured
/// under its name, whatever its place in the file, and until its last request has ended:
///
///     free ──update names it──► configured ◄──update names it again── retired
///      ▲                          │  └──update leaves it out, in flight > 0──►┘  │
///      └──────────────────────────┴──left out, or its last request ends──────────┘
public struct Balancer: ~Copyable {
  private var slots: FixedTable<BackendSlot>
  /// By name, configured and retired ones; touched by `update` and by the end of a retired
  /// backend's last request only.
  private var slotsByName: [String: Int] = [:]
  private var primaries: Tier
  private var backups: Tier
  /// Primaries that are kept out by their limits alone.
  private var busyPrimaries = 0
  private var random: SeededRandom

  public init(policy: BalancePolicy, backends: [BackendSpec], seed: UInt64) {
    self.init(BalancerPlan(policy: policy, backends: backends), seed: seed)
  }

  public init(_ plan: BalancerPlan, seed: UInt64) {
    random = SeededRandom(seed: seed)
    slots = FixedTable(repeating: BackendSlot(), count: 0)
    primaries = Balancer.emptyTier(isBackup: false)
    backups = Balancer.emptyTier(isBackup: true)
    update(plan)
  }

  private static func emptyTier(isBackup: Bool) -> Tier {
    Tier(
      policy: .roundRobin, isBackup: isBackup, ring: nil, slotsOfBackends: [], capacity: 0)
  }

  // MARK: Configuration

  /// Takes over a new configuration, matching backends by name. A backend that stays keeps its
  /// slot, its requests in flight and its availability; a new one starts available, in a free
  /// slot; one that is left out gets no new requests, and its slot is free once it has none in
  /// flight. Returns the slot of each backend, in the order given.
  @discardableResult
  public mutating func update(policy: BalancePolicy, backends: [BackendSpec]) -> [Int] {
    update(BalancerPlan(policy: policy, backends: backends))
  }

  /// The same with a plan made beforehand: O(backends), so it may run under the workers' lock.
  @discardableResult
  public mutating func update(_ plan: BalancerPlan) -> [Int] {
    retireAbsent(from: plan)
    let assigned = assignSlots(plan)
    rebuildTiers(plan, assigned: assigned)
    checkInDebug()
    return assigned
  }

  private mutating func retireAbsent(from plan: BalancerPlan) {
    let kept = Set(plan.backends.map(\.name))
    for (name, slot) in slotsByName where !kept.contains(name) {
      if slots[slot].inFlight == 0 {
        slots[slot] = BackendSlot()
        slotsByName[name] = nil
      } else {
        slots[slot].use = .retired
      }
    }
  }

  private mutating func assignSlots(_ plan: BalancerPlan) -> [Int] {
    let added = plan.backends.reduce(0) { $0 + (slotsByName[$1.name] == nil ? 1 : 0) }
    if slotsByName.count + added > slots.count {
      slots = FixedTable(
        extending: slots, with: BackendSlot(), count: slotsByName.count + added)
    }
    var nextFree = 0
    return plan.backends.map { spec in
      let slot: Int
      if let known = slotsByName[spec.name] {
        slot = known
      } else {
        while slots[nextFree].use != .free { nextFree += 1 }
        slot = nextFree
        slotsByName[spec.name] = slot
      }
      slots[slot].use = .configured
      slots[slot].weight = Int32(spec.weight)
      slots[slot].isBackup = spec.isBackup
      slots[slot].limit = Int32(clamping: spec.maxRequests ?? Int.max)
      return slot
    }
  }

  private mutating func rebuildTiers(_ plan: BalancerPlan, assigned: [Int]) {
    primaries = Tier(
      policy: plan.policy, isBackup: false, ring: plan.primaryRing, slotsOfBackends: assigned,
      capacity: slots.count)
    backups = Tier(
      policy: plan.policy, isBackup: true, ring: plan.backupRing, slotsOfBackends: assigned,
      capacity: slots.count)
    busyPrimaries = 0
    for slot in 0..<slots.count {
      slots[slot].isCandidate = slots[slot].shouldBeCandidate
      slots[slot].isBusy = slots[slot].shouldBeBusy
      if slots[slot].isCandidate { join(slot) }
      if slots[slot].isBusy, !slots[slot].isBackup { busyPrimaries += 1 }
    }
    primaries.settle()
    backups.settle()
  }

  // MARK: Requests

  /// Chooses a backend and counts the request there, in one step; `nil` where none can serve.
  ///
  /// Backends in `tried` are avoided, backups are used only where no primary is left: one that is
  /// only full is. `hash` is of the request's part that the policy names, and matters to `.hash`
  /// only.
  public mutating func reserve(
    hash: UInt64 = 0, tried: TriedBackends = TriedBackends()
  ) -> Reservation? {
    var found = primaries.reserve(hash: hash, tried: tried, random: &random, slots: &slots)
    if found == nil, busyPrimaries == 0 {
      found = backups.reserve(hash: hash, tried: tried, random: &random, slots: &slots)
    }
    if let found, slots[found.slot].isFull { refresh(found.slot) }
    checkInDebug()
    return found
  }

  /// Counts a request at this backend and no other, whatever its turn or weight, also where it gets
  /// no new ones: for clients that belong there. `nil` where it is full or configured no more.
  public mutating func reserve(at slot: Int) -> Reservation? {
    guard slots[slot].use == .configured, !slots[slot].isFull else { return nil }
    if !slots[slot].isCandidate {
      slots[slot].inFlight += 1
    } else if slots[slot].isBackup {
      backups.reserve(at: slot, slots: &slots)
    } else {
      primaries.reserve(at: slot, slots: &slots)
    }
    if slots[slot].isFull { refresh(slot) }
    checkInDebug()
    return Reservation(slot: slot)
  }

  /// The request that was counted there has ended. Traps where none was.
  public mutating func release(_ slot: Int) {
    precondition(slots[slot].inFlight > 0, "more releases than reservations")
    slots[slot].inFlight -= 1
    let backend = slots[slot]
    if backend.isCandidate {
      if backend.isBackup {
        backups.released(slot, backend)
      } else {
        primaries.released(slot, backend)
      }
    } else if backend.use == .retired, backend.inFlight == 0 {
      free(slot)
    } else if backend.isBusy {
      refresh(slot)
    }
    checkInDebug()
  }

  /// Once in the life of a removed backend, O(backends).
  private mutating func free(_ slot: Int) {
    slots[slot] = BackendSlot()
    if let name = slotsByName.first(where: { $0.value == slot })?.key { slotsByName[name] = nil }
  }

  /// Whether the backend may get new requests; called at transitions (health, breaker, a failed
  /// connect). Calls that change nothing cost nothing.
  public mutating func setAvailable(_ slot: Int, _ isAvailable: Bool) {
    slots[slot].isAvailable = isAvailable
    refresh(slot)
    checkInDebug()
  }

  /// How much of the backend's weight counts, from 1 to `SlowStart.whole`. O(log backends).
  public mutating func setShare(_ slot: Int, _ share: Int) {
    precondition((1...SlowStart.whole).contains(share), "a share is 1 to \(SlowStart.whole)")
    let old = slots[slot]
    slots[slot].share = Int32(share)
    guard old.isCandidate, old.share != slots[slot].share else { return }
    if old.isBackup {
      backups.reweigh(slot, from: old, to: slots[slot])
    } else {
      primaries.reweigh(slot, from: old, to: slots[slot])
    }
    checkInDebug()
  }

  /// Brings what is derived of a slot up to date.
  private mutating func refresh(_ slot: Int) {
    let isCandidate = slots[slot].shouldBeCandidate
    let isBusy = slots[slot].shouldBeBusy
    if slots[slot].isCandidate != isCandidate {
      if isCandidate { join(slot) } else { leave(slot) }
      slots[slot].isCandidate = isCandidate
    }
    if slots[slot].isBusy != isBusy {
      if !slots[slot].isBackup { busyPrimaries += isBusy ? 1 : -1 }
      slots[slot].isBusy = isBusy
    }
  }

  private mutating func join(_ slot: Int) {
    let backend = slots[slot]
    if backend.isBackup { backups.insert(slot, backend) } else { primaries.insert(slot, backend) }
  }

  private mutating func leave(_ slot: Int) {
    let backend = slots[slot]
    if backend.isBackup { backups.remove(slot, backend) } else { primaries.remove(slot, backend) }
  }

  // MARK: Looking

  /// Slots are below this; a table indexed by slot needs as many places. It grows in `update`.
  public var slotCount: Int { slots.count }
  /// Requests reserved and not yet released.
  public func inFlight(_ slot: Int) -> Int { slots[slot].inFlight }
  public func isAvailable(_ slot: Int) -> Bool { slots[slot].isAvailable }
  /// Of the configuration in force, whatever its weight.
  public func isConfigured(_ slot: Int) -> Bool { slots[slot].use == .configured }
  /// As configured; 0 for one that is no more.
  public func weight(_ slot: Int) -> Int {
    slots[slot].use == .configured ? Int(slots[slot].weight) : 0
  }
  /// As last said by `setShare`.
  public func share(_ slot: Int) -> Int { Int(slots[slot].share) }
  /// Slot of a configured or retired backend. A dictionary look-up: control plane.
  public func slot(named name: String) -> Int? { slotsByName[name] }
  /// Backends that can be chosen, backups included.
  public var candidateCount: Int { primaries.candidates + backups.candidates }
  /// Whether a request that finds no backend may find one when another ends.
  public var isBusy: Bool {
    if busyPrimaries > 0 { return true }
    for slot in 0..<slots.count where slots[slot].isBusy { return true }
    return false
  }
  /// Whether any backend at all can be chosen.
  public var canServe: Bool { primaries.candidates > 0 || backups.candidates > 0 }

  /// Traps where the structures contradict each other. O(backends · log backends).
  public func checkInvariants() {
    primaries.checkInvariants(slots: slots)
    backups.checkInvariants(slots: slots)
    var busy = 0
    for slot in 0..<slots.count {
      let backend = slots[slot]
      precondition(backend.inFlight >= 0, "a negative number of requests")
      precondition(backend.isCandidate == backend.shouldBeCandidate, "candidacy is stale")
      precondition(backend.isBusy == backend.shouldBeBusy, "a limit's effect is stale")
      busy += backend.isBusy && !backend.isBackup ? 1 : 0
      precondition(backend.use != .free || backend.inFlight == 0, "a free slot is in use")
      precondition(backend.use != .retired || backend.inFlight > 0, "a retired slot is idle")
    }
    precondition(busy == busyPrimaries, "busy backends are miscounted")
    for (_, slot) in slotsByName { precondition(slots[slot].use != .free, "a name is lost") }
  }

  /// In debug builds after every mutation, where the upstream is small enough to bear it.
  @inline(__always)
  private func checkInDebug() {
    #if DEBUG
      if slots.count <= 12 { checkInvariants() }
    #endif
  }
}
