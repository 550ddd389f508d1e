import Foundation
import TestSupport
import Testing

/// Which connections health checks go over (docs/decisions/0708-checks-keep-connections.md).
@Suite(.blocking) struct `Connections of health checks` {
  private static let well = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  /// `Connection` of each request, by connection.
  private final class Heard: Sendable {
    let fields = Monitor<[[String]]>([])

    func origin(_ answer: String = well) throws -> ScriptedOrigin {
      try ScriptedOrigin { [fields] connection, number in
        fields.update { heard in
          while heard.count <= number { heard.append([]) }
        }
        // Whoever waits for a connection's end waits for weir to bring it about.
        connection.stepSeconds = 600
        while try connection.hasMore() {
          let head = try connection.readHead()
          fields.update { $0[number].append(head["connection"] ?? "") }
          try connection.send(answer)
        }
      }
    }
  }

  private func configuration(_ origin: ScriptedOrigin, _ check: String) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(["\(origin.address) name=a"])
    configuration.upstream = check
    return configuration
  }

  @Test(arguments: [
    ("GET", well), ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
  ])
  func `four go over one, and the last says so`(method: String, answer: String) throws {
    let heard = Heard()
    let origin = try heard.origin(answer)
    try withDaemon(configuration(origin, "health-check \(method) / interval=20ms")) { _ in
      #expect(heard.fields.wait(until: .patient) { $0.count >= 4 })
    }
    let all = heard.fields.current.prefix(3)
    #expect(all.allSatisfy { $0 == ["", "", "", "close"] }, "\(all)")
  }

  @Test(arguments: [
    ("GET / interval=20ms reuse=off", well, "close"), ("POST / interval=20ms", well, "close"),
    ("GET / interval=20ms\npool-size 0", well, "close"),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", ""),
    ("GET / interval=20ms", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", ""),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", ""),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", ""),
    ("GET / interval=20ms rise=1 fall=9 fast-interval=20ms expect=204", well, ""),
  ])
  func `each has its own`(check: String, answer: String, field: String) throws {
    let heard = Heard()
    let origin = try heard.origin(answer)
    try withDaemon(configuration(origin, "health-check \(check)")) { _ in
      #expect(heard.fields.wait(until: .patient) { $0.count >= 4 })
    }
    let all = heard.fields.current.prefix(3)
    #expect(all.allSatisfy { $0 == [field] }, "\(all)")
  }

  @Test func `one that begins with a PROXY header serves one check`() throws {
    let requests = Monitor<[Int]>([])
    let origin = try ScriptedOrigin { connection, number in
      requests.update { while $0.count <= number { $0.append(0) } }
      #expect(try connection.readLine().hasPrefix("PROXY UNKNOWN"))
      while try connection.hasMore() {
        let head = try connection.readHead()
        #expect(head["connection"] == "close")
        requests.update { $0[number] += 1 }
        try connection.send(Self.well)
      }
    }
    let check = "proxy-protocol v1\nhealth-check GET / interval=20ms"
    try withDaemon(configuration(origin, check)) { _ in
      #expect(requests.wait(until: .patient) { $0.count >= 4 })
    }
    #expect(requests.current.prefix(3) == [1, 1, 1])
  }

  /// The second request of each meets the end of its connection, before it or instead of an answer.
  /// A unix socket is not for another connection, so that nothing is left of it.
  @Test(arguments: [1, 2], [false, true])
  func `a kept one that ends is no failure`(answers: Int, isUnix: Bool) throws {
    let directory = try TemporaryDirectory.make()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let ends = Monitor(0)
    let host = isUnix ? "unix:\(directory)/app.sock" : "127.0.0.1"
    let origin = try ScriptedOrigin(host: host) { connection, _ in
      _ = try connection.readHead()
      try connection.send(Self.well)
      if answers == 2 { _ = try connection.readHead() }
      ends.update { $0 += 1 }
    }
    let check = "health-check GET / interval=20ms fall=1"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(ends.wait(until: .patient) { $0 >= 20 })
      #expect(!daemon.process.output.contains("health check failed"))
      let metrics = try daemon.admin("/metrics").text
      #expect(metrics.contains("weir_backend_health{upstream=\"app\",backend=\"a\"} 1"))
    }
  }

  /// The second request of each crosses with what its backend says to no request at all.
  @Test(arguments: [
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", "\r\nok\r\n", "0\r\n\r\n",
  ])
  func `what no request was meant by is no failure`(words: String) throws {
    let crossed = Monitor(0)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send(Self.well)
      _ = try connection.readHead()
      try connection.send(words)
      crossed.update { $0 += 1 }
    }
    let check = "health-check GET / interval=20ms fall=1"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(crossed.wait(until: .patient) { $0 >= 10 })
      #expect(!daemon.process.output.contains("health check failed"))
    }
  }

  @Test func `the same to the first request is one`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
    }
    try withDaemon(configuration(origin, "health-check GET / interval=20ms")) { daemon in
      #expect(daemon.process.waitForOutput { $0.contains("app/a: health check failed, down") })
    }
  }

  /// A failure on one that was kept counts: only its end does not.
  @Test(arguments: [
    "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Le",
  ])
  func `a bad answer on a kept one is a failure`(answer: String) throws {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send(Self.well)
      _ = try connection.readHead()
      try connection.send(answer)
    }
    try withDaemon(configuration(origin, "health-check GET / interval=20ms fall=1")) { daemon in
      #expect(daemon.process.waitForOutput { $0.contains("app/a: health check failed, down") })
    }
  }

  /// The answer fills what is received in one go, and what follows is told by no event.
  @Test func `what comes unasked behind a long answer is no answer`() throws {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 32726\r\n\r\n"
    let unasked = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    let answer = head + String(repeating: "x", count: 32_726) + unasked
    #expect(head.utf8.count + 32_726 == 32_768)
    let heard = Heard()
    let origin = try heard.origin(answer)
    try withDaemon(configuration(origin, "health-check GET / interval=20ms fall=1")) { daemon in
      #expect(heard.fields.wait(until: .patient) { $0.count >= 10 })
      #expect(!daemon.process.output.contains("health check failed"))
    }
    #expect(heard.fields.current.allSatisfy { $0 == [""] })
  }

  /// Nothing is asked of it, so nothing is to rest there, or be asked over one long forgotten.
  @Test func `who is in maintenance has no connection`() throws {
    let heard = Heard()
    let origin = try heard.origin()
    let check = "health-check GET / interval=500ms"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(heard.fields.wait(until: .patient) { $0.first?.count == 1 })
      let done = try daemon.command("maint", "app/a", "--admin", "unix:\(daemon.adminPath)")
      #expect(done.ending == .exit(0))
      #expect(origin.wait { $0.allSatisfy(\.hasEnded) })
      let ready = try daemon.command("ready", "app/a", "--admin", "unix:\(daemon.adminPath)")
      #expect(ready.ending == .exit(0))
      let known = origin.records.count
      #expect(origin.wait { $0.count > known })
      #expect(!daemon.process.output.contains("health check failed"))
    }
  }

  @Test func `a failed connect during a check is looked into after it`() throws {
    let heard = Monitor(0)
    let mayAnswer = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        _ = try connection.readHead()
        let number = heard.update { count in
          count += 1
          return count
        }
        if number == 2 { _ = mayAnswer.wait(until: .patient) { $0 } }
        try connection.send(Self.well)
      }
    }
    let check = "health-check GET / interval=1s timeout=60s fall=1\npool-size 1"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(heard.wait(until: .patient) { $0 == 2 })
      origin.stop()
      let status = try daemon.get("/").status
      #expect(status >= 500)
      mayAnswer.update { $0 = true }
      let isFound = daemon.process.waitForOutput {
        $0.contains("app/a: health check failed, down reason=\"connection refused\"")
      }
      #expect(isFound)
    }
    // Not by a third check on the connection that is open.
    #expect(heard.current == 2)
  }

  /// It is down after its first check, and each that passes on its way up is a new one.
  @Test func `who comes back is asked over new ones`() throws {
    let heard = Monitor<[Int]>([])
    let origin = try ScriptedOrigin { connection, number in
      while try connection.hasMore() {
        _ = try connection.readHead()
        heard.update { counts in
          while counts.count <= number { counts.append(0) }
          counts[number] += 1
        }
        try connection.send(
          number == 0 ? "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" : Self.well)
      }
    }
    // With nobody left, one pass would be enough.
    let other = try HTTPOrigin("b")
    var configuration = DaemonConfiguration([
      "\(origin.address) name=a", "\(other.address) name=b",
    ])
    configuration.upstream = "health-check GET / interval=20ms fast-interval=20ms rise=6"
    try withDaemon(configuration) { _ in
      #expect(heard.wait(until: .patient) { $0.count >= 9 })
    }
    let first = heard.current.prefix(8)
    #expect(first == [1, 1, 1, 1, 1, 1, 4, 4], "\(first)")
  }

  /// An answer that comes before it is asked for is nobody's: it ends the connection at once.
  @Test func `what comes unasked is no answer`() throws {
    let mayGoOn = Monitor(false)
    let end = Monitor<String?>(nil)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send(Self.well)
      _ = mayGoOn.wait(until: .patient) { $0 }
      try connection.send(Self.well)
      do {
        let isAsked = try connection.hasMore()
        end.update { $0 = isAsked ? "asked again" : "ended" }
      } catch { end.update { $0 = "\(error)" } }
    }
    try withDaemon(configuration(origin, "health-check GET / interval=10s")) { daemon in
      let passed = "weir_backend_checks_total{upstream=\"app\",backend=\"a\",result=\"passed\"} 1"
      let isDone = try daemon.counts(passed)
      #expect(isDone)
      mayGoOn.update { $0 = true }
      #expect(end.wait(until: .patient) { $0 != nil })
    }
    #expect(end.current == "reset")
  }

  /// A reload takes the check away, while its connection rests and while it waits for an answer.
  /// Debug builds count both again after each turn.
  @Test(arguments: [false, true])
  func `who is checked no more has no connection`(answers: Bool) throws {
    let asked = Monitor(0)
    let origin = try ScriptedOrigin { connection, _ in
      connection.stepSeconds = 600
      while try connection.hasMore() {
        _ = try connection.readHead()
        asked.update { $0 += 1 }
        if answers { try connection.send(Self.well) }
      }
    }
    var configuration = configuration(origin, "health-check GET / interval=10s timeout=60s")
    try withDaemon(configuration) { daemon in
      #expect(asked.wait(until: .patient) { $0 == 1 })
      let passed = "weir_backend_checks_total{upstream=\"app\",backend=\"a\",result=\"passed\"} 1"
      let isDone = try !answers || daemon.counts(passed)
      #expect(isDone)
      configuration.upstream = ""
      let reloaded = try daemon.reload(configuration)
      #expect(reloaded.ending == .exit(0))
      #expect(origin.wait { $0.allSatisfy(\.hasEnded) })
      let metrics = try daemon.admin("/metrics")
      #expect(metrics.status == 200)
    }
    #expect(asked.current == 1)
  }

  @Test func `a failed connect of a request is looked into with a new one`() throws {
    let heard = Heard()
    let origin = try heard.origin()
    let check = "health-check GET / interval=10s fall=1\npool-size 1"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(heard.fields.wait(until: .patient) { $0.first?.count == 1 })
      // Those that are open go on: over the kept one all would seem well.
      origin.stop()
      let status = try daemon.get("/").status
      #expect(status >= 500)
      let isFound = daemon.process.waitForOutput {
        $0.contains("app/a: health check failed, down reason=\"connection refused\"")
      }
      #expect(isFound)
    }
    #expect(heard.fields.current == [[""]])
  }
}
