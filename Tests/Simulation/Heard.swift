/// A request as a backend hears it, over whatever protocol, held against what its client sent.
struct Heard {
  let backend: String
  /// -1: not of a client, but a health check.
  let id: Int
  let method: String
  let path: String
  let condition: String?
  private(set) var received = 0
  private(set) var isComplete = false
  /// When it was complete.
  private(set) var completeAt: UInt64 = 0

  init(backend: String, method: String, path: String, field: (String) -> String?) {
    self.backend = backend
    self.method = method
    self.path = path
    id = field("x-id").flatMap { Int($0) } ?? -1
    condition = field("if-none-match")
  }

  var isOfClient: Bool { id >= 0 }

  /// Its head has come: from here on it may have been acted upon.
  func note(_ world: inout World) {
    guard isOfClient else { return }
    world.trace.say("backend \(backend) got request \(id) \(method)")
    world.ledger.attempt(id, method: method, by: backend)
  }

  mutating func content(_ octets: ArraySlice<UInt8>, _ world: inout World) {
    if isOfClient, !Content.matches(UInt64(id), from: received, octets) {
      world.ledger.violated("request \(id): its content is not what the client sent")
    }
    received += octets.count
  }

  /// Its end has come. A change takes place when it has been asked for in full.
  mutating func end(_ reply: Reply, _ world: inout World) {
    isComplete = true
    completeAt = world.now
    guard isOfClient, world.ledger.requests.indices.contains(id) else { return }
    let known = world.ledger.requests[id]
    if received != known.length {
      world.ledger.violated(
        "request \(id): \(received) of \(known.length) octets came as complete")
    }
    guard let serial = reply.serial, let object = known.object, known.method == "PUT",
      world.ledger.responses[serial].status == 200
    else { return }
    world.ledger.publish(object)
    world.ledger.changed(serial, to: world.ledger.versions[object])
  }
}

/// What a backend answers, well or badly, as the seed has it.
struct Reply {
  enum Fault {
    case none
    /// Never comes.
    case silent
    /// The connection ends instead.
    case reset
    case malformed
    /// Ends before its end.
    case cut
    /// There is more behind its end.
    case surplus
  }

  private(set) var fault = Fault.none
  private(set) var status = 200
  private(set) var fields: [FieldBlock.Field] = []
  private(set) var length = 0
  private(set) var serial: Int?
  private(set) var hasHints = false
  /// Before the request's content has come.
  private(set) var isEarly = false
  /// At which virtual time.
  private(set) var due: UInt64 = 0
  private(set) var piece = Draw.largestPiece

  init(to request: Heard, faults: Faults, random: inout Draw, _ world: inout World) {
    guard request.path != "/healthz" else {
      if random.chance(faults.badAnswers / 2) { fault = .silent }
      return
    }
    let isBad = random.chance(faults.badAnswers)
    piece = random.piece(40, upTo: 700, of: world.largestBody)
    if piece < Draw.largestPiece { world.ledger.counts[.inPieces] += 1 }
    if random.chance(30) {
      world.ledger.counts[.late] += 1
      due = world.now + UInt64(random.below(50)) * 1_000_000
    }
    if isBad {
      isEarly = random.chance(20)
      if isEarly { world.ledger.counts[.early] += 1 }
      fault = Reply.fault(&random, &world)
    }
    hasHints = random.chance(10)
    switch fault {
    case .silent, .reset, .malformed: return
    case .none, .cut, .surplus:
      compose(request, mayFail: isBad, &random, &world)
    }
  }

  private static func fault(_ random: inout Draw, _ world: inout World) -> Fault {
    let (fault, part): (Fault, Counts.Part?) =
      switch random.below(10) {
      case 0...1: (.silent, .silent)
      case 2: (.reset, .resets)
      case 3: (.malformed, .malformed)
      case 4...6: (.cut, .cutShort)
      case 7: (.surplus, .surplus)
      default: (.none, nil)
      }
    if let part { world.ledger.counts[part] += 1 }
    return fault
  }

  private mutating func compose(
    _ request: Heard, mayFail: Bool, _ random: inout Draw, _ world: inout World
  ) {
    let object = Paths.object(request.path[...])
    if mayFail, random.chance(60) {
      world.ledger.counts[.badStatuses] += 1
      status = random.one(of: [404, 500, 502, 503, 504])
    }
    let version = object.map { world.ledger.versions[$0] } ?? 0
    let tag = "\"\(object ?? 0)-\(version)\""
    let isGet = request.method == "GET"
    if isGet, status == 200, request.condition == tag, random.chance(70) {
      status = 304
      fields = [("ETag", tag), ("Cache-Control", "max-age=5")]
      return
    }
    length = random.size(upTo: world.largestBody)
    let serial = world.ledger.respond(
      Ledger.Response(
        request: request.id, object: object, version: version, status: status, length: length))
    self.serial = serial
    fields = [("X-Serial", "\(serial)")]
    if isGet, let object, status == 200 {
      fields += [
        ("ETag", tag), ("Cache-Control", "max-age=\(random.one(of: [0, 1, 5, 60]))"),
        ("Cache-Tag", "o\(object)"),
      ]
    }
    if status == 503, random.chance(50) {
      fields.append(("Retry-After", "\(random.from(0, to: 2))"))
    }
  }
}
