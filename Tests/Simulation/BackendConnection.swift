import Glibc

/// One connection from weir, at the backend's end.
protocol Answering: AnyObject {
  var isClosed: Bool { get }
  /// For sure a request of weir's that has not been answered in full.
  var isBusy: Bool { get }
  /// When an answer that waits is due.
  var dueAt: UInt64 { get }
  /// When the request was complete that gets no answer; `max` where that is not so.
  var silentSince: UInt64 { get }
  func end(_ world: inout World)
  func step(_ world: inout World) -> Bool
}

/// One connection from weir that speaks HTTP/1.
final class BackendConnection: Answering {
  /// How an answer goes out.
  private struct Plan {
    enum End { case keep, close, reset }

    var reply: Reply
    var octets: [UInt8] = []
    /// Octets behind the answer.
    var surplus = 0
    var end = End.keep
    /// Its end is that of the connection.
    var isUnframed = false
    var isCut = false
  }

  private let descriptor: Int32
  private let backend: String
  private let faults: Faults
  private var random: Draw
  private var reader = MessageReader(readsResponses: false)
  private(set) var isClosed = false
  private var request: Heard?
  private var plan: Plan?
  private var sent = 0
  private let readPiece: Int

  init(
    _ descriptor: Int32, backend: String, faults: Faults, largestBody: Int, random: Draw
  ) {
    self.descriptor = descriptor
    self.backend = backend
    self.faults = faults
    self.random = random
    readPiece = self.random.piece(30, upTo: 300, of: largestBody)
  }

  /// Those whose connection weir has closed are no more, whether this end has seen it or not; nor
  /// are those that were answered before they were read to their end.
  var isBusy: Bool {
    guard !isClosed, let request, request.isOfClient, let plan else { return false }
    let isAnswered = sent > 0 && sent == plan.octets.count
    return !isAnswered && !Sockets.isHungUp(descriptor)
  }

  private var isRead: Bool { request?.isComplete ?? false }

  private var mayAnswer: Bool {
    guard let plan, plan.reply.fault != .silent else { return false }
    return isRead || plan.reply.isEarly
  }

  var dueAt: UInt64 { mayAnswer && sent == 0 ? plan?.reply.due ?? .max : .max }

  var silentSince: UInt64 {
    guard let plan, plan.reply.fault == .silent, let request, request.isComplete, !isClosed,
      !Sockets.isHungUp(descriptor)
    else { return .max }
    return request.completeAt
  }

