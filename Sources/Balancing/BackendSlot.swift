/// The live state of one backend in a balancer.
struct BackendSlot: BitwiseCopyable {
  enum Use: UInt8, BitwiseCopyable {
    /// Nobody's: the next new backend gets it.
    case free
    case configured
    /// No longer configured, but requests are still in flight.
    case retired
  }

  var inFlight = 0
  /// As configured, 0–256.
  var weight: Int32 = 0
  /// What part of its weight counts, in 1/128: less than all while it starts slowly.
  var share = BackendSlot.wholeShare
  /// Requests that may be in flight.
  var limit = Int32.max
  var use = Use.free
  var isBackup = false
  /// As last said by `setAvailable`.
  var isAvailable = true
  /// New requests may go there: open and not full. Derived; it equals membership in the tier's
  /// structures.
  var isCandidate = false
  /// Only its limit keeps new requests away. Derived.
  var isBusy = false

  /// Configured, available, and of positive weight.
  var isOpen: Bool { use == .configured && isAvailable && weight > 0 }
  @inline(__always)
  var isFull: Bool { inFlight >= Int(limit) }
  var shouldBeCandidate: Bool { isOpen && !isFull }
  var shouldBeBusy: Bool { isOpen && isFull }

  static var wholeShare: Int32 { 128 }

  /// The weight that counts, in 1/128.
  @inline(__always)
  var load: Int32 { weight &* share }

  /// (in flight + 1) / weight in units of 2^-24, the next request included; where nothing is in
  /// flight the whole weight counts, so that a slow start bounds what is in flight together, and a
  /// quiet upstream goes by turns.
  ///
  /// Exact as an order: two different fractions with denominators up to 2^15 are at least 2^-30
  /// apart, that is 2^-23 of weights in 1/128, so rounding down never makes them equal, and equal
  /// fractions round alike.
  @inline(__always)
  var loadRank: UInt64 {
    let load = inFlight == 0 ? weight &* BackendSlot.wholeShare : load
    return (UInt64(truncatingIfNeeded: inFlight + 1) << 31) / UInt64(truncatingIfNeeded: load)
  }
}
