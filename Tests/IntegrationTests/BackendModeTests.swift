import Foundation
import TestSupport
import Testing

/// `weir ready|drain|maint` and the admin endpoint's PATCH.
@Suite(.blocking) struct `States set by people` {
  private func patch(
    _ daemon: DaemonProcess, _ backend: String, _ content: String, upstream: String = "app"
  ) throws -> WireResponse {
    let connection = try WireConnection.connect(path: daemon.adminPath)
    try connection.send(
      "PATCH /v1/upstreams/\(upstream)/backends/\(backend) HTTP/1.1\r\nHost: a\r\n"
        + "Content-Length: \(content.utf8.count)\r\nConnection: close\r\n\r\n\(content)")
    return try connection.readResponse()
  }

  private func names(_ daemon: DaemonProcess) throws -> Set<String> {
    Set(try (0..<8).compactMap { _ in try daemon.get("/")["x-origin"] })
  }

  @Test func `drain, maint and ready, by command, and across a reload`() throws {
    let origins = try ["a", "b"].map { try HTTPOrigin($0) }
    var configuration = DaemonConfiguration(origins.map { "\($0.address) name=\($0.name)" })
    configuration.upstream = "balance round-robin"
    try withDaemon(configuration) { daemon in
      for state in ["drain", "maint"] {
        let done = try daemon.command(state, "app/a", "--admin", "unix:\(daemon.adminPath)")
        #expect(done.ending == .exit(0) && done.output.contains("app/a is set to \(state)"))
        #expect(try names(daemon) == ["b"])
        #expect(try daemon.reload(configuration).ending == .exit(0))
        #expect(try names(daemon) == ["b"])
        let status = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)").output
        #expect(status.contains(state))
        let ready = try daemon.command("ready", "app/a", "--admin", "unix:\(daemon.adminPath)")
        #expect(ready.ending == .exit(0))
        #expect(try names(daemon) == ["a", "b"])
        #expect(daemon.process.waitForOutput { $0.contains("backend app/a: set to \(state)") })
      }
      let unknown = try daemon.command("drain", "app/x", "--admin", "unix:\(daemon.adminPath)")
      #expect(unknown.ending == .exit(1) && unknown.output.contains("no backend 'x'"))
    }
  }

  @Test func `what is in flight on a drained backend goes on`() throws {
    let origin = try HTTPOrigin("a")
    try withDaemon(DaemonConfiguration(["\(origin.address) name=a"])) { daemon in
      let client = try daemon.connect()
      try client.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origin.wait { $0.count == 1 })
      #expect(try patch(daemon, "a", "{\"state\":\"drain\"}").status == 200)
      #expect(try daemon.get("/").status == 503)
      origin.release()
      #expect(try client.readResponse().status == 200)
    }
  }

  @Test(arguments: [
    ("a", "{\"state\":\"drain\"}", "app", 200), ("%61", "{\"state\":\"ready\"}", "app", 200),
    ("b", "{\"state\":\"drain\"}", "app", 404), ("a", "{\"state\":\"drain\"}", "xx", 404),
    ("a", "{\"state\":\"gone\"}", "app", 422), ("a", "{\"weight\":1}", "app", 400),
    ("a", "", "app", 400), ("a", "[", "app", 400),
  ])
  func `the endpoint says what is wrong`(
    backend: String, content: String, upstream: String, status: Int
  ) throws {
    let origin = try HTTPOrigin("a")
    try withDaemon(DaemonConfiguration(["\(origin.address) name=a"])) { daemon in
      let response = try patch(daemon, backend, content, upstream: upstream)
      #expect(response.status == status, "\(response.text)")
      let other = try daemon.admin("/v1/upstreams/app/backends/a")
      #expect(other.status == 405 && other["allow"] == "PATCH")
    }
  }
}
