/// One question to DNS.
public enum NameQuestion: Sendable, Hashable {
  /// Type A.
  case v4(host: String)
  /// Type AAAA.
  case v6(host: String)
  /// Type SRV (RFC 2782).
  case service(String)
}

/// What came of one question to DNS.
public enum NameAnswer: Sendable, Equatable {
  /// At least one. `ttl`: the shortest of the records that led there; 0 from a hosts file.
  case addresses([IPAddress], ttl: TimeAmount)
  /// At least one record of type SRV (RFC 2782).
  case services([ServiceRecord], ttl: TimeAmount)
  /// A server that knows says that there is none.
  case absent(NameAbsence)
  /// Nobody said anything that could be believed.
  case failed(NameFailure)
}

/// One record of type SRV (RFC 2782).
public struct ServiceRecord: Sendable, Hashable {
  /// In lower case; a dot at its end says that it is complete. Never empty.
  public var host: String
  public var port: UInt16
  /// Lower ones are asked first.
  public var priority: UInt16
  public var weight: UInt16

  public init(host: String, port: UInt16, priority: UInt16, weight: UInt16) {
    self.host = host
    self.port = port
    self.priority = priority
    self.weight = weight
  }
}

public enum NameAbsence: String, Sendable, CaseIterable {
  /// NXDOMAIN.
  case noSuchName = "no_such_name"
  /// The name exists, and has no record of this type.
  case noRecord = "no_record"
}

public enum NameFailure: String, Sendable, CaseIterable {
  case timedOut = "timed_out"
  /// Refused the question, could not answer it, or could not be reached.
  case serverFailed = "server_failed"
  /// No message that a server may send, or none of its addresses can be a backend's.
  case badAnswer = "bad_answer"
  /// Our own memory or descriptors ran out.
  case exhausted
}

extension IPAddress {
  /// Whether a backend may have it: not unspecified, multicast, reserved, or without meaning
  /// outside one link (RFC 6890). Loopback may be one.
  public var isBackendAddress: Bool {
    if isV4 {
      let first = v4 >> 24
      return first != 0 && first < 224
    }
    // `::` and what else begins with 96 zeros, but `::1`; `fe80::/10`; `ff00::/8`.
    if high == 0, low >> 32 == 0 { return low == 1 }
    return high >> 54 != 0xFE80 >> 6 && high >> 56 != 0xFF
  }
}

extension IPAddress: Comparable {
  public static func < (a: IPAddress, b: IPAddress) -> Bool {
    (a.high, a.low) < (b.high, b.low)
  }
}