  /// What weir has sent and nobody read is not thrown away unseen: a request in it was received.
  func end(_ world: inout World) {
    guard !isClosed else { return }
    if request == nil {
      reader.add(Sockets.peek(descriptor))
      if case .head(let head) = reader.next() { heard(head).note(&world) }
    }
    if let plan, let serial = plan.reply.serial, plan.isUnframed, sent < plan.octets.count {
      // Nobody can tell that this is not all of it.
      world.ledger.endedEarly(serial, by: plan.octets.count - sent)
    }
    if let request {
      world.trace.say("backend \(backend) ends with \(request.id), \(sent) octets sent")
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

  private func heard(_ head: MessageReader.Head) -> Heard {
    Heard(
      backend: backend, method: String(head.start[0]), path: String(head.start[1]),
      field: head.value)
  }

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
      case .head(let head): begin(heard(head), &world)
      case .body(let range): request?.content(reader.octets[range], &world)
      case .end: if let plan { request?.end(plan.reply, &world) }
      }
    }
    return true
  }

  private func begin(_ request: Heard, _ world: inout World) {
    request.note(&world)
    self.request = request
    sent = 0
    let reply = Reply(to: request, faults: faults, random: &random, &world)
    let plan = render(reply, to: request)
    self.plan = plan
    guard request.isOfClient else { return }
    world.trace.say(
      "backend \(backend) will answer \(request.id) with \(reply.status), "
        + "\(plan.octets.count) octets, then \(plan.end), \(reply.fault)")
  }

  // MARK: Answers

  private func render(_ reply: Reply, to request: Heard) -> Plan {
    var plan = Plan(reply: reply)
    switch reply.fault {
    case .silent: return plan
    case .reset:
      plan.end = .reset
      return plan
    case .malformed:
      plan.octets = Array("HTTP/1.1 2x0 What\r\n\r\n".utf8)
      plan.end = .close
      return plan
    case .none, .cut, .surplus: break
    }
    var text = reply.hasHints ? "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" : ""
    text += "HTTP/1.1 \(reply.status) Some Words\r\n"
    for field in reply.fields { text += "\(field.name): \(field.value)\r\n" }
    if reply.status == 304 {
      plan.octets = Array("\(text)\r\n".utf8)
      return plan
    }
    frame(text, isHead: request.method == "HEAD", &plan)
    spoil(&plan)
    return plan
  }

  private func frame(_ text: String, isHead: Bool, _ plan: inout Plan) {
    // Without a serial there is nothing that could be compared.
    let (key, length) = (UInt64(plan.reply.serial ?? 0), plan.reply.length)
    switch isHead || plan.reply.fields.isEmpty ? 0 : random.below(5) {
    case 0, 1, 2:
      var text = text
      if random.chance(15) {
        text += "Connection: close\r\n"
        plan.end = .close
      }
      plan.octets = Array("\(text)Content-Length: \(length)\r\n\r\n".utf8)
      if !isHead { Content.append(key, from: 0, count: length, to: &plan.octets) }
    case 3:
      plan.octets = Array("\(text)Transfer-Encoding: chunked\r\n\r\n".utf8)
      Content.appendChunks(key, count: length, random: &random, to: &plan.octets)
    default:
      plan.octets = Array("\(text)\r\n".utf8)
      Content.append(key, from: 0, count: length, to: &plan.octets)
      plan.end = .close
      plan.isUnframed = true
    }
  }

  /// As if it answered a request that nobody made.
  private static let surplus = Array(
    "HTTP/1.1 200 OK\r\nX-Serial: 999999\r\nContent-Length: 0\r\n\r\n".utf8)

  private func spoil(_ plan: inout Plan) {
    switch plan.reply.fault {
    case .surplus where plan.end == .keep:
      plan.octets += BackendConnection.surplus
      plan.surplus = BackendConnection.surplus.count
    // One that lasts until the connection ends cannot be told from a whole one.
    case .cut where !plan.isUnframed:
      plan.isCut = true
      plan.octets.removeLast(random.from(1, to: plan.octets.count - 1))
      plan.end = random.chance(50) ? .close : .reset
    default: break
    }
  }

  private func write(_ world: inout World) -> Bool {
    guard mayAnswer, let plan, plan.reply.due <= world.now else { return false }
    if sent < plan.octets.count {
      let whole = plan.octets.count - plan.surplus
      let piece = sent + plan.reply.piece
      let upper = piece >= whole ? plan.octets.count : piece
      switch Sockets.write(descriptor, plan.octets[sent..<upper]) {
      case .octets(let count):
        world.trace.note(plan.octets[sent..<(sent + count)])
        sent += count
        if sent >= whole {
          if !plan.isCut, let serial = plan.reply.serial { world.ledger.sentWhole(serial) }
          // What comes later than the answer may come behind the next request, and then nobody can
          // tell that it is no answer to that.
          self.plan?.octets.removeLast(plan.octets.count - sent)
          self.plan?.surplus = 0
        }
      case .wouldBlock, .ended: return false
      case .failed:
        end(&world)
        return true
      }
      guard sent >= whole else { return true }
      world.trace.say("backend \(backend) has answered \(request?.id ?? -1)")
    }
    switch plan.end {
    // Answered early: the rest of the request is still read.
    case .keep: if !isRead { return false }
    case .close, .reset: end(&world)
    }
    request = nil
    self.plan = nil
    return true
  }
}
