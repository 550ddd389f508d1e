/// Virtual time: what takes the place of the clock where backends take turns by weight.
///
/// Two turns of a backend of weight 1 are `turn` apart, two of weight w a w-th of that. Instants
/// are multiples of `unit`, which leaves room for a slot below them, and wrap around; those that
/// are compared lie within half the range of each other, that is, within 2^23 turns of weight 1.
enum VirtualTime {
  static var unit: UInt64 { 1 << 16 }
  static var turn: UInt64 { 1 << 40 }
  /// `turn` for weights in 1/128.
  private static var loadTurn: UInt64 { turn << 7 }

  /// Between two turns of a backend of this weight, in 1/128, up to 2^15; rounded up.
  @inline(__always)
  static func period(_ load: Int) -> UInt64 {
    (loadTurn / UInt64(truncatingIfNeeded: load) &+ (unit - 1)) & ~(unit - 1)
  }

  /// By how much time advances with each turn taken, all weights together being `load` in 1/128;
  /// rounded down. At least one unit: `BalancerPlan.backendLimit` keeps the load below 2^31.
  @inline(__always)
  static func step(_ load: Int) -> UInt64 {
    (loadTurn / UInt64(truncatingIfNeeded: load)) & ~(unit - 1)
  }

  @inline(__always)
  static func isAfter(_ a: UInt64, _ b: UInt64) -> Bool { Int64(bitPattern: a &- b) > 0 }

  /// From where all instants that matter at `now` are in order as unsigned numbers.
  @inline(__always)
  static func horizon(_ now: UInt64) -> UInt64 { now &- (1 << 63) }
}
