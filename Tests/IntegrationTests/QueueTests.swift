import Foundation
import TestSupport
import Testing

/// Limits of backends, and what waits behind them.
@Suite(.blocking) struct `A full backend` {
  /// A backend that answers when it is told to, and knows how many it has.
  private final class Gate: Sendable {
    struct State: Sendable {
      var present = 0
      var most = 0
      var order: [String] = []
      var open = 0
    }

    let state = Monitor(State())

    func serve(_ connection: WireConnection) throws {
      while try connection.hasMore() {
        let head = try connection.readHead()
        state.update {
          $0.present += 1
          $0.most = max($0.most, $0.present)
          $0.order.append(head.target)
        }
        guard state.wait(until: .after(60), for: { $0.open > 0 }) else { return }
        state.update {
          $0.open -= 1
          $0.present -= 1
        }
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }

    func letGo(_ count: Int) { state.update { $0.open += count } }

    func waitForOrder(_ count: Int) -> Bool {
      state.wait(until: .patient) { $0.order.count >= count }
    }
  }

  private func upstreams(_ daemon: DaemonProcess) throws -> String {
    String(decoding: try daemon.admin("/v1/upstreams").body, as: UTF8.self)
  }

  private func send(_ target: String, _ daemon: DaemonProcess) throws -> WireConnection {
    let client = try daemon.connect()
    try client.send("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
    return client
  }

  private func waitForQueue(_ count: Int, _ daemon: DaemonProcess) throws {
    let isThere = try Poll.until(.patient) { () throws -> Bool in
      try upstreams(daemon).contains("\"queued\":\(count)")
    }
    #expect(isThere, "never \(count) in the queue")
  }

  @Test(arguments: [1, 4])
  func `lets no more through than its limit; others wait, and come in their order`(workers: Int)
    throws
  {
    let gate = Gate()
    let origin = try ScriptedOrigin { connection, _ in try gate.serve(connection) }
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = workers
    configuration.upstream = "max-requests 2\n  queue 3 timeout=60s"
    try withDaemon(configuration) { daemon in
      var clients = [try send("/0", daemon), try send("/1", daemon)]
      #expect(gate.waitForOrder(2))
      for number in 2..<5 {
        clients.append(try send("/\(number)", daemon))
        try waitForQueue(number - 1, daemon)
      }
      // The queue is full as well: told at once, and when to come again.
      let refused = try daemon.get("/5")
      #expect(refused.status == 503 && refused["retry-after"] != nil)
      #expect(refused["proxy-status"]?.contains("connection_limit_reached") == true)
      for count in 3...5 {
        gate.letGo(1)
        #expect(gate.waitForOrder(count))
      }
      gate.letGo(2)
      for client in clients { #expect(try client.readResponse().status == 200) }
      #expect(gate.state.current.most == 2)
      #expect(gate.state.current.order.dropFirst(2) == ["/2", "/3", "/4"])
      try waitForQueue(0, daemon)
    }
  }

  @Test func `without a queue is 503 at once, and nothing reaches it`() throws {
    let gate = Gate()
    let origin = try ScriptedOrigin { connection, _ in try gate.serve(connection) }
    var configuration = DaemonConfiguration(["\(origin.address) max-requests=1"])
    configuration.upstream = "retry off"
    try withDaemon(configuration) { daemon in
      let first = try send("/0", daemon)
      #expect(gate.waitForOrder(1))
      #expect(try daemon.get("/1").status == 503)
      #expect(gate.state.current.order == ["/0"])
      gate.letGo(2)
      #expect(try first.readResponse().status == 200)
      #expect(try daemon.get("/2").status == 200)
    }
  }

  @Test func `keeps nobody waiting longer than the queue's timeout`() throws {
    let gate = Gate()
    let origin = try ScriptedOrigin { connection, _ in try gate.serve(connection) }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "max-requests 1\n  queue 10 timeout=100ms"
    try withDaemon(configuration) { daemon in
      let first = try send("/0", daemon)
      #expect(gate.waitForOrder(1))
      #expect(try daemon.get("/1").status == 503)
      try waitForQueue(0, daemon)
      gate.letGo(2)
      #expect(try first.readResponse().status == 200)
      #expect(try daemon.get("/2").status == 200)
      #expect(gate.state.current.order == ["/0", "/2"])
    }
  }

  @Test func `gives the place of a client that left to the next one`() throws {
    let gate = Gate()
    let origin = try ScriptedOrigin { connection, _ in try gate.serve(connection) }
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 2
    configuration.upstream = "max-requests 1\n  queue 10 timeout=60s"
    try withDaemon(configuration) { daemon in
      let first = try send("/0", daemon)
      #expect(gate.waitForOrder(1))
      let gone = try send("/gone", daemon)
      try waitForQueue(1, daemon)
      let stays = try send("/stays", daemon)
      try waitForQueue(2, daemon)
      gone.reset()
      try waitForQueue(1, daemon)
      gate.letGo(2)
      #expect(try first.readResponse().status == 200)
      #expect(try stays.readResponse().status == 200)
      #expect(gate.state.current.order == ["/0", "/stays"])
      let isQuiet = try Poll.until(.patient) { () throws -> Bool in
        try upstreams(daemon).contains("\"in_flight\":0")
      }
      #expect(isQuiet)
    }
  }

  @Test(arguments: [1, 2])
  func `with the last backend taken out nobody waits any longer`(workers: Int) throws {
    let gate = Gate()
    let origin = try ScriptedOrigin { connection, _ in try gate.serve(connection) }
    let other = try HTTPOrigin("other")
    var configuration = DaemonConfiguration([
      "\(origin.address) name=a", "\(other.address) name=b",
    ])
    configuration.workers = workers
    configuration.upstream = "max-requests 1\n  queue 10 timeout=60s"
    try withDaemon(configuration) { daemon in
      func set(_ state: String, _ backend: String) throws {
        let done = try daemon.command(
          state, "app/\(backend)", "--admin", "unix:\(daemon.adminPath)")
        #expect(done.ending == .exit(0), "\(done.output)")
      }
      try set("maint", "b")
      let first = try send("/0", daemon)
      #expect(gate.waitForOrder(1))
      let waiting = try (1...3).map { try send("/\($0)", daemon) }
      try waitForQueue(3, daemon)
      try set("maint", "a")
      for client in waiting {
        let response = try client.readResponse()
        #expect(response.status == 503 && response["retry-after"] != nil)
        #expect(response["proxy-status"]?.contains("destination_unavailable") == true)
      }
      gate.letGo(1)
      #expect(try first.readResponse().status == 200, "what is in flight goes on")
      try set("ready", "b")
      #expect(try daemon.get("/again")["x-origin"] == "other")
    }
  }

  @Test func `waits no longer than until another backend is ready again`() throws {
    let gate = Gate()
    let full = try ScriptedOrigin { connection, _ in try gate.serve(connection) }
    let other = try HTTPOrigin("other")
    var configuration = DaemonConfiguration([
      "\(full.address) name=full", "\(other.address) name=other",
    ])
    configuration.workers = 2
    configuration.upstream = "max-requests 1\n  queue 3 timeout=60s"
    try withDaemon(configuration) { daemon in
      let admin = "unix:\(daemon.adminPath)"
      #expect(try daemon.command("maint", "app/other", "--admin", admin).ending == .exit(0))
      let first = try send("/0", daemon)
      #expect(gate.waitForOrder(1))
      let waiting = try send("/1", daemon)
      try waitForQueue(1, daemon)
      #expect(try daemon.command("ready", "app/other", "--admin", admin).ending == .exit(0))
      #expect(try waiting.readResponse()["x-origin"] == "other")
      gate.letGo(1)
      #expect(try first.readResponse().status == 200)
    }
  }

  @Test func `is kept to its limit under load, and every request is answered`() throws {
    let present = Monitor((now: 0, most: 0))
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        _ = try connection.readHead()
        present.update { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
        present.update { $0.now -= 1 }
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 3
    configuration.upstream = "max-requests 3\n  queue 100 timeout=60s"
    try withDaemon(configuration) { daemon in
      let load = ClosedLoopLoad(port: daemon.port, connections: 24)
      #expect(load.wait(60, for: { $0.completed >= 3000 }))
      let result = load.stop()
      #expect(result.failures == [])
      #expect(present.current.most <= 3)
      // A place is given back just after its client has the last octet.
      let isQuiet = try Poll.until(.patient) { () throws -> Bool in
        let view = try upstreams(daemon)
        return view.contains("\"queued\":0") && view.contains("\"in_flight\":0")
      }
      #expect(isQuiet)
    }
  }

  /// A request whose attempt fails has had its turn: it is not one that comes last.
  @Test(arguments: [1, 2], [true, false])
  func `is waited for once more by a request that it failed`(workers: Int, isKept: Bool) throws {
    let gate = Gate()
    let fails = Monitor(false)
    let origin = try ScriptedOrigin { connection, number in
      if isKept, number == 0 {
        _ = try connection.readHead()
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
      guard number == 0 else { return try gate.serve(connection) }
      _ = try connection.readHead()
      _ = fails.wait(until: .patient) { $0 }
      connection.reset()
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = workers
    configuration.upstream = "max-requests 1\n  queue 10 timeout=60s"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      if isKept {
        try client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readResponse().status == 200)
      }
      try client.send("GET /failed HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origin.wait { $0.first?.text.contains("GET /failed") == true })
      var waiting: [WireConnection] = []
      for number in 1...2 {
        waiting.append(try send("/\(number)", daemon))
        try waitForQueue(number, daemon)
      }
      fails.update { $0 = true }
      #expect(gate.waitForOrder(1))
      try waitForQueue(2, daemon)
      gate.letGo(3)
      #expect(try client.readResponse().status == 200)
      for client in waiting { #expect(try client.readResponse().status == 200) }
      // A kept connection's end is no failure: its request goes on at the place that it has.
      let expected = isKept ? ["/failed", "/1", "/2"] : ["/1", "/failed", "/2"]
      #expect(gate.state.current.order == expected)
    }
  }

  /// Its client has sent all of its request, and weir waits for a place, not for the client.
  @Test func `is not waited for at the expense of a client that owes nothing`() throws {
    let gate = Gate()
    let fails = Monitor(false)
    let origin = try ScriptedOrigin { connection, number in
      guard number == 0 else { return try gate.serve(connection) }
      _ = try connection.readHead()
      _ = fails.wait(until: .patient) { $0 }
      connection.reset()
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "body-timeout 2s"
    configuration.upstream = "max-requests 1\n  queue 10 timeout=60s"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("PUT /failed HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
      #expect(origin.wait { $0.first?.text.contains("PUT /failed") == true })
      let other = try send("/1", daemon)
      try waitForQueue(1, daemon)
      fails.update { $0 = true }
      #expect(gate.waitForOrder(1))
      try waitForQueue(1, daemon)
      try client.send("abcde")
      #expect(try !client.hasMoreWithin(2.5), "told that it is late")
      gate.letGo(2)
      #expect(try other.readResponse().status == 200)
      #expect(try client.readResponse().status == 200)
    }
  }

  /// Requests whose wait ends go to the other upstream, which is full as well; their places at the
  /// first one may be on their way by then.
  @Test(arguments: [1, 2])
  func `gives places to those who wait for it, and to nobody who waits elsewhere`(workers: Int)
    throws
  {
    func slow() throws -> ScriptedOrigin {
      try ScriptedOrigin { connection, _ in
        while try connection.hasMore() {
          _ = try connection.readHead()
          usleep(10_000)
          try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        }
      }
    }
    let (own, other) = (try slow(), try slow())
    var configuration = DaemonConfiguration([own.address])
    configuration.workers = workers
    configuration.upstream = "max-requests 4\n  queue 1000 timeout=100ms"
    configuration.blocks =
      "upstream other {\nbackend \(other.address)\nmax-requests 2\nqueue 1000 timeout=60s\n}"
    configuration.route = "fallback-upstream other"
    try withDaemon(configuration) { daemon in
      let load = ClosedLoopLoad(port: daemon.port, connections: 80)
      #expect(load.wait(60, for: { $0.completed >= 3000 }))
      #expect(load.stop().failures == [])
      let isQuiet = try Poll.until(.patient) { () throws -> Bool in
        let view = try upstreams(daemon)
        return !view.contains("\"queued\":1") && view.contains("\"in_flight\":0")
      }
      #expect(isQuiet)
    }
  }
}
