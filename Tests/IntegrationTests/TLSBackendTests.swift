import Foundation
import TestSupport
import Testing

/// Backends that speak TLS: whom weir believes, and what it tells them.
@Suite(.blocking) struct `TLS to backends` {
  static let certificates = Result { try TestCertificates() }

  /// A backend that answers every request with its head; handshakes that fail are its failures.
  private func origin(
    _ pair: TestCertificates.Pair, clientAuthority: String? = nil
  ) throws -> ScriptedOrigin {
    let tls = try TestTLS(serving: pair, clientAuthority: clientAuthority)
    return try ScriptedOrigin { connection, _ in
      try connection.startTLS(tls)
      while try connection.hasMore() {
        let head = try connection.readHead()
        _ = try connection.readRequestBody(head)
        let body = head.text + "\r\n"
        try connection.send(
          "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
      }
    }
  }

  private func configuration(
    _ backends: [String], _ tls: String, upstream: String = ""
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    configuration.upstream = "\(upstream)\ntls {\n\(tls)\n}"
    return configuration
  }

  @Test func `a backend that proves its name gets requests, over one connection`() throws {
    let certificates = try Self.certificates.get()
    let origin = try origin(certificates.issue(["api.internal"]))
    let tls = "ca \(certificates.authority)\nserver-name api.internal"
    try withDaemon(configuration([origin.address], tls)) { daemon in
      let client = try daemon.connect()
      for number in 0..<5 {
        try client.send("GET /\(number) HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readResponse().text.hasPrefix("GET /\(number) HTTP/1.1\r\nHost: a\r\n"))
      }
    }
    #expect(origin.records.count == 1)
    #expect(origin.failures.isEmpty)
  }

  @Test func `the address is the name of backends that have none`() throws {
    let certificates = try Self.certificates.get()
    let origin = try origin(certificates.issue(["IP:127.0.0.1"]))
    try withDaemon(configuration([origin.address], "ca \(certificates.authority)")) { daemon in
      let response = try daemon.get("/a")
      #expect(response.status == 200)
    }
    let other = try self.origin(certificates.issue(["IP:127.0.0.2"]))
    try withDaemon(configuration([other.address], "ca \(certificates.authority)")) { daemon in
      let response = try daemon.get("/a")
      #expect(response.status == 502)
      #expect(daemon.process.waitForOutput { $0.contains("IP address mismatch") })
    }
  }

  /// Must show 7 of the issue: no octet of the request, 502, and which check it was.
  @Test(
    arguments: [
      ("wrong name", "hostname mismatch"), ("expired", "certificate has expired"),
      ("unknown authority", "unable to get local issuer certificate"),
      ("not yet told", "self-signed certificate"),
    ])
  func `one that does not gets no octet of a request`(_ fault: String, _ check: String) throws {
    let certificates = try Self.certificates.get()
    var tls = "ca \(certificates.authority)\nserver-name api.internal"
    var pair = try certificates.issue(["api.internal"], days: fault == "expired" ? -1 : 20)
    if fault == "wrong name" { pair = try certificates.issue(["other.internal"]) }
    if fault == "unknown authority" { tls = "server-name api.internal" }
    if fault == "not yet told" {
      let other = try TestCertificates()
      pair = .init(certificate: other.authority, key: "\(other.directory)/ca.key")
      let origin = try origin(pair)
      return try expectRefusal(origin, tls, check)
    }
    try expectRefusal(origin(pair), tls, check)
  }

  private func expectRefusal(_ origin: ScriptedOrigin, _ tls: String, _ check: String) throws {
    try withDaemon(configuration([origin.address], tls)) { daemon in
      let client = try daemon.connect()
      try client.send("POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
      let response = try client.readResponse()
      #expect(response.status == 502)
      let told = response["proxy-status"] ?? ""
      #expect(told.hasPrefix("weir-test; error=tls_certificate_error;"))
      #expect(
        daemon.process.waitForOutput {
          $0.contains(
            "error backend app/\(origin.address): its certificate is refused: \(check)")
        }, "\(daemon.process.output)")
      #expect(try daemon.counts("error=\"tls_certificate_error\"} 1\n"))
    }
    // Its side saw a handshake that came to nothing.
    #expect(origin.receivedCount == 0)
  }

  @Test func `another backend takes what a refused one could not have`() throws {
    let certificates = try Self.certificates.get()
    let bad = try origin(certificates.issue(["other.internal"]))
    let good = try origin(certificates.issue(["api.internal"]))
    let tls = "ca \(certificates.authority)\nserver-name api.internal"
    try withDaemon(
      configuration([bad.address, good.address], tls, upstream: "balance round-robin")
    ) { daemon in
      for _ in 0..<6 {
        let client = try daemon.connect()
        try client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        #expect(try client.readResponse().status == 200)
      }
    }
    #expect(bad.receivedCount == 0)
  }

  @Test func `health checks go through the same TLS, and see what requests would see`() throws {
    let certificates = try Self.certificates.get()
    let bad = try origin(certificates.issue(["api.internal"], days: -1))
    let good = try origin(certificates.issue(["api.internal"]))
    let tls = "ca \(certificates.authority)\nserver-name api.internal"
    let check = "health-check GET /healthz interval=100ms timeout=2s"
    try withDaemon(configuration([bad.address, good.address], tls, upstream: check)) { daemon in
      let isDown = daemon.process.waitForOutput {
        $0.contains("backend app/\(bad.address): health check failed, down reason=\"TLS: ")
          && $0.contains("certificate has expired")
      }
      #expect(isDown, "\(daemon.process.output)")
      #expect(good.wait { $0.contains { $0.text.hasPrefix("GET /healthz HTTP/1.1\r\n") } })
      for _ in 0..<4 {
        let response = try daemon.get("/a")
        #expect(response.status == 200)
      }
      #expect(!daemon.process.output.contains("app/\(good.address): health check failed"))
    }
    #expect(bad.receivedCount == 0)
  }

  @Test func `four health checks go over one connection, whose end is said`() throws {
    let certificates = try Self.certificates.get()
    let origin = try origin(certificates.issue(["api.internal"]))
    let tls = "ca \(certificates.authority)\nserver-name api.internal"
    let check = "health-check GET /healthz interval=20ms timeout=5s"
    try withDaemon(configuration([origin.address], tls, upstream: check)) { _ in
      #expect(origin.wait { $0.count >= 3 && $0[0].hasEnded })
    }
    for record in origin.records.prefix(2) {
      #expect(record.text.components(separatedBy: "GET /healthz").count == 5, "\(record.text)")
      #expect(record.text.components(separatedBy: "Connection: close").count == 2)
    }
    // The one under way when the daemon stopped may have failed.
    let failures = origin.failures.filter { $0.hasPrefix("connection 0") }
    #expect(failures.isEmpty, "\(failures)")
  }

  @Test func `with verification off anybody is believed, and each start says so`() throws {
    let certificates = try Self.certificates.get()
    let origin = try origin(certificates.issue(["other.internal"], days: -1))
    var setting = configuration([origin.address], "verify off")
    try withDaemon(setting) { daemon in
      let response = try daemon.get("/a")
      #expect(response.status == 200)
      let output = daemon.process.output
      #expect(output.contains("warning upstream app: backends are NOT verified"))
      // With the check back on the connection that was made without it is not used again.
      setting = configuration([origin.address], "ca \(certificates.authority)")
      #expect(try daemon.reload(setting).ending == .exit(0))
      #expect(try daemon.get("/b").status == 502)
    }
  }

  @Test func `a backend that asks is shown weir's certificate`() throws {
    let certificates = try Self.certificates.get()
    let own = try certificates.issue(["weir.internal"])
    let origin = try origin(
      certificates.issue(["api.internal"]), clientAuthority: certificates.authority)
    let tls = "ca \(certificates.authority)\nserver-name api.internal\n"
    try withDaemon(configuration([origin.address], tls + own.directive)) { daemon in
      let response = try daemon.get("/a")
      #expect(response.status == 200)
    }
    try withDaemon(configuration([origin.address], tls, upstream: "retry off")) { daemon in
      let response = try daemon.get("/a")
      #expect(response.status == 502)
    }
  }

  @Test func `one that speaks no TLS, or hangs in the handshake, is told apart`() throws {
    let plain = try ScriptedOrigin { connection, _ in
      try connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
      _ = try? connection.readToEnd()
    }
    let patient = "verify off\nhandshake-timeout 30s"
    try withDaemon(configuration([plain.address], patient)) { daemon in
      let response = try daemon.get("/a")
      #expect(response.status == 502)
      #expect(response["proxy-status"]?.hasPrefix("weir-test; error=tls_protocol_error;") == true)
      #expect(daemon.process.waitForOutput { $0.contains("TLS fails: wrong version number") })
    }
    let silent = try ScriptedOrigin { connection, _ in _ = try? connection.readToEnd() }
    let tls = "verify off\nhandshake-timeout 200ms"
    try withDaemon(configuration([silent.address], tls, upstream: "retry off")) { daemon in
      let response = try daemon.get("/a")
      #expect(response.status == 504)
      #expect(response["proxy-status"]?.hasPrefix("weir-test; error=connection_timeout;") == true)
    }
  }

  @Test func `an end that was not announced cuts the response short`() throws {
    let certificates = try Self.certificates.get()
    let pair = try certificates.issue(["api.internal"])
    let tls = try TestTLS(serving: pair)
    let hasBegun = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      try connection.startTLS(tls)
      let head = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
      if head.target == "/whole" { return connection.sayGoodbye() }
      // Were the end there with the head, the client would have an error instead.
      _ = hasBegun.wait(until: .patient) { $0 }
    }
    let settings = "ca \(certificates.authority)\nserver-name api.internal"
    try withDaemon(configuration([origin.address], settings)) { daemon in
      let whole = try daemon.get("/whole")
      #expect(whole.text == "all of it")
      // Rule 25: somebody may have cut it, so nobody may take it for whole.
      let client = try daemon.connect()
      try client.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.hasMore())
      hasBegun.update { $0 = true }
      #expect(throws: WireError.self) { try client.readResponse() }
    }
  }

