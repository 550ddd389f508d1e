import Foundation
import TestSupport
import Testing

/// Requests and responses at random, beside a model that knows only what may be served to whom.
@Suite(.blocking) struct `Any mix of requests to a cache` {
  /// What the model knows of one response, told by its content.
  struct Made: Sendable {
    var target = ""
    /// Empty: it does not depend on it.
    var language = ""
    /// For one client alone.
    var isPrivate = false
    /// How long it may be served, stale or not, in nanoseconds.
    var life: UInt64 = 0
    var madeAt: UInt64 = 0
    var seen = 0
  }

  static let directives: [(field: String, isPrivate: Bool, seconds: UInt64)] = [
    ("Cache-Control: max-age=60", false, 60), ("Cache-Control: max-age=1", false, 1),
    ("Cache-Control: no-store", true, 0), ("Cache-Control: private, max-age=60", true, 0),
    ("Cache-Control: max-age=1, stale-while-revalidate=1", false, 2),
    ("Cache-Control: s-maxage=1, max-age=60", false, 1), ("Cache-Control: no-cache", false, 0),
    ("Cache-Control: max-age=60\r\nAge: 59", false, 1), ("X-Nothing: said", true, 0),
    ("Cache-Control: max-age=60\r\nSet-Cookie: a=b", true, 0),
    ("Cache-Control: max-age=60\r\nVary: *", true, 0),
    ("Cache-Control: max-age=60\r\nDate: x\r\nAge: 1\r\nAge: 60", false, 60),
    ("CDN-Cache-Control: max-age=60\r\nCache-Control: no-store", false, 60),
  ]

  private static func answer(
    _ connection: WireConnection, _ head: WireHead, _ made: Monitor<[Made]>, _ dice: inout Dice
  ) throws {
    let rule = directives[dice.below(directives.count)]
    let varies = dice.below(3) == 0
    let language = varies ? head["accept-language"] ?? "none" : ""
    let serial = made.update { made in
      made.append(
        Made(
          target: head.target, language: language, isPrivate: rule.isPrivate,
          life: rule.seconds * 1_000_000_000, madeAt: Deadline.nowNs()))
      return made.count - 1
    }
    let unit = "\(serial)."
    let body = String(repeating: unit, count: 1 + dice.below(dice.below(4) == 0 ? 9000 : 40))
    let vary = varies ? "Vary: Accept-Language\r\n" : ""
    let fields = "\(rule.field)\r\n\(vary)Cache-Tag: t\(serial % 7)\r\n"
    if dice.below(6) == 0 { try connection.send("HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n") }
    if dice.below(2) == 0 {
      try connection.send(
        "HTTP/1.1 200 OK\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    } else {
      let size = String(body.utf8.count, radix: 16)
      try connection.send(
        "HTTP/1.1 200 OK\r\n\(fields)Transfer-Encoding: chunked\r\n\r\n\(size)\r\n\(body)\r\n")
      try connection.send("0\r\n\r\n")
    }
  }

  /// What is wrong with an answer; `nil`: nothing.
  private static func fault(
    _ text: String, _ target: String, _ language: String, _ sentAt: UInt64, isWhole: Bool,
    _ made: Monitor<[Made]>
  ) -> String? {
    let parts = text.split(separator: ".")
    // A range may begin and end within a number.
    guard let serial = Int(isWhole ? parts.first ?? "" : parts.count > 2 ? parts[1] : "") else {
      return isWhole ? "no content: \(text.prefix(40))" : nil
    }
    if isWhole, parts.contains(where: { Int($0) != serial }) { return "mixed: \(text.prefix(40))" }
    return made.update { made in
      guard serial < made.count else { return "no such response" }
      made[serial].seen += 1
      let known = made[serial]
      if known.target != target { return "\(target) got \(known.target)" }
      if !known.language.isEmpty, known.language != language { return "\(language): \(known)" }
      if known.isPrivate, known.seen > 1 { return "not for a second one: \(known)" }
      // An answer may have been waited for; a second is the clock's unit.
      if sentAt > known.madeAt + known.life + 1_000_000_000 { return "too old: \(known)" }
      return nil
    }
  }

  @Test(arguments: 0..<3)
  func `gives nobody what the model forbids`(seed: UInt64) throws {
    let made = Monitor<[Made]>([])
    let count = Monitor<UInt64>(seed &* 1000)
    let origin = try ScriptedOrigin(keepLimit: 0) { connection, _ in
      var dice = Dice(
        seed: count.update {
          $0 += 1
          return $0
        })
      do {
        while try connection.hasMore() {
          try Self.answer(connection, connection.readHead(), made, &dice)
        }
      } catch is WireError {}
    }
    let configuration = `Fetches for a cache`.configuration(
      [origin.address], cache: "memory=1MiB", workers: 2)
    try withDaemon(configuration) { daemon in
      let faults = Monitor<[String]>([])
      let running = Monitor(4)
      let port = daemon.port
      for number in 0..<4 {
        Thread.detachNewThread {
          var dice = Dice(seed: seed &* 100 &+ UInt64(number))
          do {
            let client = try WireConnection.connect(port: port)
            for _ in 0..<500 {
              let found = try Self.ask(client, &dice, made)
              if let found { faults.update { $0.append(found) } }
            }
          } catch { faults.update { $0.append("\(error)") } }
          running.update { $0 -= 1 }
        }
      }
      #expect(running.wait(until: .after(60)) { $0 == 0 })
      #expect(faults.current.isEmpty, "\(faults.current.prefix(4))")
      let rests = try `Fetches for a cache`.comesToRest(daemon)
      #expect(rests)
    }
  }

  private static func ask(
    _ client: WireConnection, _ dice: inout Dice, _ made: Monitor<[Made]>
  ) throws -> String? {
    let target = "/\(dice.below(6))?q=\(dice.below(3))"
    let language = ["en", "fr", "none"][dice.below(3)]
    let isHead = dice.below(10) == 0
    let method = isHead ? "HEAD" : dice.below(30) == 0 ? "DELETE" : "GET"
    let isRange = method == "GET" && dice.below(6) == 0
    let more =
      (language == "none" ? "" : "Accept-Language: \(language)\r\n")
      + (isRange ? "Range: bytes=\(dice.below(30))-\(30 + dice.below(300))\r\n" : "")
    let sentAt = Deadline.nowNs()
    try client.send("\(method) \(target) HTTP/1.1\r\nHost: a\r\n\(more)\r\n")
    let answer = try client.readResponse(to: method)
    guard method == "GET" else { return nil }
    switch answer.status {
    case 200:
      return fault(answer.text, target, language, sentAt, isWhole: true, made)
    case 206: return fault(answer.text, target, language, sentAt, isWhole: false, made)
    case 416: return isRange ? nil : "416 without a range"
    default: return "status \(answer.status)"
    }
  }
}
