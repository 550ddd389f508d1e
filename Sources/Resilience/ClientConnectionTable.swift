import Primitives

/// How many connections each client address has open, to keep one client from taking them all
/// (safety rule 42).
///
/// IPv6 clients are counted by their /64, the least a site is given: with single addresses one
/// machine would be 2^64 clients. A fixed table with linear probing and shifting deletion (Knuth,
/// vol. 3, 6.4 R): O(1), and no allocation after `init`. Not thread-safe; its owner locks it, or
/// splits it by address (`shard`).
public struct ClientConnectionTable: Sendable {
  private struct Entry: BitwiseCopyable {
    var high: UInt64 = 0
    var low: UInt64 = 0
    /// 0 marks a free place.
    var connections: Int32 = 0
  }

  public enum Admission: Sendable, Equatable {
    case admitted
    /// The client has as many as it may.
    case clientLimit
    /// There are more different clients than the table was made for.
    case tableFull
  }

  private var entries: [Entry]
  private let capacity: Int
  private let mask: Int
  private let seed: UInt64
  /// Different clients at the moment.
  public private(set) var clients = 0

  /// For at most `capacity` different clients at once, that is, for as many connections as are
  /// allowed in all. 24 octets for each, twice over. `seed` should differ by process, so that
  /// nobody can choose addresses that collide.
  public init(capacity: Int, seed: UInt64) {
    self.capacity = max(1, capacity)
    var size = 2
    while size < 2 * self.capacity { size *= 2 }
    entries = Array(repeating: Entry(), count: size)
    mask = size - 1
    self.seed = seed
  }

  /// Which of `count` tables an address belongs to, with the same seed for all of them.
  public static func shard(of address: IPAddress, count: Int, seed: UInt64) -> Int {
    let hash = mix(key(of: address), seed: ~seed)
    return Int(truncatingIfNeeded: hash.multipliedFullWidth(by: UInt64(count)).high)
  }

  /// Counts a new connection, unless the client has `limit` already.
  public mutating func admit(_ address: IPAddress, limit: Int) -> Admission {
    let key = ClientConnectionTable.key(of: address)
    let place = self.place(of: key)
    if entries[place].connections > 0 {
      guard Int(entries[place].connections) < limit else { return .clientLimit }
      entries[place].connections += 1
      return .admitted
    }
    guard limit > 0 else { return .clientLimit }
    guard clients < capacity else { return .tableFull }
    clients += 1
    entries[place] = Entry(high: key.high, low: key.low, connections: 1)
    return .admitted
  }

  /// An admitted connection has ended. Traps where none was admitted.
  public mutating func release(_ address: IPAddress) {
    let place = self.place(of: ClientConnectionTable.key(of: address))
    precondition(entries[place].connections > 0, "more releases than admissions")
    entries[place].connections -= 1
    if entries[place].connections == 0 {
      clients -= 1
      closeGap(at: place)
    }
  }

  public func connections(of address: IPAddress) -> Int {
    Int(entries[place(of: ClientConnectionTable.key(of: address))].connections)
  }

  // MARK: The table

  private static func key(of address: IPAddress) -> IPAddress {
    address.isV4 ? address : IPAddress(high: address.high, low: 0)
  }

  private static func mix(_ key: IPAddress, seed: UInt64) -> UInt64 {
    var random = SeededRandom(seed: seed ^ key.high)
    var again = SeededRandom(seed: random.next() ^ key.low)
    return again.next()
  }

  private func home(_ high: UInt64, _ low: UInt64) -> Int {
    let hash = ClientConnectionTable.mix(IPAddress(high: high, low: low), seed: seed)
    return Int(truncatingIfNeeded: hash) & mask
  }

  /// Where the key stands, or the free place where it would.
  private func place(of key: IPAddress) -> Int {
    var place = home(key.high, key.low)
    while entries[place].connections > 0,
      entries[place].high != key.high || entries[place].low != key.low
    {
      place = (place + 1) & mask
    }
    return place
  }

  /// Moves back whoever would not be found any more with `gap` free.
  private mutating func closeGap(at freed: Int) {
    var gap = freed
    var place = (gap + 1) & mask
    while entries[place].connections > 0 {
      let home = home(entries[place].high, entries[place].low)
      if (place - home) & mask >= (place - gap) & mask {
        entries[gap] = entries[place]
        gap = place
      }
      place = (place + 1) & mask
    }
    entries[gap] = Entry()
  }

  /// Traps where an entry cannot be found. O(capacity).
  public func checkInvariants() {
    var used = 0
    for place in entries.indices where entries[place].connections > 0 {
      used += 1
      let entry = entries[place]
      precondition(
        self.place(of: IPAddress(high: entry.high, low: entry.low)) == place, "an entry is lost")
    }
    precondition(used == clients && clients <= capacity, "clients are miscounted")
  }
}