  @Test func `sessions are resumed when connections are not kept`() throws {
    let certificates = try Self.certificates.get()
    let pair = try certificates.issue(["api.internal"])
    let tls = try TestTLS(serving: pair)
    let resumed = Monitor(0)
    let origin = try ScriptedOrigin { connection, _ in
      try connection.startTLS(tls)
      if connection.wasResumed { resumed.update { $0 += 1 } }
      _ = try connection.readHead()
      try connection.send(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
      connection.sayGoodbye()
    }
    let settings = "ca \(certificates.authority)\nserver-name api.internal"
    try withDaemon(configuration([origin.address], settings)) { daemon in
      for _ in 0..<5 {
        let response = try daemon.get("/a")
        #expect(response.text == "ok")
      }
    }
    #expect(resumed.current == 4)
  }

  @Test func `content of any size goes through, both sides encrypted`() throws {
    let certificates = try Self.certificates.get()
    let pair = try certificates.issue(["example.com"])
    let tls = try TestTLS(serving: pair)
    let origin = try ScriptedOrigin { connection, _ in
      try connection.startTLS(tls)
      while try connection.hasMore() {
        let head = try connection.readHead()
        var check = PatternCheck()
        _ = try connection.readRequestBody(head) { check.add($0) }
        try connection.send(
          "HTTP/1.1 200 OK\r\nX-Intact: \(check.isIntact)\r\nContent-Length: \(check.count)\r\n\r\n"
        )
        try Pattern.send(check.count, on: connection)
      }
    }
    var configuration = configuration(
      [origin.address], "ca \(certificates.authority)\nserver-name example.com")
    configuration.listener = "tls {\n\(pair.directive)\n}"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.startTLS(TestTLS(trusting: certificates.authority), name: "example.com")
      for count in [1, 16_384, 100_000, 2_000_000] {
        try client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(count)\r\n\r\n")
        try Pattern.send(count, on: client)
        let response = try client.readResponse()
        #expect(response["x-intact"] == "true" && Pattern.isPrefix(response.body, count))
      }
    }
    #expect(origin.failures.isEmpty)
  }
}
