/// A binary heap of backend slots that also knows where each slot stands, so that the order of
/// one backend can change, or the backend leave, without a search: O(log n).
///
/// The least entry is first: by `rank`, then by `deadline` (virtual time that wraps around, so it
/// is compared by difference), then by slot, which makes the order total and the choice
/// reproducible.
struct IndexedHeap: ~Copyable {
  struct Entry: BitwiseCopyable {
    var rank: UInt64
    var deadline: UInt64
    var slot: Int

    @inline(__always)
    func precedes(_ other: Entry) -> Bool {
      if rank != other.rank { return rank < other.rank }
      let distance = Int64(bitPattern: deadline &- other.deadline)
      return distance != 0 ? distance < 0 : slot < other.slot
    }
  }

  private static var absent: Int32 { -1 }

  private var entries: FixedTable<Entry>
  /// Index of each slot's entry, or `absent`.
  private var places: FixedTable<Int32>
  private(set) var count = 0

  /// An empty heap for slots `0 ..< capacity`.
  init(capacity: Int) {
    entries = FixedTable(repeating: Entry(rank: 0, deadline: 0, slot: 0), count: capacity)
    places = FixedTable(repeating: IndexedHeap.absent, count: capacity)
  }

  var isEmpty: Bool { count == 0 }

  /// The least entry; the heap must not be empty.
  var first: Entry {
    precondition(count > 0, "an empty heap has no first entry")
    return entries[0]
  }

  /// False for slots beyond the capacity too.
  func contains(_ slot: Int) -> Bool { slot >= 0 && slot < places.count && places[slot] >= 0 }

  /// `nil` where the slot is not in the heap.
  func rank(of slot: Int) -> UInt64? { contains(slot) ? entries[Int(places[slot])].rank : nil }

  /// The slot must not be in the heap.
  mutating func insert(_ entry: Entry) {
    precondition(places[entry.slot] < 0, "the slot is in the heap already")
    count += 1
    rise(entry, from: count - 1, to: 0)
  }

  /// Takes the slot out and returns its entry, or `nil` where it is not in the heap.
  @discardableResult
  mutating func remove(_ slot: Int) -> Entry? {
    guard contains(slot) else { return nil }
    let place = Int(places[slot])
    let removed = entries[place]
    places[slot] = IndexedHeap.absent
    count -= 1
    if place < count { settle(entries[count], at: place) }
    return removed
  }

  mutating func removeFirst() -> Entry {
    let removed = first
    places[removed.slot] = IndexedHeap.absent
    count -= 1
    if count > 0 { sink(entries[count], at: 0) }
    return removed
  }

  /// Puts an entry in the place of the first one, which has the same slot and comes no later.
  @inline(__always)
  mutating func replaceFirst(with entry: Entry) { sink(entry, at: 0) }

  /// Gives a slot that is in the heap a new order; ignored for one that is not.
  @inline(__always)
  mutating func lower(_ slot: Int, rank: UInt64) {
    let place = Int(places[slot])
    guard place >= 0 else { return }
    var entry = entries[place]
    entry.rank = rank
    rise(entry, from: place, to: 0)
  }

  // MARK: Moving entries. Each writes the entry once, where the walk ends.

  private mutating func settle(_ entry: Entry, at place: Int) {
    if place > 0, entry.precedes(entries[(place - 1) / 2]) {
      rise(entry, from: place, to: 0)
    } else {
      sink(entry, at: place)
    }
  }

  @inline(__always)
  private mutating func put(_ entry: Entry, at place: Int) {
    entries[place] = entry
    places[entry.slot] = Int32(truncatingIfNeeded: place)
  }

  /// Towards the root, but not above `top`.
  @inline(__always)
  private mutating func rise(_ entry: Entry, from start: Int, to top: Int) {
    var place = start
    while place > top {
      let parent = (place - 1) >> 1
      let other = entries[parent]
      guard entry.precedes(other) else { break }
      put(other, at: place)
      place = parent
    }
    put(entry, at: place)
  }

  /// Down along the lesser children to a leaf without looking at `entry`, then up to its place.
  /// An entry that sinks nearly always belongs near a leaf, so this takes one comparison a level
  /// instead of two (Wegener 1993).
  private mutating func sink(_ entry: Entry, at start: Int) {
    var place = start
    var child = 2 * place + 1
    while child + 1 < count {
      var least = entries[child]
      let right = entries[child + 1]
      if right.precedes(least) {
        least = right
        child += 1
      }
      put(least, at: place)
      place = child
      child = 2 * place + 1
    }
    if child < count {
      put(entries[child], at: place)
      place = child
    }
    rise(entry, from: place, to: start)
  }

  func checkInvariants() {
    for place in 0..<count {
      let entry = entries[place]
      precondition(places[entry.slot] == place, "a slot's place is wrong")
      if place > 0 {
        precondition(!entry.precedes(entries[(place - 1) / 2]), "heap order is broken")
      }
    }
    var present = 0
    for slot in 0..<places.count where places[slot] >= 0 { present += 1 }
    precondition(present == count, "a slot is in the heap twice")
  }
}
