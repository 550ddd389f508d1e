import Foundation
import TestSupport
import Testing

/// Listeners come, change and go with a reload, and what did not change notices nothing.
@Suite(.blocking) struct `Reload of listeners` {
  private static func answers(_ port: UInt16) throws -> Bool {
    let connection = try WireConnection.connect(port: port)
    try connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return try connection.readResponse().status == 200
  }

  private func twoWorkers(_ origin: HTTPOrigin) -> DaemonConfiguration {
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 2
    return configuration
  }

  @Test func `an address is added and removed under load, and no request fails`() throws {
    let origin = try HTTPOrigin()
    let port = Ports.take()
    let before = twoWorkers(origin)
    var after = before
    after.listener = "bind 127.0.0.1:\(port) backlog=50"
    try withDaemon(before) { daemon in
      let kept = try daemon.connect()
      try kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try kept.readResponse().status == 200)
      let load = ClosedLoopLoad(port: daemon.port, connections: 4)
      for _ in 0..<3 {
        #expect(load.waitForMore(50))
        let added = try daemon.reload(after)
        #expect(
          added.output.contains("listener web changed: address 127.0.0.1:\(port) added"),
          "\(added.output)")
        for _ in 0..<8 { #expect(try Self.answers(port)) }
        let removed = try daemon.reload(before)
        #expect(removed.output.contains("address 127.0.0.1:\(port) removed"), "\(removed.output)")
        #expect(throws: WireError.self) { try WireConnection.connect(port: port) }
      }
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(3))")
      try kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try kept.readResponse().status == 200, "an older connection is none of its business")
    }
  }

  @Test func `a listener that is removed finishes what it is at and ends its clients`() throws {
    let origin = try HTTPOrigin()
    let port = Ports.take()
    let after = twoWorkers(origin)
    var before = after
    before.blocks = "listener other { \n bind 127.0.0.1:\(port) \n }"
    try withDaemon(before) { daemon in
      let slow = try WireConnection.connect(port: port)
      try slow.send("GET /delay/500 HTTP/1.1\r\nHost: a\r\n\r\n")
      let idle = try WireConnection.connect(port: port)
      try idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try idle.readResponse().status == 200)
      #expect(origin.wait { $0.count == 2 })
      let done = try daemon.reload(after)
      #expect(done.output.contains("listener other removed"), "\(done.output)")
      #expect(try slow.readResponse().status == 200)
      #expect(try slow.readToEnd().octets.isEmpty && idle.readToEnd().octets.isEmpty)
      // The same name again is the same listener.
      #expect(try daemon.reload(before).ending == .exit(0))
      #expect(try Self.answers(port))
      let status = try daemon.admin("/v1/status").text
      #expect(status.contains("127.0.0.1:\(port)"), "\(status)")
    }
  }

  @Test func `an address that another process has is refused, and nothing changes`() throws {
    let origin = try HTTPOrigin()
    let other = try HTTPOrigin()
    let before = twoWorkers(origin)
    var after = before
    after.listener = "bind \(other.address)"
    try withDaemon(before) { daemon in
      let refused = try daemon.reload(after)
      #expect(refused.ending == .exit(1))
      #expect(refused.output.contains("cannot listen on \(other.address)"), "\(refused.output)")
      #expect(try daemon.get("/").status == 200)
      #expect(try daemon.admin("/v1/status").text.contains("\"generation\":1"))
    }
  }

  @Test func `a unix socket serves all workers' clients, and its file goes with it`() throws {
    let origin = try HTTPOrigin()
    let without = twoWorkers(origin)
    var with = without
    with.listener = "bind unix:@DIRECTORY@/web.sock mode=0666"
    try withDaemon(with) { daemon in
      let path = "\(daemon.directory)/web.sock"
      var status = stat()
      #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o666)
      for _ in 0..<16 {
        let client = try WireConnection.connect(path: path)
        try client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        #expect(try client.readResponse().status == 200)
      }
      let seen = origin.requests.compactMap { $0.head["x-forwarded-for"] }
      #expect(Set(seen) == ["127.0.0.1"])
      #expect(try daemon.reload(without).ending == .exit(0))
      #expect(lstat(path, &status) != 0)
      #expect(try daemon.reload(with).ending == .exit(0))
      #expect(lstat(path, &status) == 0)
      try daemon.stop()
      #expect(lstat(path, &status) != 0)
    }
  }

  @Test func `one socket for all workers, where it is asked for, with Fast Open`() throws {
    let origin = try HTTPOrigin()
    let port = Ports.take()
    var configuration = twoWorkers(origin)
    configuration.blocks = """
      listener one { \n bind [::1]:\(port) reuseport=off v6only=on fastopen=16 \n }
      """
    try withDaemon(configuration) { daemon in
      let table = try String(contentsOfFile: "/proc/net/tcp6", encoding: .utf8)
      let wanted = String(port, radix: 16, uppercase: true)
      let sockets = table.split(separator: "\n").filter {
        $0.contains(":\(wanted) ") && $0.contains(" 0A ")
      }
      #expect(sockets.count == 1, "\(sockets)")
      // curl speaks IPv6 for us.
      for _ in 0..<8 {
        let answer = try ChildProcess.run(
          "curl", ["-sS", "--tcp-fastopen", "http://[::1]:\(port)/bytes/10"])
        #expect(answer.ending == .exit(0) && answer.output.count == 10, "\(answer.output)")
      }
      var changed = configuration
      changed.blocks = changed.blocks.replacingOccurrences(of: " fastopen=16", with: "")
      let refused = try daemon.reload(changed)
      #expect(refused.ending == .exit(1) && refused.output.contains("listener one"))
    }
  }

  @Test func `a reload that cannot listen changes nothing, neither of backends`() throws {
    let (old, new) = (try HTTPOrigin("old"), try HTTPOrigin("new"))
    var refused = twoWorkers(new)
    refused.blocks = """
      listener free { \n bind 127.0.0.1:\(Ports.take()) \n }
      listener taken { \n bind \(old.address) \n }
      """
    try withDaemon(twoWorkers(old)) { daemon in
      let before = daemon.openDescriptors
      for _ in 0..<8 {
        let done = try daemon.reload(refused)
        #expect(done.ending == .exit(1) && done.output.contains(old.address), "\(done.output)")
        #expect(try daemon.get("/").text == "old")
      }
      // Of clients and backends there may be a few; of sockets that were given up it would be 16.
      let isSteady = Poll.until(.after(10)) { daemon.openDescriptors <= before + 8 }
      #expect(isSteady, "\(daemon.openDescriptors) after \(before)")
    }
    #expect(new.requests.isEmpty)
  }
}
