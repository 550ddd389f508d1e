import Foundation
import TestSupport
import Testing

/// Active health checks, run by the real daemon against real sockets.
@Suite(.blocking) struct `Health checks` {
  private func health(_ daemon: DaemonProcess, _ backend: String) throws -> String {
    let text = try daemon.admin("/v1/upstreams").text
    let value = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    let upstreams = value?["upstreams"] as? [[String: Any]] ?? []
    let all = upstreams.flatMap { $0["backends"] as? [[String: Any]] ?? [] }
    let found = all.first { $0["name"] as? String == backend }
    return try #require(found?["health"] as? String, "\(text)")
  }

  private func waitFor(
    _ state: String, _ daemon: DaemonProcess, _ backend: String
  ) throws -> Bool {
    try Poll.until(.patient) { try health(daemon, backend) == state }
  }

  @Test func `take a backend out before a request meets it, and back in`() throws {
    let ill = try MoodyOrigin("ill")
    let well = try MoodyOrigin("well")
    var configuration = DaemonConfiguration(["\(ill.address) name=ill", well.address])
    configuration.upstream =
      "balance round-robin\nhealth-check GET /healthz interval=20ms fast-interval=20ms"
    try withDaemon(configuration) { daemon in
      #expect(try waitFor("up", daemon, "ill"))
      ill.become(.status(503))
      #expect(daemon.process.waitForOutput { $0.contains("app/ill: health check failed") })
      #expect(daemon.process.output.contains("reason=\"status 503\""))
      for _ in 0..<10 { #expect(try daemon.get("/")["x-origin"] == "well") }
      let metrics = try daemon.admin("/metrics").text
      #expect(metrics.contains("weir_backend_health{upstream=\"app\",backend=\"ill\"} 0"))
      ill.become(.well)
      #expect(daemon.process.waitForOutput { $0.contains("app/ill: health check passes, up") })
      let names = try (0..<4).map { _ in try daemon.get("/")["x-origin"] }
      #expect(names.contains("ill"))
    }
  }

  @Test func `ask what the file says`() throws {
    let seen = Monitor<[WireHead]>([])
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      seen.update { $0.append(head) }
      try connection.send("HTTP/1.1 418 Some\r\nContent-Length: 8\r\n\r\nall well")
    }
    var configuration = DaemonConfiguration(["\(origin.address) name=a"])
    configuration.upstream = """
      health-check HEAD /status?deep=1 expect=200,410-420 host=check.example interval=50ms
      health-check-header X-Check yes
      """
    try withDaemon(configuration) { daemon in
      #expect(seen.wait(until: .patient) { $0.count >= 3 })
      let isUp = try waitFor("up", daemon, "a")
      #expect(isUp)
    }
    let head = try #require(seen.current.first)
    #expect(head.method == "HEAD" && head.target == "/status?deep=1")
    #expect(head["host"] == "check.example" && head["x-check"] == "yes")
  }

