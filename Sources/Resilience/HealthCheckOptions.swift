import Primitives

/// `health-check …`: how the backends of an upstream are asked whether they are well. Backends of
/// equal address share a check only where all of this is equal.
public struct HealthCheckOptions: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// Being able to connect is enough.
    case tcp
    case http(HTTPCheck)
    /// A call of `grpc.health.v1.Health/Check`, over HTTP/2.
    case grpc(GRPCCheck)
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
  /// Of HTTP/1.1 alone: up to four checks go over one connection while all is well.
  public var reusesConnections = true

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

/// What `grpc.health.v1.Health/Check` is asked, and how.
public struct GRPCCheck: Sendable, Hashable {
  /// Empty: how the server as a whole is.
  public var service: String
  /// As of `HTTPCheck`, for `:authority`.
  public var host: String?
  /// Metadata of the call.
  public var fields: [HTTPCheck.Field] = []

  public init(service: String = "") { self.service = service }
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
  /// No well-formed answer to a call of gRPC.
  case notGRPC
  /// The message of such an answer is larger than that of a check may be.
  case oversized
  /// The call failed with this code.
  case grpcStatus(Int)
  /// The call said so: a `ServingStatus` other than `SERVING`.
  case notServing(UInt64)

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
    case .notGRPC: "the answer is not gRPC"
    case .oversized: "the answer is too large"
    case .grpcStatus(let code): "grpc-status \(code)\(Self.name(code, of: Self.codes))"
    case .notServing(let status):
      "serving status \(status)\(Self.name(Int(clamping: status), of: Self.servingStates))"
    }
  }

  private static let codes = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
  ]
  private static let servingStates = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]

  private static func name(_ number: Int, of names: [String]) -> String {
    names.indices.contains(number) ? " (\(names[number]))" : ""
  }
}
