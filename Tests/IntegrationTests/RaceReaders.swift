import Foundation
import TestSupport

/// Clients of the race: each asks in any way it likes, and judges what it gets.
extension Race {
  private func note(_ body: (inout RaceState) -> Void) { state.update { body(&$0) } }

  // MARK: HTTP/1

  func readHTTP1(seed: UInt64) throws {
    var dice = Dice(seed: seed)
    var connection: WireConnection?
    while !isOver {
      let client = try connection ?? daemon.connect()
      connection = client
      do {
        if try !exchange(client, &dice) { connection = nil }
      } catch WireError.timedOut(let what) {
        let fetches = try daemon.sum("weir_cache_fetches_in_flight")
        let backends = try daemon.sum("weir_backend_in_flight")
        throw TestFailure("HTTP/1 stuck: \(what); \(fetches) fetches, \(backends) in flight")
      } catch is WireError {
        // The backend may cut what it sends.
        note { $0.cuts += 1 }
        connection = nil
      }
    }
  }

  /// False where the connection was left.
  private func exchange(_ client: WireConnection, _ dice: inout Dice) throws -> Bool {
    let key = dice.below(VersionedOrigin.keys)
    let asked = ask(key)
    let path = VersionedOrigin.path(key)
    let host = "Host: a\r\nAccept-Language: \(dice.below(2) == 0 ? "en" : "fr")\r\n"
    switch dice.below(40) {
    case 0:
      try client.send("GET \(path) HTTP/1.1\r\n\(host)\r\n")
      if dice.below(2) == 0 { _ = try client.read(20) }
      client.reset()
      return false
    case 1...3:
      try client.send("HEAD \(path) HTTP/1.1\r\n\(host)\r\n")
      let answer = try client.readResponse(to: "HEAD")
      judge(asked, answer, 0, "HEAD")
      return answer["connection"] != "close"
    case 4...7:
      let start = dice.below(VersionedOrigin.length(key) - 40)
      try client.send(
        "GET \(path) HTTP/1.1\r\n\(host)Range: bytes=\(start)-\(start + 39)\r\n\r\n")
      let answer = try client.readResponse()
      judge(asked, answer, start, "range")
      return answer["connection"] != "close"
    case 8...10:
      try client.send(
        "GET \(path) HTTP/1.1\r\n\(host)If-None-Match: \"\(key)-\(asked.preferred)\"\r\n\r\n")
      let answer = try client.readResponse()
      judge(asked, answer, 0, "condition")
      return answer["connection"] != "close"
    case 11:
      try client.send("GET \(path) HTTP/1.1\r\n\(host)Cache-Control: no-cache\r\n\r\n")
      let answer = try client.readResponse()
      judge(asked, answer, 0, "no-cache")
      return answer["connection"] != "close"
    default:
      try client.send("GET \(path) HTTP/1.1\r\n\(host)\r\n")
      let answer = try client.readResponse()
      judge(asked, answer, 0, "GET")
      return answer["connection"] != "close"
    }
  }

  private func judge(_ asked: Asked, _ answer: WireResponse, _ start: Int, _ what: String) {
    let byTag = Race.version(ofTag: answer["etag"], asked.key)
    let status = answer["cache-status"]
    switch answer.status {
    case 200 where what == "HEAD", 304: judge(asked, byTag, status, what)
    case 200, 206:
      let offset = answer.status == 206 ? start : 0
      let version = VersionedOrigin.version(of: answer.body, at: offset, asked.key)
      let isWhole = answer.status == 206 || answer.body.count == VersionedOrigin.length(asked.key)
      judge(asked, isWhole && version == byTag ? version : nil, status, what)
    case 500...: note { $0.errors += 1 }
    default: note { $0.wrong.append("\(what): status \(answer.status)") }
    }
  }

  // MARK: HTTP/2

  func readHTTP2(seed: UInt64) throws {
    var dice = Dice(seed: seed)
    while !isOver {
      do {
        let client = try HTTP2Connection(daemon.connect(), settings: [(4, 1 << 20)])
        try client.window(0, 1 << 30)
        var next: UInt32 = 1
        while !isOver, next < 2000 {
          try round(client, &next, &dice)
        }
      } catch WireError.timedOut(let what) {
        throw TestFailure("HTTP/2 stuck: \(what)")
      } catch is WireError {
        note { $0.cuts += 1 }
      }
    }
  }

  /// Several streams at once, some of which are reset.
  private func round(
    _ client: HTTP2Connection, _ next: inout UInt32, _ dice: inout Dice
  ) throws {
    var open: [(stream: UInt32, asked: Asked)] = []
    for _ in 0...dice.below(4) {
      let asked = ask(dice.below(VersionedOrigin.keys))
      try client.request(
        next, "GET", VersionedOrigin.path(asked.key),
        [("accept-language", dice.below(2) == 0 ? "en" : "fr")])
      if dice.below(20) == 0 { try client.reset(next) } else { open.append((next, asked)) }
      next += 2
    }
    for (stream, asked) in open {
      let answer = try client.answer(stream)
      guard answer.resetCode == nil, answer.status < 500 else {
        note { if answer.resetCode == nil { $0.errors += 1 } else { $0.cuts += 1 } }
        continue
      }
      let isWhole = answer.content.count == VersionedOrigin.length(asked.key)
      let version = VersionedOrigin.version(of: answer.content, asked.key)
      judge(asked, isWhole ? version : nil, answer["cache-status"], "HTTP/2")
    }
  }
}
