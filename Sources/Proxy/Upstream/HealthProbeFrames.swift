import HTTP
import HTTP2
import Primitives
import Resilience
import Transport

/// Checks in HTTP/2: a request, or a call of gRPC, on a connection of its own.
extension HealthProbe: StreamSource {
  func exchangeFrames(
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
    return octets.withByteView { CheckAnswer.judge($0, hasEnded: isOver, check, &head) }.verdict
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

  func hasOnlyTrailers(of owner: UInt64) -> Bool { false }
  func readTrailers(of owner: UInt64, into sink: inout ByteSink) {}
}
