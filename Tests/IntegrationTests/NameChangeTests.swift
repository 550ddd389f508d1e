import Foundation
import TestSupport
import Testing

/// Names beside everything else that may happen: reloads, upgrades, people, health checks, TLS.
@Suite(.blocking) struct `Names and the rest` {
  private func configuration(
    _ server: ScriptedNameServer, port: UInt16, _ options: String = "min-ttl=100ms max-ttl=1s"
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(["app.test:\(port)"])
    configuration.top = "resolver \(server.address) \(options)"
    return configuration
  }

  private func origins(_ count: Int) throws -> [HTTPOrigin] {
    var port: UInt16 = 0
    return try (1...count).map { number in
      let origin = try HTTPOrigin("127.0.0.\(number)", host: "127.0.0.\(number)", port: port)
      port = origin.port
      return origin
    }
  }

  /// Origins that answer eight requests.
  private func serving(_ daemon: DaemonProcess) throws -> Set<String> {
    Set(try (0..<8).compactMap { _ in try daemon.get("/")["x-origin"] })
  }

  @Test func `a storm of reloads and answers loses no request`() throws {
    let origins = try origins(4)
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1", "127.0.0.2"], ttl: 0))
    var configuration = configuration(server, port: origins[0].port)
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let load = ClosedLoopLoad(port: daemon.port, connections: 8)
      for round in 0..<30 {
        let first = round % 4
        let now = [first, (first + 1) % 4].map { "127.0.0.\($0 + 1)" }
        server.set("app.test", .addresses(now, ttl: 0))
        configuration.top = configuration.top + "\nmax-connections \(1000 + round)"
        if round > 0 {
          configuration.top = configuration.top.replacingOccurrences(
            of: "\nmax-connections \(999 + round)", with: "")
        }
        try daemon.signalReload(configuration)
        load.waitForMore(20)
      }
      server.set("app.test", .addresses(["127.0.0.3"], ttl: 0))
      #expect(try Poll.until(.patient) { try serving(daemon) == ["127.0.0.3"] })
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5)) of \(outcome.completed)")
    }
  }

  @Test func `a reload from an address to a name has a backend all the time`() throws {
    let origins = try origins(2)
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.2"], ttl: 1))
    var named = configuration(server, port: origins[0].port)
    named.upstream = "balance hash path"
    var numbered = named
    numbered.backends = [origins[0].address]
    try withDaemon(numbered) { daemon in
      let load = ClosedLoopLoad(port: daemon.port, connections: 4)
      #expect(load.waitForMore(50))
      let path = "\(daemon.directory)/next.conf"
      try daemon.write(named, to: path)
      let planned = try daemon.command("plan", "-c", daemon.configurationPath, path)
      #expect(planned.output.contains("backend app/app.test:\(origins[0].port) added"))
      #expect(planned.output.contains("upstream app: how many of its keys move depends on"))
      #expect(try daemon.command("check", "-c", path).ending == .exit(0))
      #expect(server.questions.isEmpty, "nobody resolves to look at a file")
      for _ in 0..<5 {
        #expect(try daemon.reload(named).ending == .exit(0))
        #expect(try serving(daemon) == ["127.0.0.2"])
        #expect(try daemon.reload(numbered).ending == .exit(0))
        #expect(try serving(daemon) == ["127.0.0.1"])
      }
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5)) of \(outcome.completed)")
    }
  }

  @Test func `each address is checked, and one that is ill gets nothing`() throws {
    let ill = try MoodyOrigin("ill", host: "127.0.0.1")
    let well = try MoodyOrigin("well", host: "127.0.0.2", port: ill.scripted.port)
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1", "127.0.0.2"], ttl: 1))
    var configuration = configuration(server, port: ill.scripted.port)
    configuration.upstream =
      "balance round-robin\nhealth-check GET /healthz interval=20ms fast-interval=20ms"
    try withDaemon(configuration) { daemon in
      ill.become(.status(503))
      let name = "app.test:\(ill.scripted.port)"
      #expect(
        daemon.process.waitForOutput {
          $0.contains("backend app/\(name)@127.0.0.1: health check failed, down")
        })
      let healthy = try serving(daemon)
      #expect(healthy == ["well"])
      let state = "{upstream=\"app\",backend=\"\(name)@127.0.0.1\"} 0"
      #expect(try daemon.counts("weir_backend_health\(state)"))
      #expect(server.waitForMore(3, of: "app.test"))
      #expect(try serving(daemon) == ["well"], "asking again makes nobody well")
      ill.become(.well)
      #expect(try Poll.until(.patient) { try serving(daemon) == ["ill", "well"] })
      _ = well
    }
  }

  @Test(arguments: [false, true])
  func `what people say of an address holds, and through an upgrade`(isService: Bool) throws {
    let origins = try origins(3)
    let server = try ScriptedNameServer()
    server.set(
      "_http._tcp.test", .service, .services([(1, 1, origins[0].port, "app.test")], ttl: 0))
    server.set("app.test", .addresses(["127.0.0.1", "127.0.0.2"], ttl: 0))
    var configuration = configuration(server, port: origins[0].port)
    if isService { configuration.backends = ["srv:_http._tcp.test"] }
    let daemon = try DaemonProcess(configuration)
    let target =
      isService
      ? "app/srv:_http._tcp.test@127.0.0.1:\(origins[0].port)"
      : "app/app.test:\(origins[0].port)@127.0.0.1"
    let done = try daemon.command("drain", target, "--admin", "unix:\(daemon.adminPath)")
    #expect(done.ending == .exit(0), "\(done.output)")
    #expect(try serving(daemon) == ["127.0.0.2"])
    server.set("app.test", .addresses(["127.0.0.3", "127.0.0.1"], ttl: 0))
    #expect(try Poll.until(.patient) { try serving(daemon) == ["127.0.0.3"] })
    // DNS fails, and a new process knows what the old one knew.
    server.answerEverything(.failure)
    #expect(server.waitForMore(1, of: "app.test"))
    let upgraded = try daemon.command("upgrade", "--admin", "unix:\(daemon.adminPath)")
    #expect(upgraded.ending == .exit(0), "\(upgraded.output)")
    #expect(Poll.until(.patient) { daemon.process.ending == .exit(0) })
    #expect(try serving(daemon) == ["127.0.0.3"])
    let status = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)").output
    #expect(status.contains("drain") && status.contains("127.0.0.1"), "\(status)")
    let ready = try daemon.command("ready", target, "--admin", "unix:\(daemon.adminPath)")
    #expect(ready.ending == .exit(0))
    #expect(try Poll.until(.patient) { try serving(daemon) == ["127.0.0.1", "127.0.0.3"] })
    let text = try daemon.admin("/v1/status").text
    let number = text.components(separatedBy: "\"pid\":").last.map { $0.prefix { $0.isNumber } }
    kill(try #require(number.flatMap { pid_t($0) }, "no pid in \(text)"), SIGTERM)
  }

  @Test func `more addresses than may be are cut, though it takes TCP to hear of them`() throws {
    let origins = try origins(2)
    let server = try ScriptedNameServer()
    let many = (1...250).map { "127.0.0.\($0)" }
    server.set("app.test", .tooLong(.addresses(many.reversed() + many, ttl: 1)))
    let configuration = configuration(
      server, port: origins[0].port, "min-ttl=100ms max-ttl=1s max-addresses=2")
    try withDaemon(configuration) { daemon in
      #expect(server.questions.contains { $0.isTCP && $0.name == "app.test" })
      #expect(
        daemon.process.waitForOutput {
          $0.contains("name app.test: more than 2 addresses, the others are left out")
        })
      #expect(try serving(daemon) == ["127.0.0.1", "127.0.0.2"])
      let document = try daemon.admin("/v1/upstreams").text
      #expect(document.contains("\"cut\":true") && document.contains("\"addresses\":2"))
      #expect(try daemon.counts("weir_name_addresses{name=\"app.test\"} 2"))
    }
  }

  @Test func `a failed connect has DNS asked again long before the TTL is over`() throws {
    let origins = try origins(2)
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1"], ttl: 300))
    var configuration = configuration(server, port: origins[0].port, "min-ttl=100ms")
    // Connections that are open go on.
    configuration.upstream = "pool-size 0"
    try withDaemon(configuration) { daemon in
      let first = try daemon.get("/")
      #expect(first["x-origin"] == "127.0.0.1")
      server.set("app.test", .addresses(["127.0.0.2"], ttl: 300))
      origins[0].stop()
      #expect(try Poll.until(.patient) { try daemon.get("/")["x-origin"] == "127.0.0.2" })
    }
  }

  @Test func `an alias is followed, and its TTL counts too`() throws {
    let origins = try origins(2)
    let server = try ScriptedNameServer()
    server.set("app.test", .alias("real.test", ["127.0.0.1"], ttl: 300, aliasTTL: 0))
    let configuration = configuration(server, port: origins[0].port, "min-ttl=100ms")
    try withDaemon(configuration) { daemon in
      let first = try daemon.get("/")
      #expect(first["x-origin"] == "127.0.0.1")
      server.set("app.test", .alias("other.test", ["127.0.0.2"], ttl: 300, aliasTTL: 300))
      #expect(try Poll.until(.patient) { try daemon.get("/")["x-origin"] == "127.0.0.2" })
      // One that leads back to itself leads nowhere.
      server.set("app.test", .alias("app.test", [], ttl: 0, aliasTTL: 0))
      #expect(try daemon.get("/")["x-origin"] == "127.0.0.2")
    }
  }

  @Test func `the hosts file needs no name server`() throws {
    let origin = try HTTPOrigin("local")
    let server = try ScriptedNameServer()
    server.answerEverything(.silence)
    var configuration = configuration(server, port: origin.port)
    configuration.backends = ["localhost:\(origin.port)"]
    configuration.upstream = "host backend"
    try withDaemon(configuration) { daemon in
      let answer = try daemon.get("/echo")
      #expect(answer.status == 200)
      #expect(answer.text.contains("\r\nHost: localhost:\(origin.port)\r\n"), "\(answer.text)")
    }
  }

  @Test func `a certificate has to prove the name that the file says`() throws {
    let certificates = try TestCertificates()
    let answering = { (pair: TestCertificates.Pair) in
      let tls = try TestTLS(serving: pair)
      return try ScriptedOrigin { connection, _ in
        try connection.startTLS(tls)
        while try connection.hasMore() {
          _ = try connection.readHead()
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        }
      }
    }
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1"], ttl: 1))
    for (names, status) in [(["app.test"], 200), (["other.test", "IP:127.0.0.1"], 502)] {
      let origin = try answering(certificates.issue(names))
      var configuration = configuration(server, port: origin.port)
      configuration.upstream = "tls {\nca \(certificates.authority)\n}"
      try withDaemon(configuration) { daemon in
        let answer = try daemon.get("/")
        #expect(answer.status == status, "\(names)")
      }
    }
  }
}
