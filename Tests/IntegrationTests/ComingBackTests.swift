import Foundation
import TestSupport
import Testing

/// Slow start, panic: what the daemon does with backends that come back, or that all go.
@Suite(.blocking) struct `Backends that come and go` {
  private func metrics(_ daemon: DaemonProcess) throws -> String {
    try daemon.admin("/metrics").text
  }

  private func command(_ daemon: DaemonProcess, _ word: String, _ backend: String) throws {
    let done = try daemon.command(word, backend, "--admin", "unix:\(daemon.adminPath)")
    #expect(done.ending == .exit(0), "\(done.output)")
  }

  @Test(arguments: ["round-robin", "least-connections"])
  func `one that is ready again begins with a tenth, and a reload does not shorten that`(
    policy: String
  ) throws {
    let origins = try ["a", "b"].map { try HTTPOrigin($0) }
    var configuration = DaemonConfiguration(origins.map { "\($0.address) name=\($0.name)" })
    configuration.upstream = "balance \(policy)\n  slow-start 1h"
    try withDaemon(configuration) { daemon in
      func ofB(_ count: Int) throws -> Int {
        let client = try daemon.connect()
        var found = 0
        for _ in 0..<count {
          try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
          found += try client.readResponse()["x-origin"] == "b" ? 1 : 0
        }
        return found
      }
      #expect(try ofB(20) == 10, "nobody starts slowly with the process")
      try command(daemon, "drain", "app/b")
      #expect(try ofB(10) == 0)
      try command(daemon, "ready", "app/b")
      let first = try ofB(110)
      #expect((8...12).contains(first), "\(first) of 110")
      let label = "{upstream=\"app\",backend=\"b\"}"
      #expect(try metrics(daemon).contains("weir_backend_weight_counted_ratio\(label) 0.1"))
      let status = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)").output
      #expect(status.contains("at 10 %"), "\(status)")
      #expect(try daemon.reload(configuration).ending == .exit(0))
      let again = try ofB(110)
      #expect((8...12).contains(again), "\(again) of 110")
      configuration.upstream = "balance \(policy)"
      #expect(try daemon.reload(configuration).ending == .exit(0))
      let whole = try ofB(20)
      #expect((9...11).contains(whole), "\(whole) of 20")
    }
  }

  @Test func `all said to be down: panic asks them all the same, and says so`() throws {
    let origins = try ["a", "b"].map { try MoodyOrigin($0) }
    var configuration = DaemonConfiguration(
      zip(origins, ["a", "b"]).map { "\($0.address) name=\($1)" })
    configuration.upstream = """
      balance round-robin
      health-check GET /no-such-thing interval=20ms fast-interval=20ms expect=404
      panic 50%
      """
    try withDaemon(configuration) { daemon in
      // MoodyOrigin answers every path alike, so its checks fail while it serves.
      #expect(daemon.process.waitForOutput { $0.contains("upstream app: panic:") })
      let names = try (0..<4).compactMap { _ in try daemon.get("/")["x-origin"] }
      #expect(Set(names) == ["a", "b"])
      #expect(try metrics(daemon).contains("weir_upstream_panic{upstream=\"app\"} 1"))
      let status = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)").output
      #expect(status.contains("PANIC") && status.contains("down"), "\(status)")
      for origin in origins { origin.become(.status(404)) }
      #expect(daemon.process.waitForOutput { $0.contains("upstream app: panic is over") })
    }
  }
}
