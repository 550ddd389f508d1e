import Primitives
import Resilience
import Testing

private typealias End = Termination

private struct Case: Sendable {
  var name: String
  var failure: Termination
  var isUnsent: Bool
  var clientHasOctets = false
  /// For a request that may be replayed, and for one that may not.
  var replayable: Retry.Decision
  var other: Retry.Decision
}

private let refused = Retry.Decision.answer(status: 502, error: .connectionRefused)
private let terminated = Retry.Decision.answer(status: 502, error: .connectionTerminated)

private let cases: [Case] = [
  Case(
    name: "refused", failure: End(.backend, .connecting, .refused), isUnsent: true,
    replayable: .retry(.unsent), other: .retry(.unsent)),
  Case(
    name: "connect timeout", failure: End(.backend, .connecting, .timedOut), isUnsent: true,
    replayable: .retry(.unsent), other: .retry(.unsent)),
  Case(
    name: "pooled connection was closed", failure: End(.backend, .requesting, .reset),
    isUnsent: true, replayable: .retry(.unsent), other: .retry(.unsent)),
  Case(
    name: "reset while sending", failure: End(.backend, .requesting, .reset), isUnsent: false,
    replayable: .retry(.replay), other: terminated),
  Case(
    name: "closed before the response", failure: End(.backend, .awaiting, .closed),
    isUnsent: false, replayable: .retry(.replay), other: terminated),
  Case(
    name: "no response in time", failure: End(.backend, .awaiting, .timedOut), isUnsent: false,
    replayable: .retry(.replay), other: .answer(status: 504, error: .httpResponseTimeout)),
  Case(
    name: "closed inside the response's head", failure: End(.backend, .responseHead, .closed),
    isUnsent: false, replayable: .retry(.replay),
    other: .answer(status: 502, error: .httpResponseIncomplete)),
  Case(
    name: "cut off before the client had any of it", failure: End(.backend, .responseBody, .closed),
    isUnsent: false, replayable: .retry(.replay),
    other: .answer(status: 502, error: .httpResponseIncomplete)),
  Case(
    name: "a malformed response", failure: End(.backend, .responseHead, .malformed),
    isUnsent: false, replayable: .answer(status: 502, error: .httpProtocolError),
    other: .answer(status: 502, error: .httpProtocolError)),
  Case(
    name: "octets before any request octet was taken",
    failure: End(.backend, .responseHead, .malformed), isUnsent: true,
    replayable: .answer(status: 502, error: .httpProtocolError),
    other: .answer(status: 502, error: .httpProtocolError)),
  Case(
    name: "cut off after the head was passed on", failure: End(.backend, .responseBody, .reset),
    isUnsent: false, clientHasOctets: true, replayable: .abort, other: .abort),
  Case(
    name: "the client left", failure: End(.client, .awaiting, .closed), isUnsent: true,
    replayable: .abort, other: .abort),
  Case(
    name: "the request's content is too long", failure: End(.client, .requesting, .bodyTooLarge),
    isUnsent: false, replayable: .answer(status: 413, error: .httpRequestError),
    other: .answer(status: 413, error: .httpRequestError)),
  Case(
    name: "the whole request's time is up", failure: End(.weir, .awaiting, .timedOut),
    isUnsent: true, replayable: .answer(status: 504, error: .httpResponseTimeout),
    other: .answer(status: 504, error: .httpResponseTimeout)),
]