  @Test func `leave no port waiting on either side`() throws {
    let ends = Monitor<[String]>([])
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
      do {
        let more = try connection.hasMore()
        ends.update { $0.append("more: \(more)") }
      } catch { ends.update { $0.append("\(error)") } }
    }
    var configuration = DaemonConfiguration(["\(origin.address) name=a"])
    configuration.upstream = "health-check GET / interval=20ms reuse=off"
    try withDaemon(configuration) { daemon in
      #expect(ends.wait(until: .patient) { $0.count >= 3 })
    }
    #expect(ends.current.prefix(3) == ["reset", "reset", "reset"])
  }

  @Test(arguments: [
    ("GET / contains=ok", "up"), ("GET / contains=fine", "down"), ("tcp", "up"),
    ("GET / expect=404", "down"),
  ])
  func `pass or fail by what was asked`(check: String, state: String) throws {
    let origin = try MoodyOrigin("a")
    var configuration = DaemonConfiguration(["\(origin.address) name=a"])
    configuration.upstream = "health-check \(check) interval=20ms"
    try withDaemon(configuration) { daemon in
      let isReached = try waitFor(state, daemon, "a")
      #expect(isReached)
    }
  }

  @Test func `of a connect alone do not wake the backend`() throws {
    let origin = try ScriptedOrigin { connection, _ in _ = try? connection.hasMore() }
    var configuration = DaemonConfiguration(["\(origin.address) name=a"])
    configuration.upstream = "health-check tcp interval=10ms"
    try withDaemon(configuration) { daemon in
      let passed = "weir_backend_checks_total{upstream=\"app\",backend=\"a\",result=\"passed\"} "
      let isEnough = try Poll.until(.patient) {
        let lines = try daemon.admin("/metrics").text.split(separator: "\n")
        let line = lines.first { $0.hasPrefix(passed) }
        return line.flatMap { Int($0.dropFirst(passed.utf8.count)) } ?? 0 >= 40
      }
      #expect(isEnough)
    }
    // Nobody resets a connection in time on a machine that stands still for 200 ms.
    #expect(origin.records.count < 20)
  }

  @Test func `with every backend down the answer is 503 at once`() throws {
    let gone = (0..<2).map { _ in "127.0.0.1:\(Ports.take())" }
    var configuration = DaemonConfiguration(gone)
    configuration.upstream = "health-check tcp interval=20ms"
    try withDaemon(configuration) { daemon in
      for backend in gone { #expect(try waitFor("down", daemon, backend)) }
      let response = try daemon.get("/")
      #expect(response.status == 503 && response["retry-after"] != nil)
      #expect(response["proxy-status"]?.contains("destination_unavailable") == true)
      #expect(try !daemon.admin("/metrics").text.contains("error=\"connection_refused\"} 1"))
      // The first backend to return serves as soon as one check has passed.
      let port = gone.first?.split(separator: ":").last.flatMap { UInt16($0) }
      let back = try HTTPOrigin("back", port: #require(port))
      let serves = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(serves && back.name == "back")
    }
  }

  @Test func `a backend added by a reload gets nothing before a check has passed`() throws {
    let old = try MoodyOrigin("old")
    let new = try MoodyOrigin("new", .status(500))
    var configuration = DaemonConfiguration([old.address])
    configuration.upstream = "balance round-robin\nhealth-check GET /healthz interval=20ms"
    try withDaemon(configuration) { daemon in
      #expect(try waitFor("up", daemon, old.address))
      configuration.backends.append(new.address)
      #expect(try daemon.reload(configuration).ending == .exit(0))
      for _ in 0..<10 { #expect(try daemon.get("/")["x-origin"] == "old") }
      #expect(try health(daemon, new.address) == "down")
      // What is known of a backend outlives a reload that leaves it alone.
      #expect(try daemon.reload(configuration).ending == .exit(0))
      #expect(try health(daemon, new.address) == "down")
      new.become(.well)
      #expect(try waitFor("up", daemon, new.address))
      let names = try (0..<4).map { _ in try daemon.get("/")["x-origin"] }
      #expect(names.contains("new"))
    }
  }

  @Test func `a backend that was killed and started again is back, and no client noticed`() throws {
    let origins = try ["a", "b", "c", "d"].map { try OriginProcess($0) }
    var configuration = DaemonConfiguration(origins.map(\.address))
    configuration.upstream = "health-check GET /healthz"
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      // Answers that are one segment each: none is cut in two by the kill.
      let load = ClosedLoopLoad(port: daemon.port) {
        "GET /x?n=\($0) HTTP/1.1\r\nHost: example.com\r\n\r\n"
      }
      #expect(load.waitForMore(500))
      origins[1].kill()
      let address = origins[1].address
      #expect(daemon.process.waitForOutput { $0.contains("\(address): health check failed") })
      let again = try OriginProcess("b2", at: address)
      let isBack = load.wait { $0.byOrigin["b2", default: 0] > 100 }
      let outcome = load.stop()
      #expect(isBack && again.address == address)
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5)) of \(outcome.completed)")
    }
  }
}
