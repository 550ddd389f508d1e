import Foundation
import TestSupport
import Testing

/// A backend whose behaviour a test changes while it runs.
final class MoodyOrigin: Sendable {
  enum Mood: Sendable {
    case well, resetting, truncating
    case status(Int)
  }

  let scripted: ScriptedOrigin
  private let mood: Monitor<Mood>
  let answered = Monitor(0)

  init(
    _ name: String, _ initial: Mood = .well, host: String = "127.0.0.1", port: UInt16 = 0
  ) throws {
    let mood = Monitor(initial)
    self.mood = mood
    let answered = answered
    scripted = try ScriptedOrigin(host: host, port: port) { connection, _ in
      connection.stepSeconds = 60
      while (try? connection.hasMore()) == true {
        let head = try connection.readHead()
        _ = try connection.readRequestBody(head)
        answered.update { $0 += 1 }
        switch mood.current {
        case .well:
          try connection.send(
            "HTTP/1.1 200 OK\r\nX-Origin: \(name)\r\nContent-Length: 2\r\n\r\nok")
        case .resetting: return connection.reset()
        case .truncating:
          return try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")
        case .status(let status):
          try connection.send("HTTP/1.1 \(status) Some\r\nContent-Length: 0\r\n\r\n")
        }
      }
    }
  }

  var address: String { scripted.address }
  func become(_ new: Mood) { mood.update { $0 = new } }
}

@Suite(.blocking) struct `Circuit breakers` {
  private func breaker(_ daemon: DaemonProcess, _ backend: String) throws -> String {
    let text = try daemon.admin("/v1/upstreams").text
    let value = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    let upstreams = value?["upstreams"] as? [[String: Any]] ?? []
    let all = upstreams.flatMap { $0["backends"] as? [[String: Any]] ?? [] }
    let found = all.first { $0["name"] as? String == backend }
    return try #require(found?["breaker"] as? String, "\(text)")
  }

  @Test func `a backend that resets is taken out, tried out and taken in again`() throws {
    let ill = try MoodyOrigin("ill", .resetting)
    let well = try MoodyOrigin("well")
    var configuration = DaemonConfiguration(["\(ill.address) name=ill", well.address])
    configuration.upstream = "balance round-robin\ncircuit-breaker open=200ms"
    try withDaemon(configuration) { daemon in
      for _ in 0..<10 { #expect(try daemon.get("/").status == 200) }
      #expect(daemon.process.waitForOutput { $0.contains("app/ill: circuit breaker open") })
      #expect(daemon.process.output.contains("reason=failures_in_a_row"))
      #expect(try breaker(daemon, "ill") != "closed")
      #expect(
        try daemon.counts(
          "weir_backend_breaker_openings_total{upstream=\"app\",backend=\"ill\","
            + "reason=\"failures_in_a_row\"} "))
      ill.become(.well)
      let isBack = try Poll.until(.patient) {
        let response = try daemon.get("/")
        #expect(response.status == 200)
        return try breaker(daemon, "ill") == "closed"
      }
      #expect(isBack)
      #expect(daemon.process.waitForOutput { $0.contains("app/ill: circuit breaker closed") })
      #expect(daemon.process.output.contains("app/ill: circuit breaker half open"))
    }
  }

  @Test func `an open breaker survives a reload, and no request passes it`() throws {
    let ill = try MoodyOrigin("ill", .resetting)
    let well = try MoodyOrigin("well")
    var configuration = DaemonConfiguration(["\(ill.address) name=ill", well.address])
    configuration.upstream = "balance round-robin\ncircuit-breaker open=1h max-open=1h"
    try withDaemon(configuration) { daemon in
      for _ in 0..<12 { _ = try daemon.get("/") }
      let isOpen = try Poll.until(.patient) { try breaker(daemon, "ill") == "open" }
      #expect(isOpen)
      let seen = ill.answered.current
      configuration.backends.reverse()
      #expect(try daemon.reload(configuration).ending == .exit(0))
      for _ in 0..<10 { #expect(try daemon.get("/").status == 200) }
      #expect(try breaker(daemon, "ill") == "open")
      #expect(ill.answered.current == seen)
      let status = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)")
      #expect(status.output.contains("broken"))
    }
  }

  @Test func `truncated responses take a backend out; each is seen as what it is`() throws {
    let ill = try MoodyOrigin("ill", .truncating)
    let well = try MoodyOrigin("well")
    var configuration = DaemonConfiguration(["\(ill.address) name=ill", well.address])
    configuration.upstream = "balance round-robin\ncircuit-breaker open=1h max-open=1h"
    try withDaemon(configuration) { daemon in
      var cut = 0
      for _ in 0..<40 {
        if let response = try? daemon.get("/") {
          #expect(response.text == "ok")
        } else {
          cut += 1
        }
      }
      let isOpen = try Poll.until(.patient) { try breaker(daemon, "ill") == "open" }
      // Those of which the client had nothing yet were asked of the other one.
      #expect(cut <= 5 && isOpen)
      let failed =
        "{upstream=\"app\",backend=\"ill\",error=\"http_response_incomplete\"} 5\n"
      #expect(try daemon.metrics { $0.contains(failed) }.contains(failed))
    }
  }

  @Test(arguments: [(500, "gateway", 20), (500, "5xx", 5), (503, "gateway", 5), (501, "5xx", 20)])
  func `what counts as a failure`(status: Int, counts: String, seen: Int) throws {
    let ill = try MoodyOrigin("ill", .status(status))
    let well = try MoodyOrigin("well")
    var configuration = DaemonConfiguration([ill.address, well.address])
    configuration.upstream =
      "balance round-robin\ncircuit-breaker open=1h max-open=1h count=\(counts)"
    try withDaemon(configuration) { daemon in
      // A POST is never sent twice, so each answer reaches the client.
      var statuses: [Int] = []
      for _ in 0..<40 { statuses.append(try daemon.get("/", method: "POST").status) }
      #expect(statuses.count { $0 == status } == seen)
      #expect(statuses.count { $0 == 200 } == 40 - seen)
    }
  }

  @Test func `with all breakers open the answer is 503 at once, and nobody is connected to`() throws
  {
    let gone = (0..<3).map { _ in "127.0.0.1:\(Ports.take())" }
    var configuration = DaemonConfiguration(gone)
    configuration.upstream = "circuit-breaker open=1h max-open=1h"
    try withDaemon(configuration) { daemon in
      for _ in 0..<8 { _ = try daemon.get("/") }
      func attempts() throws -> Int {
        try daemon.admin("/metrics").text.split(separator: "\n")
          .filter { $0.hasPrefix("weir_backend_attempts_total") }
          .compactMap { $0.split(separator: " ").last.flatMap { Int($0) } }.reduce(0, +)
      }
      let isKnown = try Poll.until(.patient) { try attempts() == 15 }
      #expect(isKnown)
      for _ in 0..<5 {
        let response = try daemon.get("/")
        #expect(response.status == 503 && response["retry-after"] != nil)
        #expect(response["proxy-status"]?.contains("destination_unavailable") == true)
      }
      #expect(try attempts() == 15)
    }
  }
}
