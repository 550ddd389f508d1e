import Glibc

/// One connection from weir that speaks HTTP/2: several requests at once, answered in an order of
/// its own, some refused, some never.
final class StreamBackendConnection: Answering {
  private struct Stream {
    var request: Heard
    let reply: Reply
    var hasSentHead = false
    /// Octets of the content that were sent.
    var sent = 0
    /// A part of the content that is sent before the stream is cut.
    var cutAfter = Int.max
  }

  private let descriptor: Int32
  private let backend: String
  private let faults: Faults
  private var random: Draw
  private var frames: Frames
  private var hasPreface = false
  private(set) var isClosed = false
  private var streams: [Int: Stream] = [:]
  private var lastStream = 0
  /// Streams above this one are left out; `max` before there was a GOAWAY.
  private var lastTaken = Int.max
  private let readPiece: Int
  private let writePiece: Int
  private let generosity: Int

  init(
    _ descriptor: Int32, backend: String, faults: Faults, largestBody: Int, random: Draw
  ) {
    self.descriptor = descriptor
    self.backend = backend
    self.faults = faults
    self.random = random
    readPiece = self.random.piece(30, upTo: 300, of: largestBody)
    writePiece = self.random.piece(30, upTo: 300, of: largestBody)
    generosity = self.random.one(of: [5, 50, 100])
    let smallest = largestBody <= 3000 ? 50 : 2000
    frames = Frames(window: self.random.one(of: [smallest, 5000, 65_535, 1 << 20]))
  }

  /// Weir may have taken back what has not been read yet, so nothing is for sure.
  var isBusy: Bool { false }

  private func mayAnswer(_ stream: Stream) -> Bool {
    stream.reply.fault != .silent && (stream.request.isComplete || stream.reply.isEarly)
  }

  var dueAt: UInt64 {
    streams.values.reduce(.max) {
      mayAnswer($1) && !$1.hasSentHead ? min($0, $1.reply.due) : $0
    }
  }

  var silentSince: UInt64 {
    guard !isClosed, !Sockets.isHungUp(descriptor) else { return .max }
    return streams.values.reduce(.max) {
      $1.reply.fault == .silent && $1.request.isComplete ? min($0, $1.request.completeAt) : $0
    }
  }

  func end(_ world: inout World) {
    guard !isClosed else { return }
    // What weir has sent and nobody read is not thrown away unseen: it may have been acted upon.
    while case .octets = frames.receive(descriptor, atMost: 1 << 16) {}
    if takePreface() == true {
      loop: while true {
        switch frames.next() {
        case .head(let id, let fields, _) where id <= lastTaken: heard(fields).note(&world)
        case .more, .fault: break loop
        default: break
        }
      }
    }
    world.trace.say("backend \(backend) ends a connection with \(streams.count) streams")
    close(descriptor)
    isClosed = true
  }

  func step(_ world: inout World) -> Bool {
    guard !isClosed else { return false }
    let hasRead = read(&world)
    guard !isClosed else { return true }
    if streams.isEmpty, frames.isFlushed {
      let isIdleTooLong = faults.closedIdle > 0 && random.below(1000) < faults.closedIdle
      if isIdleTooLong || lastTaken < .max {
        if isIdleTooLong { world.ledger.counts[.closedIdle] += 1 }
        end(&world)
        return true
      }
    }
    answer(&world)
    guard !isClosed else { return true }
    if !hasRead && frames.isFlushed || random.chance(generosity) {
      frames.giveWindow(streams.keys.sorted().filter { frames.owes($0) })
    }
    return write(&world) || hasRead
  }

  // MARK: Requests

  private func takePreface() -> Bool? {
    if !hasPreface, let isThere = frames.takePreface() { hasPreface = isThere }
    return hasPreface
  }

  private func read(_ world: inout World) -> Bool {
    switch frames.receive(descriptor, atMost: readPiece) {
    case .wouldBlock: return false
    case .ended, .failed:
      end(&world)
      return true
    case .octets(let count): world.trace.note(count)
    }
    guard takePreface() == true else { return true }
    while !isClosed {
      switch frames.next() {
      case .more: return true
      case .fault(let fault):
        world.ledger.violated("backend \(backend) got no request: \(fault)")
        end(&world)
      case .head(let id, let fields, let ends): begin(id, fields, ends, &world)
      case .body(let id, let range, let ends):
        streams[id]?.request.content(frames.octets[range], &world)
        if ends { ended(id, &world) }
      case .reset(let id, _): streams[id] = nil
      case .goAway: break
      }
    }
    return true
  }

