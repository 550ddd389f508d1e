import Foundation
import TestSupport
import Testing

/// Start, drain and end (rules 50–52), and what the command line says.
@Suite(.blocking) struct `Lifecycle` {
  @Test func `SIGTERM under load lets every request in flight finish, exit 0`() throws {
    for signal in [SIGTERM, SIGINT] {
      let origin = try HTTPOrigin()
      let daemon = try DaemonProcess(DaemonConfiguration([origin.address]))
      let slow = try (0..<20).map { _ in
        let client = try daemon.connect()
        try client.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
        return client
      }
      let big = try daemon.connect()
      try big.send("GET /bytes/30000000 HTTP/1.1\r\nHost: a\r\n\r\n")
      let uploading = try daemon.connect()
      try uploading.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
      #expect(origin.wait { $0.count == 21 })
      let idle = try daemon.connect()
      try idle.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
      _ = try idle.readResponse()
      daemon.process.kill(signal)
      #expect(daemon.process.waitForOutput { $0.lowercased().contains("drain") })
      // The worker knows it, too: it has ended what was idle.
      #expect(try idle.readToEnd() == ([], .fin))
      origin.release()
      try Pattern.send(1000, on: uploading)
      #expect(try uploading.readResponse()["x-content-intact"] == "yes")
      for client in slow {
        let response = try client.readResponse()
        #expect(response.status == 200)
        #expect(response["connection"] == "close", "a draining weir says that it goes")
      }
      var check = PatternCheck()
      _ = try big.readResponse { check.add($0) }
      #expect(check.count == 30_000_000 && check.isIntact)
      #expect(daemon.process.waitForEnd() == .exit(0), "\(daemon.process.output)")
    }
  }

  @Test func `new connections are refused while draining, so that a balancer goes elsewhere`()
    throws
  {
    let origin = try HTTPOrigin()
    let daemon = try DaemonProcess(DaemonConfiguration([origin.address]))
    let slow = try daemon.connect()
    try slow.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(origin.wait { $0.count == 1 })
    daemon.process.kill(SIGTERM)
    let isRefusing = Poll.until(.patient) { (try? daemon.connect()) == nil }
    #expect(isRefusing)
    origin.release()
    #expect(try slow.readResponse().status == 200)
    #expect(daemon.process.waitForEnd() == .exit(0))
  }

  @Test func `a drain ends after drain-timeout, whatever clients do`() throws {
    let origin = try ScriptedOrigin { connection, _ in _ = try? connection.readToEnd() }
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "drain-timeout 500ms"
    let daemon = try DaemonProcess(configuration)
    let client = try daemon.connect()
    try client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(origin.wait { $0.count == 1 && $0[0].receivedCount > 0 })
    let seconds = Deadline.measure {
      daemon.process.kill(SIGTERM)
      #expect(daemon.process.waitForEnd() == .exit(0), "\(daemon.process.output)")
    }
    #expect(seconds > 0.4 && seconds < 18, "\(seconds)")
  }

  @Test func `SIGTERM under steady load breaks no answer that had begun`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 2
    let daemon = try DaemonProcess(configuration)
    let load = ClosedLoopLoad(port: daemon.port, connections: 8)
    #expect(load.waitForMore(500))
    daemon.process.kill(SIGTERM)
    #expect(daemon.process.waitForEnd() == .exit(0), "\(daemon.process.output)")
    // Once it is gone connections are refused, or reset where they came as the listener went;
    // nothing else may have gone wrong.
    let failures = load.stop().failures.filter { !$0.contains("connect") }
    #expect(failures.isEmpty, "\(failures.prefix(5))")
  }

  @Test func `a restart takes the port at once, with old connections still in TIME_WAIT`() throws {
    let origin = try HTTPOrigin()
    let configuration = DaemonConfiguration([origin.address])
    let first = try DaemonProcess(configuration)
    let client = try first.connect()
    try client.send("GET /bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n")
    _ = try client.readResponse()
    try first.stop()
    let again = try ChildProcess(DaemonProcess.binary, ["run", "-c", first.configurationPath])
    #expect(again.waitForOutput { $0.contains("ready") }, "\(again.output)")
    again.kill(SIGTERM)
    #expect(again.waitForEnd() == .exit(0))
  }

  @Test func `check tells good files from faulty ones`() throws {
    let directory = try TemporaryDirectory.make()
    let path = "\(directory)/proxy.conf"
    let good = "listener web {\n  bind 127.0.0.1:8080\n}\nroute * {\n  respond 200 body=hi\n}\n"
    try good.write(toFile: path, atomically: true, encoding: .utf8)
    #expect(try ChildProcess.run(DaemonProcess.binary, ["check", "-c", path]).ending == .exit(0))
    try (good + "nonsense 1\n").write(toFile: path, atomically: true, encoding: .utf8)
    let done = try ChildProcess.run(DaemonProcess.binary, ["check", "-c", path])
    #expect(done.ending == .exit(1))
    #expect(done.output.contains("proxy.conf:7:1: error"), "\(done.output)")
    let run = try ChildProcess.run(DaemonProcess.binary, ["run", "-c", path])
    #expect(run.ending == .exit(1) && run.output.contains("proxy.conf:7:1: error"))
    let missing = try ChildProcess.run(DaemonProcess.binary, ["run", "-c", "\(directory)/none"])
    #expect(missing.ending != .exit(0) && missing.output.contains("none"))
    try FileManager.default.removeItem(atPath: directory)
  }

  @Test func `a port that is taken is a clear error, not a crash`() throws {
    let origin = try HTTPOrigin()
    let directory = try TemporaryDirectory.make()
    let path = "\(directory)/proxy.conf"
    let text =
      "admin unix:\(directory)/a.sock\nlistener web {\n  bind \(origin.address)\n}\n"
      + "route * {\n  respond 200 body=hi\n}\n"
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    let done = try ChildProcess.run(DaemonProcess.binary, ["run", "-c", path])
    #expect(done.ending == .exit(1), "\(done.output)")
    #expect(done.output.contains(origin.address), "\(done.output)")
    try FileManager.default.removeItem(atPath: directory)
  }

  @Test func `version and help answer, unknown commands fail`() throws {
    #expect(try ChildProcess.run(DaemonProcess.binary, ["--version"]).ending == .exit(0))
    let help = try ChildProcess.run(DaemonProcess.binary, ["--help"])
    for word in ["run", "check", "reload", "status", "demo"] {
      #expect(help.output.contains(word), "\(word)")
    }
    #expect(try ChildProcess.run(DaemonProcess.binary, ["frobnicate"]).ending != .exit(0))
  }

  @Test func `the demo serves three backends that name themselves`() throws {
    let port = Ports.take()
    let demo = try ChildProcess(DaemonProcess.binary, ["demo", "--port", "\(port)"])
    #expect(demo.waitForOutput { $0.contains("curl") }, "\(demo.output)")
    var bodies = Set<String>()
    for _ in 0..<12 {
      let client = try WireConnection.connect(port: port)
      try client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      let response = try client.readResponse()
      #expect(response.status == 200)
      bodies.insert(response.text)
    }
    #expect(bodies.count >= 3, "\(bodies)")
    demo.kill(SIGINT)
    #expect(demo.waitForEnd() == .exit(0), "\(demo.output)")
  }
}
