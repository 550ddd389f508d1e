/// A binary heap of backend slots that also knows where each slot stands, so that the order of
/// one backend can change, or the backend leave, without a search: O(log n).
///
/// The least entry is first: by `rank`, then by time, then by slot, which makes the order total
/// and the choice reproducible. Whoever changes the heap says what time it is, since virtual time
/// wraps around and has an order only as seen from some instant.
struct IndexedHeap: ~Copyable {
  /// Two words, so that a comparison is one subtraction of 128 bits and no branch.
  struct Entry: BitwiseCopyable {
    var rank: UInt64
    /// The time, and the slot in the bits below its unit.
    private var turn: UInt64

    @inline(__always)
    init(rank: UInt64, time: UInt64, slot: Int) {
      self.rank = rank
      turn = time | UInt64(truncatingIfNeeded: slot)
    }

    @inline(__always)
    var slot: Int { Int(truncatingIfNeeded: turn & (VirtualTime.unit - 1)) }
    @inline(__always)
    var time: UInt64 { turn & ~(VirtualTime.unit - 1) }

    @inline(__always)
    func precedes(_ other: Entry, _ horizon: UInt64) -> Bool {
      let own = UInt128(rank) << 64 | UInt128(turn &- horizon)
      return own < UInt128(other.rank) << 64 | UInt128(other.turn &- horizon)
    }
  }

  private static var absent: Int32 { -1 }

  private var entries: FixedTable<Entry>
  /// Index of each slot's entry, or `absent`.
  private var places: FixedTable<Int32>
  private(set) var count = 0

  /// An empty heap for slots `0 ..< capacity`.
  init(capacity: Int) {
    entries = FixedTable(repeating: Entry(rank: 0, time: 0, slot: 0), count: capacity)
    places = FixedTable(repeating: IndexedHeap.absent, count: capacity)
  }

  var isEmpty: Bool { count == 0 }

  /// The least entry; the heap must not be empty.
  @inline(__always)
  var first: Entry {
    precondition(count > 0, "an empty heap has no first entry")
    return entries[0]
  }

  /// Whether an entry other than the first has a time up to `time`; meaningful where all ranks
  /// are equal.
  @inline(__always)
  func hasSecond(upTo time: UInt64) -> Bool {
    count > 1 && !VirtualTime.isAfter(entries[1].time, time)
      || count > 2 && !VirtualTime.isAfter(entries[2].time, time)
  }

  /// False for slots beyond the capacity too.
  func contains(_ slot: Int) -> Bool { slot >= 0 && slot < places.count && places[slot] >= 0 }

  /// `nil` where the slot is not in the heap.
  func rank(of slot: Int) -> UInt64? { contains(slot) ? entries[Int(places[slot])].rank : nil }

  /// The slot must not be in the heap.
  mutating func insert(_ entry: Entry, now: UInt64) {
    precondition(places[entry.slot] < 0, "the slot is in the heap already")
    precondition(count < entries.count, "the heap is full")
    count += 1
    rise(entry, from: count - 1, to: 0, VirtualTime.horizon(now))
  }

  /// Takes the slot out and returns its entry, or `nil` where it is not in the heap.
  mutating func remove(_ slot: Int, now: UInt64) -> Entry? {
    guard contains(slot) else { return nil }
    let place = Int(places[slot])
    let removed = entries[place]
    places[slot] = IndexedHeap.absent
    count -= 1
    if place < count { settle(entries[count], at: place, VirtualTime.horizon(now)) }
    return removed
  }

  mutating func removeFirst(now: UInt64) -> Entry {
    let removed = first
    places[removed.slot] = IndexedHeap.absent
    count -= 1
    if count > 0 { sink(entries[count], at: 0, VirtualTime.horizon(now)) }
    return removed
  }

  /// Puts an entry of the first one's slot in its place, no less than it.
  @inline(__always)
  mutating func replaceFirst(with entry: Entry, now: UInt64) {
    sink(entry, at: 0, VirtualTime.horizon(now))
  }

  /// Gives a slot that is in the heap a lower rank; ignored for one that is not.
  @inline(__always)
  mutating func lower(_ slot: Int, rank: UInt64, now: UInt64) {
    let place = Int(places[slot])
    guard place >= 0 else { return }
    var entry = entries[place]
    entry.rank = rank
    rise(entry, from: place, to: 0, VirtualTime.horizon(now))
  }

  // MARK: Moving entries. Each writes the entry once, where the walk ends.
  //
  // A third of the cost of a walk was checking bounds that cannot be passed: a walk begins below
  // `count`, which `insert` checks against the capacity, goes to children only below `count` and
  // to parents of its place, and the slots of entries were checked when they were inserted.

  private mutating func settle(_ entry: Entry, at place: Int, _ horizon: UInt64) {
    if place > 0, unsafe entry.precedes(entries[unchecked: (place - 1) >> 1], horizon) {
      rise(entry, from: place, to: 0, horizon)
    } else {
      sink(entry, at: place, horizon)
    }
  }

  @inline(__always)
  private mutating func put(_ entry: Entry, at place: Int) {
    unsafe entries[unchecked: place] = entry
    unsafe places[unchecked: entry.slot] = Int32(truncatingIfNeeded: place)
  }

  /// Towards the root, but not above `top`.
  @inline(__always)
  private mutating func rise(_ entry: Entry, from start: Int, to top: Int, _ horizon: UInt64) {
    var place = start
    while place > top {
      let parent = (place &- 1) >> 1
      let other = unsafe entries[unchecked: parent]
      guard entry.precedes(other, horizon) else { break }
      put(other, at: place)
      place = parent
    }
    put(entry, at: place)
  }

  /// Down along the lesser children to a leaf without looking at `entry`, then up to its place.
  /// An entry that sinks nearly always belongs near a leaf, so this takes one comparison a level
  /// instead of two (Wegener 1993).
  private mutating func sink(_ entry: Entry, at start: Int, _ horizon: UInt64) {
    var place = start
    var child = 2 &* place &+ 1
    while child &+ 1 < count {
      let right = child &+ 1
      let isRight =
        unsafe entries[unchecked: right].precedes(entries[unchecked: child], horizon)
      child = isRight ? right : child
      unsafe put(entries[unchecked: child], at: place)
      place = child
      child = 2 &* place &+ 1
    }
    if child < count {
      unsafe put(entries[unchecked: child], at: place)
      place = child
    }
    rise(entry, from: place, to: start, horizon)
  }

  func checkInvariants(now: UInt64) {
    let horizon = VirtualTime.horizon(now)
    for place in 0..<count {
      let entry = entries[place]
      precondition(places[entry.slot] == place, "a slot's place is wrong")
      if place > 0 {
        precondition(!entry.precedes(entries[(place - 1) / 2], horizon), "heap order is broken")
      }
    }
    var present = 0
    for slot in 0..<places.count where places[slot] >= 0 { present += 1 }
    precondition(present == count, "a slot is in the heap twice")
  }
}
