import Glibc

/// One client: connects, sends requests one behind the other or without waiting, reads what comes,
/// and connects again when that is over.
final class Client {
  private struct Pending {
    var request: Int
    var isHead: Bool
  }

  let name: String
  private let path: String
  private var random: Draw
  private let faults: Faults
  private let objects: Int
  private(set) var descriptor: Int32 = -1
  private var reader = MessageReader(readsResponses: true)
  private var pending: [Pending] = []
  private var out: [UInt8] = []
  private var sent = 0
  /// Requests in `out` by where they begin.
  private var begins: [(offset: Int, request: Int)] = []
  private var cookie: String?
  // Of this connection:
  private var depth = 1
  private var writePiece = 1 << 16
  private var readPiece = 1 << 16
  /// The connection is left after so many octets, read or written.
  private var leavesAfter = Int.max
  private var isLast = false
  // Of the answer that is being read:
  private var serial: Int?
  private var status = 0
  private var received = 0
  private var isInBody = false
  private var closes = false

  init(name: String, path: String, faults: Faults, objects: Int, random: Draw) {
    self.name = name
    self.path = path
    self.faults = faults
    self.objects = objects
    self.random = random
  }

  /// Nothing is expected any more.
  var isIdle: Bool { pending.isEmpty && sent == out.count }

  /// False where there was nothing to do.
  func step(_ world: inout World) -> Bool {
    if descriptor < 0 {
      guard world.requestsLeft > 0 else { return false }
      return connect(&world)
    }
    if pending.count < depth, world.requestsLeft > 0, !isLast { ask(&world) }
    let hasWritten = write(&world)
    let hasRead = descriptor >= 0 && read(&world)
    return hasWritten || hasRead
  }

  private func connect(_ world: inout World) -> Bool {
    descriptor = Sockets.connect(path)
    guard descriptor >= 0 else { return false }
    reader = MessageReader(readsResponses: true)
    depth = random.chance(40) ? random.from(2, to: 5) : 1
    writePiece = random.chance(40) ? random.from(1, to: 300) : 1 << 16
    readPiece = random.chance(40) ? random.from(1, to: 500) : 1 << 16
    leavesAfter = random.chance(faults.badClients) ? random.size(upTo: 50_000) : .max
    isLast = false
    world.trace.say("client \(name) connects")
    return true
  }

  func leave(_ world: inout World) {
    guard descriptor >= 0 else { return }
    world.trace.say("client \(name) leaves, \(pending.count) unanswered")
    close(descriptor)
    gone(&world)
  }

  private func gone(_ world: inout World) {
    descriptor = -1
    world.ledger.unanswered += pending.count
    pending = []
    begins = []
    out = []
    sent = 0
    forgetAnswer()
  }

  private func forgetAnswer() {
    serial = nil
    received = 0
    isInBody = false
    closes = false
  }

  // MARK: Asking

  private func ask(_ world: inout World) {
    world.requestsLeft -= 1
    if sent == out.count {
      out = []
      sent = 0
    }
    if random.chance(faults.badClients / 4) {
      // No request, and nothing behind it: weir answers 400, or hangs up.
      out += Array(random.one(of: Client.nonsense).utf8)
      isLast = true
      return
    }
    let object = objects > 0 && random.chance(50) ? random.below(objects) : nil
    let method =
      object == nil
      ? random.one(of: ["GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD"])
      : random.one(of: ["GET", "GET", "GET", "GET", "GET", "HEAD", "PUT"])
    let hasContent = method == "POST" || method == "PUT"
    let length = hasContent ? random.size(upTo: world.largestBody) : 0
    let id = world.ledger.add(method, object: object, length: length)
    begins.append((out.count, id))
    pending.append(Pending(request: id, isHead: method == "HEAD"))
    let target = object.map(Paths.object) ?? Paths.plain(random.below(8))
    var head = "\(method) \(target) HTTP/1.1\r\nHost: s\r\nX-Id: \(id)\r\n"
    if let cookie { head += "Cookie: \(cookie)\r\n" }
    if random.chance(5) {
      head += "Connection: close\r\n"
      isLast = true
    }
    if hasContent, random.chance(10) { head += "Expect: 100-continue\r\n" }
    world.trace.say("client \(name) asks \(id): \(method) \(target), \(length) octets")
    guard hasContent, random.chance(30) else {
      out += Array("\(head)\(hasContent ? "Content-Length: \(length)\r\n" : "")\r\n".utf8)
      Content.append(UInt64(id), from: 0, count: length, to: &out)
      return
    }
    out += Array("\(head)Transfer-Encoding: chunked\r\n\r\n".utf8)
    appendChunks(id, length)
  }

