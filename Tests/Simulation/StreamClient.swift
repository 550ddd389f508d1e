import Glibc

/// One client of HTTP/2: several streams at once, small windows that it gives back late, resets,
/// pings, goodbyes.
final class StreamClient: Asker {
  private struct Stream {
    var answer: Answer
    let question: Question
    /// Octets of the content that were sent.
    var sent = 0
    var hasSentEnd = false
    /// Is cancelled when so much of its content, or of its answer, has passed.
    var resetsAfter = Int.max
    /// Its answer waits for window, for ever.
    var isStarved = false
    var read = 0
    /// What the head said of the content's length.
    var length: Int?
  }

  let name: String
  private let path: String
  private var random: Draw
  private let faults: Faults
  private let objects: Int
  private var descriptor: Int32 = -1
  private var frames = Frames(window: 65_535)
  private var streams: [Int: Stream] = [:]
  private var nextStream = 1
  private var cookie: String?
  private var depth = 1
  private var writePiece = 1 << 16
  private var readPiece = 1 << 16
  private var leavesAfter = Int.max
  /// No stream is opened any more on this connection.
  private var isLast = false
  /// In per cent of the steps.
  private var generosity = 100

  init(_ role: Role, objects: Int) {
    (name, path, faults, random) = (role.name, role.path, role.faults, role.random)
    self.objects = objects
  }

  var isIdle: Bool {
    descriptor < 0 || streams.isEmpty && frames.isFlushed && frames.pingsOut == 0
  }

  func step(_ world: inout World) -> Bool {
    if descriptor < 0 {
      guard world.requestsLeft > 0 else { return false }
      return connect(&world)
    }
    if isLast, streams.isEmpty, frames.isFlushed, random.chance(20) {
      leave(&world)
      return true
    }
    if streams.count < depth, world.requestsLeft > 0, !isLast { ask(&world) }
    sendContent(&world)
    let hasRead = read(&world)
    guard descriptor >= 0 else { return true }
    if !hasRead && frames.isFlushed || random.chance(generosity) { giveWindow() }
    return write(&world) || hasRead
  }

  private func connect(_ world: inout World) -> Bool {
    descriptor = Sockets.connect(path)
    guard descriptor >= 0 else { return false }
    let smallest = world.largestBody <= 3000 ? 50 : 2000
    frames = Frames(window: random.one(of: [smallest, 5000, 65_535, 1 << 20]))
    frames.writePreface()
    streams = [:]
    nextStream = 1
    depth = random.from(1, to: 6)
    writePiece = random.piece(40, upTo: 300, of: world.largestBody)
    readPiece = random.piece(40, upTo: 500, of: world.largestBody)
    generosity = random.one(of: [5, 50, 100])
    leavesAfter = random.chance(faults.badClients / 2) ? random.size(upTo: 50_000) : .max
    isLast = false
    world.trace.say("client \(name) connects")
    return true
  }

  func leave(_ world: inout World) {
    guard descriptor >= 0 else { return }
    world.trace.say("client \(name) leaves, \(streams.count) unanswered")
    close(descriptor)
    descriptor = -1
    world.ledger.counts[.unanswered] += streams.count
    streams = [:]
  }

  /// In an order that is the same in every run.
  private var open: [Int] { streams.keys.sorted() }

  // MARK: Asking

  private func ask(_ world: inout World) {
    if random.chance(faults.badClients / 8) {
      world.requestsLeft -= 1
      world.ledger.counts[.nonsense] += 1
      frames.writeRaw(random.one(of: StreamClient.nonsense))
      isLast = true
      return
    }
    if random.chance(3) { frames.ping() }
    let question = Question(objects: objects, random: &random, &world)
    world.ledger.counts[.streams] += 1
    world.ledger.begin(question.id)
    let stream = nextStream
    nextStream += 2
    var fields: [FieldBlock.Field] = [
      (":method", question.method), (":scheme", "http"), (":authority", "s"),
      (":path", question.target), ("x-id", "\(question.id)"),
    ]
    if let cookie { fields.append(("cookie", cookie)) }
    if question.hasContent, random.chance(50) {
      fields.append(("content-length", "\(question.length)"))
    }
    world.trace.say(
      "client \(name) asks \(question.id): \(question.method) \(question.target), "
        + "\(question.length) octets, on stream \(stream)")
    frames.open(stream)
    var state = Stream(answer: Answer(to: question), question: question)
    state.hasSentEnd = !question.hasContent
    if random.chance(faults.badClients) {
      state.resetsAfter = random.size(upTo: 20_000)
    } else {
      state.isStarved = random.chance(faults.badClients / 4)
    }
    frames.head(stream, fields, ends: state.hasSentEnd)
    streams[stream] = state
    if random.chance(4) {
      // What is open is still answered (RFC 9113 §6.8).
      frames.goAway()
      isLast = true
    }
  }

  /// Content on an idle stream, noise, a head on a stream that is the server's to open.
  private static let nonsense: [[UInt8]] = [
    [0, 0, 1, 0, 0, 0, 0, 3, 231, 7], [UInt8](repeating: 255, count: 30),
    [0, 0, 1, 1, 5, 0, 0, 0, 2, 130],
  ]

