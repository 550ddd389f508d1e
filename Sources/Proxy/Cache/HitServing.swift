import Caching
import HTTP
import Primitives
import Telemetry
import Transport

/// Hits about which nothing is left to decide: answered where the request was read, with one call,
/// and without an exchange. That is what most requests of a cache come to, and an exchange is
/// mostly about what these do not need: a backend, a body, waiting.
extension Worker {
  /// Content up to this is copied behind its head. In octets.
  private static let copiedHitBytes = 8 * 1024

  enum HitOutcome {
    /// Nothing has happened.
    case none
    case answered
    /// The answer waits for its client, in an exchange; or the client is gone, and so is the
    /// connection.
    case waits
  }

  /// Answers the request in `requestHead`, `length` octets at the front of the input, if what is
  /// stored for it is fresh and short.
  @inline(__always)
  func servesHit(
    _ client: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int,
    _ route: UnsafePointer<RoutePlan>
  ) -> HitOutcome {
    guard let plan = route.pointee.cachePlan else { return .none }
    return servesHit(client, connection, length, route, plan)
  }

  private func servesHit(
    _ client: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int,
    _ route: UnsafePointer<RoutePlan>, _ plan: UnsafePointer<CachePlan>
  ) -> HitOutcome {
    guard mayHit(connection, route, plan), let hit = findHit(connection, plan) else { return .none }
    defer { plan.pointee.borrowedStore._withUnsafeGuaranteedRef { $0.unpin(hit.object) } }
    let content = plan.pointee.borrowedStore._withUnsafeGuaranteedRef {
      $0.wholeContent(of: hit.object, atMost: Worker.copiedHitBytes)
    }
    guard let content, hit.object.headLayout.status != 204 else { return .none }
    var sink = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    let prefix = plans.borrowed._withUnsafeGuaranteedRef { $0.hitPrefix.view }
    StoredResponse.append(hit, prefix: prefix, to: &sink)
    // Short as it is, a copy costs less than a call for two parts.
    sink.append(content)
    guard !sink.overflowed else { return .none }
    metrics.add(.cacheHits)
    let isSent = connection.pointee.wire.send(sink.view, .empty, &pool)
    guard isSent, connection.pointee.wire.output.isEmpty else {
      finishHit(client, connection, length, route, hit.object, isSent: isSent)
      return .waits
    }
    recordHit(connection, route, status: hit.object.headLayout.status, octets: content.count)
    connection.pointee.wire.input.consume(length)
    return .answered
  }

  @inline(__always)
  private func mayHit(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ route: UnsafePointer<RoutePlan>,
    _ plan: UnsafePointer<CachePlan>
  ) -> Bool {
    guard RequestPolicy.isPlain(requestHead, rule: plan.pointee.rule),
      requestHead.version == .http11, route.pointee.responseEdits.isEmpty
    else { return false }
    let options = listenerOptions(connection)
    return !connection.pointee.wire.isStream && connection.pointee.wire.output.isEmpty
      && keepsClient(connection) && !options.pointee.redirectsToHTTPS
      && options.pointee.transportSecurity.isEmpty
  }

  @inline(__always)
  private func findHit(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ plan: UnsafePointer<CachePlan>
  ) -> CacheHit? {
    let half = Worker.scratchBytes / 2
    var key = ByteSink(base: scratch, capacity: half)
    let layout = CacheKey.append(
      requestHead, isSecure: connection.pointee.wire.isSealed, rule: plan.pointee.rule, to: &key)
    guard layout != nil else { return nil }
    var room = ByteSink(base: scratch + half, capacity: half)
    return plan.pointee.borrowedStore._withUnsafeGuaranteedRef {
      $0.hit(key.view, requestHead, scratch: &room, now: now)
    }
  }

  /// The client has not taken all of it, or is gone: from here on it is an exchange like others.
  @inline(never)
  private func finishHit(
    _ client: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>, _ length: Int,
    _ route: UnsafePointer<RoutePlan>, _ object: StoredObject, isSent: Bool
  ) {
    becameBusy(connection)
    connection.pointee.wire.input.pin(length)
    guard let (handle, exchange) = exchanges.insert(copyOf: blankExchange) else {
      return resetDownstream(client)
    }
    enter(handle, exchange, client, connection, length)
    exchange.pointee.route = route
    exchange.pointee.status = Int32(object.headLayout.status)
    exchange.pointee.response.octets = object.contentLength
    exchange.pointee.cacheResult = .hit
    exchange.pointee.firstOctetAt = now
    exchange.pointee.hasAnswered = true
    exchange.pointee.phase = .flushing
    if isSent { return flushEnd(handle, exchange) }
    metrics.add(.clientAborts)
    abandon(handle, .clientLeft)
  }
}
