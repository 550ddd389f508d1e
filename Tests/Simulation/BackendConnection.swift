import Glibc

/// One connection from weir, at the backend's end.
final class BackendConnection {
  /// How an answer is given.
  private struct Plan {
    enum End { case keep, close, reset }

    var octets: [UInt8] = []
    /// Octets behind the answer.
    var surplus = 0
    var serial: Int?
    var end = End.keep
    /// Before the request's content has come.
    var isEarly = false
    /// Its end is that of the connection.
    var isUnframed = false
    /// Never.
    var isSilent = false
    /// At which virtual time.
    var due: UInt64 = 0
    var piece = 1 << 20
  }

  let descriptor: Int32
  private let backend: String
  private let faults: Faults
  private var random: Draw
  private var reader = MessageReader(readsResponses: false)
  private(set) var isClosed = false
  private var request: Int?
  /// Content seen of `request`, and whether its end was.
  private var received = 0
  private var isRead = false
  private var completeAt: UInt64 = 0
  private var plan: Plan?
  private var sent = 0
  private let readPiece: Int

  init(_ descriptor: Int32, backend: String, faults: Faults, random: Draw) {
    self.descriptor = descriptor
    self.backend = backend
    self.faults = faults
    self.random = random
    readPiece = self.random.chance(30) ? self.random.from(1, to: 300) : 1 << 16
  }

  /// A request has been read and not been answered in full.
  var isBusy: Bool { !isClosed && (request ?? -1) >= 0 }

  var dueAt: UInt64 {
    guard let plan, !plan.isSilent, isRead || plan.isEarly, sent == 0 else { return .max }
    return plan.due
  }

  /// When the request was complete that gets no answer; `max` where that is not so.
  var silentSince: UInt64 {
    guard let plan, plan.isSilent, isRead, !isClosed, !Sockets.isHungUp(descriptor) else {
      return .max
    }
    return completeAt
  }

  /// What weir has sent and nobody read is not thrown away unseen: a request in it was received.
  func end(_ world: inout World) {
    guard !isClosed else { return }
    if request == nil {
      reader.add(Sockets.peek(descriptor))
      if case .head(let head) = reader.next() { note(head, &world) }
    }
    if let plan, let serial = plan.serial, plan.isUnframed, sent < plan.octets.count {
      // Nobody can tell that this is not all of it.
      world.ledger.endedEarly(serial, by: plan.octets.count - sent)
    }
    if let request {
      world.trace.say("backend \(backend) ends with \(request), \(sent) octets sent")
    }
    close(descriptor)
    isClosed = true
  }

  func step(_ world: inout World) -> Bool {
    guard !isClosed else { return false }
    let hasRead = read(&world)
    guard !isClosed else { return true }
    if request == nil, faults.closedIdle > 0, random.below(1000) < faults.closedIdle {
      world.ledger.counts[.closedIdle] += 1
      end(&world)
      return true
    }
    return write(&world) || hasRead
  }

  // MARK: Requests

  private func read(_ world: inout World) -> Bool {
    // One after the other: weir sends the next one only after the answer.
    guard !isRead else { return false }
    switch reader.receive(descriptor, atMost: readPiece) {
    case .wouldBlock: return false
    case .ended, .failed:
      end(&world)
      return true
    case .octets(let count): world.trace.note(count)
    }
    while !isClosed, !isRead {
      switch reader.next() {
      case .more: return true
      case .fault(let fault):
        world.ledger.violated("backend \(backend) got no request: \(fault)")
        end(&world)
      case .head(let head):
        note(head, &world)
        begin(head, &world)
      case .body(let range):
        check(reader.octets[range], &world)
        received += range.count
      case .end: requestEnded(&world)
      }
    }
    return true
  }

  private func note(_ head: MessageReader.Head, _ world: inout World) {
    guard let id = head.number("x-id") else { return }
    world.trace.say("backend \(backend) got request \(id) \(head.start[0])")
    world.ledger.attempt(id, method: String(head.start[0]), by: backend)
  }

  private func begin(_ head: MessageReader.Head, _ world: inout World) {
    received = 0
    request = head.number("x-id") ?? -1
    plan = head.start[1] == "/healthz" ? health() : answer(head, &world)
    sent = 0
    guard let plan, let request, request >= 0 else { return }
    let start = plan.octets.prefix { $0 != 13 }
    world.trace.say(
      "backend \(backend) will answer \(request) with \(String(decoding: start, as: UTF8.self)), "
        + "\(plan.octets.count) octets, \(plan.isSilent ? "never" : "then \(plan.end)")")
  }

  private func check(_ octets: ArraySlice<UInt8>, _ world: inout World) {
    guard let request, request >= 0 else { return }
    if !Content.matches(UInt64(request), from: received, octets) {
      world.ledger.violated("request \(request): its content is not what the client sent")
    }
  }

  private func requestEnded(_ world: inout World) {
    isRead = true
    completeAt = world.now
    guard let request, request >= 0, world.ledger.requests.indices.contains(request) else {
      return
    }
    let wanted = world.ledger.requests[request].length
    if received != wanted {
      world.ledger.violated("request \(request): \(received) of \(wanted) octets came as complete")
    }
    if let serial = plan?.serial { published(serial, &world) }
  }

  /// A change takes place when it has been asked for in full.
  private func published(_ serial: Int, _ world: inout World) {
    guard let request, let object = world.ledger.requests[request].object,
      world.ledger.requests[request].method == "PUT",
      world.ledger.responses[serial].status == 200
    else { return }
    world.ledger.publish(object)
    world.ledger.changed(serial, to: world.ledger.versions[object])
  }

