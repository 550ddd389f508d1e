import Foundation
import TestSupport
import Testing

/// Another process takes over, and nobody outside notices (rules 50 and 51).
@Suite(.blocking) struct `Upgrade` {
  /// The process that serves now, from its admin endpoint.
  private func servingProcess(_ daemon: DaemonProcess) throws -> pid_t {
    let text = try daemon.admin("/v1/status").text
    let number = text.components(separatedBy: "\"pid\":").last.map { $0.prefix { $0.isNumber } }
    return try #require(number.flatMap { pid_t($0) }, "no pid in \(text)")
  }

  /// Whether the first process has ended in order. Its output is open still: the next one has it.
  private func hasEnded(_ daemon: DaemonProcess) -> Bool {
    Poll.until(.after(20)) { daemon.process.ending == .exit(0) }
  }

  /// Ends whichever process serves, in order.
  private func endServing(_ daemon: DaemonProcess) throws {
    let process = try servingProcess(daemon)
    kill(process, SIGTERM)
    let isGone = Poll.until(.after(10)) {
      kill(process, 0) != 0 || Self.isZombie(process)
    }
    #expect(isGone, "process \(process) stays")
  }

  /// Leaves no process behind, whichever serves in the end.
  private func withUpgrades(
    _ configuration: DaemonConfiguration, _ body: (DaemonProcess) throws -> Void
  ) throws {
    try withDaemon(configuration) { daemon in
      var last = daemon.pid
      defer { if last != daemon.pid { kill(last, SIGKILL) } }
      do {
        try body(daemon)
      } catch {
        last = (try? servingProcess(daemon)) ?? last
        throw error
      }
      if let process = try? servingProcess(daemon) {
        last = process
        try endServing(daemon)
      }
    }
  }