@Suite struct RetryTests {
  @Test(arguments: cases)
  private func `a first attempt that failed`(_ example: Case) {
    for isReplayable in [true, false] {
      var retry = Retry(limit: 3, isReplayable: isReplayable)
      retry.attemptStarted()
      let decision = retry.attemptFailed(
        example.failure, isUnsent: example.isUnsent, clientHasOctets: example.clientHasOctets)
      #expect(
        decision == (isReplayable ? example.replayable : example.other),
        "\(example.name), replayable: \(isReplayable)")
    }
  }

  @Test(arguments: [1, 2, 3, 5])
  func `unsent requests are tried up to the limit, the first attempt included`(limit: Int) {
    var retry = Retry(limit: limit, isReplayable: false)
    for _ in 1..<limit {
      retry.attemptStarted()
      let decision = retry.attemptFailed(
        End(.backend, .connecting, .refused), isUnsent: true, clientHasOctets: false)
      #expect(decision == .retry(.unsent))
    }
    retry.attemptStarted()
    let last = retry.attemptFailed(
      End(.backend, .connecting, .refused), isUnsent: true, clientHasOctets: false)
    #expect(last == refused)
    #expect(retry.attempts == limit)
  }

  @Test func `a request is replayed up to the limit, unsent attempts included`() {
    var retry = Retry(limit: 3, isReplayable: true)
    let reset = End(.backend, .awaiting, .reset)
    retry.attemptStarted()
    #expect(fail(&retry, reset, isUnsent: false) == .retry(.replay))
    retry.attemptStarted()
    #expect(fail(&retry, End(.backend, .connecting, .refused), isUnsent: true) == .retry(.unsent))
    retry.attemptStarted()
    #expect(fail(&retry, reset, isUnsent: false) == terminated)
  }

  @Test func `what is no longer at hand is not sent again`() {
    for isUnsent in [true, false] {
      var retry = Retry(limit: 3, isReplayable: true)
      retry.attemptStarted()
      let decision = retry.attemptFailed(
        End(.backend, .awaiting, .reset), isUnsent: isUnsent, isIntact: false,
        clientHasOctets: false)
      #expect(decision == terminated)
    }
  }

  @Test(arguments: [
    (End(.backend, .connecting, .refused), true, RetryConditions.connectFailure),
    (End(.backend, .connecting, .timedOut), true, .connectFailure),
    (End(.backend, .awaiting, .closed), false, .reset),
    (End(.backend, .requesting, .reset), false, .reset),
    (End(.backend, .awaiting, .timedOut), false, .timeout),
  ])
  func `a failure is repeated only where its condition is named`(
    failure: Termination, isUnsent: Bool, condition: RetryConditions
  ) {
    func decide(_ conditions: RetryConditions) -> Retry.Decision {
      var retry = Retry(limit: 2, conditions: conditions, isReplayable: true)
      retry.attemptStarted()
      return fail(&retry, failure, isUnsent: isUnsent)
    }
    #expect(decide(condition) == .retry(isUnsent ? .unsent : .replay))
    if case .retry = decide(RetryConditions.standard.subtracting(condition)) {
      Issue.record("repeated without its condition")
    }
  }

  @Test func `statuses are repeated where they are named, up to the limit`() {
    var retry = Retry(limit: 2, isReplayable: true)
    retry.attemptStarted()
    for (status, expected) in [(502, true), (503, true), (504, true), (500, false), (501, false)] {
      #expect(retry.mayRepeat(status: status) == expected)
    }
    var named = Retry(limit: 2, conditions: [.status500], isReplayable: true)
    named.attemptStarted()
    #expect(named.mayRepeat(status: 500) && !named.mayRepeat(status: 503))
    var post = Retry(limit: 2, isReplayable: false)
    post.attemptStarted()
    #expect(!post.mayRepeat(status: 503))
    retry.attemptStarted()
    #expect(!retry.mayRepeat(status: 503))
  }

  @Test func `waits are spread up to a bound that doubles to its limit`() {
    let options = RetryOptions()
    var random = SeededRandom(seed: 4)
    var retry = Retry(limit: 8, isReplayable: true)
    retry.attemptStarted()
    for bound in [50, 100, 200, 250, 250, 250] as [Int64] {
      let waits = (0..<400).map { _ in retry.wait(options, random: &random).milliseconds }
      #expect(waits.allSatisfy { $0 >= 0 && $0 <= bound })
      #expect(waits.contains { $0 < bound / 5 } && waits.contains { $0 > bound * 3 / 4 })
      retry.attemptStarted()
    }
  }

  private func fail(
    _ retry: inout Retry, _ failure: Termination, isUnsent: Bool
  ) -> Retry.Decision {
    retry.attemptFailed(failure, isUnsent: isUnsent, clientHasOctets: false)
  }
}
