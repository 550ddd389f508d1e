/// Virtual time: what takes the place of the clock where backends take turns by weight.
///
/// Two turns of a backend of weight 1 are `turn` apart, two of weight w a w-th of that. Instants
/// are multiples of `unit`, which leaves room for a slot below them, and wrap around; those that
/// are compared lie within half the range of each other, that is, within 2^23 turns of weight 1.
enum VirtualTime {
  static var unit: UInt64 { 1 << 16 }
  static var turn: UInt64 { 1 << 40 }

  /// Between two turns of a backend of this weight, 1–256; rounded up.
  @inline(__always)
  static func period(_ weight: Int) -> UInt64 {
    (turn / UInt64(truncatingIfNeeded: weight) &+ (unit - 1)) & ~(unit - 1)
  }

  /// By how much time advances with each turn taken, all weights together being `weight`; rounded
  /// down. At least one unit, because `BalancerPlan.backendLimit` keeps the weight below 2^24.
  @inline(__always)
  static func step(_ weight: Int) -> UInt64 {
    (turn / UInt64(truncatingIfNeeded: weight)) & ~(unit - 1)
  }

  @inline(__always)
  static func isAfter(_ a: UInt64, _ b: UInt64) -> Bool { Int64(bitPattern: a &- b) > 0 }

  /// From where all instants that matter at `now` are in order as unsigned numbers.
  @inline(__always)
  static func horizon(_ now: UInt64) -> UInt64 { now &- (1 << 63) }
}
