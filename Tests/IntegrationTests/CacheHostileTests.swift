import Foundation
import TestSupport
import Testing

/// Backends that break the rules of messages, and messages near their limits, before a cache.
@Suite(.blocking) struct `A cache behind bad backends` {
  private typealias Fetches = `Fetches for a cache`

  /// Answers with this and nothing more, closing where it does not say how long it is.
  private func origin(_ answer: String) throws -> ScriptedOrigin {
    try `Fetches for a cache`.origin { connection, _, _ in
      try connection.send(answer)
      if !answer.contains("Content-Length") { connection.close() }
    }
  }

  @Test func `what nobody asked for is stored for nobody`() throws {
    let fresh = "Cache-Control: max-age=60\r\n"
    let answers = [
      "HTTP/1.1 206 Part\r\n\(fresh)Content-Range: bytes 0-2/9\r\nContent-Length: 3\r\n\r\nabc",
      "HTTP/1.1 304 Same\r\n\(fresh)Content-Length: 3\r\nETag: \"a\"\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\(fresh)Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
      "HTTP/1.1 200 OK\r\n\(fresh)Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "0\r\n\r\n",
      "HTTP/1.1 101 Other\r\n\(fresh)Upgrade: x\r\nConnection: upgrade\r\n"
        + "Content-Length: 0\r\n\r\n",
    ]
    for answer in answers {
      let origin = try origin(answer)
      try withDaemon(Fetches.configuration([origin.address])) { daemon in
        for _ in 0..<2 {
          let response = try daemon.get("/x")
          #expect([502, 206].contains(response.status), "\(answer)")
          if response.status == 206 { #expect(response.text == "abc") }
        }
        let asked = origin.records.reduce(0) {
          $0 + $1.text.components(separatedBy: "GET /x").count - 1
        }
        #expect(asked >= 2, "\(answer)")
        #expect(try Fetches.comesToRest(daemon))
        #expect(try daemon.sum("weir_cache_objects") == 0)
      }
    }
  }

  @Test func `octets behind the content belong to nobody`() throws {
    let origin = try origin(
      "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nabc"
        + "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nevil")
    try withDaemon(Fetches.configuration([origin.address])) { daemon in
      for path in ["/1", "/2", "/1", "/2", "/3"] {
        let response = try daemon.get(path)
        #expect(response.text == "abc")
      }
    }
  }

  @Test func `a stream of what is cut short is reset`() throws {
    let origin = try `Fetches for a cache`.origin { connection, _, _ in
      try connection.send(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nabc")
      connection.close()
    }
    try withDaemon(Fetches.configuration([origin.address], workers: 2)) { daemon in
      let client = try HTTP2Connection(daemon.connect())
      for index in 0..<4 { try client.request(UInt32(index * 2 + 1), "GET", "/x") }
      for index in 0..<4 {
        let answer = try client.answer(UInt32(index * 2 + 1))
        // INTERNAL_ERROR, or an error of ours where nothing had come.
        #expect(answer.resetCode == 2 || answer.status == 502, "\(answer)")
      }
      #expect(try Fetches.comesToRest(daemon))
      #expect(try daemon.sum("weir_cache_objects") == 0)
    }
  }

  @Test func `whatever is too large for a record is passed on, and not stored`() throws {
    for (tags, length, target) in [(128, 250, 10), (128, 60, 7000), (100, 200, 3000), (1, 1, 8000)]
    {
      let list = (0..<tags).map { "t\($0)-" + String(repeating: "x", count: length - 1) }
      let lines = stride(from: 0, to: tags, by: 16).map { start in
        "Cache-Tag: \(list[start..<min(tags, start + 16)].joined(separator: ","))\r\n"
      }
      let names = (0..<20).map { "X-\($0)" }.joined(separator: ", ")
      let origin = try `Fetches for a cache`.origin { connection, number, _ in
        try connection.send(
          "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nVary: \(names)\r\n\(lines.joined())"
            + "Content-Length: 1\r\n\r\n\(number % 10)")
      }
      let configuration = Fetches.configuration([origin.address])
      try withDaemon(configuration) { daemon in
        let path = "/" + String(repeating: "p", count: target)
        let fields = "X-3: \(String(repeating: "v", count: 3000))\r\n"
        let first = try daemon.get(path, fields: fields)
        let second = try daemon.get(path, fields: fields)
        #expect(first.status == second.status)
        let objects = try daemon.sum("weir_cache_objects")
        if first.status == 200 { #expect(second.text == (objects == 1 ? first.text : "1")) }
        let purged = try daemon.command(
          "purge", "--admin", "unix:\(daemon.adminPath)", "--tag", list[0])
        #expect(purged.ending == .exit(0), "\(purged.output)")
        #expect(try Fetches.comesToRest(daemon))
        #expect(try daemon.sum("weir_cache_objects") == 0)
      }
    }
  }
}
