import CLinux
import Caching
import Glibc
import HTTP
import HTTP1
import Primitives
import Telemetry
import Transport

/// Stored responses on their way to clients: the content is sent from where it lies.
extension Worker {
  /// Content sent in one call to who cannot be given it in place: TLS, HTTP/2, chunks. In octets.
  private static let copiedBytes = 16 * 1024
  static let partsPerCall = 8

  /// Begins to answer with the object that the exchange's reading has pinned. The request's head
  /// is the one in `requestHead`.
  func serve(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ plan: UnsafePointer<CachePlan>, _ freshness: Freshness
  ) {
    let reading = readings[exchange.pointee.reading]
    guard let object = reading.pointee.object else { preconditionFailure("nothing to serve") }
    reading.pointee.isReading = true
    if reading.pointee.isComplete { reading.pointee.available = object.contentLength }
    let form = chooseForm(exchange, reading, object)
    let client = downstreams[exchange.pointee.downstream]
    let isStream = client.pointee.wire.isStream
    let hasNoLength = if case .whole(nil) = form { true } else { false }
    let status = status(of: form, object)
    reading.pointee.sendsChunks =
      hasNoLength && !isStream && !exchange.pointee.clientIsHTTP10 && !exchange.pointee.isHead
    if hasNoLength, exchange.pointee.clientIsHTTP10 { exchange.pointee.keepsClient = false }
    if isDraining { exchange.pointee.keepsClient = false }
    exchange.pointee.status = Int32(status)
    exchange.pointee.firstOctetAt = now
    var sink = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    StoredResponse.append(
      object, form, edits: route(exchange).pointee.responseEdits, head: &responseHead, to: &sink,
      context: StoredResponse.Context(
        age: freshness.age(resident: now - object.storedAt), status: reading.pointee.status,
        instance: snapshot(exchange).instance.view,
        sendsChunks: reading.pointee.sendsChunks
          || (hasNoLength && exchange.pointee.isHead && !isStream
            && !exchange.pointee.clientIsHTTP10),
        closes: !exchange.pointee.keepsClient && !isStream,
        clientIsHTTP10: exchange.pointee.clientIsHTTP10,
        transportSecurity: transportSecurity(client),
        proxyStatus: exchange.pointee.rung == .none ? .empty : rungStatus(exchange)))
    guard !sink.overflowed else {
      releaseReading(exchange)
      return answer(handle, .headTooLarge)
    }
    exchange.pointee.hasAnswered = true
    if exchange.pointee.isHead || !hasContent(form) { reading.pointee.end = 0 }
    if isStream {
      let isLast = reading.pointee.end == 0
      guard answerStream(client, &sink, isLast: isLast) else {
        return abandon(handle, .clientLeft)
      }
    }
    sendStored(handle, exchange, &sink)
  }

  private func store(_ exchange: UnsafeMutablePointer<Exchange>) -> CacheStore {
    guard let plan = route(exchange).pointee.cachePlan else { preconditionFailure("no cache") }
    return plan.pointee.store
  }

  // MARK: Which answer

  private func chooseForm(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>,
    _ object: StoredObject
  ) -> StoredResponse.Form {
    let length = reading.pointee.isComplete ? object.contentLength : reading.pointee.length
    let whole = StoredResponse.Form.whole(length: length < 0 ? nil : length)
    reading.pointee.end = length
    guard object.headLayout.status == 200 else { return whole }
    let constraints = reading.pointee.constraints
    if constraints.hasConditional,
      ConditionalRequest.evaluate(requestHead, status: 200, object.validators) == .notModified
    {
      return .notModified
    }
    guard constraints.hasRange, length >= 0,
      ConditionalRequest.allowsRange(requestHead, object.validators)
    else { return whole }
    let contentType = object.head.slice(object.headLayout.contentType)
    let overhead = MultipartRanges.mostPartHeadBytes(contentTypeBytes: contentType.count)
    switch ByteRanges.parse(requestHead, length: length, partOverhead: overhead) {
    case .whole: return whole
    case .notSatisfiable: return .unsatisfiable(of: length)
    case .single(let part):
      // Of what grows it may not be there yet.
      reading.pointee.start = part.start
      reading.pointee.end = part.end
      return .part(part, of: length)
    case .multiple where !reading.pointee.isComplete: return whole
    case .multiple(let ranges):
      let parts = MultipartRanges(ranges, length: length, boundary: random.next())
      reading.pointee.ranges = parts
      // The first part's head comes before its first octet.
      reading.pointee.rangeIndex = -1
      reading.pointee.end = -1
      return .parts(parts, contentType: contentType)
    }
  }

