import Primitives

/// `health-check …`: how the backends of an upstream are asked whether they are well. Backends of
/// equal address share a check only where all of this is equal.
public struct HealthCheckOptions: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// Being able to connect is enough.
    case tcp
    case http(HTTPCheck)
  }

  /// Where a backend stands before its first check.
  public enum Initial: String, Sendable, Hashable, CaseIterable {
    /// Up when weir starts, down when added to an upstream that is running.
    case auto
    case up, down
  }

  public var kind: Kind
  public var interval = TimeAmount.seconds(1)
  /// Between checks of a backend that is down or about to change.
  public var fastInterval = TimeAmount.milliseconds(200)
  /// From the connect to the last octet that is needed.
  public var timeout = TimeAmount.milliseconds(500)
  /// Passes in a row until up.
  public var rise = 2
  /// Failures in a row until down.
  public var fall = 2
  public var initial = Initial.auto

  public init(kind: Kind) { self.kind = kind }

  /// `isRunning`: the backend's upstream has been served before.
  public func startsDown(isRunning: Bool) -> Bool {
    initial == .down || (initial == .auto && isRunning)
  }
}

/// The request of a check, and what a good answer is.
public struct HTTPCheck: Sendable, Hashable {
  public struct Field: Sendable, Hashable {
    public var name: String
    public var value: String

    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  public var method: String
  /// With its query, as sent.
  public var path: String
  /// The Host field; `nil`: as the upstream's `host` says, or the backend's address.
  public var host: String?
  public var fields: [Field] = []
  public var expected: [ClosedRange<Int>] = [200...399]
  /// Octets that the content must contain within its first 64 KiB.
  public var contains: String?

  public init(method: String, path: String) {
    self.method = method
    self.path = path
  }
}

/// Why a check failed.
public enum CheckFailure: Sendable, Hashable {
  case refused, unreachable, timedOut
  /// The connection ended before the answer was complete.
  case closed
  case malformed
  /// TLS could not be agreed on: which check failed.
  case handshake(String)
  case status(Int)
  case contentMismatch

  /// As in the event log.
  public var text: String {
    switch self {
    case .refused: "connection refused"
    case .unreachable: "cannot be connected to"
    case .timedOut: "no answer in time"
    case .closed: "connection closed before the answer"
    case .malformed: "the answer is not HTTP"
    case .handshake(let check): "TLS: \(check)"
    case .status(let status): "status \(status)"
    case .contentMismatch: "the content does not contain what it should"
    }
  }
}
