import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// TLS on the client side: the handshake before the first head, and what later depends on it.
extension Worker {
  /// The client sent its part of a handshake, or the first of it.
  func downstreamHandshake(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    if connection.pointee.wire.hasFailed { return handshakeFailed(handle, .closed) }
    // Memory for TLS is taken when octets have arrived: connections that only wait cost none.
    if !connection.pointee.wire.isSealed {
      guard connection.pointee.wire.mayRead else { return }
      guard let tls = listenerOptions(connection).pointee.tls, connection.pointee.wire.beginTLS(tls)
      else { return handshakeFailed(handle, .exhausted) }
      becameBusy(connection)
    }
    switch connection.pointee.wire.handshake(&pool) {
    case .waits: break
    case .failed(.plainHTTP): answerPlainHTTP(handle, connection)
    case .failed(let failure): handshakeFailed(handle, failure)
    case .complete: handshakeComplete(handle, connection)
    }
  }

  private func handshakeComplete(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let wasResumed = connection.pointee.wire.tls?.wasResumed ?? false
    metrics.add(wasResumed ? .handshakesResumed : .handshakesFull)
    if connection.pointee.wire.tls?.negotiatedProtocol == .http2 {
      return beginSession(handle, connection)
    }
    connection.pointee.state = .readingHead
    becameIdle(handle, connection)
    // A drain does not wait for who only shook hands.
    let wait =
      isDraining ? TimeAmount.seconds(1) : listenerOptions(connection).pointee.headerTimeout
    setIdleDeadline(handle, connection, now + wait)
    // The first request often comes in the same segment as the end of the handshake.
    readHeads(handle, connection)
  }

  private func handshakeFailed(_ handle: Handle, _ failure: HandshakeFailure) {
    if case .certificate = failure {
      metrics.add(.handshakesRefused)
    } else {
      metrics.add(.handshakesFailed)
    }
    closeDownstream(handle)
  }

  /// Somebody wrote `http://` before this port: told so in the only language they speak.
  private func answerPlainHTTP(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    metrics.add(.handshakesFailed)
    connection.pointee.wire.abandonTLS(&pool)
    refuse(handle, connection, HeadFault(400, "this port speaks TLS"))
  }

  // MARK: What follows from it

  /// The connection itself, or the one that a stream belongs to.
  @inline(__always)
  func carrier(
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> UnsafeMutablePointer<DownstreamConnection> {
    connection.pointee.parent != .none ? downstreams[connection.pointee.parent] : connection
  }

  /// The client's octets came over TLS.
  @inline(__always)
  func isSecure(_ connection: UnsafeMutablePointer<DownstreamConnection>) -> Bool {
    carrier(connection).pointee.wire.isSealed || connection.pointee.fetch.isSecure
  }

  /// The line that keeps browsers on HTTPS (RFC 6797 §7.2: never over plain HTTP).
  @inline(__always)
  func transportSecurity(_ connection: UnsafeMutablePointer<DownstreamConnection>) -> ByteView {
    isSecure(connection)
      ? listenerOptions(connection).pointee.transportSecurity.view : .empty
  }

  /// Calls with the header lines about the client's certificate; mostly there are none.
  @inline(__always)
  func withClientCertificate(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ body: (ByteView) -> Void
  ) {
    guard let tls = carrier(connection).pointee.wire.tls else { return body(.empty) }
    tls.withClientIdentity(body)
  }

  private var isCertificateChallenge: Bool {
    let folder = ByteView("/.well-known/acme-challenge/")
    let path = requestHead.path
    return path.count > folder.count && path.slice(0, folder.count).equals(folder)
  }

  /// True where the request has been answered with a redirect to HTTPS.
  ///
  /// Not redirected: the challenges by which certificates are renewed, whose asker may not have a
  /// certificate to trust yet (RFC 8555 §8.3); and what came to a trusted proxy over TLS.
  @inline(__always)
  func redirectsToHTTPS(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> Bool {
    guard listenerOptions(connection).pointee.redirectsToHTTPS else { return false }
    return redirectToHTTPS(handle, exchange, connection)
  }

  private func redirectToHTTPS(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> Bool {
    guard let redirect = listenerOptions(connection).pointee.redirectToHTTPS,
      !isSecure(connection), !isCertificateChallenge
    else { return false }
    if currentSnapshot.isTrusted(connection.pointee.address),
      let scheme = requestHead.first(.xForwardedProto), scheme.equalsLowercased("https")
    {
      return false
    }
    guard !requestHead.host.isEmpty else {
      answer(handle, .requestMalformed)
      return true
    }
    exchange.pointee.status = Int32(redirect.status)
    let nothing = CompiledEdits([])
    answer(handle) { sink, context in
      LocalResponse.append(
        redirect: redirect, of: self.requestHead, edits: nothing, to: &sink,
        context: context)
    }
    return true
  }
}
