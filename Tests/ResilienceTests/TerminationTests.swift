import Resilience
import Testing

private struct Case: Sendable, CustomTestStringConvertible {
  var end: Termination
  var status: Int?
  var error: ProxyError?
  var word: String

  init(
    _ side: Termination.Side, _ phase: Termination.Phase, _ reason: Termination.Reason,
    _ status: Int?, _ error: ProxyError?, word: String
  ) {
    end = Termination(side, phase, reason)
    self.status = status
    self.error = error
    self.word = word
  }

  var testDescription: String { "\(end.side) \(end.phase) \(end.reason)" }
}

private let cases: [Case] = [
  Case(.weir, .responseBody, .completed, nil, nil, word: "completed"),
  Case(.backend, .responseBody, .completed, nil, nil, word: "completed"),
  // The client
  Case(.client, .requestHead, .malformed, 400, .httpRequestError, word: "http_request_error"),
  Case(.client, .requestHead, .timedOut, 408, .httpRequestError, word: "http_request_error"),
  Case(.client, .requesting, .timedOut, 408, .httpRequestError, word: "http_request_error"),
  Case(.client, .requestHead, .headTooLarge, 431, .httpRequestError, word: "http_request_error"),
  Case(.client, .requestHead, .targetTooLong, 414, .httpRequestError, word: "http_request_error"),
  Case(.client, .requesting, .bodyTooLarge, 413, .httpRequestError, word: "http_request_error"),
  Case(
    .client, .requestHead, .unsupportedVersion, 505, .httpRequestError,
    word: "http_request_error"),
  Case(
    .client, .requestHead, .unsupportedCoding, 501, .httpRequestError,
    word: "http_request_error"),
  Case(.client, .requestHead, .methodRefused, 405, .httpRequestError, word: "http_request_error"),
  Case(
    .client, .requestHead, .expectationFailed, 417, .httpRequestError,
    word: "http_request_error"),
  Case(.client, .responseBody, .timedOut, nil, nil, word: "client_timeout"),
  Case(.client, .responseBody, .reset, nil, nil, word: "client_reset"),
  Case(.client, .awaiting, .closed, nil, nil, word: "client_closed"),
  // Weir
  Case(.weir, .selecting, .routeNotFound, 404, .destinationNotFound, word: "destination_not_found"),
  Case(.weir, .selecting, .denied, 403, .httpRequestDenied, word: "http_request_denied"),
  Case(.weir, .selecting, .loopDetected, 508, .proxyLoopDetected, word: "proxy_loop_detected"),
  Case(
    .weir, .selecting, .matchLimitExceeded, 500, .proxyInternalError,
    word: "proxy_internal_error"),
  Case(
    .weir, .selecting, .noBackend, 503, .destinationUnavailable, word: "destination_unavailable"),
  Case(.weir, .selecting, .nameUnresolved, 503, .dnsError, word: "dns_error"),
  Case(
    .weir, .selecting, .limitReached, 503, .connectionLimitReached,
    word: "connection_limit_reached"),
  Case(.weir, .selecting, .draining, 503, .proxyInternalResponse, word: "proxy_internal_response"),
  Case(
    .backend, .connecting, .certificateRefused, 502, .tlsCertificateError,
    word: "tls_certificate_error"),
  Case(
    .backend, .connecting, .handshakeFailed, 502, .tlsProtocolError, word: "tls_protocol_error"),
  Case(.weir, .awaiting, .timedOut, 504, .httpResponseTimeout, word: "http_response_timeout"),
  // The backend
  Case(.backend, .connecting, .refused, 502, .connectionRefused, word: "connection_refused"),
  Case(.backend, .connecting, .timedOut, 504, .connectionTimeout, word: "connection_timeout"),
  Case(
    .backend, .connecting, .unreachable, 502, .destinationIPUnroutable,
    word: "destination_ip_unroutable"),
  Case(.backend, .requesting, .reset, 502, .connectionTerminated, word: "connection_terminated"),
  Case(
    .backend, .requesting, .timedOut, 504, .connectionWriteTimeout,
    word: "connection_write_timeout"),
  Case(.backend, .awaiting, .closed, 502, .connectionTerminated, word: "connection_terminated"),
  Case(.backend, .awaiting, .timedOut, 504, .httpResponseTimeout, word: "http_response_timeout"),
  Case(
    .backend, .responseHead, .closed, 502, .httpResponseIncomplete,
    word: "http_response_incomplete"),
  Case(.backend, .responseHead, .malformed, 502, .httpProtocolError, word: "http_protocol_error"),
  Case(
    .backend, .responseHead, .headTooLarge, 502, .httpResponseHeaderSectionSize,
    word: "http_response_header_section_size"),
  Case(
    .backend, .responseBody, .reset, 502, .httpResponseIncomplete,
    word: "http_response_incomplete"),
  Case(
    .backend, .responseBody, .malformed, 502, .httpResponseTransferCoding,
    word: "http_response_transfer_coding"),
  Case(
    .backend, .responseBody, .timedOut, 504, .connectionReadTimeout,
    word: "connection_read_timeout"),
  Case(
    .backend, .responseHead, .upgradeFailed, 502, .httpUpgradeFailed, word: "http_upgrade_failed"),
]

@Suite struct TerminationTests {
  @Test(arguments: cases)
  private func `each end has its status, its RFC 9209 word and its log word`(_ example: Case) {
    #expect(example.end.status == example.status)
    #expect(example.end.error == example.error)
    #expect("\(example.end.logWord)" == example.word)
  }

  @Test func `every failure that gets a status gets a word, and the other way round`() {
    for side in Termination.Side.allCases {
      for phase in Termination.Phase.allCases {
        for reason in Termination.Reason.allCases {
          let end = Termination(side, phase, reason)
          #expect((end.status == nil) == (end.error == nil), "\(end)")
          #expect(end.status.map { (400...599).contains($0) } ?? true)
        }
      }
    }
  }

  @Test func `a fallback may stand in where no backend may be asked`() {
    let may: [Termination.Reason] = [.noBackend, .nameUnresolved, .limitReached, .timedOut]
    for reason in Termination.Reason.allCases {
      #expect(Termination(.weir, .selecting, reason).mayFallBack == may.contains(reason))
      #expect(Termination(.backend, .connecting, reason).mayFallBack)
      #expect(!Termination(.client, .requesting, reason).mayFallBack)
    }
  }

  @Test func `error words are tokens and differ`() {
    let words = ProxyError.allCases.map { "\($0.text)" }
    #expect(Set(words).count == words.count)
    #expect(
      words.allSatisfy { $0.utf8.allSatisfy { $0 == 0x5F || (0x61...0x7A).contains($0) } })
  }
}
