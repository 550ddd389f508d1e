import Foundation
import TestSupport
import Testing

/// Backends behind a unix socket: the same in everything but the address.
@Suite(.blocking) struct `Unix socket backends` {
  @Test func `serve, are checked, take large content, and are failed over from`() throws {
    let directory = try TemporaryDirectory.make()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let origin = try HTTPOrigin("behind", host: "unix:\(directory)/app.sock")
    var configuration = DaemonConfiguration([
      origin.address, "unix:\(directory)/nobody.sock name=nobody",
    ])
    configuration.upstream = "health-check http / interval=1s\n host backend"
    try withDaemon(configuration) { daemon in
      let isDown = daemon.process.waitForOutput {
        $0.contains("backend app/nobody: health check failed")
      }
      #expect(isDown)
      for _ in 0..<8 { #expect(try daemon.get("/")["x-origin"] == "behind") }
      let asked = origin.requests.filter { $0.head["x-forwarded-for"] != nil }
      #expect(Set(asked.compactMap { $0.head["host"] }) == ["localhost"])
      #expect(origin.wait { $0.contains { $0.head["x-forwarded-for"] == nil } }, "no check came")
      let checks = origin.requests.filter { $0.head["x-forwarded-for"] == nil }
      #expect(!checks.isEmpty && checks.allSatisfy { $0.head["host"] == "localhost" })
      let large = try daemon.get("/bytes/3000000")
      #expect(large.body == Pattern.prefix(3_000_000))
    }
  }

  @Test func `one that is gone is a refused connection, for any method another's`() throws {
    let directory = try TemporaryDirectory.make()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let origin = try HTTPOrigin()
    let configuration = DaemonConfiguration([
      "unix:\(directory)/nobody.sock", origin.address,
    ])
    try withDaemon(configuration) { daemon in
      for _ in 0..<4 {
        let response = try daemon.get("/", method: "DELETE")
        #expect(response.status == 200)
      }
    }
  }
}
