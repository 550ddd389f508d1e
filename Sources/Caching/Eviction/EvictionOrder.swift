import Primitives

/// Which object of a cache goes next when there is no room: S3-FIFO (Yang et al., "FIFO queues are
/// all you need for cache eviction", SOSP 2023), by octets instead of by objects.
///
/// ```
/// insert ─► small ──used twice──► main ◄─┐ used since
///    │        │ not                │ ────┘
///    │        ▼                    ▼ not
///    │     evicted, remembered   evicted
///    └── remembered ──────────► main
/// ```
///
/// Most objects are asked for once: they pass through the small queue, a tenth of the octets, and
/// never push out what is in use. A hit moves nothing: it is one relaxed store of a counter, and
/// none at all once the counter is full. docs/CACHING.md has the comparison with LRU and the
/// optimum.
///
/// Owned by one part of a store and used under its lock, except for `touch`. It keeps slot numbers
/// only; whoever owns it frees what `victim` names. Every operation takes constant time on average,
/// and `victim` at most `mostMoves` steps.
public struct EvictionOrder: ~Copyable {
  /// The small queue's share of the octets is one in so many.
  static let smallShare = 10
  /// Uses in the small queue that lead into the main one.
  static let usesForMain: UInt8 = 1
  static let mostVisits: UInt8 = 3
  /// Objects that one `victim` lets live before it takes the next one whatever its uses.
  static let mostMoves = 128

  private struct List {
    var oldest = SlotRecords.none
    var newest = SlotRecords.none
    var count = 0
    var bytes = 0
  }

  private var records: SlotRecords
  private var ghosts = GhostTable()
  private var small = List()
  private var main = List()

  /// Slot numbers are below `mostSlots`; memory for them comes as they are used, in steps of
  /// 4,096, and nothing else is allocated.
  public init(mostSlots: Int) { records = SlotRecords(mostSlots: mostSlots) }

  /// Objects in order.
  public var count: Int { small.count + main.count }
  /// Their octets.
  public var bytes: Int { small.bytes + main.bytes }
  /// What the order itself takes, in octets.
  public var memoryBytes: Int { records.memoryBytes + ghosts.memoryBytes }

  /// Makes memory for this many slots now, instead of step by step within `insert`.
  public mutating func reserve(slots: Int) {
    guard slots > records.capacity else { return }
    records.makeRoom(for: slots - 1)
    ghosts.makeRoom(forSlots: records.capacity)
  }

  public func contains(_ slot: Int) -> Bool {
    slot < records.capacity && records[UInt32(slot)].queue != .none
  }

  /// Takes a new object in. `fingerprint`: of its key, equally distributed; `bytes`: all that it
  /// takes, above zero. The slot must be free.
  public mutating func insert(_ slot: Int, fingerprint: UInt32, bytes: Int) {
    precondition(slot >= 0 && bytes >= 0)
    reserve(slots: slot + 1)
    let number = UInt32(slot)
    precondition(records[number].queue == .none, "slot is in the order already")
    records[number].bytes = bytes
    records[number].fingerprint = fingerprint
    records[number].visits.store(0, ordering: .relaxed)
    let isRemembered = ghosts.take(fingerprint, window: count)
    append(number, to: isRemembered ? .main : .small)
  }

  /// The object was used. On any thread that knows the slot to be in use; two uses at once may
  /// count as one.
  @inline(__always)
  public func touch(_ slot: Int) {
    let number = UInt32(truncatingIfNeeded: slot)
    let visits = records[number].visits.load(ordering: .relaxed)
    if visits < EvictionOrder.mostVisits {
      records[number].visits.store(visits + 1, ordering: .relaxed)
    }
  }

  /// The object takes another number of octets now.
  public mutating func resize(_ slot: Int, bytes: Int) {
    let number = UInt32(slot)
    let change = bytes - records[number].bytes
    switch records[number].queue {
    case .none: preconditionFailure("slot is not in the order")
    case .small: small.bytes += change
    case .main: main.bytes += change
    }
    records[number].bytes = bytes
  }

