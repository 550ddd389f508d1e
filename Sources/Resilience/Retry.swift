/// Whether a failed attempt is followed by another: the state of one exchange.
///
///     attempting ──failed, may repeat──► attempting (another backend)
///         ├────────failed, may not────► answered with the failure's status
///         └────────client has octets──► aborted
///
/// Two kinds of failure may be repeated (RFC 9110 §9.2.2 and safety rule 43):
/// - *unsent*: the kernel accepted no octet of this exchange on that connection, so the backend
///   cannot have acted on it. Any method, up to the limit of attempts.
/// - *sent*: the backend may have acted, so only a GET, HEAD or OPTIONS without content that
///   failed before any octet of a response, and only once.
public struct Retry: Sendable, BitwiseCopyable {
  public enum Kind: UInt8, Sendable, BitwiseCopyable { case unsent, replay }

  public enum Decision: Sendable, Equatable, BitwiseCopyable {
    /// Try again at a backend that was not tried yet; where there is none, tell the client of this.
    case retry(Kind)
    /// Tell the client.
    case answer(status: Int, error: ProxyError)
    /// Nothing can be told: the client left, or has part of a response that ends here.
    case abort
  }

  /// Attempts in all, the first included; at least 1.
  public let limit: Int
  /// The request has no content and its method is GET, HEAD or OPTIONS.
  public let isReplayable: Bool
  public private(set) var attempts = 0
  private var hasReplayed = false

  public init(limit: Int, isReplayable: Bool) {
    self.limit = max(1, limit)
    self.isReplayable = isReplayable
  }

  public mutating func attemptStarted() { attempts += 1 }

  /// The attempt failed. `isUnsent`: no write for this exchange returned more than 0 on its
  /// connection. `clientHasOctets`: some of a final response was passed on already.
  public mutating func attemptFailed(
    _ failure: Termination, isUnsent: Bool, clientHasOctets: Bool
  ) -> Decision {
    if failure.side == .backend, attempts < limit, !clientHasOctets,
      let kind = repetition(failure, isUnsent: isUnsent)
    {
      if kind == .replay { hasReplayed = true }
      return .retry(kind)
    }
    guard !clientHasOctets, let status = failure.status, let error = failure.error else {
      return .abort
    }
    return .answer(status: status, error: error)
  }

  private func repetition(_ failure: Termination, isUnsent: Bool) -> Kind? {
    if isUnsent, failure.phase < .responseHead { return .unsent }
    let reachedBackend = failure.phase == .requesting || failure.phase == .awaiting
    guard reachedBackend, isReplayable, !hasReplayed else { return nil }
    switch failure.reason {
    case .reset, .closed, .timedOut: return .replay
    default: return nil
    }
  }
}
