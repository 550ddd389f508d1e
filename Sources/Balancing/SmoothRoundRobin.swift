/// Weighted round robin that stays smooth: earliest *eligible* virtual deadline first.
///
/// Each backend's turns follow each other at a distance of 1 / weight in virtual time. A turn may
/// be taken from its start on and is due at its end; of the turns that have started, the one due
/// first is taken. Earliest deadline first alone, without starts, gives a heavy backend all its
/// turns in a row before the light ones (weights 5, 1, 1: `aaaaabc`); with them no backend is
/// ever two turns away from its share, over any stretch (Stoica and Abdel-Wahab 1995; Bennett
/// and Zhang 1996).
///
///     waiting ──its start is reached──► started
///        ▲                                 │
///        └─────── its turn is taken ───────┘
struct SmoothRoundRobin: ~Copyable {
  /// Turns that may start at one pick. On average one starts for each one taken; the bound keeps
  /// a pick O(log n) where many start at the same instant, and the rest follow at the next picks.
  private static var startsPerPick: Int { 4 }
  /// Fraction of the golden ratio: multiples of it are spread evenly over 0 ..< 1, so the
  /// backends' first turns are too, whatever their number.
  private static var goldenFraction: UInt64 { 0x9E37_79B9_7F4A_7C15 }

  /// By start; an entry's time is when its turn starts.
  private var waiting: IndexedHeap
  /// An entry's time is when its turn is due.
  private var started: IndexedHeap
  /// Virtual time between two turns of each slot.
  private var periods: FixedTable<UInt64>
  /// When the turn of a slot that has left would have started, plus one; 0: it never left.
  private var left: FixedTable<UInt64>
  private var now: UInt64 = 0
  private var weight = 0

  init(capacity: Int) {
    waiting = IndexedHeap(capacity: capacity)
    started = IndexedHeap(capacity: capacity)
    periods = FixedTable(repeating: 0, count: capacity)
    left = FixedTable(repeating: 0, count: capacity)
  }

  func contains(_ slot: Int) -> Bool { waiting.contains(slot) || started.contains(slot) }

  // What a backend is owed, its *lag*, is the virtual time since its turn started, times its
  // weight. Over all backends lags must sum to zero: were the sum positive, somebody would always
  // be late, everybody's turn would have started, and heavy backends be served in bursts. So who
  // joins or leaves with a lag moves the clock by as much (Stoica and Abdel-Wahab, section 3).

  // Weights here are in 1/128, up to 2^15, as `BackendSlot.load` is.

  /// The slot must not take part already.
  mutating func insert(_ slot: Int, weight slotWeight: Int) {
    let period = VirtualTime.period(slotWeight)
    periods[slot] = period
    weight += slotWeight
    let offset = offset(of: slot, period)
    let start = now &+ UInt64(bitPattern: offset)
    waiting.insert(.init(rank: 0, time: start, slot: slot), now: now)
    advance(byShare: offset * Int64(slotWeight))
  }

  /// How far from now the first turn of a slot that joins starts.
  private func offset(of slot: Int, _ period: UInt64) -> Int64 {
    if left[slot] != 0 {
      // Who was away for a moment, being full, has the turn it had: with a new one, those that are
      // full after each request would be served in the order of their slots. At most half a turn
      // too early, so that nobody is owed the time it was away.
      let distance = Int64(bitPattern: left[slot] &- 1 &- now)
      return wholeUnits(max(-Int64(period / 2), min(distance, Int64(period))))
    }
    let phase = SmoothRoundRobin.goldenFraction &* UInt64(truncatingIfNeeded: slot)
    // Between half a turn too early and half a turn too late.
    return wholeUnits(Int64(phase.multipliedFullWidth(by: period).high) - Int64(period / 2))
  }

  mutating func remove(_ slot: Int, weight slotWeight: Int) {
    let start: UInt64
    if let entry = waiting.remove(slot, now: now) {
      start = entry.time
    } else if let entry = started.remove(slot, now: now) {
      start = entry.time &- periods[slot]
    } else {
      return
    }
    weight -= slotWeight
    left[slot] = start &+ 1
    if weight > 0 {
      advance(byShare: Int64(bitPattern: now &- start) * Int64(slotWeight))
    }
  }