  private func status(of form: StoredResponse.Form, _ object: StoredObject) -> Int {
    switch form {
    case .whole: object.headLayout.status
    case .notModified: 304
    case .part, .parts: 206
    case .unsatisfiable: 416
    }
  }

  private func hasContent(_ form: StoredResponse.Form) -> Bool {
    switch form {
    case .whole, .part, .parts: true
    case .notModified, .unsatisfiable: false
    }
  }

  // MARK: Content

  /// Goes on sending.
  func sendStored(_ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>) {
    var nothing = ByteSink(base: scratch, capacity: Worker.scratchBytes)
    sendStored(handle, exchange, &nothing)
  }

  private enum Progress { case sent, blocked, dry, done, failed }

  /// Sends `head`, then what there is of the content.
  private func sendStored(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>, _ head: inout ByteSink
  ) {
    let reading = readings[exchange.pointee.reading]
    let client = downstreams[exchange.pointee.downstream]
    while true {
      switch sendOnce(exchange, reading, client, &head) {
      case .sent: tellProgress(exchange, reading)
      case .done: return storedIsSent(handle, exchange, client)
      case .failed:
        metrics.add(.clientAborts)
        return abandon(handle, .clientLeft)
      case .blocked:
        tellProgress(exchange, reading)
        if client.pointee.wire.isStream { streamMoved(client) }
        let timeout = listenerOptions(client).pointee.sendTimeout
        return setDeadline(
          exchange.pointee.downstream, client, min(exchange.pointee.totalDeadline, now + timeout))
      case .dry:
        if client.pointee.wire.isStream { streamMoved(client) }
        switch lookForMore(exchange, reading) {
        case .more: continue
        case .cut: return abandon(handle, .responseCutShort)
        case .later:
          client.pointee.deadline = exchange.pointee.totalDeadline
          return setDeadline(
            exchange.pointee.downstream, client, exchange.pointee.totalDeadline)
        }
      }
    }
  }

  private func sendOnce(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>,
    _ client: UnsafeMutablePointer<DownstreamConnection>, _ head: inout ByteSink
  ) -> Progress {
    if !client.pointee.wire.output.isEmpty, !client.pointee.wire.flush(&pool) {
      return client.pointee.wire.hasFailed ? .failed : .blocked
    }
    guard let object = reading.pointee.object else { return .failed }
    if reading.pointee.cursor.position < reading.pointee.start { skip(exchange, reading, object) }
    let position = reading.pointee.cursor.position
    if reading.pointee.ranges != nil, reading.pointee.end < 0 || position == reading.pointee.end {
      nextRange(exchange, reading, object, &head)
    }
    let isAtEnd =
      reading.pointee.end >= 0
      ? reading.pointee.cursor.position >= reading.pointee.end
      : reading.pointee.isComplete && position == reading.pointee.available
    if isAtEnd {
      if reading.pointee.sendsChunks { head.append("0\r\n\r\n") }
      let isSent = head.count == 0 || client.pointee.wire.send(head.view, .empty, &pool)
      head.removeAll()
      return isSent ? .done : .failed
    }
    let available = reading.pointee.available
    let limit = reading.pointee.end >= 0 ? min(reading.pointee.end, available) : available
    if reading.pointee.cursor.position >= limit {
      // The head must not wait for content that may be long in coming.
      let isSent = head.count == 0 || client.pointee.wire.send(head.view, .empty, &pool)
      head.removeAll()
      return isSent ? .dry : .failed
    }
    if client.pointee.wire.isPlainSocket, !reading.pointee.sendsChunks {
      return sendInPlace(exchange, reading, client, object, limit, &head)
    }
    return sendCopied(exchange, reading, client, object, limit, &head)
  }

