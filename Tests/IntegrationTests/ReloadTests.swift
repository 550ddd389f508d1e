import Foundation
import TestSupport
import Testing

/// Configurations change under load and nobody notices (rule 50).
@Suite(.blocking) struct `Reload` {
  @Test func `a backend is added and one removed by SIGHUP under load, and no request fails`()
    throws
  {
    let origins = try ["a", "b", "c"].map { try HTTPOrigin($0) }
    var first = DaemonConfiguration([origins[0].address, origins[1].address])
    first.workers = 2
    var second = first
    second.backends = [origins[1].address, origins[2].address]
    try withDaemon(first) { daemon in
      let load = ClosedLoopLoad(port: daemon.port, connections: 8)
      #expect(load.waitForMore(500))
      for round in 0..<6 {
        let (next, added, removed) =
          round % 2 == 0 ? (second, origins[2], origins[0]) : (first, origins[0], origins[2])
        let before = added.requests.count
        try daemon.signalReload(next)
        #expect(added.wait { $0.count > before }, "round \(round): the new backend gets nothing")
        #expect(load.waitForMore(300))
        // A request that it was sent before may be slow; one that still gets its share gets it
        // of each 300.
        var isLeft = false
        for _ in 0..<10 where !isLeft {
          let known = removed.requests.count
          #expect(load.waitForMore(300))
          isLeft = removed.requests.count == known
        }
        #expect(isLeft, "round \(round): the removed one still serves")
      }
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5)) of \(outcome.completed)")
      #expect(origins[1].requests.count > 100, "the one that stayed served all the time")
    }
  }

  @Test func `requests in flight finish on the configuration they began with`() throws {
    let old = try HTTPOrigin("old")
    let new = try HTTPOrigin("new")
    try withDaemon(DaemonConfiguration([old.address])) { daemon in
      let slow = try daemon.connect()
      try slow.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(old.wait { $0.count == 1 })
      let done = try daemon.reload(DaemonConfiguration([new.address]))
      #expect(done.ending == .exit(0), "\(done.output)")
      #expect(try daemon.get("/")["x-origin"] == "new", "weir reload returns when it is in force")
      old.release()
      #expect(try slow.readResponse()["x-origin"] == "old")
      // The connection itself goes on, on the new configuration.
      try slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try slow.readResponse()["x-origin"] == "new")
    }
  }

  @Test func `a faulty file changes nothing, and the command fails with the diagnostics`() throws {
    let origin = try HTTPOrigin()
    let good = DaemonConfiguration([origin.address])
    var faulty = good
    faulty.upstream = "balance least_con\n  colour blue"
    try withDaemon(good) { daemon in
      let load = ClosedLoopLoad(port: daemon.port, connections: 4)
      #expect(load.waitForMore(100))
      let done = try daemon.reload(faulty)
      #expect(done.ending == .exit(1), "\(done.output)")
      #expect(done.output.contains("proxy.conf:") && done.output.contains("error"))
      #expect(done.output.contains("least_con") && done.output.contains("least-connections"))
      #expect(done.output.contains("colour"), "every fault at once: \(done.output)")
      #expect(load.waitForMore(100))
      // By signal nobody is told but the log.
      try daemon.signalReload(faulty)
      #expect(daemon.process.waitForOutput { $0.contains("least_con") })
      #expect(load.waitForMore(100))
      #expect(try daemon.reload(good).ending == .exit(0))
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(3))")
    }
  }

  @Test func `a storm of reloads loses no request`() throws {
    let origins = try ["a", "b"].map { try HTTPOrigin($0) }
    var configuration = DaemonConfiguration(origins.map(\.address))
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let load = ClosedLoopLoad(port: daemon.port, connections: 8)
      for round in 0..<50 {
        configuration.top = "max-connections \(1000 + round)"
        try daemon.signalReload(configuration)
        load.waitForMore(20)
      }
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(5)) of \(outcome.completed)")
      let memory = try daemon.memoryBytes("RssAnon")
      #expect(memory < 64 << 20, "\(memory) octets after 50 reloads")
    }
  }

  @Test func `routes, limits and edits change too`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    try withDaemon(configuration) { daemon in
      #expect(try daemon.get("/moved").status == 200)
      configuration.blocks = "route */moved {\n  redirect 308 https://$host/new$query\n}"
      configuration.route = "response-header set X-Generation 2"
      #expect(try daemon.reload(configuration).ending == .exit(0))
      let moved = try daemon.get("/moved?a=b")
      #expect(moved.status == 308)
      #expect(moved["location"]?.hasPrefix("https://example.com/new") == true)
      #expect(try daemon.get("/other")["x-generation"] == "2")
    }
  }
}