  private func heard(_ fields: [FieldBlock.Field]) -> Heard {
    func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }
    return Heard(
      backend: backend, method: value(":method") ?? "", path: value(":path") ?? "", field: value)
  }

  private func begin(
    _ id: Int, _ fields: [FieldBlock.Field], _ ends: Bool, _ world: inout World
  ) {
    guard streams[id] == nil else {
      // Trailers.
      if ends { ended(id, &world) }
      return
    }
    guard id > lastStream else {
      return world.ledger.violated("backend \(backend): stream \(id) after \(lastStream)")
    }
    guard id <= lastTaken else {
      world.ledger.counts[.refused] += 1
      return
    }
    lastStream = id
    let request = heard(fields)
    if random.chance(faults.badAnswers / 6) {
      // REFUSED_STREAM: not acted upon, so that even a POST goes to another one.
      world.ledger.counts[.refused] += 1
      return frames.reset(id, code: 7)
    }
    request.note(&world)
    frames.open(id)
    if request.isOfClient { world.ledger.counts[.streamsToBackends] += 1 }
    let reply = Reply(to: request, faults: faults, random: &random, &world)
    var stream = Stream(request: request, reply: reply)
    if reply.fault == .cut { stream.cutAfter = random.below(max(1, reply.length)) }
    streams[id] = stream
    world.trace.say(
      "backend \(backend) will answer \(request.id) on stream \(id) with \(reply.status), "
        + "\(reply.length) octets, \(reply.fault)")
    if ends { ended(id, &world) }
    if lastTaken == .max, random.chance(faults.badAnswers / 10) {
      lastTaken = lastStream
      frames.goAway(last: lastStream)
    }
  }

  private func ended(_ id: Int, _ world: inout World) {
    guard let reply = streams[id]?.reply else { return }
    streams[id]?.request.end(reply, &world)
  }

  // MARK: Answers

  private func answer(_ world: inout World) {
    guard frames.isFlushed else { return }
    let due = streams.keys.sorted().filter {
      guard let stream = streams[$0] else { return false }
      let isBlocked = stream.hasSentHead && frames.room($0) == 0
      return mayAnswer(stream) && stream.reply.due <= world.now && !isBlocked
    }
    guard !due.isEmpty else { return }
    let id = random.one(of: due)
    guard var stream = streams[id] else { return }
    if !stream.hasSentHead {
      stream.hasSentHead = true
      streams[id] = stream
      return sendHead(id, stream, &world)
    }
    let (length, key) = (stream.reply.length, UInt64(stream.reply.serial ?? 0))
    let most = min(frames.room(id), stream.reply.piece)
    let count = min(length - stream.sent, most)
    var content: [UInt8] = []
    Content.append(key, from: stream.sent, count: count, to: &content)
    stream.sent += count
    streams[id] = stream
    let isWhole = stream.sent == length
    if stream.sent > stream.cutAfter || isWhole && stream.reply.fault == .cut {
      return cut(id, &world)
    }
    if isWhole, stream.reply.fault == .surplus, frames.room(id) > count {
      // More than its head said.
      content.append(0)
    }
    let ends = isWhole && random.chance(70)
    frames.body(id, content, ends: ends)
    if isWhole {
      // An end of its own, behind all content.
      if !ends { frames.body(id, [], ends: true) }
      finished(id, stream, &world)
    }
  }

  private func sendHead(_ id: Int, _ stream: Stream, _ world: inout World) {
    let reply = stream.reply
    switch reply.fault {
    case .malformed: return frames.head(id, [(":status", "2x0")], ends: false)
    case .reset: return cut(id, &world)
    default: break
    }
    if reply.hasHints { frames.head(id, [(":status", "103"), ("link", "</a>")], ends: false) }
    var fields: [FieldBlock.Field] = [(":status", "\(reply.status)")]
    fields += reply.fields.map { ($0.name.lowercased(), $0.value) }
    let isHead = stream.request.method == "HEAD"
    if reply.status != 304, isHead || reply.fault == .surplus || random.chance(50) {
      fields.append(("content-length", "\(reply.length)"))
    }
    let ends = isHead || reply.status == 304 || reply.length == 0 && random.chance(50)
    if ends, reply.fault == .cut { return cut(id, &world) }
    frames.head(id, fields, ends: ends)
    if ends { finished(id, stream, &world) }
  }

  private func finished(_ id: Int, _ stream: Stream, _ world: inout World) {
    if let serial = stream.reply.serial { world.ledger.sentWhole(serial) }
    world.trace.say("backend \(backend) has answered \(stream.request.id)")
    // What is left of the request need not be sent.
    if !stream.request.isComplete { frames.reset(id, code: 0) }
    frames.close(id)
    streams[id] = nil
  }

  /// The stream, or all of the connection, ends before its answer does.
  private func cut(_ id: Int, _ world: inout World) {
    if random.chance(70) {
      world.trace.say("backend \(backend) resets stream \(id)")
      frames.reset(id, code: 2)
      streams[id] = nil
    } else {
      end(&world)
    }
  }

  private func write(_ world: inout World) -> Bool {
    switch frames.flush(descriptor, atMost: writePiece) {
    case .octets(let count):
      world.trace.note(count)
      return true
    case .wouldBlock, .ended: return false
    case .failed:
      end(&world)
      return true
    }
  }
}
