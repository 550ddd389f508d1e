import HTTP
import Primitives
import Resilience
import Telemetry
import Transport

/// What is counted and logged of each exchange, when it ends.
extension Worker {
  func record(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) {
    let status = Int(exchange.pointee.status)
    let requestOctets = exchange.pointee.request.octets
    let responseOctets = exchange.pointee.response.octets
    // What began and ended within one turn of the loop took what the turn has taken so far.
    let end = exchange.pointee.startedAt == now ? MonotonicTime.now() : now
    let total = end - exchange.pointee.startedAt
    if connection.pointee.fetch.handle != .none { return recordAttempt(exchange, status) }
    metrics.add(.requestOctets, UInt64(requestOctets))
    metrics.add(.responseOctets, UInt64(responseOctets))
    if let route = exchange.pointee.route {
      let cells = metrics.route(route.pointee.id)
      cells.add(RouteCounter.responses(status: status))
      cells.add(.requestOctets, UInt64(requestOctets))
      cells.add(.responseOctets, UInt64(responseOctets))
      cells.latency.record(microseconds: UInt64(max(0, total.nanoseconds / 1000)))
    }
    recordAttempt(exchange, status)
    if log.isOn { logLine(exchange, connection, total) }
  }

  /// What is counted of the backend that answered.
  @inline(__always)
  private func recordAttempt(_ exchange: UnsafeMutablePointer<Exchange>, _ status: Int) {
    guard exchange.pointee.backend >= 0, exchange.pointee.firstOctetAt > .zero else { return }
    let cells = metrics.backend(Int(exchange.pointee.backend))
    cells.add(BackendCounter.responses(status: status))
    cells.add(.requestOctets, UInt64(exchange.pointee.request.octets))
    cells.add(.responseOctets, UInt64(exchange.pointee.response.octets))
    cells.latency.record(
      microseconds: UInt64(
        microseconds(exchange.pointee.attemptAt, exchange.pointee.firstOctetAt)))
  }

  private func logLine(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ total: TimeAmount
  ) {
    let head = connection.pointee.wire.input.pinnedView
    var record = AccessRecord()
    stampTime(&record)
    record.clientAddress = connection.pointee.address
    record.clientPort = connection.pointee.port
    record.method = head.slice(exchange.pointee.methodRange)
    record.target = head.slice(exchange.pointee.targetRange)
    record.host = head.slice(exchange.pointee.hostRange)
    record.version =
      connection.pointee.wire.isStream
      ? "HTTP/2" : exchange.pointee.clientIsHTTP10 ? "HTTP/1.0" : "HTTP/1.1"
    record.status = Int(exchange.pointee.status)
    record.requestOctets = exchange.pointee.request.octets
    record.responseOctets = exchange.pointee.response.octets
    record.totalMicroseconds = Int(total.nanoseconds / 1000)
    record.attempts = exchange.pointee.retry.attempts
    if exchange.pointee.connectedAt > .zero {
      record.connectMicroseconds = microseconds(
        exchange.pointee.attemptAt, exchange.pointee.connectedAt)
    }
    if exchange.pointee.firstOctetAt > .zero {
      record.firstByteMicroseconds = microseconds(
        exchange.pointee.startedAt, exchange.pointee.firstOctetAt)
    }
    if let failure = exchange.pointee.failure { record.endReason = failure.logWord }
    record.cacheResult = exchange.pointee.cacheResult.word
    record.referer = head.slice(exchange.pointee.refererRange)
    record.userAgent = head.slice(exchange.pointee.userAgentRange)
    record.traceparent = head.slice(exchange.pointee.traceRange)
    let idSpace = scratch + Worker.scratchBytes - 64
    var id = ByteSink(base: idSpace, capacity: 64)
    appendRequestID(exchange, head, to: &id)
    record.requestID = id.view
    if let route = exchange.pointee.route {
      record.route = route.pointee.logName.view
      if exchange.pointee.backend >= 0 {
        record.destination = backends[Int(exchange.pointee.backend)].state.logNames.view
      }
    }
    log.append(record, now: now)
  }

  private func appendRequestID(
    _ exchange: UnsafeMutablePointer<Exchange>, _ head: ByteView, to sink: inout ByteSink
  ) {
    if exchange.pointee.requestIDRange.isEmpty {
      sink.append(hex16: exchange.pointee.requestID.0)
      sink.append(hex16: exchange.pointee.requestID.1)
    } else {
      let id = head.slice(exchange.pointee.requestIDRange)
      sink.append(id.slice(0, min(id.count, sink.capacity)))
    }
  }

  private func microseconds(_ from: MonotonicTime, _ to: MonotonicTime) -> Int {
    Int(max(0, (to - from).nanoseconds / 1000))
  }

  private func stampTime(_ record: inout AccessRecord) {
    record.unixSeconds = wallSeconds
    record.milliseconds = Int(wallNanoseconds / 1_000_000)
  }

  /// A request whose head broke a rule has no exchange, but its refusal is logged all the same.
  func logRefused(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ fault: HeadFault,
    _ responseOctets: Int
  ) {
    guard log.isOn else { return }
    var record = AccessRecord()
    stampTime(&record)
    record.clientAddress = connection.pointee.address
    record.clientPort = connection.pointee.port
    record.status = fault.status
    record.responseOctets = responseOctets
    // Its time ran from the accept or from its first octet, as its deadline's did (rule 37).
    let left = connection.pointee.deadline - .now()
    let spent = listenerOptions(connection).pointee.headerTimeout.nanoseconds - left.nanoseconds
    record.totalMicroseconds = Int(max(0, spent / 1000))
    record.endReason = ProxyError.httpRequestError.text
    log.append(record, now: now)
  }
}
