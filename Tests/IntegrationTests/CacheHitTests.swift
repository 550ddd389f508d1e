import Foundation
import TestSupport
import Testing

/// Hits that are answered where their request was read (HitServing.swift) are like all others.
@Suite(.blocking) struct `Hits without an exchange` {
  private static let content = String(repeating: "0123456789abcdef", count: 384)

  private func origin(
    _ fields: [String] = [], _ content: String = Self.content
  ) throws -> CacheOrigin {
    try CacheOrigin { _, _ in
      .text(CacheOrigin.answer(200, ["Cache-Control: max-age=600"] + fields, content))
    }
  }

  private func logged(_ origin: CacheOrigin) -> DaemonConfiguration {
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.top += "\naccess-log @DIRECTORY@/access.log format=json"
    return configuration
  }

  /// The lines of hits, once there are so many.
  private func hits(_ daemon: DaemonProcess, _ count: Int) throws -> [[String: Any]] {
    var lines: [[String: Any]] = []
    let isThere = Poll.until(.patient) {
      let path = "\(daemon.directory)/access.log"
      let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
      lines = text.split(separator: "\n").compactMap {
        try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
      }.filter { ($0["cache"] as? String) == "hit" }
      return lines.count >= count
    }
    guard isThere else { throw TestFailure("\(lines.count) lines of \(count)") }
    return lines
  }

  /// `Via` has to be looked at, which takes an exchange. Content is none, in the record's block, in
  /// one of its own (where the record fills most of a block), or in several.
  @Test(arguments: [(0, 1), (6144, 1), (200, 600), (40_000, 1)])
  func `are answered, counted and logged as those with one`(length: Int, filling: Int) throws {
    let content = String(repeating: "c", count: length)
    let filler = String(repeating: "f", count: filling)
    let origin = try origin(
      ["ETag: \"a\"", "Vary: Accept-Language", "X-Own: \(filler)"], content)
    try withDaemon(logged(origin)) { daemon in
      let common = "Accept-Language: de\r\nUser-Agent: one\r\nReferer: http://r/\r\n"
      _ = try daemon.get("/a?b=c", fields: common)
      let short = try daemon.get("/a?b=c", fields: common)
      let long = try daemon.get("/a?b=c", fields: common + "Via: 1.1 somebody\r\n")
      #expect(CacheWord(short).isHit && CacheWord(long).isHit)
      #expect(short.text == content && long.text == content)
      // Seconds of Age and of what is left may pass between the two.
      func timeless(_ response: WireResponse) -> [String] {
        response.head.fields.map { field in
          let changes = ["age", "cache-status"].contains(field.name.lowercased())
          let value = changes ? field.value.replacing(/[0-9]+$/, with: "N") : field.value
          return "\(field.name): \(value)"
        }
      }
      #expect(timeless(short).contains { $0.hasSuffix("; hit; ttl=N") }, "\(short.head.text)")
      #expect(short.head.startLine == long.head.startLine && timeless(short) == timeless(long))
      let lines = try hits(daemon, 2).map { line in
        line.filter { !["time", "client_port", "total_us", "request_id"].contains($0.key) }
      }
      #expect(NSDictionary(dictionary: lines[0]) == NSDictionary(dictionary: lines[1]), "\(lines)")
      let hits = "weir_cache_requests_total{result=\"hit\"} 2"
      let responses = "weir_route_responses_total{route=\"*\",code=\"2xx\"} 3"
      #expect(try daemon.counts(hits, responses))
    }
  }

  /// More than the kernel takes at once, and the connection's fate where its client leaves.
  @Test func `wait for a client that is slow, and end with one that goes`() throws {
    let origin = try origin()
    var configuration = logged(origin)
    configuration.listener = "keep-alive-requests 10000"
    try withDaemon(configuration) { daemon in
      _ = try daemon.get("/a", host: "a")
      // Requests that fit where weir receives, responses that do not where it sends.
      let count = 4000
      let request = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
      let client = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 4096)
      client.stepSeconds = 60
      try client.send(String(repeating: request, count: count))
      var last = 0
      var seen = -1
      while seen != last {
        seen = last
        _ = Poll.until(.after(0.5)) { false }
        last = try daemon.sum("weir_cache_requests_total")
      }
      #expect(last < count, "the kernel took everything: nothing had to wait")
      for index in 0..<count {
        let response = try client.readResponse()
        guard response.text == Self.content, CacheWord(response).isHit else {
          throw TestFailure("response \(index): \(response.head.text)")
        }
      }
      #expect(try hits(daemon, count).allSatisfy { $0["end"] as? String == "completed" })
      let gone = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 4096)
      try gone.send(String(repeating: request, count: 1000))
      #expect(try gone.hasMoreWithin(Deadline.patienceSeconds))
      gone.reset()
      #expect(try daemon.get("/a", host: "a").text == Self.content)
      #expect(origin.requests.count == 1)
    }
  }
}
