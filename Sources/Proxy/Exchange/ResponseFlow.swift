import HTTP
import HTTP1
import Primitives
import Telemetry
import Transport

/// The response on its way to the client: head, content, tunnels.
extension Worker {
  /// Rule 21.
  private static let maxInformational: UInt8 = 10

  /// Moves what there is of the response.
  func pumpResponse(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    var sink = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    if exchange.pointee.phase == .awaitingHead {
      let upstream = upstreams[exchange.pointee.upstream]
      guard readResponseHead(handle, exchange, upstream, &sink) else { return }
    }
    let client = downstreams[exchange.pointee.downstream]
    let upstream = upstreams[exchange.pointee.upstream]
    if client.pointee.wire.isStream, sink.count > 0 {
      let isLast = exchange.pointee.response.isComplete
      guard answerStream(client, &sink, isLast: isLast) else {
        return abandon(handle, .clientLeft)
      }
    }
    let outcome = relay.pump(
      from: upstream.pointer(to: \.wire)!, to: client.pointer(to: \.wire)!,
      content: &exchange.pointee.response, head: &sink, pool: &pool)
    if exchange.pointee.phase == .tunnel { return tunnelMoved(handle, exchange, outcome) }
    if client.pointee.wire.isStream, outcome != .complete { streamMoved(client) }
    if upstream.pointee.wire.isStream, outcome != .complete { responseMoved(upstream, client) }
    switch outcome {
    case .complete: responseComplete(handle, exchange, client)
    case .needsSource:
      // Whole blocks are given back as soon as they are empty: a slow backend costs no memory.
      if upstream.pointee.wire.input.isEmpty { upstream.pointee.wire.input.detach(&pool) }
      client.pointee.deadline = exchange.pointee.totalDeadline
      setDeadline(exchange.pointee.upstream, upstream, now + route(exchange).pointee.idleTimeout)
    case .needsSink:
      judgeUnreadProbe(exchange)
      // What waits is in the client's queue: no second block waits with it (rule 36).
      if upstream.pointee.wire.input.isEmpty { upstream.pointee.wire.input.detach(&pool) }
      upstream.pointee.deadline = .never
      // A fetch waits for the readers of what it brings, whose own time runs.
      guard client.pointee.fetch.fill == nil else { return }
      let options = listenerOptions(client)
      setDeadline(
        exchange.pointee.downstream, client,
        min(exchange.pointee.totalDeadline, now + options.pointee.sendTimeout))
    case .yields: queue(exchange.pointee.upstream, upstream)
    case .sourceEnded, .malformed:
      metrics.backend(Int(exchange.pointee.backend)).add(.incompleteResponses)
      let isMalformed = outcome == .malformed || upstream.pointee.fault == .malformed
      abandon(handle, isMalformed ? .responseMalformed : .responseCutShort)
    case .sinkFailed:
      metrics.add(.clientAborts)
      abandon(handle, .clientLeft)
    case .exhausted, .overLimit: abandon(handle, .exhausted)
    }
  }

  // MARK: The head

