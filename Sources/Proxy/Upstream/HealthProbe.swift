import HTTP
import Primitives
import Resilience
import Transport

/// One backend's health check as the watch thread runs it, for all upstreams that ask the same of
/// the same address.
///
///     waiting ──timer──► connecting ──writable──► exchanging ──answer, end, timer──► waiting
///                             └──► handshaking (TLS) ──┘
///
/// A connection for each check: what is asked is whether a new one can be served, under the same
/// rules of TLS as traffic (without a session, so that the certificate is looked at each time).
final class HealthProbe {
  /// Equal keys share a probe.
  struct Key: Hashable {
    var address: SocketAddress
    var options: HealthCheckOptions
    /// For `Host`, where the check names none.
    var authority: String
    var tls: TLSClientContext?
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

  private enum Phase { case waiting, connecting, handshaking, exchanging }

  let key: Key
  var subscribers: [Subscriber] = []
  var tracker: HealthTracker
  var lastFailure = CheckFailure.timedOut
  var timer = TimerWheel.Timer.none
  /// When the timer is wanted: the next check, or the end of this one.
  var due = MonotonicTime.zero
  private(set) var startedAt = MonotonicTime.zero
  var descriptor: Int32 { wire.descriptor }
  private var wire = HealthProbe.noWire
  private var phase = Phase.waiting
  private let endpoint: Endpoint
  private let request: [UInt8]
  private var hasSent = false
  private var octets: [UInt8] = []

  private static var noWire: Wire { Wire(descriptor: -1) }

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
    hasSent = false
    octets = []
    let opened = endpoint.connect()
    guard opened >= 0 else {
      if SocketCalls.isExhausted(-opened) { return .unknown }
      return .failed(-opened == SocketCalls.refused ? .refused : .unreachable)
    }
    wire = Wire(descriptor: opened)
    wire.mayRead = false
    phase = .connecting
    return .pending
  }

  /// The socket has news.
  func advance(
    _ readiness: Readiness, _ head: inout ResponseHead, _ pool: inout BufferPool
  ) -> Result {
    wire.note(readiness)
    if phase == .connecting {
      let error = SocketCalls.pendingError(descriptor)
      guard error == 0 else {
        return .failed(error == SocketCalls.refused ? .refused : .unreachable)
      }
      guard readiness.contains(.writable) else { return .pending }
      phase = .exchanging
      if let tls = key.tls {
        var address: IPAddress?
        if case .ip(let ip, _) = key.address { address = ip }
        guard wire.beginTLS(tls, address: address, session: nil) else { return .unknown }
        phase = .handshaking
      }
    }
    if phase == .handshaking {
      switch wire.handshake(&pool) {
      case .complete: phase = .exchanging
      case .waits: return .pending
      case .failed(.exhausted): return .unknown
      case .failed(.closed): return .failed(.closed)
      case .failed(let failure): return .failed(.handshake(failure.text))
      }
    }
    guard case .http(let check) = key.options.kind else { return .passed }
    guard send(&pool) else { return .failed(.closed) }
    return receive(check, &head, &pool)
  }

  /// False where the connection has failed.
  private func send(_ pool: inout BufferPool) -> Bool {
    if hasSent { return wire.flush(&pool) || !wire.hasFailed }
    hasSent = true
    return request.withByteView { wire.send($0, .empty, &pool) }
  }

  private func receive(
    _ check: HTTPCheck, _ head: inout ResponseHead, _ pool: inout BufferPool
  ) -> Result {
    while true {
      let result = wire.receive(&pool)
      let view = wire.input.view
      octets += (0..<view.count).map { view[$0] }
      wire.input.detach(&pool)
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
  func finish(_ pool: inout BufferPool) {
    if descriptor >= 0 { wire.close(&pool) }
    wire = HealthProbe.noWire
    phase = .waiting
    octets = []
  }
}
