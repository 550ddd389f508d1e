import Foundation
import TestSupport
import Testing

/// Host names as backends: their addresses change, DNS fails, and clients notice neither.
@Suite(.blocking) struct `Names` {
  /// Origins that share a port on addresses of their own, called by their addresses.
  private func origins(_ hosts: String...) throws -> [HTTPOrigin] {
    var port: UInt16 = 0
    return try hosts.map { host in
      let origin = try HTTPOrigin(host, host: host, port: port)
      port = origin.port
      return origin
    }
  }

  private func configuration(
    _ server: ScriptedNameServer, port: UInt16, options: String = ""
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(["app.test:\(port)"])
    configuration.top = "resolver \(server.address) min-ttl=100ms max-ttl=1s \(options)"
    return configuration
  }

  @Test func `new addresses get traffic and vanished ones drain, and no request fails`() throws {
    let origins = try origins("127.0.0.1", "127.0.0.2", "127.0.0.3")
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1", "127.0.0.2"], ttl: 1))
    var configuration = configuration(server, port: origins[0].port)
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let first = try daemon.get("/")
      #expect(first.status == 200, "resolved before the first request")
      let load = ClosedLoopLoad(port: daemon.port, connections: 8)
      #expect(origins[0].wait { $0.count > 20 } && origins[1].wait { $0.count > 20 })
      #expect(origins[2].requests.isEmpty)
      server.set("app.test", .addresses(["127.0.0.2", "127.0.0.3"], ttl: 1))
      #expect(origins[2].wait { $0.count > 20 }, "the new address gets nothing")
      // What it had begun ends, and its pooled connections are closed.
      let isLeft = Poll.until(.patient) { origins[0].records.allSatisfy(\.hasEnded) }
      #expect(isLeft, "connections to an address that is gone stay open")
      let left = origins[0].requests.count
      #expect(load.waitForMore(300))
      #expect(origins[0].requests.count == left, "it still gets requests")
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5)) of \(outcome.completed)")
      #expect(
        daemon.process.waitForOutput {
          $0.contains("name app.test: 2 addresses added=127.0.0.3 removed=127.0.0.1")
        })
    }
  }

  @Test func `requests in flight at an address that vanishes finish there`() throws {
    let origins = try origins("127.0.0.1", "127.0.0.2")
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1"], ttl: 1))
    try withDaemon(configuration(server, port: origins[0].port)) { daemon in
      let slow = try daemon.connect()
      try slow.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origins[0].wait { $0.count == 1 })
      server.set("app.test", .addresses(["127.0.0.2"], ttl: 1))
      #expect(try Poll.until(.patient) { try daemon.get("/")["x-origin"] == "127.0.0.2" })
      origins[0].release()
      #expect(try slow.readResponse()["x-origin"] == "127.0.0.1")
    }
  }

  @Test func `keys of the addresses that stay stay with them`() throws {
    let hosts = (1...5).map { "127.0.0.\($0)" }
    var port: UInt16 = 0
    let origins = try hosts.map { host in
      let origin = try HTTPOrigin(host, host: host, port: port)
      port = origin.port
      return origin
    }
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(Array(hosts[0..<4]), ttl: 1))
    var configuration = configuration(server, port: port)
    configuration.upstream = "balance hash path"
    try withDaemon(configuration) { daemon in
      func owners() throws -> [String] {
        try (0..<60).map { try daemon.get("/key-\($0)")["x-origin"] ?? "" }
      }
      let before = try owners()
      #expect(Set(before) == Set(hosts[0..<4]))
      server.set("app.test", .addresses([hosts[4]] + hosts[1..<4].reversed(), ttl: 1))
      #expect(
        daemon.process.waitForOutput { $0.contains("added=127.0.0.5 removed=127.0.0.1") })
      #expect(try Poll.until(.patient) { try !owners().contains(hosts[0]) })
      let after = try owners()
      for (old, new) in zip(before, after) where old != hosts[0] {
        #expect(new == old || new == hosts[4], "a key moved from \(old) to \(new)")
      }
      #expect(after.contains(hosts[4]))
      #expect(origins.count == 5)
    }
  }

  @Test func `the last addresses stay while DNS fails, whatever the failure`() throws {
    let origins = try origins("127.0.0.1", "127.0.0.2")
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1"], ttl: 0))
    // Silence shall not take long; on a busy machine the first answer may then be late as well.
    let options = "timeout=300ms tries=1"
    try withDaemon(configuration(server, port: origins[0].port, options: options)) { daemon in
      let isServing = try Poll.until(.patient) { try daemon.get("/")["x-origin"] == "127.0.0.1" }
      #expect(isServing)
      // 0.0.0.0 and addresses of many are nobody's.
      let faults: [ScriptedNameServer.Reply] = [
        .silence, .failure, .error(5), .octets([1, 2, 3]),
        .addresses(["0.0.0.0", "224.0.0.1", "255.255.255.255"], ttl: 1), .silence,
      ]
      for fault in faults {
        server.answerEverything(fault)
        #expect(server.waitForMore(2, of: "app.test"))
        #expect(try daemon.get("/")["x-origin"] == "127.0.0.1", "\(fault)")
      }
      #expect(daemon.process.waitForOutput { $0.contains("its 1 last addresses are kept") })
      #expect(try daemon.counts("weir_name_stale{name=\"app.test\"} 1"))
      server.set("app.test", .addresses(["127.0.0.2"], ttl: 1))
      server.answerEverything(nil)
      #expect(try Poll.until(.patient) { try daemon.get("/")["x-origin"] == "127.0.0.2" })
      #expect(daemon.process.waitForOutput { $0.contains("name app.test: resolved again") })
      #expect(try daemon.counts("weir_name_stale{name=\"app.test\"} 0"))
      let lines = daemon.process.output.split(separator: "\n")
      let begun = lines.count { $0.contains("are kept") }
      let ended = lines.count { $0.contains("resolved again") }
      #expect(begun - ended <= 1, "an outage is told once: \(daemon.process.output)")
    }
  }

  @Test func `that there is no address any more is believed after a while`() throws {
    let origins = try origins("127.0.0.1")
    let server = try ScriptedNameServer()
    server.set("app.test", .addresses(["127.0.0.1"], ttl: 0))
    let options = "keep-absent=2s"
    try withDaemon(configuration(server, port: origins[0].port, options: options)) { daemon in
      let first = try daemon.get("/")
      #expect(first.status == 200)
      server.answerEverything(.noSuchName)
      #expect(
        daemon.process.waitForOutput {
          $0.contains("DNS knows no address, its 1 last addresses are kept reason=no_such_name")
        })
      #expect(try daemon.get("/").status == 200, "for a while")
      #expect(daemon.process.waitForOutput { $0.contains("added=none removed=127.0.0.1") })
      #expect(try Poll.until(.patient) { try daemon.get("/").status == 503 })
      #expect(try daemon.get("/")["proxy-status"]?.contains("error=dns_error") == true)
      server.answerEverything(nil)
      #expect(try Poll.until(.patient) { try daemon.get("/").status == 200 })
    }
  }

  @Test func `it starts without DNS, says so, and serves when DNS is there`() throws {
    let named = try origins("127.0.0.1")
    let other = try HTTPOrigin("other")
    let server = try ScriptedNameServer()
    server.answerEverything(.failure)
    var configuration = configuration(server, port: named[0].port)
    configuration.blocks = """
      upstream other {
        backend \(other.address)
      }
      route /other/* {
        upstream other
      }
      """
    try withDaemon(configuration) { daemon in
      #expect(
        daemon.process.waitForOutput {
          $0.contains("name app.test: not resolved, it has no backend")
        })
      let refused = try daemon.get("/")
      #expect(refused.status == 503)
      #expect(refused["proxy-status"]?.contains("error=dns_error") == true)
      #expect(try daemon.get("/other/").status == 200, "the others serve")
      server.set("app.test", .addresses(["127.0.0.1"], ttl: 1))
      server.answerEverything(nil)
      #expect(try Poll.until(.patient) { try daemon.get("/").status == 200 })
    }
  }

  @Test func `records of a service bring ports, weights and backups`() throws {
    let heavy = try HTTPOrigin("heavy", host: "127.0.0.1")
    let light = try HTTPOrigin("light", host: "127.0.0.2")
    let spare = try HTTPOrigin("spare", host: "127.0.0.3")
    let server = try ScriptedNameServer()
    let service = "_http._tcp.app.test"
    server.set(
      service, .service,
      .services(
        [
          (10, 3, heavy.port, "heavy.test"), (10, 1, light.port, "light.test"),
          (20, 1, spare.port, "spare.test"),
        ], ttl: 1))
    server.set("heavy.test", .addresses(["127.0.0.1"], ttl: 1))
    server.set("light.test", .addresses(["127.0.0.2"], ttl: 1))
    server.set("spare.test", .addresses(["127.0.0.3"], ttl: 1))
    var configuration = configuration(server, port: 1)
    configuration.backends = ["srv:\(service) name=app"]
    configuration.upstream = "balance round-robin"
    try withDaemon(configuration) { daemon in
      var counts: [String: Int] = [:]
      for _ in 0..<40 { counts[try daemon.get("/")["x-origin"] ?? "", default: 0] += 1 }
      #expect(counts == ["heavy": 30, "light": 10])
      let document = try daemon.admin("/v1/upstreams").text
      #expect(document.contains("\"app@127.0.0.3:\(spare.port)\""), "\(document)")
      // The first priority goes, the next one takes its place.
      server.set(service, .service, .services([(20, 1, spare.port, "spare.test")], ttl: 1))
      #expect(try Poll.until(.patient) { try daemon.get("/")["x-origin"] == "spare" })
      #expect(daemon.process.waitForOutput { $0.contains("name srv:\(service): 1 address ") })
      server.answerEverything(.failure)
      #expect(daemon.process.waitForOutput { $0.contains("its 1 last addresses are kept") })
      #expect(try daemon.get("/")["x-origin"] == "spare")
    }
  }
}