  private func sendContent(_ world: inout World) {
    guard frames.isFlushed else { return }
    let due = open.filter { streams[$0]?.hasSentEnd == false }
    guard !due.isEmpty else { return }
    let stream = random.one(of: due)
    guard var state = streams[stream] else { return }
    let left = state.question.length - state.sent
    let count = min(left, min(frames.room(stream), random.size(upTo: 16_384)))
    guard count > 0 || left == 0 else { return }
    var content: [UInt8] = []
    Content.append(UInt64(state.question.id), from: state.sent, count: count, to: &content)
    state.sent += count
    state.hasSentEnd = state.sent == state.question.length && (count < left || random.chance(80))
    if count == left, left == 0 { state.hasSentEnd = true }
    frames.body(stream, content, ends: state.hasSentEnd)
    streams[stream] = state
    if state.sent > state.resetsAfter { cancel(stream, &world) }
  }

  private func cancel(_ stream: Int, _ world: inout World) {
    world.trace.say("client \(name) cancels stream \(stream)")
    world.ledger.counts[.unanswered] += 1
    frames.reset(stream, code: 8)
    streams[stream] = nil
  }

  private func giveWindow() {
    frames.giveWindow(open.filter { streams[$0]?.isStarved == false && frames.owes($0) })
  }

  private func write(_ world: inout World) -> Bool {
    switch frames.flush(descriptor, atMost: writePiece) {
    case .octets(let count):
      world.trace.note(count)
      return used(count, &world)
    case .wouldBlock, .ended: return false
    case .failed:
      // What weir said before it closed may still be there to be read.
      isLast = true
      return false
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
    switch frames.receive(descriptor, atMost: readPiece) {
    case .wouldBlock: return false
    case .ended, .failed:
      hungUp(&world)
      return true
    case .octets(let count):
      world.trace.note(count)
      parse(&world)
      return descriptor < 0 || used(count, &world)
    }
  }

  private func parse(_ world: inout World) {
    while descriptor >= 0 {
      switch frames.next() {
      case .more: return
      case .fault(let fault):
        world.ledger.violated("client \(name) got no answer: \(fault)")
        return leave(&world)
      case .head(let stream, let fields, let ends): head(stream, fields, ends, &world)
      case .body(let stream, let range, let ends): body(stream, range, ends, &world)
      case .reset(let stream, let code): wasReset(stream, code, &world)
      case .goAway(let last, let code):
        world.trace.say("client \(name) is told to go: \(code), up to stream \(last)")
        if world.isCalm, code != 0 {
          world.ledger.violated("client \(name) is sent away without a fault: \(code)")
        }
        isLast = true
        for stream in open where stream > last {
          world.ledger.counts[.unanswered] += 1
          frames.close(stream)
          streams[stream] = nil
        }
      }
    }
  }

  private func head(
    _ stream: Int, _ fields: [FieldBlock.Field], _ ends: Bool, _ world: inout World
  ) {
    func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }
    guard streams[stream] != nil else {
      if stream >= nextStream || stream % 2 == 0 {
        world.ledger.violated("client \(name): a head on stream \(stream)")
      }
      return
    }
    if let status = value(":status").flatMap({ Int($0) }) {
      guard status >= 200 else { return }
      if streams[stream]?.answer.hasBegun == true {
        world.ledger.violated("client \(name): two answers on stream \(stream)")
      }
      if let set = value("set-cookie") { cookie = String(set.prefix { $0 != ";" }) }
      streams[stream]?.length = value("content-length").flatMap { Int($0) }
      streams[stream]?.answer.begin(status, field: value, client: name, &world)
    } else if !ends {
      world.ledger.violated("client \(name): trailers that do not end stream \(stream)")
    }
    if ends { ended(stream, &world) }
  }

  private func body(_ stream: Int, _ range: Range<Int>, _ ends: Bool, _ world: inout World) {
    guard let state = streams[stream] else { return }
    if !state.answer.hasBegun {
      world.ledger.violated("client \(name): content before the head of stream \(stream)")
    }
    streams[stream]?.answer.content(frames.octets[range], &world)
    streams[stream]?.read += range.count
    if ends { return ended(stream, &world) }
    if state.read + range.count > state.resetsAfter { cancel(stream, &world) }
  }

  private func ended(_ stream: Int, _ world: inout World) {
    guard let state = streams[stream] else { return }
    if let length = state.length, length != state.read, !state.answer.isHead,
      state.answer.status != 304
    {
      world.ledger.violated("stream \(stream) ended after \(state.read) of \(length) octets")
    }
    state.answer.complete(&world)
    // What is left of the request may be left out.
    if !state.hasSentEnd { frames.reset(stream, code: 0) }
    frames.close(stream)
    streams[stream] = nil
  }

  private func wasReset(_ stream: Int, _ code: UInt32, _ world: inout World) {
    guard let state = streams[stream] else { return }
    world.trace.say("client \(name): stream \(stream) is reset, \(code)")
    world.trace.note(Int(code))
    if world.isCalm {
      world.ledger.violated("request \(state.question.id) is reset without a fault: \(code)")
    }
    world.ledger.counts[.unanswered] += 1
    streams[stream] = nil
  }

  private func hungUp(_ world: inout World) {
    world.trace.say("client \(name) is hung up on, \(streams.count) unanswered")
    if world.isCalm, !streams.isEmpty {
      world.ledger.violated("client \(name): hung up on with \(streams.count) unanswered")
    }
    leave(&world)
  }
}