  /// True once the final head has been rendered into `sink` and content may follow; false where
  /// more must come first, or the exchange has taken another way.
  @inline(__always)
  private func readResponseHead(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ upstream: UnsafeMutablePointer<UpstreamConnection>, _ sink: inout ByteSink
  ) -> Bool {
    let rest: Rest = upstream.pointee.wire.peerClosed ? receiveRest(upstream) : .mayCome
    while true {
      let octets = upstream.pointee.wire.input.view
      let known = Int(upstream.pointee.knownOctets)
      if octets.count > known, HeadParser.mayHaveProgressed(octets, known: known) {
        let length: Int
        do throws(HeadFault) {
          length =
            upstream.pointee.wire.isStream
            ? try parseStreamHead(octets, isHead: exchange.pointee.isHead)
            : try parseHead(octets, exchange)
        } catch {
          attemptFailed(handle, exchange, .headMalformed)
          return false
        }
        if length > 0 {
          upstream.pointee.knownOctets = 0
          if exchange.pointee.asksUpgrade || responseHead.status == 101,
            opensTunnel(exchange, upstream)
          {
            return openTunnel(handle, exchange, upstream, length, &sink)
          }
          if responseHead.status >= 200 {
            if rest != .mayCome, isCutShort(rest, after: octets.count - length) {
              exchange.pointee.receivedStatus = Int32(responseHead.status)
              attemptFailed(handle, exchange, .responseCutShort)
              return false
            }
            guard respond(handle, exchange, &sink) else { return false }
            upstream.pointee.wire.input.consume(length)
            return true
          }
          // Where it fails there may be no backend connection any more, though the exchange lasts
          // until its client has taken the answer.
          guard informational(handle, exchange, &sink) else { return false }
          upstream.pointee.wire.input.consume(length)
          continue
        }
      }
      upstream.pointee.knownOctets = Int32(octets.count)
      switch upstream.pointee.wire.receive(&pool) {
      case .octets: continue
      case .wouldBlock:
        if upstream.pointee.wire.input.isEmpty { upstream.pointee.wire.input.detach(&pool) }
        return false
      case .ended, .failed:
        let isMalformed = upstream.pointee.fault == .malformed
        attemptFailed(
          handle, exchange,
          isMalformed ? .headMalformed : octets.isEmpty ? .backendClosed : .headCutShort)
        return false
      }
    }
  }

  /// Whether more octets come from a backend than those in the buffer.
  private enum Rest { case mayCome, ended, failed }

  /// The backend has closed its side: takes what there is of its last words, as far as they fit.
  @inline(never)
  private func receiveRest(_ upstream: UnsafeMutablePointer<UpstreamConnection>) -> Rest {
    while upstream.pointee.wire.input.room > 0 || upstream.pointee.wire.input.isEmpty {
      switch upstream.pointee.wire.receive(&pool) {
      case .octets: continue
      case .wouldBlock: return .mayCome
      case .ended: return .ended
      case .failed: return .failed
      }
    }
    return .mayCome
  }

  /// The content is known to be incomplete before the client has an octet of the response: then it
  /// gets another backend's, or an answer of weir's, instead of one that breaks off.
  @inline(never)
  private func isCutShort(_ rest: Rest, after count: Int) -> Bool {
    switch responseHead.framing {
    case .length(let length): count < length
    case .untilClose: rest == .failed
    case .none, .chunked: false
    }
  }

  @inline(__always)
  private func parseHead(
    _ octets: ByteView, _ exchange: UnsafeMutablePointer<Exchange>
  ) throws(HeadFault) -> Int {
    guard let plan = route(exchange).pointee.upstream else { preconditionFailure("no upstream") }
    return try HeadParser.parseResponse(
      octets, into: &responseHead, limits: plan.pointee.limits, isHead: exchange.pointee.isHead)
  }

  /// What HTTP/2 brought has passed the limits, and has more octets in this form.
  @inline(never)
  private func parseStreamHead(_ octets: ByteView, isHead: Bool) throws(HeadFault) -> Int {
    try HeadParser.parseResponse(
      octets, into: &responseHead, limits: Worker.acceptedLimits, isHead: isHead)
  }

