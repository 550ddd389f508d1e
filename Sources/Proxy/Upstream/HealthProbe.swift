import HTTP
import HTTP2
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
/// rules of TLS as traffic (without a session, so that the certificate is looked at each time), and
/// in the same protocol. The socket may be that of the last check, without its connection: making
/// one, telling the poller and closing it costs a fifth of a check.
final class HealthProbe: StreamSource {
  /// Equal keys share a probe.
  struct Key: Hashable {
    var address: SocketAddress
    var options: HealthCheckOptions
    /// For `Host`, where the check names none.
    var authority: String
    var tls: TLSClientContext?
    /// `BackendOptions.serverName`
    var serverName: String?
    var http2 = false
    /// Checks speak for weir itself.
    var proxyProtocol: ProxyProtocolHeader.Version?
  }

  struct Subscriber {
    let state: UpstreamState
    /// `BackendState.id`
    let backend: Int
    let tally: BackendTally
    /// Where the upstream's slot of it was last time; a guess, so that a thousand checks need not
    /// search a thousand slots each.
    var slot: Int
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
  /// A socket without a connection, for the next check; -1: there is none.
  private(set) var spare: Int32 = -1
  /// The poller knows the socket, under the generation of its seat.
  var isRegistered = false
  private var wire = HealthProbe.noWire
  private var phase = Phase.waiting
  private let endpoint: Endpoint
  private let request: [UInt8]
  /// Of a call of gRPC: the message behind `request`.
  private let message: [UInt8]
  private var hasSent = false
  private var octets: [UInt8] = []
  /// Of a check in HTTP/2, and whether its stream has ended.
  private var session: Session?
  private var intake: Intake?
  private var hasEnded = false
  /// Of a call of gRPC.
  private var answer = GRPCAnswer()
  private var sentOfMessage = 0

  private static var noWire: Wire { Wire(descriptor: -1) }

  init(_ key: Key, isUp: Bool) {
    self.key = key
    tracker = HealthTracker(key.options, isUp: isUp)
    endpoint = Endpoint(key.address)
    switch key.options.kind {
    case .tcp: (request, message) = ([], [])
    case .http(let check):
      (request, message) = (CheckAnswer.request(check, authority: key.authority), [])
    case .grpc(let check):
      request = GRPCAnswer.request(
        check, authority: key.authority, timeout: key.options.timeout)
      message = GRPCAnswer.message(service: check.service)
    }
  }

  var isWaiting: Bool { phase == .waiting }

  /// At most one flight of octets goes out, in one call.
  private var sendsOnce: Bool { key.tls == nil && !key.http2 && key.proxyProtocol == nil }

  /// Whether anybody wants the backend's health looked at.
  var isWatched: Bool {
    subscribers.indices.contains { index in
      let subscriber = subscribers[index]
      return subscriber.state.isWatched(subscriber.backend, near: &subscribers[index].slot)
    }
  }

  /// Begins a check. `.pending`: `descriptor` is to be watched.
  func start(now: MonotonicTime) -> Result {
    startedAt = now
    hasSent = false
    octets = []
    let opened = endpoint.connect(sendsOnce: sendsOnce, spare: spare)
    spare = -1
    guard opened >= 0 else {
      isRegistered = false
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
      guard !wire.hasFailed else {
        let error = SocketCalls.pendingError(descriptor)
        return .failed(error == SocketCalls.refused ? .refused : .unreachable)
      }
      guard readiness.contains(.writable) else { return .pending }
      phase = .exchanging
      if let version = key.proxyProtocol, !sendProxyHeader(version) { return .failed(.closed) }
      if let tls = key.tls {
        var address: IPAddress?
        if case .ip(let ip, _) = key.address { address = ip }
        guard wire.beginTLS(tls, name: key.serverName, address: address, session: nil) else {
          return .unknown
        }
        phase = .handshaking
      }
    }
    if phase == .handshaking {
      switch wire.handshake(&pool) {
      case .complete:
        if key.http2, wire.tls?.negotiatedProtocol != .http2 {
          return .failed(.handshake(HandshakeFailure.noHTTP2.text))
        }
        phase = .exchanging
      case .waits: return .pending
      case .failed(.exhausted): return .unknown
      case .failed(.closed): return .failed(.closed)
      case .failed(let failure): return .failed(.handshake(failure.text))
      }
    }
    if case .tcp = key.options.kind { return .passed }
    if key.http2 { return exchangeFrames(&head, &pool) }
    guard case .http(let check) = key.options.kind else { return .failed(.notGRPC) }
    guard send(&pool) else { return .failed(.closed) }
    return receive(check, &head, &pool)
  }

  private func sendProxyHeader(_ version: ProxyProtocolHeader.Version) -> Bool {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 256) { space in
      guard let base = space.baseAddress else { return false }
      var header = ByteSink(base: base, capacity: space.count)
      ProxyProtocolHeader.write(version, client: nil, server: nil, to: &header)
      return SocketCalls.send(descriptor, header.view) == .octets(header.count)
    }
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
      octets += view.array
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

  // MARK: HTTP/2

