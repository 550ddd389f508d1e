import Primitives

/// The primaries of an upstream, or its backups: the structures one policy chooses from.
///
/// Only candidates (`BackendSlot.isCandidate`) are in them, except for the hash ring, which holds
/// every configured backend and steps over those that are none. A choice never looks at all
/// backends, and allocates nothing.
struct Tier: ~Copyable {
  /// `BalancePolicy` without its payload.
  enum Kind: UInt8, BitwiseCopyable { case roundRobin, leastConnections, twoChoices, hash }

  let kind: Kind
  private let isBackup: Bool
  private(set) var candidates = 0
  /// Sum of the candidates' weights as they count, in 1/128.
  private(set) var weight = 0
  /// Requests in flight on candidates.
  private var inFlight = 0

  // One of these is in use, as `kind` says; the others have no capacity.
  private var turns: SmoothRoundRobin
  private var leastLoaded: IndexedHeap
  private var draws: WeightedDraw
  private let ring: HashRing?

  /// Virtual time of `leastLoaded`, which orders backends of equal load, in turns.
  private var now: UInt64 = 0
  /// Slot of each backend that the ring's owners index.
  private var slotOfOwner: FixedTable<Int32>
  /// Bounded load in 1/1024, rounded up; 0 for none.
  private let bound: Int

  init(
    policy: BalancePolicy, isBackup: Bool, ring: HashRing?, slotsOfBackends: [Int], capacity: Int
  ) {
    self.isBackup = isBackup
    var bound = 0
    switch policy {
    case .roundRobin: kind = .roundRobin
    case .leastConnections: kind = .leastConnections
    case .twoChoices: kind = .twoChoices
    case .hash(let options):
      kind = .hash
      bound = Int(((options.bound ?? 0) * 1024).rounded(.up))
    }
    self.bound = bound
    self.ring = ring
    turns = SmoothRoundRobin(capacity: kind == .roundRobin ? capacity : 0)
    leastLoaded = IndexedHeap(capacity: kind == .leastConnections ? capacity : 0)
    draws = WeightedDraw(capacity: kind == .twoChoices ? capacity : 0)
    slotOfOwner = FixedTable(repeating: 0, count: ring == nil ? 0 : slotsOfBackends.count)
    for owner in 0..<slotOfOwner.count { slotOfOwner[owner] = Int32(slotsOfBackends[owner]) }
  }

  // MARK: Membership

  mutating func insert(_ slot: Int, _ backend: BackendSlot) {
    candidates += 1
    weight += Int(backend.load)
    inFlight += backend.inFlight
    switch kind {
    case .roundRobin: turns.insert(slot, weight: Int(backend.load))
    case .leastConnections:
      leastLoaded.insert(.init(rank: backend.loadRank, time: now, slot: slot), now: now)
    case .twoChoices: draws.add(Int(backend.load), to: slot)
    case .hash: break
    }
  }

  mutating func remove(_ slot: Int, _ backend: BackendSlot) {
    candidates -= 1
    weight -= Int(backend.load)
    inFlight -= backend.inFlight
    switch kind {
    case .roundRobin: turns.remove(slot, weight: Int(backend.load))
    case .leastConnections: _ = leastLoaded.remove(slot, now: now)
    case .twoChoices: draws.add(-Int(backend.load), to: slot)
    case .hash: break
    }
  }

  /// The share of a candidate's weight that counts has changed; `old` is its state before.
  mutating func reweigh(_ slot: Int, from old: BackendSlot, to new: BackendSlot) {
    weight += Int(new.load - old.load)
    switch kind {
    case .roundRobin: turns.reweigh(slot, from: Int(old.load), to: Int(new.load))
    case .leastConnections:
      guard let entry = leastLoaded.remove(slot, now: now) else { return }
      leastLoaded.insert(.init(rank: new.loadRank, time: entry.time, slot: slot), now: now)
    case .twoChoices: draws.add(Int(new.load - old.load), to: slot)
    case .hash: break
    }
  }

  /// After the insertions of an update.
  mutating func settle() { turns.startAllTurns() }

  // MARK: Choosing

