import HTTP
import HTTP2
import Primitives
import Resilience
import Transport

/// One backend's health check as the watch thread runs it, for all upstreams that ask the same of
/// the same address.
///
///     waiting ──timer──► connecting ──writable──► exchanging ──answer, end, timer──► waiting
///       │                     └──► handshaking (TLS) ──┘  ▲
///       └──timer, on the connection of the last check────┘
///
/// A check goes over a new connection unless all is well and the last one's can serve again: then
/// every `checksOfConnection`th does, and whatever casts doubt on the backend makes the next one
/// new (docs/decisions/0708-checks-keep-connections.md). New ones are made under the same rules of
/// TLS as those of traffic, without a session, so that the certificate is looked at, and in the
/// same protocol. The socket may be that of the last check, without its connection: making one,
/// telling the poller and closing it costs a fifth of a check.
final class HealthProbe {
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
    /// Nothing was learnt: the kept connection had ended. To be asked on a new one.
    case again
  }

  /// What is left of a check for the next one.
  enum Leftover { case nothing, socket, connection }

  /// One in four is new, so that a backend which serves those it has and accepts no more is found
  /// out three intervals later than by new ones alone, at less than half the cost.
  static let checksOfConnection = 4
  /// Beyond this an idle connection saves little, and the backend or a firewall forgets it.
  private static let longestRest = TimeAmount.seconds(10)

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
  var wire = HealthProbe.noWire
  private var phase = Phase.waiting
  private let endpoint: Endpoint
  let request: [UInt8]
  /// The same where the connection is to serve further checks; empty: it never is.
  private let keptRequest: [UInt8]
  /// Checks on this connection, the one under way included.
  private var served = 0
  /// The answer left the connection as it was.
  private var isReusable = false
  /// A request could not connect while this check was under way.
  var isDoubted = false
  /// Of a call of gRPC: the message behind `request`.
  let message: [UInt8]
  private var hasSent = false
  var octets: [UInt8] = []
  /// Of a check in HTTP/2, and whether its stream has ended.
  var session: Session?
  var intake: Intake?
  var hasEnded = false
  /// Of a call of gRPC.
  var answer = GRPCAnswer()
  var sentOfMessage = 0

  private static var noWire: Wire { Wire(descriptor: -1) }

  init(_ key: Key, isUp: Bool) {
    self.key = key
    tracker = HealthTracker(key.options, isUp: isUp)
    endpoint = Endpoint(key.address)
    switch key.options.kind {
    case .tcp: (request, keptRequest, message) = ([], [], [])
    case .http(let check):
      func request(closes: Bool) -> [UInt8] {
        CheckAnswer.request(check, authority: key.authority, closes: closes)
      }
      self.request = request(closes: true)
      keptRequest = HealthProbe.mayKeep(key, check) ? request(closes: false) : []
      message = []
    case .grpc(let check):
      request = GRPCAnswer.request(
        check, authority: key.authority, timeout: key.options.timeout)
      keptRequest = []
      message = GRPCAnswer.message(service: check.service)
    }
  }

  /// A request that may be repeated, because a kept connection may end before it is answered.
  private static func mayKeep(_ key: Key, _ check: HTTPCheck) -> Bool {
    key.options.reusesConnections && !key.http2 && key.proxyProtocol == nil
      && key.options.interval <= longestRest && ["GET", "HEAD", "OPTIONS"].contains(check.method)
  }

  var isWaiting: Bool { phase == .waiting }

  /// Between two checks: a connection is kept for the next one.
  var keepsConnection: Bool { isWaiting && descriptor >= 0 }

  /// The check under way goes over the connection of the last one.
  var isKept: Bool { served > 1 }

  /// Between two checks: a socket is open.
  var holdsSocket: Bool { spare >= 0 || keepsConnection }

  /// This check left a connection that can serve the next one.
  var leavesConnection: Bool { isReusable && !isLast && !isDoubted }

  /// The request of this check says that none follows it on its connection.
  private var isLast: Bool { keptRequest.isEmpty || served >= HealthProbe.checksOfConnection }

  /// Plain connections send at most one flight of octets, in one call.
  private var sends: Endpoint.Sends {
    guard key.tls == nil, !key.http2, key.proxyProtocol == nil else { return .often }
    return key.options.kind == .tcp ? .nothing : .once
  }

  /// Whether anybody wants the backend's health looked at.
  var isWatched: Bool {
    subscribers.indices.contains { index in
      let subscriber = subscribers[index]
      return subscriber.state.isWatched(subscriber.backend, near: &subscribers[index].slot)
    }
  }

  /// Begins a check. `.pending`: `descriptor` is to be watched, and where it was before, `advance`
  /// called at once.
  func start(now: MonotonicTime) -> Result {
    startedAt = now
    hasSent = false
    isReusable = false
    isDoubted = false
    octets = []
    served += 1
    if descriptor >= 0 {
      phase = .exchanging
      return .pending
    }
    let opened = endpoint.connect(sends: sends, spare: spare)
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
    let result = send(&pool) ? receive(check, &head, &pool) : .failed(.closed)
    return isKept && !isAnswer(result) ? .again : result
  }

  /// Whether this is what a kept connection's backend has to say to the request. It may have ended
  /// the connection before it knew of it, and said so (RFC 9110 §15.5.9), or sent octets too many
  /// after the last answer, which cross with the request.
  private func isAnswer(_ result: Result) -> Bool {
    switch result {
    case .failed(.closed): !octets.isEmpty
    case .failed(.status(408)), .failed(.malformed): false
    default: true
    }
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
    return (isLast ? request : keptRequest).withByteView { wire.send($0, .empty, &pool) }
  }

  private func receive(
    _ check: HTTPCheck, _ head: inout ResponseHead, _ pool: inout BufferPool
  ) -> Result {
    while true {
      let result = wire.receive(&pool)
      defer { wire.input.detach(&pool) }
      if case .failed = result { return .failed(.closed) }
      if result == .wouldBlock { return .pending }
      let finding = judge(wire.input.view, isOver: result == .ended, check, &head)
      // What is left to read is told by no event: the end, or what nobody asked for.
      isReusable = finding.leavesConnection && !wire.mayRead && !wire.peerClosed
      switch finding.verdict {
      case .needsMore: continue
      case .passed: return .passed
      case .failed(let failure): return .failed(failure)
      }
    }
  }

  /// Keeps what has come where the answer takes more than one piece.
  private func judge(
    _ piece: ByteView, isOver: Bool, _ check: HTTPCheck, _ head: inout ResponseHead
  ) -> CheckAnswer.Finding {
    if octets.isEmpty, !isOver {
      let finding = CheckAnswer.judge(piece, hasEnded: false, check, &head)
      guard finding.verdict == .needsMore else { return finding }
    }
    octets += piece.array
    let hasEnded = isOver || octets.count >= CheckAnswer.maxBytes
    return octets.withByteView { CheckAnswer.judge($0, hasEnded: hasEnded, check, &head) }
  }

  /// Between two checks, and the kept connection has news. False where that is its end, or
  /// something nobody asked for.
  func isStillGood(_ readiness: Readiness, _ pool: inout BufferPool) -> Bool {
    wire.note(readiness)
    let result = wire.receive(&pool)
    wire.input.detach(&pool)
    return result == .wouldBlock && !wire.hasFailed
  }

  /// The check is over, however it ended. Where nothing more is wanted of the connection it is
  /// reset, which spares both sides the exchange of an orderly end, and a port that waits for a
  /// minute. TLS says goodbye first, for the sake of the backend's log. `leaving`: for the next
  /// check, as far as it can be had.
  func finish(_ pool: inout BufferPool, leaving leftover: Leftover = .nothing) {
    phase = .waiting
    octets = []
    (session, intake) = (nil, nil)
    hasEnded = false
    answer = GRPCAnswer()
    sentOfMessage = 0
    guard leftover != .connection else { return }
    if leftover == .socket, sends != .often, descriptor >= 0, SocketCalls.disconnect(descriptor) {
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
    served = 0
  }
}
