import Primitives

/// What the checks of one backend come to: a value that is told each result.
///
///              `fall` failures in a row
///     up ────────────────────────────────► down
///        ◄────────────────────────────────
///              `rise` passes in a row
///
/// The first result of all decides at once. While a backend is down, or its last result contradicts
/// its state, it is *in transition* and is checked at the fast interval. Where its upstream has
/// nobody left (*urgent*), one pass is enough and checks come every 100 ms (rule 46).
public struct HealthTracker: Sendable, BitwiseCopyable {
  public enum Change: Sendable, Equatable, BitwiseCopyable {
    case wentDown, cameUp
    /// It failed, though not often enough to go down, and passes again.
    case recovered
  }

  /// Between checks while nobody else can serve.
  public static let urgentInterval = TimeAmount.milliseconds(100)

  public private(set) var isUp: Bool
  private let interval: TimeAmount
  private let fastInterval: TimeAmount
  private let rise: Int
  private let fall: Int
  private var hasResult = false
  /// Results in a row that were like the last one.
  private var streak = 0
  private var lastPassed: Bool
  /// Failed since it was last well for `rise` checks.
  private var isShaken = false

  public init(_ options: HealthCheckOptions, isUp: Bool) {
    self.isUp = isUp
    interval = options.interval
    fastInterval = options.fastInterval
    rise = max(1, options.rise)
    fall = max(1, options.fall)
    lastPassed = isUp
  }

  public mutating func checked(passed: Bool, isUrgent: Bool) -> Change? {
    streak = passed == lastPassed ? min(streak + 1, 1 << 20) : 1
    lastPassed = passed
    let isFirst = !hasResult
    hasResult = true
    if !passed {
      isShaken = true
      guard isUp, isFirst || streak >= fall else { return nil }
      isUp = false
      return .wentDown
    }
    let isEnough = isFirst || streak >= (isUrgent ? 1 : rise)
    guard isEnough, isShaken || !isUp else { return nil }
    isShaken = false
    if isUp { return .recovered }
    isUp = true
    return .cameUp
  }

  public var isInTransition: Bool { !isUp || isShaken }

  /// Until the next check begins, ±10 %, so that checks of many backends spread.
  public func delay(isUrgent: Bool, random: inout SeededRandom) -> TimeAmount {
    var time = isInTransition ? min(fastInterval, interval) : interval
    if isUrgent, isInTransition { time = min(time, HealthTracker.urgentInterval) }
    let tenth = Int(clamping: time.nanoseconds / 10)
    return TimeAmount(
      nanoseconds: time.nanoseconds - Int64(tenth) + Int64(random.below(2 * tenth + 1)))
  }
}