  /// Chooses a candidate that is not in `tried` and counts the request there; `nil` where there
  /// is none.
  mutating func reserve(
    hash: UInt64, tried: TriedBackends, random: inout SeededRandom,
    slots: inout FixedTable<BackendSlot>
  ) -> Reservation? {
    guard candidates > 0 else { return nil }
    if kind == .hash {
      guard let found = chooseByHash(hash, tried: tried, slots: slots) else { return nil }
      slots[found.slot].inFlight += 1
      inFlight += 1
      return found
    }
    guard tried.isEmpty || triedCandidates(tried, slots: slots) < candidates else { return nil }
    switch kind {
    case .leastConnections:
      if tried.isEmpty { return reserveLeastLoaded(slots: &slots) }
      return reserveLeastLoaded(avoiding: tried, slots: &slots)
    case .roundRobin:
      guard let slot = tried.isEmpty ? turns.take() : turns.take(avoiding: tried) else {
        return nil
      }
      return reserve(slot, slots: &slots)
    case .twoChoices, .hash:
      if tried.isEmpty {
        return reserve(drawTwo(random: &random, slots: slots), slots: &slots)
      }
      addToDraws(tried, sign: -1, slots: slots)
      let slot = drawTwo(random: &random, slots: slots)
      addToDraws(tried, sign: 1, slots: slots)
      return reserve(slot, slots: &slots)
    }
  }

  @inline(__always)
  private mutating func reserve(
    _ slot: Int, slots: inout FixedTable<BackendSlot>
  ) -> Reservation {
    slots[slot].inFlight += 1
    inFlight += 1
    return Reservation(slot: slot)
  }

  /// A candidate gets a request that belongs to it: no turn of its own is spent.
  mutating func reserve(at slot: Int, slots: inout FixedTable<BackendSlot>) {
    _ = reserve(slot, slots: &slots)
    guard kind == .leastConnections, let entry = leastLoaded.remove(slot, now: now) else { return }
    leastLoaded.insert(
      .init(rank: slots[slot].loadRank, time: entry.time, slot: slot), now: now)
  }

  private func isCandidate(_ slot: Int, slots: borrowing FixedTable<BackendSlot>) -> Bool {
    guard slot >= 0, slot < slots.count else { return false }
    return slots[slot].isCandidate && slots[slot].isBackup == isBackup
  }

  private func triedCandidates(
    _ tried: TriedBackends, slots: borrowing FixedTable<BackendSlot>
  ) -> Int {
    var count = 0
    for index in 0..<tried.count where isCandidate(tried[index], slots: slots) { count += 1 }
    return count
  }

  private mutating func addToDraws(
    _ tried: TriedBackends, sign: Int, slots: borrowing FixedTable<BackendSlot>
  ) {
    for index in 0..<tried.count where isCandidate(tried[index], slots: slots) {
      draws.add(sign * Int(slots[tried[index]].load), to: tried[index])
    }
  }

  /// The tried ones leave the heap for the choice and come back with the turns they had.
  private mutating func reserveLeastLoaded(
    avoiding tried: TriedBackends, slots: inout FixedTable<BackendSlot>
  ) -> Reservation {
    var left = InlineArray<8, IndexedHeap.Entry>(repeating: .init(rank: 0, time: 0, slot: 0))
    var count = 0
    for index in 0..<tried.count where isCandidate(tried[index], slots: slots) {
      if let entry = leastLoaded.remove(tried[index], now: now) {
        left[count] = entry
        count += 1
      }
    }
    let found = reserveLeastLoaded(slots: &slots)
    for index in 0..<count { leastLoaded.insert(left[index], now: now) }
    return found
  }

  @inline(__always)
  private mutating func reserveLeastLoaded(
    slots: inout FixedTable<BackendSlot>
  ) -> Reservation {
    let turn = leastLoaded.first
    let slot = turn.slot
    slots[slot].inFlight += 1
    inFlight += 1
    let backend = slots[slot]
    // A backend that had nothing for long does not get the turns it missed.
    let start = VirtualTime.isAfter(now, turn.time) ? now : turn.time
    let next = start &+ VirtualTime.period(Int(backend.load))
    now &+= VirtualTime.step(weight)
    leastLoaded.replaceFirst(
      with: .init(rank: backend.loadRank, time: next, slot: slot), now: now)
    return Reservation(slot: slot)
  }