  /// Renders the final head and decides how the client connection goes on. False where it does
  /// not fit, and the attempt has failed.
  @inline(__always)
  private func respond(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ sink: inout ByteSink
  ) -> Bool {
    if responseHead.status >= 500, retriesStatus(handle, exchange) { return false }
    if responseHead.status >= 502, fallsBackOnStatus(handle, exchange) { return false }
    let route = route(exchange)
    exchange.pointee.firstOctetAt = now
    exchange.pointee.status = Int32(responseHead.status)
    let earlier = exchange.pointee.failure
    // What an earlier attempt failed of is counted there; this one has an answer.
    exchange.pointee.failure = nil
    if !responseHead.wantsKeepAlive { exchange.pointee.spoilsUpstream = true }
    let client = downstreams[exchange.pointee.downstream]
    if client.pointee.fetch.fill != nil { return fetchResponded(handle, exchange) }
    if route.pointee.cachePlan != nil { invalidateStored(handle, exchange, client) }
    // Neither has chunks; HTTP/2 says the end in its own way.
    let isStream = client.pointee.wire.isStream
    let toHTTP10 = exchange.pointee.clientIsHTTP10
    let upstream = upstreams[exchange.pointee.upstream]
    let framing =
      upstream.pointee.wire.isStream
      ? streamFraming(upstream, toStream: isStream) : responseHead.framing
    let hasUnknownLength = framing == .chunked || framing == .untilClose
    let hasLength = responseHead.framing != .chunked && responseHead.framing != .untilClose
    if toHTTP10, hasUnknownLength { exchange.pointee.keepsClient = false }
    // Rule 27: content that the client still owes would be taken for its next request.
    if !exchange.pointee.request.isComplete || isDraining { exchange.pointee.keepsClient = false }
    exchange.pointee.response.frame(
      framing, sendsChunks: hasUnknownLength && !toHTTP10 && !isStream,
      passesTrailers: exchange.pointee.acceptsTrailers && route.pointee.trailers && !toHTTP10)
    HeaderRewrite.appendResponse(
      responseHead, to: &sink, edits: route.pointee.responseEdits,
      context: HeaderRewrite.ResponseContext(
        source: exchange.pointee.response.source, length: exchange.pointee.response.remaining,
        sendsChunks: exchange.pointee.response.sendsChunks,
        keepsLength: exchange.pointee.isHead || responseHead.status == 304
          || (hasLength && responseHead.status != 204),
        isEmpty: !hasLength && framing == .none && !isStream,
        closes: !exchange.pointee.keepsClient && !isStream, clientIsHTTP10: toHTTP10,
        transportSecurity: transportSecurity(client), date: dateText.view,
        cacheStatus: exchange.pointee.forwarded.isSet
          ? cacheStatusLine(exchange.pointee.forwarded) : .empty,
        proxyStatus: route.pointee.hasLadder || exchange.pointee.rung != .none
          ? rungLine(exchange, after: earlier) : .empty,
        cookie: exchange.pointee.setsSticky ? stickyLine(exchange, client) : .empty))
    if sink.overflowed { return headOverflowed(handle, exchange) }
    exchange.pointee.phase = .relaying
    exchange.pointee.hasAnswered = true
    if exchange.pointee.ticket.isProbe { judgeProbe(exchange) }
    return true
  }

  /// The head does not fit what is rendered at once.
  @inline(never)
  private func headOverflowed(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>
  ) -> Bool {
    exchange.pointee.firstOctetAt = .zero
    exchange.pointee.response = Content()
    exchange.pointee.receivedStatus = exchange.pointee.status
    attemptFailed(handle, exchange, .headMalformed)
    return false
  }

  /// How the content comes. A backend's stream says by itself where it ends: with its head, or
  /// behind trailers, which the client's stream is to get too, whatever length was told.
  @inline(never)
  private func streamFraming(
    _ upstream: UnsafeMutablePointer<UpstreamConnection>, toStream: Bool
  ) -> BodyFraming {
    switch responseHead.framing {
    case .untilClose where upstream.pointee.endsWithHead: return .none
    case .length where toStream: return .untilClose
    default: return responseHead.framing
    }
  }

  /// A 1xx head. True where the final one may follow; false where the attempt has failed.
  private func informational(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ sink: inout ByteSink
  ) -> Bool {
    exchange.pointee.informational += 1
    guard exchange.pointee.informational <= Worker.maxInformational else {
      exchange.pointee.receivedStatus = Int32(responseHead.status)
      attemptFailed(handle, exchange, .headMalformed)
      return false
    }
    guard responseHead.status == 103, route(exchange).pointee.earlyHints,
      !exchange.pointee.clientIsHTTP10,
      downstreams[exchange.pointee.downstream].pointee.fetch.fill == nil
    else { return true }
    HeaderRewrite.appendInformational(responseHead, to: &sink)
    let client = downstreams[exchange.pointee.downstream]
    let sent =
      client.pointee.wire.isStream
      ? answerStream(client, &sink, isLast: false, isFinal: false)
      : client.pointee.wire.send(sink.view, .empty, &pool)
    sink.removeAll()
    if !sent {
      abandon(handle, .clientLeft)
      return false
    }
    return true
  }
}
