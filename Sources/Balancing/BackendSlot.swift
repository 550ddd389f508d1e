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
  var weight: Int32 = 0
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

  /// (in flight + 1) / weight in units of 2^-17, the next request included.
  ///
  /// Exact as an order: two different fractions with denominators up to 256 are at least 2^-16
  /// apart, so rounding down never makes them equal, and equal fractions round alike.
  @inline(__always)
  var loadRank: UInt64 {
    (UInt64(truncatingIfNeeded: inFlight + 1) << 17) / UInt64(truncatingIfNeeded: weight)
  }
}