  private func appendChunks(_ id: Int, _ length: Int) {
    var done = 0
    while done < length {
      let size = min(length - done, random.size(upTo: 30_000) + 1)
      out += Array((String(size, radix: 16) + ";x=1\r\n").utf8)
      Content.append(UInt64(id), from: done, count: size, to: &out)
      out += [13, 10]
      done += size
    }
    out += Array("0\r\n\r\n".utf8)
  }

  private static let nonsense = [
    "GET / HTTP/1.1\r\nHost: s\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET /\u{1} HTTP/1.1\r\n\r\n", "\r\n\r\n\r\nBOO\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
    "POST /p/1 HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  ]

  private func write(_ world: inout World) -> Bool {
    guard sent < out.count else { return false }
    let upper = min(out.count, sent + writePiece)
    switch Sockets.write(descriptor, out[sent..<upper]) {
    case .octets(let count):
      while let first = begins.first, first.offset < sent + count {
        world.ledger.begin(first.request)
        begins.removeFirst()
      }
      world.trace.note(out[sent..<(sent + count)])
      sent += count
      return used(count, &world)
    case .wouldBlock, .ended: return false
    case .failed:
      // What weir said before it closed may still be there to be read.
      sent = out.count
      isLast = true
      return true
    }
  }

  private func used(_ count: Int, _ world: inout World) -> Bool {
    guard leavesAfter != .max else { return true }
    leavesAfter -= count
    if leavesAfter < 0 { leave(&world) }
    return true
  }

  // MARK: Answers

  private func read(_ world: inout World) -> Bool {
    switch reader.receive(descriptor, atMost: readPiece) {
    case .wouldBlock: return false
    case .failed:
      hungUp(&world, isReset: true)
      return true
    case .ended:
      if case .end = reader.ended() { complete(&world) }
      hungUp(&world, isReset: false)
      return true
    case .octets(let count):
      parse(&world)
      return descriptor < 0 || used(count, &world)
    }
  }

  private func parse(_ world: inout World) {
    while descriptor >= 0 {
      reader.isForHead = pending.first?.isHead ?? false
      switch reader.next() {
      case .more: return
      case .fault(let fault):
        world.ledger.violated("client \(name) got no answer: \(fault)")
        return leave(&world)
      case .head(let head): begin(head, &world)
      case .body(let range):
        world.trace.note(reader.octets[range])
        if let serial,
          !Content.matches(UInt64(serial), from: received, reader.octets[range])
        {
          world.ledger.violated("answer \(serial): other octets at \(received)")
        }
        received += range.count
      case .end: complete(&world)
      }
    }
  }

  private func begin(_ head: MessageReader.Head, _ world: inout World) {
    status = Int(head.start[1]) ?? 0
    guard status >= 200 else { return }
    forgetAnswer()
    isInBody = true
    closes = head.value("connection") == "close"
    serial = head.number("x-serial")
    if let set = head.value("set-cookie") { cookie = String(set.prefix { $0 != ";" }) }
    world.trace.note(status)
    world.trace.note(serial ?? -1)
    guard let first = pending.first else {
      // 408: it said nothing for too long.
      if serial != nil || !(isLast || status == 408) {
        world.ledger.violated("client \(name): an answer \(status) that nobody asked for")
      }
      return
    }
    world.trace.say("client \(name): \(first.request) is answered \(status) (\(serial ?? -1))")
    if let serial {
      world.ledger.head(serial, status: status, for: first.request)
    } else {
      if head.value("proxy-status") == nil {
        world.ledger.violated("request \(first.request): \(status) from nobody")
      }
      if world.isCalm {
        let reason = head.value("proxy-status") ?? "?"
        world.ledger.violated("request \(first.request): \(status) without a fault: \(reason)")
      }
    }
  }

  private func complete(_ world: inout World) {
    defer { forgetAnswer() }
    guard isInBody else { return }
    if closes { isLast = true }
    guard let first = pending.first else { return }
    pending.removeFirst()
    guard let serial else {
      world.ledger.ownAnswers += 1
      return
    }
    world.ledger.answered += 1
    let hasContent = !first.isHead && status != 304 && status != 204
    world.ledger.complete(
      serial, octets: received, for: first.request, hasContent: hasContent)
    let request = world.ledger.requests[first.request]
    if request.method == "PUT", status == 200, let object = request.object {
      world.ledger.mustSee(object, world.ledger.responses[serial].version)
    }
  }

  private func hungUp(_ world: inout World, isReset: Bool) {
    world.trace.say("client \(name) is hung up on, \(pending.count) unanswered")
    world.trace.note(isReset ? 1 : 2)
    if world.isCalm, !isLast, !pending.isEmpty {
      world.ledger.violated("client \(name): hung up on with \(pending.count) unanswered")
    }
    close(descriptor)
    gone(&world)
  }
}
