/// Backends an exchange has tried already, which its next attempt should avoid.
///
/// Holds eight slots; a ninth takes the place of the oldest, because by then any backend is as
/// good as another.
public struct TriedBackends: Sendable, BitwiseCopyable {
  public static var capacity: Int { 8 }

  private var slots = InlineArray<8, Int32>(repeating: 0)
  private var inserted: UInt32 = 0

  public init() {}

  @inline(__always)
  public var isEmpty: Bool { inserted == 0 }
  public var count: Int { min(Int(inserted), TriedBackends.capacity) }

  @inline(__always)
  public mutating func insert(_ slot: Int) {
    guard inserted == 0 || !contains(slot) else { return }
    slots[Int(inserted % 8)] = Int32(truncatingIfNeeded: slot)
    inserted += 1
  }

  public func contains(_ slot: Int) -> Bool {
    for index in 0..<count where Int(slots[index]) == slot { return true }
    return false
  }

  /// Slot number `index` of `count`.
  subscript(_ index: Int) -> Int { Int(slots[index]) }
}

/// A place taken on a backend; it is given back with `Balancer.release`, exactly once.
public struct Reservation: Sendable, Equatable, BitwiseCopyable {
  public var slot: Int
  /// Bounded load sent the request past the backend its hash belongs to.
  public var isSpill: Bool

  public init(slot: Int, isSpill: Bool = false) {
    self.slot = slot
    self.isSpill = isSpill
  }
}