  /// A backend's weight changes. What it is owed stays the same, so its turn comes sooner or later
  /// by as much as turns of the new weight are closer or further apart: changed often, it neither
  /// waits for ever nor gets a turn with each change.
  mutating func reweigh(_ slot: Int, from old: Int, to new: Int) {
    let start: UInt64
    if let entry = waiting.remove(slot, now: now) {
      start = entry.time
    } else if let entry = started.remove(slot, now: now) {
      start = entry.time &- periods[slot]
    } else {
      return
    }
    let distance = Int64(bitPattern: now &- start) * Int64(old) / Int64(new)
    periods[slot] = VirtualTime.period(new)
    weight += new - old
    let next = now &- UInt64(bitPattern: wholeUnits(distance))
    waiting.insert(.init(rank: 0, time: next, slot: slot), now: now)
  }

  private mutating func advance(byShare lag: Int64) {
    now &+= UInt64(bitPattern: wholeUnits(lag / Int64(weight)))
  }

  private func wholeUnits(_ time: Int64) -> Int64 { time & ~Int64(VirtualTime.unit - 1) }

  /// Whose turn it is; `nil` where nobody takes part.
  mutating func take() -> Int? {
    // Rounding makes the clock run a little slower than the turns: nobody to serve moves it on.
    if started.isEmpty, !waiting.isEmpty, VirtualTime.isAfter(waiting.first.time, now) {
      now = waiting.first.time
    }
    if started.isEmpty, !waiting.isEmpty, !waiting.hasSecond(upTo: now) {
      // A turn that starts alone, as most do among equal weights, is taken at once.
      let turn = waiting.first
      let next = turn.time &+ periods[turn.slot]
      waiting.replaceFirst(with: .init(rank: 0, time: next, slot: turn.slot), now: now)
      now &+= VirtualTime.step(weight)
      return turn.slot
    }
    return takeDue()
  }

  private mutating func takeDue() -> Int? {
    startTurns()
    if started.isEmpty {
      guard !waiting.isEmpty else { return nil }
      start(waiting.removeFirst(now: now))
    }
    let due = started.removeFirst(now: now)
    // The next turn starts where this one ends, however late it was taken.
    waiting.insert(due, now: now)
    now &+= VirtualTime.step(weight)
    return due.slot
  }

  /// The same, past those already tried, which keep the turns they have.
  mutating func take(avoiding tried: TriedBackends) -> Int? {
    var left = InlineArray<8, IndexedHeap.Entry>(repeating: .init(rank: 0, time: 0, slot: 0))
    var hadStarted = InlineArray<8, Bool>(repeating: false)
    var count = 0
    for index in 0..<tried.count {
      let slot = tried[index]
      if let entry = waiting.remove(slot, now: now) {
        left[count] = entry
        count += 1
      } else if let entry = started.remove(slot, now: now) {
        left[count] = entry
        hadStarted[count] = true
        count += 1
      }
    }
    // Not `take`: that those left have not started yet does not mean that the clock is slow.
    let taken = takeDue()
    for index in 0..<count {
      if hadStarted[index] {
        started.insert(left[index], now: now)
      } else {
        waiting.insert(left[index], now: now)
      }
    }
    return taken
  }

  /// Starts every turn whose time has come, however many: after a change of the whole set.
  mutating func startAllTurns() {
    while !waiting.isEmpty, !VirtualTime.isAfter(waiting.first.time, now) {
      start(waiting.removeFirst(now: now))
    }
  }

  private mutating func startTurns() {
    for _ in 0..<SmoothRoundRobin.startsPerPick {
      guard !waiting.isEmpty, !VirtualTime.isAfter(waiting.first.time, now) else { return }
      start(waiting.removeFirst(now: now))
    }
  }

  @inline(__always)
  private mutating func start(_ turn: IndexedHeap.Entry) {
    let due = turn.time &+ periods[turn.slot]
    started.insert(.init(rank: 0, time: due, slot: turn.slot), now: now)
  }

  var count: Int { waiting.count + started.count }

  func checkInvariants() {
    waiting.checkInvariants(now: now)
    started.checkInvariants(now: now)
    precondition(weight >= count, "each backend that takes part weighs at least 1")
  }
}