  /// One call for the head and several pieces of content, none of which is copied.
  private func sendInPlace(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>,
    _ client: UnsafeMutablePointer<DownstreamConnection>, _ object: StoredObject, _ limit: Int,
    _ head: inout ByteSink
  ) -> Progress {
    let store = store(exchange)
    var ahead = reading.pointee.cursor
    var count = 0
    while count < Worker.partsPerCall, ahead.position < limit {
      let piece = store.octets(at: &ahead, upTo: limit, of: object)
      parts[count] = iovec(
        iov_base: UnsafeMutableRawPointer(mutating: piece.pointer), iov_len: piece.count)
      ahead.advance(by: piece.count)
      count += 1
    }
    let due = ahead.position - reading.pointee.cursor.position
    guard let taken = client.pointee.wire.send(head.view, parts, count, &pool) else {
      return .failed
    }
    head.removeAll()
    advance(exchange, reading, object, store, taken)
    return taken == due ? .sent : .blocked
  }

  private func sendCopied(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>,
    _ client: UnsafeMutablePointer<DownstreamConnection>, _ object: StoredObject, _ limit: Int,
    _ head: inout ByteSink
  ) -> Progress {
    let store = store(exchange)
    var ahead = reading.pointee.cursor
    var piece = store.octets(at: &ahead, upTo: limit, of: object)
    piece = piece.slice(0, min(piece.count, Worker.copiedBytes))
    reading.pointee.cursor = ahead
    if reading.pointee.sendsChunks {
      HeadWriter.appendChunkSize(piece.count, to: &head)
      head.append(piece)
      head.append("\r\n")
    }
    let content = reading.pointee.sendsChunks ? ByteView.empty : piece
    let isSent = client.pointee.wire.send(head.view, content, &pool)
    head.removeAll()
    guard isSent else { return .failed }
    reading.pointee.cursor.advance(by: piece.count)
    exchange.pointee.response.octets += piece.count
    return .sent
  }

  /// Moves over octets that were taken, which may end within a piece.
  private func advance(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>,
    _ object: StoredObject, _ store: CacheStore, _ taken: Int
  ) {
    let target = reading.pointee.cursor.position + taken
    while reading.pointee.cursor.position < target {
      let piece = store.octets(at: &reading.pointee.cursor, upTo: target, of: object)
      reading.pointee.cursor.advance(by: piece.count)
    }
    exchange.pointee.response.octets += taken
  }

  /// Moves towards the range's first octet, as far as there is content.
  private func skip(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>,
    _ object: StoredObject
  ) {
    let target = min(reading.pointee.start, reading.pointee.available)
    store(exchange).move(&reading.pointee.cursor, to: target, of: object)
  }

  /// Turns to the next range: its part's head, or the end of the last.
  private func nextRange(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>,
    _ object: StoredObject, _ head: inout ByteSink
  ) {
    guard let ranges = reading.pointee.ranges else { return }
    reading.pointee.rangeIndex += 1
    let index = reading.pointee.rangeIndex
    guard index < ranges.ranges.count else {
      ranges.appendEnd(to: &head)
      reading.pointee.ranges = nil
      return
    }
    ranges.appendPartHead(
      index, contentType: object.head.slice(object.headLayout.contentType), to: &head)
    let part = ranges.ranges[index]
    reading.pointee.cursor = store(exchange).cursor(at: part.start, of: object)
    reading.pointee.end = part.end
  }

  // MARK: Objects that grow

  private enum More { case more, later, cut }

  private func lookForMore(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>
  ) -> More {
    guard let fill = reading.pointee.fill, !reading.pointee.isComplete else { return .cut }
    let view = fill._withUnsafeGuaranteedRef {
      $0.look(waiter(exchange), since: .growing, reading.pointee.available)
    }
    let hasMore = view.published > reading.pointee.available
    reading.pointee.available = view.published
    switch view.phase {
    case .complete:
      reading.pointee.isComplete = true
      return .more
    case .failed where !hasMore: return .cut
    default: return hasMore ? .more : .later
    }
  }

  /// A fetch that waits for its slowest reader learns how far this one is.
  private func tellProgress(
    _ exchange: UnsafeMutablePointer<Exchange>, _ reading: UnsafeMutablePointer<CacheReading>
  ) {
    guard let fill = reading.pointee.fill, !reading.pointee.isComplete else { return }
    let position = reading.pointee.cursor.position
    let owner = fill._withUnsafeGuaranteedRef { $0.advanced(waiter(exchange), to: position) }
    if let owner { wake([owner]) }
  }

  private func storedIsSent(
    _ handle: Handle, _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) {
    releaseReading(exchange)
    exchange.pointee.phase = .flushing
    if client.pointee.wire.isStream {
      client.pointee.wire.outputEnds = true
      streamMoved(client)
    }
    flushEnd(handle, exchange)
  }
}
