import Primitives

/// `circuit-breaker …`: when a backend is taken out, for how long, and how it comes back.
public struct BreakerOptions: Sendable, Equatable, BitwiseCopyable {
  /// Failures in a row that open it; 0: not by this rule.
  public var failures = 5
  /// Percentage of failures within `window` that opens it; 0: not by this rule.
  public var errorRate = 50
  /// Percentage of slow answers within `window` that opens it; used only where `slowCall` is set.
  public var slowRate = 80
  /// An answer whose head takes longer is slow; `nil`: none is.
  public var slowCall: TimeAmount?
  public var window = TimeAmount.seconds(10)
  /// Judged requests within `window` below which no rate is computed.
  public var minRequests = 20
  /// Open time the first time; it doubles with each further time.
  public var open = TimeAmount.seconds(1)
  public var maxOpen = TimeAmount.seconds(60)
  /// Probes in flight at once while half open.
  public var probes = 1
  /// Probes that must succeed before it closes.
  public var successes = 3
  /// Answers 5xx other than 502, 503 and 504 count as failures.
  public var countsServerErrors = false
  /// Percentage of the upstream's backends that rates may keep out at once.
  public var maxOut = 50

  public init() {}

  /// False for `off`: nothing can open it.
  public var isOn: Bool { failures > 0 || errorRate > 0 || slowCall != nil }
}
