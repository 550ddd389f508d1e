import Primitives
import Telemetry
import Transport

/// The PROXY protocol on the client side: who the client is, before its first octet.
extension Worker {
  /// The header is looked at where it lies and taken out of the socket exactly: what follows may
  /// be the beginning of a TLS handshake, which reads the socket itself.
  func readProxyHeader(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    guard !connection.pointee.wire.hasFailed else { return closeDownstream(handle) }
    guard connection.pointee.wire.mayRead else { return }
    let descriptor = connection.pointee.wire.descriptor
    switch SocketCalls.peek(descriptor, scratch, ProxyProtocolHeader.maxBytes) {
    case .wouldBlock: connection.pointee.wire.mayRead = false
    case .ended, .failed: closeDownstream(handle)
    case .octets(let count):
      switch ProxyProtocolHeader.read(ByteView(base: scratch, count: count)) {
      case .needsMore:
        // What lies there stays there: its end is not read but reported.
        guard !connection.pointee.wire.peerClosed else { return refuseProxy(handle) }
        connection.pointee.wire.mayRead = false
      case .malformed: refuseProxy(handle)
      case .complete(let length, let client):
        guard SocketCalls.receive(descriptor, scratch, length) == .octets(length) else {
          return closeDownstream(handle)
        }
        begin(handle, connection, client)
      }
    }
  }

  /// The connection is the client's from here on: its limits, its address in logs and fields.
  private func begin(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>,
    _ client: ProxyProtocolHeader.Client?
  ) {
    if let client {
      connection.pointee.address = client.address
      connection.pointee.port = client.port
      guard let isCounted = countClient(client.address) else {
        return closeDownstream(handle)
      }
      connection.pointee.isCounted = isCounted
    }
    expectHello(handle, connection)
    downstreamReady(handle, connection)
  }

  /// Who is no proxy of ours, or speaks no such header, gets no answer: none would be understood.
  func refuseProxy(_ handle: Handle) {
    metrics.add(.rejectedWithoutProxyHeader)
    closeDownstream(handle)
  }
}