  private func exchangeFrames(
    _ head: inout ResponseHead, _ pool: inout BufferPool
  ) -> Result {
    guard let session = session ?? beginSession() else { return .unknown }
    while true {
      guard sendFrames(session, &pool) else { return .failed(.closed) }
      // What came is no HTTP/2, and nothing more of it would be looked at.
      if session.isOver { return .failed(message.isEmpty ? .malformed : .notGRPC) }
      let result = wire.receive(&pool)
      switch result {
      case .octets: break
      case .wouldBlock: return .pending
      case .ended, .failed: return .failed(.closed)
      }
      let isSound = session.receive(wire.input.view, now: startedAt)
      let verdict = judgeFrames(wire.input.view, isSound, &head)
      wire.input.detach(&pool)
      switch verdict {
      case .needsMore: continue
      case .passed: return .passed
      case .failed(let failure): return .failed(failure)
      }
    }
  }

  private func beginSession() -> Session? {
    let intake = Intake()
    guard
      let made = Session(
        role: .client, intake: intake, source: self, limits: HeadLimits(), now: startedAt)
    else { return nil }
    (self.intake, session) = (intake, made)
    var copy = request
    let stream = copy.withUnsafeMutableBufferPointer {
      made.submitRequest(
        head: ByteView(UnsafeBufferPointer($0)), isSecure: key.tls != nil, owner: 1,
        endsStream: message.isEmpty)
    }
    return stream == nil ? nil : made
  }

  /// False where the connection has failed.
  private func sendFrames(_ session: Session, _ pool: inout BufferPool) -> Bool {
    while true {
      let frames = session.nextOctets()
      if frames.isEmpty { return wire.flush(&pool) || !wire.hasFailed }
      guard wire.send(frames, .empty, &pool) else { return false }
    }
  }

  private func judgeFrames(
    _ received: ByteView, _ isSound: Bool, _ head: inout ResponseHead
  ) -> CheckAnswer.Verdict {
    guard case .http(let check) = key.options.kind else {
      return judgeCall(received, isSound, &head)
    }
    guard take(received), isSound else { return .failed(.malformed) }
    let isOver = hasEnded || octets.count >= CheckAnswer.maxBytes
    return CheckAnswer.judge(octets, hasEnded: isOver, check, &head)
  }

  private func judgeCall(
    _ received: ByteView, _ isSound: Bool, _ head: inout ResponseHead
  ) -> CheckAnswer.Verdict {
    guard let intake, let session else { return .failed(.notGRPC) }
    for event in intake.events where event.owner == 1 {
      var verdict = CheckAnswer.Verdict.needsMore
      switch event.kind {
      case .responded:
        verdict = answer.responded(
          intake.head(event), endsStream: event.endsStream, &head)
      case .data:
        verdict = answer.received(received.slice(event.range))
        session.consumed(event.stream, event.range.count)
      case .trailers: verdict = answer.ended(intake.head(event), &head)
      case .ended, .malformed: verdict = .failed(.notGRPC)
      case .reset: verdict = .failed(.closed)
      default: break
      }
      if verdict != .needsMore { return verdict }
    }
    return isSound ? .needsMore : .failed(.notGRPC)
  }

  /// What the backend sent, as HTTP/1 would have it. False where its stream was cut.
  private func take(_ received: ByteView) -> Bool {
    guard let intake else { return false }
    for event in intake.events where event.owner == 1 {
      switch event.kind {
      case .responded: octets += intake.head(event).array
      case .data: octets += received.slice(event.range).array
      default: break
      }
      if event.kind == .ended || event.endsStream { hasEnded = true }
      if event.kind == .malformed || event.kind == .reset && !hasEnded { return false }
      if event.kind == .data { session?.consumed(event.stream, event.range.count) }
    }
    return true
  }

  func readContent(
    of owner: UInt64, into target: UnsafeMutablePointer<UInt8>, room: Int
  ) -> ContentPiece {
    let count = min(room, message.count - sentOfMessage)
    for index in 0..<count { target[index] = message[sentOfMessage + index] }
    sentOfMessage += count
    return ContentPiece(count: count, isLast: sentOfMessage == message.count)
  }

  func readTrailers(of owner: UInt64, into sink: inout ByteSink) {}

  /// The check is over, however it ended, and nothing more is wanted of the connection: a reset
  /// spares both sides the exchange of an orderly end, and a port that waits for a minute. TLS says
  /// goodbye first, for the sake of the backend's log. `keepsSocket`: for the next check, where it
  /// can be.
  func finish(_ pool: inout BufferPool, keepsSocket: Bool = false) {
    if keepsSocket, sendsOnce, SocketCalls.disconnect(descriptor) {
      wire.releaseBuffers(&pool)
      spare = descriptor
    } else {
      if spare >= 0 { SocketCalls.close(spare) }
      spare = -1
      isRegistered = false
      if descriptor >= 0 {
        if wire.isSealed { wire.close(&pool) } else { wire.reset(&pool) }
      }
    }
    wire = HealthProbe.noWire
    phase = .waiting
    octets = []
    (session, intake) = (nil, nil)
    hasEnded = false
    answer = GRPCAnswer()
    sentOfMessage = 0
  }
}