  /// Two different candidates by weight, and of these the less loaded.
  private func drawTwo(
    random: inout SeededRandom, slots: borrowing FixedTable<BackendSlot>
  ) -> Int {
    let first = draws.slot(at: random.below(draws.total))
    let firstWeight = Int(slots[first.slot].load)
    let others = draws.total - firstWeight
    guard others > 0 else { return first.slot }
    var point = random.below(others)
    // The first one's stretch is cut out, so the second is another.
    if point >= first.below { point += firstWeight }
    let second = draws.slot(at: point)
    let a = slots[first.slot]
    let b = slots[second.slot]
    return (a.inFlight + 1) * Int(b.load) <= (b.inFlight + 1) * Int(a.load)
      ? first.slot : second.slot
  }

  /// Clockwise from the key's point, past backends that cannot serve, were tried, or are full.
  ///
  /// The next distinct backend is thereby the order of failover. A second attempt does not ask
  /// for the bound: after a failure the next backend on the ring is the right one, however busy.
  /// A backend that starts slowly gets a share of its keys, always the same ones and more and more;
  /// the others go on to the next backend.
  @inline(__always)
  private func chooseByHash(
    _ hash: UInt64, tried: TriedBackends, slots: borrowing FixedTable<BackendSlot>
  ) -> Reservation? {
    guard let ring, !ring.isEmpty else { return nil }
    let isFirst = tried.isEmpty
    if !isFirst, triedCandidates(tried, slots: slots) == candidates { return nil }
    var place = ring.firstPlace(for: hash)
    var spilled = false
    var withheld = -1
    for _ in 0..<ring.placeCount {
      let slot = Int(slotOfOwner[ring.owner(at: place)])
      let backend = slots[slot]
      if backend.isCandidate, isFirst || !tried.contains(slot) {
        if isFirst, backend.share < BackendSlot.wholeShare, backend.share <= Tier.rampPoint(hash) {
          withheld = withheld < 0 ? slot : withheld
        } else if !isFirst || bound == 0 || hasRoom(backend) {
          return Reservation(slot: slot, isSpill: spilled)
        } else {
          spilled = true
        }
      }
      place += 1
      if place == ring.placeCount { place = 0 }
    }
    // The rooms of all candidates together hold more than what is in flight: whoever had none for
    // this key left it to one that starts slowly.
    return withheld < 0 ? nil : Reservation(slot: withheld, isSpill: spilled)
  }

  /// A key's own number in 0–127: it goes to a slowly starting backend once that has a greater
  /// share. Apart from its place on the ring, so that a share is of every stretch.
  @inline(__always)
  private static func rampPoint(_ hash: UInt64) -> Int32 {
    Int32(truncatingIfNeeded: (hash &* 0x9E37_79B9_7F4A_7C15) >> 57)
  }

  /// in flight < ceil((total + 1) · bound · weight / total weight), without the division; never
  /// false for an idle backend (arXiv 1608.01350).
  private func hasRoom(_ backend: BackendSlot) -> Bool {
    backend.inFlight * weight * 1024 < (inFlight + 1) * bound * Int(backend.load)
  }

  /// A request on a candidate has ended; `backend` is its state after that.
  @inline(__always)
  mutating func released(_ slot: Int, _ backend: BackendSlot) {
    inFlight -= 1
    if kind == .leastConnections { leastLoaded.lower(slot, rank: backend.loadRank, now: now) }
  }

  // MARK: Checking

  /// `slots` are those of the whole balancer.
  func checkInvariants(slots: borrowing FixedTable<BackendSlot>) {
    var count = 0
    var weights = 0
    var requests = 0
    for slot in 0..<slots.count where isCandidate(slot, slots: slots) {
      count += 1
      weights += Int(slots[slot].load)
      requests += slots[slot].inFlight
      switch kind {
      case .roundRobin: precondition(turns.contains(slot), "a candidate gets no turns")
      case .leastConnections:
        precondition(leastLoaded.rank(of: slot) == slots[slot].loadRank, "a load is stale")
      case .twoChoices: precondition(draws.weight(of: slot) == slots[slot].load)
      case .hash: break
      }
    }
    precondition(count == candidates && weights == weight, "candidates are miscounted")
    precondition(requests == inFlight, "requests in flight are miscounted")
    turns.checkInvariants()
    leastLoaded.checkInvariants(now: now)
    precondition(kind != .roundRobin || turns.count == count, "a stranger gets turns")
    precondition(kind != .leastConnections || leastLoaded.count == count, "a stranger is chosen")
    precondition(kind != .twoChoices || draws.total == weight, "a stranger is drawn")
  }
}
