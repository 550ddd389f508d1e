import CLinux
import Glibc
import Primitives

/// The encrypted half of `Wire`: the same calls with the same meaning, where `input` holds content
/// and `output` holds ciphertext.
extension Wire {
  /// A peer that makes us answer without reading the answers (key updates) is cut at this.
  private static let unreadLimit = 64 * 1024

  /// Encrypted, or about to be.
  @inlinable public var isSealed: Bool { tls != nil }

  /// Received and not yet opened: more than the socket knows of.
  public var hasUnopenedInput: Bool { tls?.hasInput ?? false }

  /// Begins as the server of a handshake. False without memory.
  public mutating func beginTLS(_ context: TLSServerContext) -> Bool {
    tls = TLSChannel(server: context)
    return tls != nil
  }

  /// Begins as the client of a handshake. `name`: who is asked for where the context names nobody.
  public mutating func beginTLS(
    _ context: TLSClientContext, name: String? = nil, address: IPAddress?, session: TLSSession?
  ) -> Bool {
    tls = TLSChannel(client: context, name: name, address: address, session: session?.pointer)
    return tls != nil
  }

  /// Goes on with the handshake as far as what has arrived allows, one `recv` for each flight.
  public mutating func handshake(_ pool: inout BufferPool) -> HandshakeProgress {
    guard let tls else { return .failed(.closed) }
    while true {
      let progress = tls.advance(&output, &pool)
      // A failure's alert is worth a try; it changes nothing if it does not get through.
      let isSent = flush(&pool)
      if case .failed = progress { return progress }
      if !isSent, hasFailed { return .failed(.closed) }
      if progress == .complete {
        if tls.hasInput { mayRead = true }
        return .complete
      }
      switch receiveCiphertext(&pool) {
      case .octets: continue
      case .wouldBlock: return .waits
      case .ended, .failed: return .failed(.closed)
      }
    }
  }

  /// One `recv` into the channel's block. A short read means drained, as for plain wires.
  private mutating func receiveCiphertext(_ pool: inout BufferPool) -> ReceiveResult {
    guard let tls, mayRead else { return .wouldBlock }
    guard tls.state.pointee.ciphertext.attach(&pool) else { return .failed(ENOBUFS) }
    let room = tls.state.pointee.ciphertext.room
    let result = SocketCalls.receive(
      descriptor, tls.state.pointee.ciphertext.writePointer, room)
    switch result {
    case .octets(let count):
      tls.state.pointee.ciphertext.didReceive(count)
      if count < room, !peerClosed { mayRead = false }
    case .wouldBlock:
      mayRead = false
      tls.state.pointee.ciphertext.detachIfEmpty(&pool)
    case .ended, .failed: tls.state.pointee.ciphertext.detachIfEmpty(&pool)
    }
    return result
  }

  /// `receive` of an encrypted wire. An end without close_notify is a failure: whoever cut the
  /// connection may have cut the message (RFC 8446 §6.1).
  mutating func receiveSealed(_ pool: inout BufferPool) -> ReceiveResult {
    guard let tls, mayRead else { return .wouldBlock }
    if hasEnded { return .ended }
    guard input.attach(&pool) else { return .failed(ENOBUFS) }
    if input.room < BufferPool.blockBytes / 4 { input.moveToFront() }
    let before = input.count
    guard input.room > 0 else { return .failed(ENOBUFS) }
    while true {
      if tls.hasInput {
        let opened = tls.open(into: &input, &output, &pool)
        if !output.isEmpty { _ = flush(&pool) }
        if tls.peerSaidGoodbye {
          hasEnded = true
          peerClosed = true
        }
        if output.count > Wire.unreadLimit { hasFailed = true }
        switch opened {
        case .octets:
          // What is left inside is announced by no event.
          if tls.hasInput || hasEnded { mayRead = true }
          return .octets(input.count - before)
        case .closed: return .ended
        case .failed:
          hasFailed = true
          return .failed(EPROTO)
        case .drained: if hasFailed { return .failed(EPROTO) }
        }
      }
      switch receiveCiphertext(&pool) {
      case .octets: continue
      case .wouldBlock: return .wouldBlock
      case .ended, .failed:
        hasFailed = true
        return .failed(ECONNRESET)
      }
    }
  }

  /// `send` of an encrypted wire: sealed into whole records and sent at once, in one call where the
  /// ciphertext fits a block.
  mutating func sendSealed(
    _ first: ByteView, _ second: ByteView, _ pool: inout BufferPool
  ) -> Bool {
    guard let tls, tls.seal(first, second, &output, &pool) else { return false }
    return flush(&pool) || !hasFailed
  }

  /// What `TLSChannel.rest` says; true for a wire that has nothing to rest.
  public func rest() -> Bool { tls?.rest() ?? true }

  /// Our last octet in this direction: said in TLS, where there is any, and then to the socket.
  public mutating func closeSending(_ pool: inout BufferPool) {
    if let tls {
      tls.sayGoodbye(&output, &pool)
      _ = flush(&pool)
    }
    SocketCalls.closeSending(descriptor)
  }

  /// An orderly end; the peer of an encrypted wire hears that nothing was cut off.
  public mutating func close(_ pool: inout BufferPool) {
    if let tls, output.isEmpty, !hasFailed {
      tls.sayGoodbye(&output, &pool)
      _ = flush(&pool)
    }
    releaseBuffers(&pool)
    SocketCalls.close(descriptor)
  }

  /// The peer is to know that what it got is not complete: a reset, and no close_notify.
  public mutating func reset(_ pool: inout BufferPool) {
    releaseBuffers(&pool)
    SocketCalls.reset(descriptor)
  }

  /// Back to plain octets: for the answer to a client that never began TLS.
  public mutating func abandonTLS(_ pool: inout BufferPool) {
    tls?.free(&pool)
    tls = nil
    output.removeAll(&pool)
  }
}
