import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// Tunnels: what follows a request to upgrade that was granted, between clients and backends of
/// either protocol. HTTP/1 asks by `Upgrade` and grants by 101; HTTP/2 asks by an extended CONNECT
/// and grants by any success (RFC 8441). Within weir the request is HTTP/1's.
extension Worker {
  private static let keyRoom = 64

  /// Whether the head in `responseHead` is one that would open a tunnel, asked for or not.
  @inline(never)
  func opensTunnel(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>
  ) -> Bool {
    if responseHead.status == 101 { return true }
    guard exchange.pointee.asksUpgrade, responseHead.status / 100 == 2 else { return false }
    // To a client that asked by CONNECT no other success can be told.
    return upstream.pointee.wire.isStream
      || downstreams[exchange.pointee.downstream].pointee.isTunnel
  }

  /// Such a head, of `length` octets. False where the attempt has failed.
  @inline(never)
  func openTunnel(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>, _ length: Int, _ sink: inout ByteSink
  ) -> Bool {
    guard switchProtocols(handle, exchange, upstream, &sink) else { return false }
    upstream.pointee.wire.input.consume(length)
    return true
  }

  /// Rule 17: octets go through as they are only where that was asked for and granted. False where
  /// it was not, and the attempt has failed.
  private func switchProtocols(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>, _ sink: inout ByteSink
  ) -> Bool {
    let client = downstreams[exchange.pointee.downstream]
    if exchange.pointee.asksUpgrade { restoreHead(handle, exchange, client) }
    guard isGranted(exchange, client, upstream) else {
      exchange.pointee.receivedStatus = Int32(responseHead.status)
      attemptFailed(handle, exchange, .upgradeFailed)
      return false
    }
    metrics.add(.tunnels)
    let route = route(exchange)
    if client.pointee.isTunnel {
      tunnelOpened(client)
      HeaderRewrite.appendTunnel(responseHead, to: &sink, edits: route.pointee.responseEdits)
    } else {
      HeaderRewrite.appendSwitchingProtocols(
        responseHead, to: &sink, edits: route.pointee.responseEdits,
        wanted: upstream.pointee.wire.isStream ? requestHead.first(.upgrade) : nil,
        key: upstream.pointee.wire.isStream ? requestHead.first(.secWebsocketKey) : nil)
    }
    exchange.pointee.firstOctetAt = now
    exchange.pointee.status = client.pointee.isTunnel ? 200 : 101
    exchange.pointee.phase = .tunnel
    exchange.pointee.hasAnswered = true
    exchange.pointee.keepsClient = false
    exchange.pointee.spoilsUpstream = true
    exchange.pointee.request = .tunnel
    exchange.pointee.response = .tunnel
    judgeProbe(exchange)
    // Octets that the client sent behind its request are the tunnel's first.
    queue(exchange.pointee.downstream, client)
    return true
  }

  private func isGranted(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>
  ) -> Bool {
    guard exchange.pointee.asksUpgrade else { return false }
    if upstream.pointee.wire.isStream { return responseHead.status / 100 == 2 }
    guard responseHead.status == 101, let granted = responseHead.first(.upgrade) else {
      return false
    }
    // Who sent the request looks at the answer to it; of a CONNECT weir has to.
    guard client.pointee.isTunnel else { return true }
    guard let wanted = requestHead.first(.upgrade), granted.equalsIgnoringCase(wanted) else {
      return false
    }
    guard wanted.equalsLowercased("websocket") else { return true }
    var expected = ByteSink(
      base: scratch + Worker.scratchBytes - 2 * Worker.keyRoom, capacity: 2 * Worker.keyRoom)
    WebSocketKey.append(exchange.pointee.requestID, to: &expected)
    let keyBytes = expected.count
    WebSocketKey.appendAccept(of: expected.view, to: &expected)
    let index = responseHead.fields.firstIndex(
      named: ByteView("sec-websocket-accept"), in: responseHead.bytes)
    guard let index else { return false }
    return responseHead.value(index).equals(expected.view.slice(from: keyBytes))
  }

  // MARK: Moving

  /// One direction of a tunnel came to a stop for now or for good.
  func tunnelMoved(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ outcome: RelayOutcome
  ) {
    let client = downstreams[exchange.pointee.downstream]
    let upstream = upstreams[exchange.pointee.upstream]
    switch outcome {
    case .yields:
      queue(exchange.pointee.downstream, client)
      queue(exchange.pointee.upstream, upstream)
    case .sourceEnded, .sinkFailed, .malformed, .overLimit, .exhausted:
      return endTunnel(handle, exchange)
    case .needsSource, .needsSink, .complete: break
    }
    // A direction that has ended is closed behind its last octet; the other goes on.
    if exchange.pointee.request.isComplete { endSending(upstream.pointer(to: \.wire)!) }
    if exchange.pointee.response.isComplete { endSending(client.pointer(to: \.wire)!) }
    if upstream.pointee.wire.isStream, client.pointee.wire.output.isEmpty || outcome == .complete {
      streamMoved(upstream)
    }
    if client.pointee.wire.isStream { streamMoved(client) }
    if exchange.pointee.request.isComplete, exchange.pointee.response.isComplete,
      upstream.pointee.wire.flush(&pool), client.pointee.wire.flush(&pool)
    {
      return endTunnel(handle, exchange)
    }
    releaseEmpty(client.pointer(to: \.wire)!)
    releaseEmpty(upstream.pointer(to: \.wire)!)
    client.pointee.deadline = exchange.pointee.totalDeadline
    setDeadline(exchange.pointee.upstream, upstream, now + route(exchange).pointee.tunnelTimeout)
  }

  private func endSending(_ wire: UnsafeMutablePointer<Wire>) {
    if wire.pointee.isStream {
      wire.pointee.outputEnds = true
    } else if wire.pointee.output.isEmpty {
      wire.pointee.closeSending(&pool)
    }
  }

  private func endTunnel(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    let client = downstreams[exchange.pointee.downstream]
    let isComplete = exchange.pointee.request.isComplete && exchange.pointee.response.isComplete
    releaseUpstream(exchange, isReusable: isComplete)
    // A stream that ends by itself is one that was cut (RFC 8441 §5.1).
    if client.pointee.isTunnel, !isComplete { return abandon(handle, .tunnelCut) }
    finish(handle, exchange, client)
  }

  /// A quiet tunnel holds no block.
  private func releaseEmpty(_ wire: UnsafeMutablePointer<Wire>) {
    if wire.pointee.input.isEmpty, wire.pointee.input.pinnedView.isEmpty {
      wire.pointee.input.detach(&pool)
    }
  }
}
