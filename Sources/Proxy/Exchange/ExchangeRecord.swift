import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// What is counted and logged of each exchange, when it ends.
extension Worker {
  /// Of a request's number that a trusted peer gave it, in octets.
  private static let loggedIDBytes = 64

  @inline(__always)
  func record(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let status = Int(exchange.pointee.status)
    let requestOctets = exchange.pointee.request.octets
    let responseOctets = exchange.pointee.response.octets
    // What began and ended within one turn of the loop took what the turn has taken so far.
    let end = exchange.pointee.startedAt == now ? MonotonicTime.now() : now
    let total = microseconds(exchange.pointee.startedAt, end)
    if connection.pointee.fetch.handle != .none { return recordAttempt(exchange, status) }
    if requestOctets > 0 { metrics.add(.requestOctets, UInt64(requestOctets)) }
    metrics.add(.responseOctets, UInt64(responseOctets))
    if let route = exchange.pointee.route {
      let cells = metrics.route(route.pointee.id)
      cells.add(RouteCounter.responses(status: status))
      if requestOctets > 0 { cells.add(.requestOctets, UInt64(requestOctets)) }
      cells.add(.responseOctets, UInt64(responseOctets))
      cells.latency.record(microseconds: UInt64(total))
    }
    recordAttempt(exchange, status)
    if log.isOn { logLine(exchange, connection, total) }
  }

  /// What is counted of the backend that answered.
  @inline(__always)
  private func recordAttempt(_ exchange: UnsafeMutablePointer<Exchange>, _ status: Int) {
    guard exchange.pointee.backend >= 0, exchange.pointee.firstOctetAt > .zero else { return }
    let cells = cells(Int(exchange.pointee.backend))
    cells.add(BackendCounter.responses(status: status))
    let sent = exchange.pointee.request.octets
    if sent > 0 { cells.add(.requestOctets, UInt64(sent)) }
    cells.add(.responseOctets, UInt64(exchange.pointee.response.octets))
    cells.latency.record(
      microseconds: UInt64(
        microseconds(exchange.pointee.attemptAt, exchange.pointee.firstOctetAt)))
  }

  @inline(__always)
  private func logLine(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ total: Int
  ) {
    let head = connection.pointee.wire.input.pinnedView
    stampTime()
    log.record.clientAddress = connection.pointee.address
    log.record.clientPort = connection.pointee.port
    log.record.method = head.slice(exchange.pointee.methodRange)
    log.record.target = head.slice(exchange.pointee.targetRange)
    log.record.host = head.slice(exchange.pointee.hostRange)
    log.record.version =
      connection.pointee.wire.isStream
      ? "HTTP/2" : exchange.pointee.clientIsHTTP10 ? "HTTP/1.0" : "HTTP/1.1"
    log.record.status = Int(exchange.pointee.status)
    log.record.requestOctets = exchange.pointee.request.octets
    log.record.responseOctets = exchange.pointee.response.octets
    log.record.totalMicroseconds = total
    log.record.attempts = exchange.pointee.retry.attempts
    log.record.connectMicroseconds =
      exchange.pointee.connectedAt > .zero
      ? microseconds(exchange.pointee.attemptAt, exchange.pointee.connectedAt) : -1
    log.record.firstByteMicroseconds =
      exchange.pointee.firstOctetAt > .zero
      ? microseconds(exchange.pointee.startedAt, exchange.pointee.firstOctetAt) : -1
    log.record.cacheResult = exchange.pointee.cacheResult.word
    log.record.endReason = exchange.pointee.failure?.logWord ?? "completed"
    log.record.referer = head.slice(exchange.pointee.refererRange)
    log.record.userAgent = head.slice(exchange.pointee.userAgentRange)
    log.record.traceparent = head.slice(exchange.pointee.traceRange)
    if exchange.pointee.requestIDRange.isEmpty {
      log.record.requestNumber = exchange.pointee.requestID
    } else {
      let id = head.slice(exchange.pointee.requestIDRange)
      log.record.requestNumber = (0, 0)
      log.record.requestID = id.slice(0, min(id.count, Worker.loggedIDBytes))
    }
    log.record.prepared = .empty
    log.record.route = .empty
    log.record.destination = AccessRecord.noDestination
    if let route = exchange.pointee.route {
      log.record.route = route.pointee.logName.view
      if exchange.pointee.backend >= 0 {
        log.record.destination = backends[Int(exchange.pointee.backend)].logNames
      }
    }
    log.append(now: now)
  }

  /// A hit that was answered where its request was read.
  @inline(__always)
  func recordHit(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ route: UnsafePointer<RoutePlan>,
    status: Int, octets: Int
  ) {
    let total = microseconds(now, MonotonicTime.now())
    metrics.add(.responseOctets, UInt64(octets))
    let cells = metrics.route(route.pointee.id)
    cells.add(RouteCounter.responses(status: status))
    cells.add(.responseOctets, UInt64(octets))
    cells.latency.record(microseconds: UInt64(total))
    let number = (random.next(), random.next())
    guard log.isOn else { return }
    stampTime()
    log.record.clientAddress = connection.pointee.address
    log.record.clientPort = connection.pointee.port
    log.record.method = requestHead.methodName
    log.record.target = requestHead.target
    log.record.host = requestHead.bytes.slice(requestHead.authorityRange)
    log.record.version = "HTTP/1.1"
    log.record.status = status
    log.record.requestOctets = 0
    log.record.responseOctets = octets
    log.record.totalMicroseconds = total
    log.record.connectMicroseconds = -1
    log.record.firstByteMicroseconds = 0
    log.record.prepared = route.pointee.hitLogText.view
    log.record.referer = requestHead.first(.referer) ?? .empty
    log.record.userAgent = requestHead.first(.userAgent) ?? .empty
    log.record.traceparent = requestHead.first(.traceparent) ?? .empty
    log.record.requestNumber = number
    log.append(now: now)
  }

  @inline(__always)
  private func microseconds(_ from: MonotonicTime, _ to: MonotonicTime) -> Int {
    Int(max(0, (to - from).nanoseconds / 1000))
  }

  @inline(__always)
  private func stampTime() {
    log.record.unixSeconds = wallSeconds
    log.record.milliseconds = wallMilliseconds
  }

  /// A request whose head broke a rule has no exchange, but its refusal is logged all the same.
  func logRefused(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ fault: HeadFault,
    _ responseOctets: Int
  ) {
    guard log.isOn else { return }
    log.record = AccessRecord()
    stampTime()
    log.record.clientAddress = connection.pointee.address
    log.record.clientPort = connection.pointee.port
    log.record.status = fault.status
    log.record.responseOctets = responseOctets
    // Its time ran from the accept or from its first octet, as its deadline's did (rule 37).
    let left = connection.pointee.deadline - .now()
    let spent = listenerOptions(connection).pointee.headerTimeout.nanoseconds - left.nanoseconds
    log.record.totalMicroseconds = Int(max(0, spent / 1000))
    log.record.endReason = ProxyError.httpRequestError.text
    log.append(now: now)
  }
}
