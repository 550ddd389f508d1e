import HTTP
import HTTP1
import Primitives
import Resilience
import Telemetry
import Transport

/// The client side of HTTP/1: reads heads, hands them to the exchange driver, decides the
/// connection's fate.
extension Worker {
  /// Heads taken from one connection before others get their turn.
  private static let pipelinedPerTurn = 16
  static let lingerTime = TimeAmount.seconds(5)
  static let lingerOctets: Int32 = 64 * 1024

  /// Something happened on the connection, or it was put off earlier.
  func downstreamReady(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    switch connection.pointee.state {
    case .readingHead: readHeads(handle, connection)
    case .exchanging: clientReady(connection.pointee.exchange)
    case .multiplexing: multiplex(handle, connection)
    case .lingering where connection.pointee.wire.isStream: finishRefusal(handle, connection)
    case .lingering: lingerOn(handle, connection)
    case .handshaking: downstreamHandshake(handle, connection)
    case .awaitingProxyHeader: readProxyHeader(handle, connection)
    }
  }

  func readHeads(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    if connection.pointee.wire.hasFailed { return closeDownstream(handle) }
    var heads = 0
    while true {
      if connection.pointee.wire.input.count > Int(connection.pointee.knownOctets) {
        switch parseHead(handle, connection) {
        case .answered, .grown: break
        case .begun:
          // The exchange may have ended already (an answer of our own), or the connection with it.
          guard downstreams.resolve(handle) != nil, connection.pointee.state == .readingHead
          else { return }
        case .none: return
        }
        heads += 1
        guard heads < Worker.pipelinedPerTurn else {
          becameBusy(connection)
          return queue(handle, connection)
        }
        continue
      }
      switch connection.pointee.wire.mayHaveMore
        ? connection.pointee.wire.receive(&pool) : .wouldBlock
      {
      case .octets: break
      case .wouldBlock: return awaitHead(handle, connection, hasServed: heads > 0)
      case .ended, .failed: return closeDownstream(handle)
      }
    }
  }

  /// Nothing to parse for now: an idle connection gives its buffer back.
  @inline(__always)
  private func awaitHead(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, hasServed: Bool
  ) {
    guard connection.pointee.wire.input.isEmpty else { return }
    connection.pointee.wire.input.detach(&pool)
    if !connection.pointee.isIdle {
      becameIdle(handle, connection)
    } else if hasServed {
      stayedIdle(handle, connection)
    } else {
      return
    }
    setIdleDeadline(handle, connection, now + idleTime(listenerOptions(connection)))
  }

  /// What became of the head at the front of the input.
  private enum HeadOutcome {
    /// It is not complete, was refused, or is none; or the connection is gone.
    case none
    /// It was not complete, and there is more of it now.
    case grown
    /// Its exchange has begun.
    case begun
    /// It has its answer, and the connection is as it was.
    case answered
  }