  // MARK: Answers

  private func health() -> Plan {
    var plan = Plan(octets: Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8))
    if random.chance(faults.badAnswers / 2) { plan.isSilent = true }
    return plan
  }

  private func answer(_ head: MessageReader.Head, _ world: inout World) -> Plan {
    let isBad = random.chance(faults.badAnswers)
    var plan = Plan()
    plan.piece = random.chance(40) ? random.from(1, to: 700) : 1 << 20
    if plan.piece < 1 << 20 { world.ledger.counts[.inPieces] += 1 }
    plan.isEarly = isBad && random.chance(20)
    if plan.isEarly { world.ledger.counts[.early] += 1 }
    if random.chance(30) {
      world.ledger.counts[.late] += 1
      plan.due = world.now + UInt64(random.below(50)) * 1_000_000
    }
    if isBad, random.chance(20) {
      world.ledger.counts[.silent] += 1
      plan.isSilent = true
      return plan
    }
    if isBad, random.chance(15) {
      world.ledger.counts[.resets] += 1
      plan.end = .reset
      return plan
    }
    if isBad, random.chance(10) {
      world.ledger.counts[.malformed] += 1
      plan.octets = Array("HTTP/1.1 2x0 What\r\n\r\n".utf8)
      plan.end = .close
      return plan
    }
    compose(head, isBad: isBad, &plan, &world)
    return plan
  }

  private func compose(
    _ head: MessageReader.Head, isBad: Bool, _ plan: inout Plan, _ world: inout World
  ) {
    let method = head.start[0]
    let object = Paths.object(head.start[1])
    var status = 200
    if isBad, random.chance(60) {
      world.ledger.counts[.badStatuses] += 1
      status = random.one(of: [404, 500, 502, 503, 504])
    }
    let version = object.map { world.ledger.versions[$0] } ?? 0
    let tag = "\"\(object ?? 0)-\(version)\""
    if method == "GET", status == 200, head.value("if-none-match") == tag, random.chance(70) {
      plan.octets = Array(
        "HTTP/1.1 304 Not Modified\r\nETag: \(tag)\r\nCache-Control: max-age=5\r\n\r\n".utf8)
      return
    }
    let length = random.size(upTo: world.largestBody)
    let serial = world.ledger.respond(
      Ledger.Response(
        request: request ?? -1, object: object, version: version, status: status, length: length))
    plan.serial = serial
    var fields = "X-Serial: \(serial)\r\n"
    if method == "GET", let object, status == 200 {
      let age = random.one(of: [0, 1, 5, 60])
      fields += "ETag: \(tag)\r\nCache-Control: max-age=\(age)\r\nCache-Tag: o\(object)\r\n"
    }
    if status == 503, random.chance(50) { fields += "Retry-After: \(random.from(0, to: 2))\r\n" }
    var text = random.chance(10) ? "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" : ""
    text += "HTTP/1.1 \(status) Some Words\r\n\(fields)"
    let isHead = method == "HEAD"
    let framing = isHead ? 0 : random.below(5)
    switch framing {
    case 0, 1, 2:
      if random.chance(15) {
        text += "Connection: close\r\n"
        plan.end = .close
      }
      plan.octets = Array("\(text)Content-Length: \(length)\r\n\r\n".utf8)
      if !isHead { Content.append(UInt64(serial), from: 0, count: length, to: &plan.octets) }
    case 3:
      plan.octets = Array("\(text)Transfer-Encoding: chunked\r\n\r\n".utf8)
      Content.appendChunks(UInt64(serial), count: length, random: &random, to: &plan.octets)
    default:
      plan.octets = Array("\(text)\r\n".utf8)
      Content.append(UInt64(serial), from: 0, count: length, to: &plan.octets)
      plan.end = .close
      plan.isUnframed = true
      return
    }
    if isBad, random.chance(20), plan.end == .keep {
      // As if it answered a request that nobody made.
      world.ledger.counts[.surplus] += 1
      plan.octets += BackendConnection.surplus
      plan.surplus = BackendConnection.surplus.count
      return
    }
    guard isBad, random.chance(50), plan.octets.count > 1 else { return }
    world.ledger.counts[.cutShort] += 1
    plan.octets.removeLast(random.from(1, to: plan.octets.count - 1))
    plan.end = random.chance(50) ? .close : .reset
    plan.serial = nil
  }

  private static let surplus = Array(
    "HTTP/1.1 200 OK\r\nX-Serial: 999999\r\nContent-Length: 0\r\n\r\n".utf8)

  private func write(_ world: inout World) -> Bool {
    guard let plan, !plan.isSilent, isRead || plan.isEarly, plan.due <= world.now else {
      return false
    }
    if sent < plan.octets.count {
      let upper = min(plan.octets.count, sent + plan.piece)
      switch Sockets.write(descriptor, plan.octets[sent..<upper]) {
      case .octets(let count):
        world.trace.note(plan.octets[sent..<(sent + count)])
        sent += count
        if sent >= plan.octets.count - plan.surplus, let serial = plan.serial {
          world.ledger.sentWhole(serial)
        }
      case .wouldBlock, .ended: return false
      case .failed:
        end(&world)
        return true
      }
      guard sent == plan.octets.count else { return true }
      world.trace.say("backend \(backend) has answered \(request ?? -1)")
    }
    switch plan.end {
    // Answered early: the rest of the request is still read.
    case .keep: if !isRead { return false }
    case .close, .reset: end(&world)
    }
    request = nil
    isRead = false
    self.plan = nil
    return true
  }
}