  /// Gone, but nobody has asked how it ended: the test is not its parent.
  private static func isZombie(_ process: pid_t) -> Bool {
    let stat = (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)) ?? ") Z"
    return stat.components(separatedBy: ") ").last?.hasPrefix("Z") ?? true
  }

  private static func descriptors(_ process: pid_t) throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count
  }

  private func configuration(_ origin: HTTPOrigin) -> DaemonConfiguration {
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 2
    configuration.listener = "bind unix:@DIRECTORY@/web.sock"
    configuration.upstream = "health-check tcp interval=1s"
    return configuration
  }

  @Test func `ten in a row under load refuse no connection and fail no request`() throws {
    let origin = try HTTPOrigin()
    try withUpgrades(configuration(origin)) { daemon in
      let kept = ClosedLoopLoad(port: daemon.port, connections: 4)
      let fresh = ClosedLoopLoad(port: daemon.port, connections: 4) { _ in
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
      }
      var processes = [daemon.pid]
      var counts: [Int] = []
      for round in 0..<10 {
        #expect(kept.waitForMore(30) && fresh.waitForMore(30))
        let done = try daemon.command("upgrade", "--admin", "unix:\(daemon.adminPath)")
        #expect(done.ending == .exit(0), "round \(round): \(done.output)")
        processes.append(try servingProcess(daemon))
        counts.append(try Self.descriptors(processes[processes.count - 1]))
      }
      #expect(kept.waitForMore(30) && fresh.waitForMore(30))
      for outcome in [kept.stop(), fresh.stop()] {
        #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(3)) of \(outcome.completed)")
      }
      #expect(Set(processes).count == 11, "\(processes)")
      let areGone = Poll.until(.after(10)) {
        processes.dropLast().allSatisfy { kill($0, 0) != 0 || Self.isZombie($0) }
      }
      #expect(areGone, "\(processes)")
      // Connections come and go; what each upgrade leaked would be in all later processes.
      #expect((counts.max() ?? 0) - (counts.min() ?? 0) <= 40, "\(counts)")
      let client = try WireConnection.connect(path: "\(daemon.directory)/web.sock")
      try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.readResponse().status == 200)
      try endServing(daemon)
      #expect(!FileManager.default.fileExists(atPath: "\(daemon.directory)/web.sock"))
    }
  }

  @Test func `a request in flight is finished by the process it came to`() throws {
    let origin = try HTTPOrigin()
    try withUpgrades(configuration(origin)) { daemon in
      let slow = try daemon.connect()
      try slow.send("GET /delay/1000 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origin.wait { $0.count == 1 })
      daemon.process.kill(SIGUSR2)
      #expect(daemon.process.waitForOutput { $0.contains("draining") })
      #expect(try daemon.get("/").status == 200)
      let response = try slow.readResponse()
      #expect(response.status == 200)
      #expect(hasEnded(daemon))
    }
  }

  @Test func `what people set and the instance's name go on`() throws {
    let origin = try HTTPOrigin()
    let other = try HTTPOrigin("other")
    var configuration = configuration(origin)
    configuration.backends.append(other.address)
    try withUpgrades(configuration) { daemon in
      let drained = try daemon.command(
        "drain", "--admin", "unix:\(daemon.adminPath)", "app/\(other.address)")
      #expect(drained.ending == .exit(0), "\(drained.output)")
      let upgraded = try daemon.command("upgrade", "--admin", "unix:\(daemon.adminPath)")
      #expect(upgraded.ending == .exit(0), "\(upgraded.output)")
      let before = other.requests.count
      for _ in 0..<10 { #expect(try daemon.get("/").status == 200) }
      #expect(other.requests.count == before, "it is drained still")
    }
  }

  @Test func `a new process that cannot start changes nothing`() throws {
    let origin = try HTTPOrigin()
    try withUpgrades(configuration(origin)) { daemon in
      let good = try String(contentsOfFile: daemon.configurationPath, encoding: .utf8)
      let load = ClosedLoopLoad(port: daemon.port, connections: 4)
      try (good + "colour blue\n").write(
        toFile: daemon.configurationPath, atomically: true, encoding: .utf8)
      let refused = try daemon.command("upgrade", "--admin", "unix:\(daemon.adminPath)")
      #expect(refused.ending == .exit(1))
      #expect(refused.output.contains("ended before it was ready"), "\(refused.output)")
      #expect(daemon.process.output.contains("unknown directive 'colour'"))
      #expect(try servingProcess(daemon) == daemon.pid)
      // And the next one may succeed.
      try good.write(toFile: daemon.configurationPath, atomically: true, encoding: .utf8)
      let done = try daemon.command("upgrade", "--admin", "unix:\(daemon.adminPath)")
      #expect(done.ending == .exit(0), "\(done.output)")
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(3))")
    }
  }

  @Test func `the old process serves until every backend has been looked at`() throws {
    let gate = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      _ = gate.wait(until: .after(20)) { $0 }
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "health-check http /check interval=60s timeout=20s"
    configuration.blocks = "route /local { \n respond 200 body=here \n }"
    try withUpgrades(configuration) { daemon in
      daemon.process.kill(SIGUSR2)
      #expect(origin.wait { $0.count >= 2 }, "the new process checks")
      #expect(try servingProcess(daemon) == daemon.pid)
      #expect(try daemon.get("/local").status == 200)
      let again = try daemon.command("upgrade", "--admin", "unix:\(daemon.adminPath)")
      #expect(again.ending == .exit(1) && again.output.contains("under way"), "\(again.output)")
      let reload = try daemon.reload(configuration)
      #expect(reload.ending == .exit(1) && reload.output.contains("under way"))
      gate.update { $0 = true }
      #expect(hasEnded(daemon))
      let hasChanged = try Poll.until(.after(10)) { try servingProcess(daemon) != daemon.pid }
      #expect(hasChanged)
    }
  }

  @Test func `a stop ends the new process, too, where it does not serve yet`() throws {
    let gate = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      _ = gate.wait(until: .after(20)) { $0 }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "health-check http /check interval=60s timeout=20s"
    let daemon = try DaemonProcess(configuration)
    daemon.process.kill(SIGUSR2)
    #expect(origin.wait { $0.count >= 2 }, "the new process checks")
    let line = daemon.process.output.components(separatedBy: "started as process ").last
    let new = try #require(line.flatMap { pid_t($0.prefix { $0.isNumber }) })
    try daemon.stop()
    #expect(Poll.until(.after(10)) { kill(new, 0) != 0 || Self.isZombie(new) })
    gate.update { $0 = true }
  }
}
