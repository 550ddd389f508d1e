import Glibc

/// One client of HTTP/1: connects, sends requests one behind the other or without waiting, reads
/// what comes, and connects again when that is over.
final class Client: Asker {
  let name: String
  private let path: String
  private var random: Draw
  private let faults: Faults
  private let objects: Int
  private(set) var descriptor: Int32 = -1
  private var reader = MessageReader(readsResponses: true)
  private var pending: [Answer] = []
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
  /// The answer that is being read says that it is the last.
  private var closes = false

  init(_ role: Role, objects: Int) {
    (name, path, faults, random) = (role.name, role.path, role.faults, role.random)
    self.objects = objects
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
    writePiece = random.piece(40, upTo: 300, of: world.largestBody)
    readPiece = random.piece(40, upTo: 500, of: world.largestBody)
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
    world.ledger.counts[.unanswered] += pending.count
    pending = []
    begins = []
    out = []
    sent = 0
    closes = false
  }

  // MARK: Asking

  private func ask(_ world: inout World) {
    if sent == out.count {
      out = []
      sent = 0
    }
    if random.chance(faults.badClients / 4) {
      // No request, and nothing behind it: weir answers 400, or hangs up.
      world.requestsLeft -= 1
      world.ledger.counts[.nonsense] += 1
      out += Array(random.one(of: Client.nonsense).utf8)
      isLast = true
      return
    }
    let question = Question(objects: objects, random: &random, &world)
    begins.append((out.count, question.id))
    pending.append(Answer(to: question))
    var head = "\(question.method) \(question.target) HTTP/1.1\r\nHost: s\r\n"
    head += "X-Id: \(question.id)\r\n"
    if let cookie { head += "Cookie: \(cookie)\r\n" }
    if random.chance(5) {
      head += "Connection: close\r\n"
      isLast = true
    }
    if question.hasContent, random.chance(10) { head += "Expect: 100-continue\r\n" }
    world.trace.say(
      "client \(name) asks \(question.id): \(question.method) \(question.target), "
        + "\(question.length) octets")
    let key = UInt64(question.id)
    guard question.hasContent, random.chance(30) else {
      let length = question.hasContent ? "Content-Length: \(question.length)\r\n" : ""
      out += Array("\(head)\(length)\r\n".utf8)
      Content.append(key, from: 0, count: question.length, to: &out)
      return
    }
    out += Array("\(head)Transfer-Encoding: chunked\r\n\r\n".utf8)
    Content.appendChunks(
      key, count: question.length, suffix: ";x=1", random: &random, to: &out)
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
        if !pending.isEmpty { pending[0].content(reader.octets[range], &world) }
      case .end: complete(&world)
      }
    }
  }

  private func begin(_ head: MessageReader.Head, _ world: inout World) {
    let status = Int(head.start[1]) ?? 0
    guard status >= 200 else { return }
    closes = head.value("connection") == "close"
    let serial = head.number("x-serial")
    if let set = head.value("set-cookie") { cookie = String(set.prefix { $0 != ";" }) }
    guard !pending.isEmpty else {
      // 408: it said nothing for too long.
      if serial != nil || !(isLast || status == 408) {
        world.ledger.violated("client \(name): an answer \(status) that nobody asked for")
      }
      return
    }
    pending[0].begin(status, field: head.value, client: name, &world)
  }

  private func complete(_ world: inout World) {
    if closes { isLast = true }
    closes = false
    guard let first = pending.first, first.hasBegun else { return }
    pending.removeFirst()
    first.complete(&world)
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
