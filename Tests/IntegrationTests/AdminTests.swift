import Foundation
import TestSupport
import Testing

/// The admin endpoint: its own listener, never reachable through the proxy (rule 56).
@Suite(.blocking) struct `Admin endpoint` {
  private func object(_ response: WireResponse) throws -> [String: Any] {
    let value = try JSONSerialization.jsonObject(with: Data(response.body))
    return try #require(value as? [String: Any], "\(response.text)")
  }

  @Test func `status, upstreams and the probes answer on the unix socket`() throws {
    let origins = try ["a", "b"].map { try HTTPOrigin($0) }
    try withDaemon(DaemonConfiguration(origins.map(\.address))) { daemon in
      for _ in 0..<10 { _ = try daemon.get("/bytes/1") }
      #expect(try daemon.admin("/live").status == 200)
      #expect(try daemon.admin("/ready").status == 200)
      let status = try daemon.admin("/v1/status")
      #expect(status.status == 200)
      #expect(status["content-type"]?.hasPrefix("application/json") == true)
      #expect(try !object(status).isEmpty)
      let upstreams = try daemon.admin("/v1/upstreams")
      #expect(upstreams.status == 200)
      for origin in origins { #expect(upstreams.text.contains(origin.address)) }
      let command = try daemon.command("status", "--json", "--admin", "unix:\(daemon.adminPath)")
      #expect(command.ending == .exit(0), "\(command.output)")
      let missing = try daemon.admin("/nothing")
      #expect(missing.status == 404)
      #expect(missing["content-type"]?.hasPrefix("application/problem+json") == true)
      #expect(try daemon.admin("/v1/status", method: "DELETE").status == 405)
    }
  }

  @Test func `metrics are Prometheus text and count what happened`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for _ in 0..<7 { _ = try daemon.get("/bytes/1") }
      for _ in 0..<3 { _ = try daemon.get("/status/404") }
      let response = try daemon.admin("/metrics")
      #expect(response.status == 200)
      #expect(response["content-type"]?.hasPrefix("text/plain") == true)
      let page = try daemon.metrics { $0.contains("\nweir_requests_total 10\n") }
      var types = Set<String>()
      var requests = 0.0
      for line in page.split(separator: "\n") {
        if line.hasPrefix("# TYPE ") {
          types.insert(String(line.split(separator: " ").dropFirst(2).first ?? ""))
        }
        if line.hasPrefix("#") { continue }
        let words = line.split(separator: " ")
        let value = try #require(words.count >= 2 ? Double(words[words.count - 1]) : nil, "\(line)")
        let name = line.prefix { $0 != "{" && $0 != " " }
        let family = ["_bucket", "_sum", "_count"].reduce(String(name)) {
          $0.hasSuffix($1) && types.contains(String($0.dropLast($1.count)))
            ? String($0.dropLast($1.count)) : $0
        }
        #expect(types.contains(family), "no TYPE before \(line)")
        #expect(name.hasPrefix("weir_") || name.hasPrefix("process_"), "\(line)")
        if name == "weir_requests_total" { requests += value }
      }
      #expect(requests == 10, "\(page)")
    }
  }

  @Test func `TCP wants the token, and says no without telling why`() throws {
    let origin = try HTTPOrigin()
    let port = Ports.take()
    let directory = try TemporaryDirectory.make()
    try "s3cret-token-of-this-test\n".write(
      toFile: "\(directory)/token", atomically: true, encoding: .utf8)
    chmod("\(directory)/token", 0o600)
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "admin 127.0.0.1:\(port) token-file=\(directory)/token"
    try withDaemon(configuration) { daemon in
      let rows: [(String, Int)] = [
        ("", 401), ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Basic s3cret-token-of-this-test\r\n", 401),
        ("Authorization: Bearer s3cret-token-of-this-tesT\r\n", 401),
        ("Authorization: Bearer s3cret-token-of-this-test2\r\n", 401),
        ("Authorization: Bearer s3cret-token-of-this-test\r\n", 200),
        ("authorization: bearer s3cret-token-of-this-test\r\n", 200),
      ]
      for target in ["/metrics", "/v1/status", "/v1/upstreams"] {
        for (fields, status) in rows {
          let client = try WireConnection.connect(port: port)
          try client.send("GET \(target) HTTP/1.1\r\nHost: a\r\n\(fields)Connection: close\r\n\r\n")
          let response = try client.readResponse()
          #expect(response.status == status, "\(target) \(fields)")
          #expect(!response.text.contains("s3cret"))
        }
      }
    }
    try FileManager.default.removeItem(atPath: directory)
  }

  @Test func `it is strict, too, and survives what the data plane survives`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let hostile = [
        "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
        "GET /\(String(repeating: "a", count: 20000)) HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
      ]
      for request in hostile {
        let client = try WireConnection.connect(path: daemon.adminPath)
        try? client.send(request)
        let response = try client.readResponse()
        #expect((400...431).contains(response.status), "\(request.prefix(40))")
      }
      // Connections that say nothing must not keep others out.
      let silent = try (0..<50).map { _ in try WireConnection.connect(path: daemon.adminPath) }
      #expect(try daemon.admin("/live").status == 200)
      for client in silent { client.close() }
      #expect(try daemon.get("/v1/status")["x-origin"] == "origin", "not through the proxy")
    }
  }

  @Test func `ready fails first when draining, live does not`() throws {
    let origin = try HTTPOrigin()
    let daemon = try DaemonProcess(DaemonConfiguration([origin.address]))
    let slow = try daemon.connect()
    try slow.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(origin.wait { $0.count == 1 })
    daemon.process.kill(SIGTERM)
    let notReady = Poll.until(.patient) { (try? daemon.admin("/ready").status) == 503 }
    #expect(notReady)
    #expect(try daemon.admin("/live").status == 200)
    origin.release()
    #expect(try slow.readResponse().status == 200)
    #expect(daemon.process.waitForEnd() == .exit(0))
  }
}