  @inline(__always)
  private func parseHead(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> HeadOutcome {
    if connection.pointee.requests == 0, startsSession(handle, connection) { return .none }
    // The head is pinned in place for its exchange, so it starts the block.
    connection.pointee.wire.input.moveToFront()
    let octets = connection.pointee.wire.input.view
    let known = Int(connection.pointee.knownOctets)
    let options = listenerOptions(connection)
    connection.pointee.knownOctets = Int32(octets.count)
    guard HeadParser.mayHaveProgressed(octets, known: known) else {
      return receiveMoreHead(handle, connection) ? .grown : .none
    }
    headOwner = .none
    let length: Int
    do throws(HeadFault) {
      length = try HeadParser.parseRequest(
        octets, into: &requestHead, limits: options.pointee.limits,
        strictPath: options.pointee.strictPath)
    } catch {
      if known == 0 { headBegan(handle, connection) }
      refuse(handle, connection, error)
      return .none
    }
    guard length > 0 else {
      if known == 0 { headBegan(handle, connection) }
      return receiveMoreHead(handle, connection) ? .grown : .none
    }
    if requestHead.host.isEmpty { requestHead.assumeHost(options.pointee.defaultHost) }
    connection.pointee.knownOctets = 0
    return begin(handle, connection, length) ? .answered : .begun
  }

  /// A head that did not come in one piece: all of it is due this long after its first octet (rule
  /// 37), which for the first one of a connection is after the accept.
  private func headBegan(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    becameBusy(connection)
    guard connection.pointee.requests > 0 else { return }
    setDeadline(handle, connection, now + listenerOptions(connection).pointee.headerTimeout)
  }

  /// A connection that begins with HTTP/2's preface, or may: there is no head to parse then.
  private func startsSession(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> Bool {
    let octets = connection.pointee.wire.input.view
    guard octets[0] == UInt8(ascii: "P"), !connection.pointee.wire.isSealed,
      listenerOptions(connection).pointee.http2
    else { return false }
    let match = prefaceMatch(octets)
    if match == .no { return false }
    becameBusy(connection)
    if match == .whole {
      beginSession(handle, connection)
    } else {
      connection.pointee.knownOctets = Int32(octets.count)
      if receiveMoreHead(handle, connection) { queue(handle, connection) }
    }
    return true
  }

  /// Reads on if the socket may hold more. True: there is something new to parse.
  private func receiveMoreHead(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> Bool {
    switch connection.pointee.wire.receive(&pool) {
    case .octets: return true
    case .wouldBlock: return false
    case .ended, .failed:
      closeDownstream(handle)
      return false
    }
  }

  /// A head that breaks a rule: answered, and nothing behind it is ever parsed (rule 14).
  func refuse(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>,
    _ fault: HeadFault
  ) {
    let sink = refusal(connection, fault, closes: true)
    _ = connection.pointee.wire.send(sink.view, .empty, &pool)
    linger(handle, connection)
  }

  /// The answer to such a head, counted and logged.
  func refusal(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ fault: HeadFault, closes: Bool
  ) -> ByteSink {
    metrics.add(.badRequests)
    var sink = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    let octets = LocalResponse.append(
      status: fault.status, LocalResponse.Reason(error: .httpRequestError, details: fault.reason),
      to: &sink, context: localContext(connection, closes: closes, isHead: false))
    metrics.add(.responseOctets, UInt64(octets))
    logRefused(connection, fault, octets)
    return sink
  }

  private func localContext(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, closes: Bool, isHead: Bool
  ) -> LocalResponse.Context {
    LocalResponse.Context(
      instance: currentSnapshot.instance.view, date: dateText.view, closes: closes,
      clientIsHTTP10: false, isHead: isHead, transportSecurity: transportSecurity(connection))
  }

  // MARK: Closing

  /// Ends our side, then discards what the client still sends, bounded in time and octets: a close
  /// with unread input would reset the connection and could take the answer with it.
  func linger(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>,
    for time: TimeAmount = Worker.lingerTime
  ) {
    connection.pointee.state = .lingering
    connection.pointee.lingerBudget = Worker.lingerOctets
    connection.pointee.wire.input.detach(&pool)
    becameBusy(connection)
    setDeadline(handle, connection, now + time)
    lingerOn(handle, connection)
  }

  private func lingerOn(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let hadOutput = !connection.pointee.wire.output.isEmpty
    guard connection.pointee.wire.flush(&pool) else {
      if connection.pointee.wire.hasFailed { closeDownstream(handle) }
      return
    }
    if hadOutput || connection.pointee.lingerBudget == Worker.lingerOctets {
      connection.pointee.wire.closeSending(&pool)
      connection.pointee.lingerBudget -= 1
    }
    while connection.pointee.lingerBudget > 0 {
      switch SocketCalls.receive(
        connection.pointee.wire.descriptor, scratch, Worker.scratchBytes)
      {
      case .octets(let count): connection.pointee.lingerBudget -= Int32(count)
      case .wouldBlock: return
      case .ended, .failed: return closeDownstream(handle)
      }
    }
    closeDownstream(handle)
  }

  func closeDownstream(_ handle: Handle) {
    let connection = downstreams[handle]
    if connection.pointee.wire.isStream { return endStream(handle, connection, .internalError) }
    release(handle, connection)
    connection.pointee.wire.close(&pool)
    downstreams.remove(handle)
  }

  /// The client learns by a reset that its response is not complete, or its tunnel (RFC 8441 §5).
  func resetDownstream(_ handle: Handle) {
    let connection = downstreams[handle]
    if connection.pointee.wire.isStream {
      return endStream(handle, connection, connection.pointee.isTunnel ? .cancel : .internalError)
    }
    release(handle, connection)
    connection.pointee.wire.reset(&pool)
    downstreams.remove(handle)
  }

  private func release(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    cutStreams(connection)
    becameBusy(connection)
    wheel.cancel(&connection.pointee.timer)
    metrics.add(.connectionsClosed)
    forget(connection.pointee.address, isCounted: connection.pointee.isCounted)
  }

  // MARK: Time

  func downstreamTimedOut(
    _ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    if connection.pointee.deadline > now {
      return rearm(
        handle, &connection.pointee.timer, &connection.pointee.wire,
        isIdle: connection.pointee.isIdle, connection.pointee.deadline)
    }
    switch connection.pointee.state {
    case .lingering: closeDownstream(handle)
    case .multiplexing: sessionTimedOut(handle, connection)
    case .exchanging: clientTimedOut(connection.pointee.exchange)
    case .awaitingProxyHeader: refuseProxy(handle)
    case .handshaking:
      metrics.add(.handshakeTimeouts)
      closeDownstream(handle)
    case .readingHead:
      if connection.pointee.wire.input.isEmpty, connection.pointee.requests > 0 || isDraining {
        return closeDownstream(handle)
      }
      metrics.add(.headerTimeouts)
      refuse(handle, connection, HeadFault(408, "request head not complete in time"))
    }
  }
}
