import HTTP
import Primitives
import Resilience
import Transport

/// One backend's health check as the watch thread runs it, for all upstreams that ask the same of
/// the same address.
///
///     waiting ──timer──► connecting ──writable──► exchanging ──answer, end, timer──► waiting
///
/// A connection for each check: what is asked is whether a new one can be served.
final class HealthProbe {
  /// Equal keys share a probe.
  struct Key: Hashable {
    var address: SocketAddress
    var options: HealthCheckOptions
    /// For `Host`, where the check names none.
    var authority: String
  }

  struct Subscriber {
    let state: UpstreamState
    /// `BackendState.id`
    let backend: Int
    let tally: BackendTally
  }

  enum Result: Equatable {
    case pending, passed
    case failed(CheckFailure)
    /// Nothing was learnt: our own descriptors ran out.
    case unknown
  }

  private enum Phase { case waiting, connecting, exchanging }

  static let receiveBytes = 16 * 1024

  let key: Key
  var subscribers: [Subscriber] = []
  var tracker: HealthTracker
  var lastFailure = CheckFailure.timedOut
  var timer = TimerWheel.Timer.none
  /// When the timer is wanted: the next check, or the end of this one.
  var due = MonotonicTime.zero
  private(set) var startedAt = MonotonicTime.zero
  private(set) var descriptor: Int32 = -1
  private var phase = Phase.waiting
  private let endpoint: Endpoint
  private let request: [UInt8]
  private var sent = 0
  private var octets: [UInt8] = []

  init(_ key: Key, isUp: Bool) {
    self.key = key
    tracker = HealthTracker(key.options, isUp: isUp)
    endpoint = Endpoint(key.address)
    if case .http(let check) = key.options.kind {
      request = CheckAnswer.request(check, authority: key.authority)
    } else {
      request = []
    }
  }

  var isWaiting: Bool { phase == .waiting }

  /// Begins a check. `.pending`: `descriptor` is to be watched.
  func start(now: MonotonicTime) -> Result {
    startedAt = now
    sent = 0
    octets = []
    let opened = endpoint.connect()
    guard opened >= 0 else {
      if SocketCalls.isExhausted(-opened) { return .unknown }
      return .failed(-opened == SocketCalls.refused ? .refused : .unreachable)
    }
    descriptor = opened
    phase = .connecting
    return .pending
  }

  /// The socket has news.
  func advance(_ readiness: Readiness, _ head: inout ResponseHead) -> Result {
    if phase == .connecting {
      let error = SocketCalls.pendingError(descriptor)
      guard error == 0 else {
        return .failed(error == SocketCalls.refused ? .refused : .unreachable)
      }
      guard readiness.contains(.writable) else { return .pending }
      phase = .exchanging
    }
    guard case .http(let check) = key.options.kind else { return .passed }
    if sent < request.count, !send() { return .failed(.closed) }
    return receive(check, &head)
  }

  private func send() -> Bool {
    while sent < request.count {
      let rest = Array(request[sent...])
      switch rest.withByteView({ SocketCalls.send(descriptor, $0) }) {
      case .octets(let count): sent += count
      case .wouldBlock: return true
      case .failed: return false
      }
    }
    return true
  }

  private func receive(_ check: HTTPCheck, _ head: inout ResponseHead) -> Result {
    while true {
      let known = octets.count
      octets += [UInt8](repeating: 0, count: HealthProbe.receiveBytes)
      let result = octets.withUnsafeMutableBytes {
        SocketCalls.receive(descriptor, $0.baseAddress! + known, HealthProbe.receiveBytes)
      }
      var received = 0
      if case .octets(let count) = result { received = count }
      octets.removeLast(HealthProbe.receiveBytes - received)
      let hasEnded = result == .ended || octets.count >= CheckAnswer.maxBytes
      if case .failed = result { return .failed(.closed) }
      if result == .wouldBlock { return .pending }
      switch CheckAnswer.judge(octets, hasEnded: hasEnded, check, &head) {
      case .needsMore: continue
      case .passed: return .passed
      case .failed(let failure): return .failed(failure)
      }
    }
  }

  /// The check is over, however it ended.
  func finish() {
    if descriptor >= 0 { SocketCalls.close(descriptor) }
    descriptor = -1
    phase = .waiting
    octets = []
  }
}
