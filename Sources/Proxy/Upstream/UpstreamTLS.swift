import Primitives
import Resilience
import Telemetry
import Transport

/// TLS towards backends: the handshake between connect and request, and the sessions that make
/// the next one cheap.
extension Worker {
  /// The connection is there; nothing of the request is sent before the backend has proven who it
  /// is.
  func beginUpstreamTLS(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>
  ) {
    let exchange = exchanges[asking(connection)]
    guard let tls = route(exchange).pointee.upstream?.pointee.tls else {
      preconditionFailure("a secured connection of a plain upstream")
    }
    let backend = Int(connection.pointee.backend)
    var address: IPAddress?
    if case .ip(let ip, _) = backends[backend].state.endpoint.address { address = ip }
    let session = usableSession(backend, connection.pointee.security)
    let name = backends[backend].state.serverName
    guard
      connection.pointee.wire.beginTLS(tls, name: name, address: address, session: session)
    else { return connectionFailed(handle, connection, .exhausted) }
    connection.pointee.state = .handshaking
    if connection.pointee.isCarrier {
      postponeStreams(connection, until: now + tls.options.handshakeTimeout)
    }
    setDeadline(handle, connection, now + tls.options.handshakeTimeout)
    upstreamHandshake(handle, connection)
  }

  /// Goes on with the handshake; the request follows at once when it is complete.
  func upstreamHandshake(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>
  ) {
    if connection.pointee.wire.hasFailed {
      return upstreamHandshakeFailed(handle, connection, .closed)
    }
    switch connection.pointee.wire.handshake(&pool) {
    case .waits: break
    case .failed(let failure): upstreamHandshakeFailed(handle, connection, failure)
    case .complete:
      if connection.pointee.isCarrier,
        connection.pointee.wire.tls?.negotiatedProtocol != .http2
      {
        return upstreamHandshakeFailed(handle, connection, .noHTTP2)
      }
      connectionMade(handle, connection)
    }
  }

  private func upstreamHandshakeFailed(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>,
    _ failure: HandshakeFailure
  ) {
    reportHandshake(Int(connection.pointee.backend), failure)
    switch failure {
    case .certificate: connectionFailed(handle, connection, .certificateRefused)
    case .exhausted: connectionFailed(handle, connection, .exhausted)
    case .protocolError, .plainHTTP, .closed, .noHTTP2:
      connectionFailed(handle, connection, .handshakeFailed)
    }
  }

  /// How often one worker says that a backend's handshakes fail: the first time, and then now and
  /// then, with every request counted in the metrics.
  private static let reportInterval = TimeAmount.seconds(10)

  private func reportHandshake(_ backend: Int, _ failure: HandshakeFailure) {
    guard backends[backend].handshakeReportDue <= now else { return }
    backends[backend].handshakeReportDue = now + Worker.reportInterval
    let state = backends[backend].state
    shared.watch.post(
      .changed(
        BackendChange(
          upstream: state.upstreamName, backend: backend, kind: .handshakeFailed(failure),
          at: now)))
  }

  // MARK: Sessions

  private func usableSession(_ backend: Int, _ security: Int32) -> TLSSession? {
    guard let session = backends[backend].session,
      backends[backend].sessionSecurity == security, session.isUsable(wallSeconds: wallSeconds)
    else { return nil }
    return session
  }

  /// Keeps what the backend gave for the next connection to it.
  @inline(__always)
  func takeSession(_ connection: UnsafeMutablePointer<UpstreamConnection>) {
    if let tls = connection.pointee.wire.tls { keepSession(tls, connection) }
  }

  @inline(never)
  private func keepSession(
    _ tls: TLSChannel, _ connection: UnsafeMutablePointer<UpstreamConnection>
  ) {
    guard let session = tls.takeSession() else { return }
    let backend = Int(connection.pointee.backend)
    backends[backend].session = session
    backends[backend].sessionSecurity = connection.pointee.security
  }
}
