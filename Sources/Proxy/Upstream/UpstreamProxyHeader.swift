import Primitives
import Transport

/// The PROXY protocol towards backends: who the client is, before the first octet of anything else.
extension Worker {
  /// A connection that begins with a client's address is that client's: it is never pooled, and
  /// carries one request. False where the new socket did not take the header.
  func sendProxyHeader(
    _ connection: UnsafeMutablePointer<UpstreamConnection>, _ version: ProxyProtocolHeader.Version
  ) -> Bool {
    let client = downstreams[exchanges[connection.pointee.exchange].pointee.downstream]
    var header = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    var source: ProxyProtocolHeader.Client?
    var target: ProxyProtocolHeader.Client?
    // What the cache fetches is for many clients.
    if client.pointee.fetch.fill == nil,
      let own = SocketCalls.localAddress(carrier(client).pointee.wire.descriptor)
    {
      source = .init(address: client.pointee.address, port: client.pointee.port)
      target = .init(address: own.address, port: own.port)
    }
    ProxyProtocolHeader.write(version, client: source, server: target, to: &header)
    let descriptor = connection.pointee.wire.descriptor
    return SocketCalls.send(descriptor, header.view) == .octets(header.count)
  }
}
