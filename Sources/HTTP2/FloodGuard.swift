import Primitives

/// The abuse account of one HTTP/2 connection (safety rule 30).
///
/// What a client may do but has no reason to do often (resets, pings, settings, empty frames,
/// needless window updates, unknown frames) costs a token of a bucket that refills slowly and is
/// refunded by what clients are here for: responses that complete. A client that overdraws it is
/// sent away with ENHANCE_YOUR_CALM. The same account is charged for resets that weir sends
/// because of a client's errors, so that a client cannot have work begun and dropped by provoking
/// them.
public struct FloodGuard: BitwiseCopyable, Sendable {
  /// Tokens of a new connection, and the most it can have: as many as it may have streams by
  /// default, because leaving a page may reset all of them.
  public static let capacity = 100
  public static let refillPerSecond = 2
  /// WINDOW_UPDATE and PING frames that are free for each stream opened and DATA frame sent.
  static let answersPerFrame = 2

  /// Nanoseconds of refill: a token is worth `1 s / refillPerSecond`.
  private var credit: Int64
  private var refilledAt: MonotonicTime
  private var freeAnswers = 0
  /// The account was overdrawn; it stays so.
  public private(set) var isExhausted = false

  private static let tokenNanoseconds = Int64(1_000_000_000 / refillPerSecond)
  private static let fullNanoseconds = Int64(capacity) * tokenNanoseconds

  public init(now: MonotonicTime) {
    credit = FloodGuard.fullNanoseconds
    refilledAt = now
  }

  /// One token for one event. False once the account is exhausted.
  public mutating func charge(now: MonotonicTime) -> Bool {
    let elapsed = max(0, (now - refilledAt).nanoseconds)
    refilledAt = now
    credit = min(FloodGuard.fullNanoseconds, credit.addingReportingOverflow(elapsed).partialValue)
    if credit < FloodGuard.tokenNanoseconds {
      isExhausted = true
      return false
    }
    credit -= FloodGuard.tokenNanoseconds
    return !isExhausted
  }

  /// No tokens are enough for this.
  public mutating func exhaust() { isExhausted = true }

  /// A response went out whole.
  public mutating func refund() {
    credit = min(FloodGuard.fullNanoseconds, credit + FloodGuard.tokenNanoseconds)
  }

  /// A stream was opened or a DATA frame sent: window updates and pings may answer it.
  public mutating func expectAnswers() {
    freeAnswers = min(freeAnswers + FloodGuard.answersPerFrame, 1 << 20)
  }

  /// A window update or a ping. False once the account is exhausted.
  public mutating func answer(now: MonotonicTime) -> Bool {
    if freeAnswers > 0 {
      freeAnswers -= 1
      return !isExhausted
    }
    return charge(now: now)
  }
}
