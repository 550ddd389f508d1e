/// Fingerprints of what left the small queue without a second use, as far back as the objects of
/// the cache are many: who comes back that soon belongs into the main queue.
///
/// A table of buckets with four places. An entry carries the number of its arrival and counts only
/// while it is recent enough, so nothing is ever taken out; where a bucket is full the oldest gives
/// way. Two objects with one fingerprint of 32 bits are one here, which costs a wrong guess.
struct GhostTable {
  struct Entry: BitwiseCopyable {
    var fingerprint: UInt32 = 0
    var arrival: UInt32 = 0
    var isUsed = false
  }

  private static let places = 4
  private var entries: [Entry]
  private var arrivals: UInt32 = 0

  init() { entries = Array(repeating: Entry(), count: 256) }

  var memoryBytes: Int { entries.count * MemoryLayout<Entry>.stride }

  /// At least twice as many places as slots, so that buckets seldom overflow. What was remembered
  /// is forgotten: a cache that needs new slots has hardly evicted anything yet.
  mutating func makeRoom(forSlots slots: Int) {
    var count = entries.count
    while count < 2 * slots { count *= 2 }
    if count > entries.count { entries = Array(repeating: Entry(), count: count) }
  }

  mutating func insert(_ fingerprint: UInt32) {
    arrivals &+= 1
    place(Entry(fingerprint: fingerprint, arrival: arrivals, isUsed: true))
  }

  /// Whether it is there and among the last `window` arrivals; it is forgotten by that.
  mutating func take(_ fingerprint: UInt32, window: Int) -> Bool {
    let start = bucket(fingerprint)
    for index in start..<(start + GhostTable.places)
    where entries[index].isUsed && entries[index].fingerprint == fingerprint {
      entries[index].isUsed = false
      return Int(arrivals &- entries[index].arrival) < window
    }
    return false
  }

  private func bucket(_ fingerprint: UInt32) -> Int {
    // The high bits of a product depend on all bits of the fingerprint.
    let mixed = UInt64(fingerprint) &* 0x9E37_79B9_7F4A_7C15
    return Int(truncatingIfNeeded: mixed >> 32) & (entries.count - 1)
      & ~(GhostTable.places - 1)
  }

  private mutating func place(_ entry: Entry) {
    let start = bucket(entry.fingerprint)
    var victim = start
    for index in start..<(start + GhostTable.places) {
      let isSame = entries[index].isUsed && entries[index].fingerprint == entry.fingerprint
      if !entries[index].isUsed || isSame {
        victim = index
        break
      }
      if arrivals &- entries[index].arrival > arrivals &- entries[victim].arrival {
        victim = index
      }
    }
    entries[victim] = entry
  }
}