  /// The object is gone for another reason: purged, replaced, over.
  public mutating func remove(_ slot: Int) {
    precondition(contains(slot), "slot is not in the order")
    unlink(UInt32(slot))
  }

  /// Takes out the object that is to be freed next; `nil` where there is none.
  public mutating func victim() -> Int? {
    var moves = 0
    while count > 0 {
      let isSmall =
        main.count == 0
        || small.count > 0 && small.bytes * EvictionOrder.smallShare >= bytes
      let slot = isSmall ? small.oldest : main.oldest
      let visits = records[slot].visits.load(ordering: .relaxed)
      let isSpared =
        moves < EvictionOrder.mostMoves && visits >= (isSmall ? EvictionOrder.usesForMain : 1)
      unlink(slot)
      guard isSpared else {
        if isSmall { ghosts.insert(records[slot].fingerprint) }
        return Int(slot)
      }
      records[slot].visits.store(isSmall ? 0 : visits - 1, ordering: .relaxed)
      append(slot, to: .main)
      moves += 1
    }
    return nil
  }

  /// What `victim` took out cannot be freed now: as if it had been used.
  public mutating func spare(_ slot: Int) {
    precondition(records[UInt32(slot)].queue == .none, "slot is in the order")
    append(UInt32(slot), to: .main)
  }

  // MARK: Lists

  private mutating func append(_ slot: UInt32, to queue: SlotRecords.Queue) {
    let newest = queue == .small ? small.newest : main.newest
    records[slot].queue = queue
    records[slot].older = newest
    records[slot].newer = SlotRecords.none
    if newest != SlotRecords.none { records[newest].newer = slot }
    if queue == .small {
      EvictionOrder.grow(&small, by: slot, records[slot].bytes)
    } else {
      EvictionOrder.grow(&main, by: slot, records[slot].bytes)
    }
  }

  private static func grow(_ list: inout List, by slot: UInt32, _ bytes: Int) {
    if list.oldest == SlotRecords.none { list.oldest = slot }
    list.newest = slot
    list.count += 1
    list.bytes += bytes
  }

  private mutating func unlink(_ slot: UInt32) {
    let older = records[slot].older
    let newer = records[slot].newer
    let bytes = records[slot].bytes
    if older != SlotRecords.none { records[older].newer = newer }
    if newer != SlotRecords.none { records[newer].older = older }
    if records[slot].queue == .small {
      EvictionOrder.shrink(&small, by: slot, older: older, newer: newer, bytes)
    } else {
      EvictionOrder.shrink(&main, by: slot, older: older, newer: newer, bytes)
    }
    records[slot].queue = .none
  }

  private static func shrink(
    _ list: inout List, by slot: UInt32, older: UInt32, newer: UInt32, _ bytes: Int
  ) {
    if list.oldest == slot { list.oldest = newer }
    if list.newest == slot { list.newest = older }
    list.count -= 1
    list.bytes -= bytes
  }

  /// Whether the lists, their sums and the records agree; takes time proportional to the objects.
  public func checkInvariants() -> Bool {
    check(small, .small) && check(main, .main)
  }

  private func check(_ list: List, _ queue: SlotRecords.Queue) -> Bool {
    var slot = list.oldest
    var older = SlotRecords.none
    var count = 0
    var bytes = 0
    while slot != SlotRecords.none, count <= list.count {
      guard records[slot].queue == queue, records[slot].older == older else { return false }
      guard records[slot].visits.load(ordering: .relaxed) <= EvictionOrder.mostVisits else {
        return false
      }
      count += 1
      bytes += records[slot].bytes
      older = slot
      slot = records[slot].newer
    }
    return count == list.count && bytes == list.bytes && older == list.newest
  }
}
