/// How an exchange ended, or why an attempt of it failed: one value that drives the retry, the
/// status of the answer, `Proxy-Status`, the metric and the access log.
public struct Termination: Sendable, Hashable, BitwiseCopyable {
  /// Who brought it about.
  public enum Side: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case client, weir, backend
  }

  /// How far the exchange had come.
  public enum Phase: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    /// The request's head is being received.
    case requestHead
    /// A route and a backend are being chosen.
    case selecting
    /// A connection to the backend is being opened.
    case connecting
    /// The request goes to the backend; nothing of the response has come.
    case requesting
    /// The request is sent; nothing of the response has come.
    case awaiting
    /// Some of the response's head has come.
    case responseHead
    /// The response's content is being passed on.
    case responseBody
    /// Upgraded: octets in both directions.
    case tunnel
  }

  public enum Reason: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    /// Everything was sent.
    case completed
    // The other side's connection.
    case refused, unreachable, timedOut, reset, closed
    /// The backend's certificate did not pass a check; or TLS failed otherwise.
    case certificateRefused, handshakeFailed
    // What was received.
    case malformed, headTooLarge, targetTooLong, bodyTooLarge
    case unsupportedVersion, unsupportedCoding, methodRefused, expectationFailed
    /// The backend answered 101 without being asked, or not as it was asked.
    case upgradeFailed
    /// The client wants a tunnel that its route does not allow.
    case upgradeRefused
    // Weir's own.
    case routeNotFound, denied, loopDetected, matchLimitExceeded
    case noBackend, limitReached, draining
    /// There is no backend since DNS has no address of its name.
    case nameUnresolved
    /// The request wanted a stored response, and there is none.
    case notStored
  }

  public var side: Side
  public var phase: Phase
  public var reason: Reason

  public init(_ side: Side, _ phase: Phase, _ reason: Reason) {
    self.side = side
    self.phase = phase
    self.reason = reason
  }

  /// Status of the answer weir makes, where the client can still be given one; `nil` where there
  /// is nobody to answer, or nothing to complain of.
  public var status: Int? {
    if reason == .completed { return nil }
    switch side {
    case .client: return clientStatus
    case .weir: return weirStatus
    case .backend: return reason == .timedOut ? 504 : 502
    }
  }

  private var clientStatus: Int? {
    switch reason {
    case .timedOut:
      // Too slow with the request; a client that does not read the response gets no other.
      phase <= .awaiting ? 408 : nil
    case .headTooLarge: 431
    case .targetTooLong: 414
    case .bodyTooLarge: 413
    case .unsupportedVersion: 505
    case .unsupportedCoding: 501
    case .methodRefused: 405
    case .upgradeRefused: 501
    case .expectationFailed: 417
    case .malformed: 400
    default: nil
    }
  }

  private var weirStatus: Int {
    switch reason {
    case .routeNotFound: 404
    case .denied: 403
    case .loopDetected: 508
    case .noBackend, .limitReached, .draining: 503
    // RFC 9209 §2.3.2 recommends 502; but it may be over in a moment, which clients can be told.
    case .nameUnresolved: 503
    // The time of the whole request is up.
    case .timedOut: 504
    // RFC 9111 §5.2.1.7.
    case .notStored: 504
    default: 500
    }
  }

  /// The word for `Proxy-Status`; `nil` where the exchange did not fail, or the client left.
  public var error: ProxyError? {
    if reason == .completed { return nil }
    switch side {
    case .client: return status == nil ? nil : .httpRequestError
    case .weir: return weirError
    case .backend: return backendError
    }
  }

  private var weirError: ProxyError {
    switch reason {
    case .routeNotFound: .destinationNotFound
    case .denied: .httpRequestDenied
    case .loopDetected: .proxyLoopDetected
    case .noBackend: .destinationUnavailable
    case .nameUnresolved: .dnsError
    case .limitReached: .connectionLimitReached
    case .draining, .notStored: .proxyInternalResponse
    case .timedOut: .httpResponseTimeout
    default: .proxyInternalError
    }
  }

  private var backendError: ProxyError {
    switch reason {
    case .refused: .connectionRefused
    case .certificateRefused: .tlsCertificateError
    case .handshakeFailed: .tlsProtocolError
    case .unreachable: .destinationIPUnroutable
    case .timedOut:
      switch phase {
      case .requestHead, .selecting, .connecting: .connectionTimeout
      case .requesting: .connectionWriteTimeout
      case .awaiting, .responseHead: .httpResponseTimeout
      case .responseBody, .tunnel: .connectionReadTimeout
      }
    case .reset, .closed:
      // RFC 9209 §2.3.8: terminated is before any part of the response, incomplete is after.
      phase < .responseHead ? .connectionTerminated : .httpResponseIncomplete
    case .malformed: phase == .responseBody ? .httpResponseTransferCoding : .httpProtocolError
    case .unsupportedCoding: .httpResponseTransferCoding
    case .headTooLarge: .httpResponseHeaderSectionSize
    case .bodyTooLarge: .httpResponseBodySize
    case .upgradeFailed: .httpUpgradeFailed
    case .limitReached: .connectionLimitReached
    default: .httpProtocolError
    }
  }

  /// The end reason of the access log: the error's word, or what else there is to say.
  public var logWord: StaticString {
    if let error { return error.text }
    switch (side, reason) {
    case (_, .completed): return "completed"
    case (.client, .timedOut): return "client_timeout"
    case (.client, .reset): return "client_reset"
    default: return "client_closed"
    }
  }
}

extension Termination.Phase: Comparable {
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}
