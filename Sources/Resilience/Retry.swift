import Primitives

/// `retry …`: what is tried again, how often, and how soon.
public struct RetryOptions: Sendable, Equatable, BitwiseCopyable {
  /// Attempts of one request in all, the first included.
  public var attempts = 3
  public var conditions: RetryConditions = .standard
  /// Longest wait before the second retry; it doubles with each further one.
  public var backoff = TimeAmount.milliseconds(25)
  public var maxBackoff = TimeAmount.milliseconds(250)
  /// Per cent of the upstream's requests that may be retries, beside `RetryBudget.floorPerSecond`.
  public var budget = 20

  public init() {}
}

/// Failures after which a request is tried again (`retry on=`).
public struct RetryConditions: OptionSet, Sendable, BitwiseCopyable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Refused, unreachable, or no answer to the handshake in time.
  public static let connectFailure = RetryConditions(rawValue: 1)
  /// Closed or reset before anything of a response.
  public static let reset = RetryConditions(rawValue: 2)
  /// No response head in time.
  public static let timeout = RetryConditions(rawValue: 4)
  public static let status500 = RetryConditions(rawValue: 8)
  public static let status502 = RetryConditions(rawValue: 16)
  public static let status503 = RetryConditions(rawValue: 32)
  public static let status504 = RetryConditions(rawValue: 64)

  public static let standard: RetryConditions = [
    .connectFailure, .reset, .timeout, .status502, .status503, .status504,
  ]

  static func status(_ status: Int) -> RetryConditions {
    switch status {
    case 500: .status500
    case 502: .status502
    case 503: .status503
    case 504: .status504
    default: []
    }
  }
}

/// Whether a failed attempt is followed by another: the state of one exchange.
///
///     attempting ──failed, may repeat──► attempting (another backend)
///         ├────────failed, may not────► answered with the failure's status
///         └────────client has octets──► aborted
///
/// Two kinds of failure may be repeated (RFC 9110 §9.2.2 and safety rule 43):
/// - *unsent*: the kernel accepted no octet of this exchange on that connection, so the backend
///   cannot have acted on it. Any method.
/// - *sent*: the backend may have acted, so only a request that may be sent twice, all of which is
///   still at hand, and which failed before any octet of a response, or with a status that
///   `retry on=` names.
public struct Retry: Sendable, BitwiseCopyable {
  public enum Kind: UInt8, Sendable, BitwiseCopyable { case unsent, replay }

  public enum Decision: Sendable, Equatable, BitwiseCopyable {
    /// Try again, at a backend that was not tried yet if there is one.
    case retry(Kind)
    /// Tell the client.
    case answer(status: Int, error: ProxyError)
    /// Nothing can be told: the client left, or has part of a response that ends here.
    case abort
  }

  /// Attempts in all, the first included; at least 1.
  public let limit: Int
  public let conditions: RetryConditions
  /// Idempotent, or its client says that it may be sent twice (`Idempotency-Key`).
  public let isReplayable: Bool
  public private(set) var attempts = 0

  public init(
    limit: Int, conditions: RetryConditions = .standard, isReplayable: Bool
  ) {
    self.limit = max(1, limit)
    self.conditions = conditions
    self.isReplayable = isReplayable
  }

  public mutating func attemptStarted() { attempts += 1 }

  public var hasAttemptsLeft: Bool { attempts < limit }

  /// The attempt failed. `isUnsent`: no write for this exchange returned more than 0 on its
  /// connection. `isIntact`: all of the request can be sent again. `clientHasOctets`: some of a
  /// final response was passed on already.
  public mutating func attemptFailed(
    _ failure: Termination, isUnsent: Bool, isIntact: Bool = true, clientHasOctets: Bool
  ) -> Decision {
    if failure.side == .backend, hasAttemptsLeft, !clientHasOctets, isIntact,
      let kind = repetition(failure, isUnsent: isUnsent)
    {
      return .retry(kind)
    }
    guard !clientHasOctets, let status = failure.status, let error = failure.error else {
      return .abort
    }
    return .answer(status: status, error: error)
  }

  private func repetition(_ failure: Termination, isUnsent: Bool) -> Kind? {
    if failure.phase == .connecting {
      return conditions.contains(.connectFailure) ? .unsent : nil
    }
    if isUnsent, failure.phase < .responseHead { return .unsent }
    let reachedBackend = failure.phase >= .requesting && failure.phase <= .responseBody
    guard reachedBackend, isReplayable else { return nil }
    switch failure.reason {
    case .reset, .closed: return conditions.contains(.reset) ? .replay : nil
    case .timedOut: return conditions.contains(.timeout) ? .replay : nil
    default: return nil
    }
  }

  /// Whether an answer of this status may be thrown away and the request be sent again.
  @inline(__always)
  public func mayRepeat(status: Int) -> Bool {
    guard isReplayable, hasAttemptsLeft else { return false }
    return !conditions.isDisjoint(with: RetryConditions.status(status))
  }

  /// Full jitter: anything up to `backoff` · 2^n, n being the retries so far, and `maxBackoff`
  /// (Brooker 2015). The first retry goes to another backend at once and does not ask.
  public func wait(_ options: RetryOptions, random: inout SeededRandom) -> TimeAmount {
    let base = UInt64(max(0, options.backoff.nanoseconds))
    let (product, overflow) = base.multipliedReportingOverflow(by: 1 << UInt64(min(attempts, 20)))
    let limit = UInt64(max(0, options.maxBackoff.nanoseconds))
    let most = overflow ? limit : min(product, limit)
    return TimeAmount(nanoseconds: Int64(random.below(Int(clamping: most) + 1)))
  }
}
