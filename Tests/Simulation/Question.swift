/// What a client asks for next, drawn and known to the ledger.
struct Question {
  let id: Int
  let method: String
  let target: String
  /// Of its content, in octets.
  let length: Int

  var hasContent: Bool { method == "POST" || method == "PUT" }

  init(objects: Int, random: inout Draw, _ world: inout World) {
    let object = objects > 0 && random.chance(50) ? random.below(objects) : nil
    method =
      object == nil
      ? random.one(of: ["GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD"])
      : random.one(of: ["GET", "GET", "GET", "GET", "GET", "HEAD", "PUT"])
    length = method == "POST" || method == "PUT" ? random.size(upTo: world.largestBody) : 0
    id = world.ledger.add(method, object: object, length: length)
    target = object.map(Paths.object) ?? Paths.plain(random.below(8))
    world.requestsLeft -= 1
  }
}

/// One request and its answer as that comes in: every octet is held against what the ledger knows.
struct Answer {
  let request: Int
  let isHead: Bool
  private(set) var status = 0
  private var serial: Int?
  private var received = 0

  /// The final head has come.
  var hasBegun: Bool { status > 0 }

  init(to question: Question) {
    request = question.id
    isHead = question.method == "HEAD"
  }

  mutating func begin(
    _ status: Int, field: (String) -> String?, client: String, _ world: inout World
  ) {
    self.status = status
    serial = field("x-serial").flatMap { Int($0) }
    let proxyStatus = field("proxy-status")
    world.trace.note(status)
    world.trace.note(serial ?? -1)
    world.trace.say(
      "client \(client): \(request) is answered \(status) (\(serial ?? -1)) "
        + (field("cache-status") ?? proxyStatus ?? ""))
    if let serial { return world.ledger.head(serial, status: status, for: request) }
    if proxyStatus == nil { world.ledger.violated("request \(request): \(status) from nobody") }
    if world.isCalm {
      world.ledger.violated("request \(request): \(status) without a fault: \(proxyStatus ?? "?")")
    }
  }

  mutating func content(_ octets: ArraySlice<UInt8>, _ world: inout World) {
    world.trace.note(octets)
    if let serial, !Content.matches(UInt64(serial), from: received, octets) {
      world.ledger.violated("answer \(serial): other octets at \(received)")
    }
    received += octets.count
  }

  func complete(_ world: inout World) {
    guard let serial else {
      world.ledger.counts[.ownAnswers] += 1
      return
    }
    world.ledger.counts[.answered] += 1
    let hasContent = !isHead && status != 304 && status != 204
    world.ledger.complete(serial, octets: received, for: request, hasContent: hasContent)
    let known = world.ledger.requests[request]
    if known.method == "PUT", status == 200, let object = known.object {
      world.ledger.mustSee(object, world.ledger.responses[serial].version)
    }
  }
}
