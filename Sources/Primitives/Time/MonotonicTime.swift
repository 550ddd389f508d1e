import Glibc

/// A length of time in nanoseconds; may be negative as the difference of two instants.
///
/// Arithmetic saturates: a configured `292y` and an overflow of a sum both mean "never".
public struct TimeAmount: Sendable, Comparable, Hashable, BitwiseCopyable {
  public var nanoseconds: Int64

  @inlinable @inline(__always)
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  @inlinable
  public static var zero: TimeAmount { TimeAmount(nanoseconds: 0) }
  @inlinable
  public static var max: TimeAmount { TimeAmount(nanoseconds: .max) }

  public static func milliseconds(_ value: Int64) -> TimeAmount {
    TimeAmount(nanoseconds: saturatingProduct(value, 1_000_000))
  }

  public static func seconds(_ value: Int64) -> TimeAmount {
    TimeAmount(nanoseconds: saturatingProduct(value, 1_000_000_000))
  }

  public var milliseconds: Int64 { nanoseconds / 1_000_000 }

  public static func < (a: TimeAmount, b: TimeAmount) -> Bool { a.nanoseconds < b.nanoseconds }

  private static func saturatingProduct(_ a: Int64, _ b: Int64) -> Int64 {
    let (product, overflow) = a.multipliedReportingOverflow(by: b)
    return overflow ? (a < 0 ? .min : .max) : product
  }
}

/// An instant of the monotonic clock, in nanoseconds since an arbitrary start.
///
/// The wall clock never takes part in a timeout, so a jump of the system time does no harm.
public struct MonotonicTime: Sendable, Comparable, Hashable, BitwiseCopyable {
  public var nanoseconds: UInt64

  @inlinable @inline(__always)
  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// Before every instant the clock can return.
  @inlinable
  public static var zero: MonotonicTime { MonotonicTime(nanoseconds: 0) }
  /// After every instant the clock can return: a deadline that is not armed.
  @inlinable
  public static var never: MonotonicTime { MonotonicTime(nanoseconds: .max) }

  public static func now() -> MonotonicTime {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return MonotonicTime(
      nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
  }

  public static func < (a: MonotonicTime, b: MonotonicTime) -> Bool {
    a.nanoseconds < b.nanoseconds
  }

  /// `never` where the sum does not fit.
  @inlinable @inline(__always)
  public static func + (time: MonotonicTime, amount: TimeAmount) -> MonotonicTime {
    if amount.nanoseconds >= 0 {
      let (sum, overflow) = time.nanoseconds.addingReportingOverflow(UInt64(amount.nanoseconds))
      return overflow ? .never : MonotonicTime(nanoseconds: sum)
    }
    let back = amount.nanoseconds.magnitude
    return MonotonicTime(nanoseconds: time.nanoseconds > back ? time.nanoseconds - back : 0)
  }

  /// Time from `earlier` to `later`, saturating at both ends.
  @inlinable @inline(__always)
  public static func - (later: MonotonicTime, earlier: MonotonicTime) -> TimeAmount {
    if later.nanoseconds >= earlier.nanoseconds {
      let distance = later.nanoseconds - earlier.nanoseconds
      return TimeAmount(nanoseconds: Int64(clamping: distance))
    }
    return TimeAmount(nanoseconds: -Int64(clamping: earlier.nanoseconds - later.nanoseconds))
  }
}

/// Seconds since the Unix epoch: for `Date` fields and log lines only, never for a timeout.
public struct WallClock {
  /// Whole seconds and the nanoseconds within the second.
  public static func now() -> (seconds: Int64, nanoseconds: Int32) {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return (Int64(time.tv_sec), Int32(time.tv_nsec))
  }
}
