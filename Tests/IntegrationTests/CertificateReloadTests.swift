import Foundation
import TestSupport
import Testing

/// Certificates that change while clients are there.
@Suite(.blocking) struct `Certificate renewal` {
  private func configuration(
    _ backends: [String], _ directive: String
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    // A machine under load may take long between a handshake and the request behind it.
    configuration.listener = "header-timeout 5m\ntls {\n\(directive)\n}"
    configuration.workers = 2
    return configuration
  }

  /// Must show 6 of the issue.
  @Test func `under load: new handshakes get the new one, and no connection fails`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["example.com"])
    let origin = try HTTPOrigin()
    let tls = try TestTLS(trusting: certificates.authority)
    try withDaemon(configuration([origin.address], pair.directive)) { daemon in
      let kept = try daemon.connect()
      try kept.startTLS(tls, name: "example.com")
      let load = ClosedLoopLoad(port: daemon.port, connections: 8, tls: tls)
      // Beside them one client after the other that only shakes hands and asks once.
      let newcomers = ClosedLoopLoad(port: daemon.port, connections: 4, tls: tls) { number in
        "GET /bytes/100?n=\(number) HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
      }
      load.waitForMore(200)
      for round in 0..<5 {
        let renewed = try certificates.issue(["example.com"], key: round % 2 == 0 ? .rsa : .ecdsa)
        let number = certificates.issued
        try certificates.replace(pair, with: renewed)
        let (ending, output) = try daemon.command(
          "reload", "--certificates", "--admin", "unix:\(daemon.adminPath)")
        #expect(ending == .exit(0), "\(output)")
        let newcomer = try daemon.connect()
        try newcomer.startTLS(tls, name: "example.com")
        #expect(newcomer.peerCertificateNumber == number)
        load.waitForMore(100)
        newcomers.waitForMore(10)
      }
      #expect(kept.peerCertificateNumber == 1)
      try kept.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try kept.readResponse().text == "origin")
      for outcome in [load.stop(), newcomers.stop()] {
        #expect(outcome.failures == [] && outcome.completed > 50)
      }
    }
  }

  @Test func `a reload of the configuration reads them too`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["example.com"])
    let tls = try TestTLS(trusting: certificates.authority)
    let setting = configuration([], pair.directive)
    try withDaemon(setting) { daemon in
      try certificates.replace(pair, with: certificates.issue(["example.com"]))
      #expect(try daemon.reload(setting).ending == .exit(0))
      let client = try daemon.connect()
      try client.startTLS(tls, name: "example.com")
      #expect(client.peerCertificateNumber == 2)
    }
  }

  @Test func `half a renewal is refused, and the old one keeps serving`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["example.com"])
    let renewed = try certificates.issue(["example.com"])
    let tls = try TestTLS(trusting: certificates.authority)
    try withDaemon(configuration([], pair.directive)) { daemon in
      try certificates.replace(pair, with: .init(certificate: renewed.certificate, key: pair.key))
      let (ending, output) = try daemon.command(
        "reload", "--certificates", "--admin", "unix:\(daemon.adminPath)")
      #expect(ending == .exit(1) && output.contains("does not belong to the certificate"))
      let client = try daemon.connect()
      try client.startTLS(tls, name: "example.com")
      #expect(client.peerCertificateNumber == 1)
      let metrics = try daemon.admin("/metrics").text
      #expect(metrics.contains("\nweir_config_last_reload_success 0\n"))
    }
  }

  @Test func `sessions survive a reload`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["example.com"])
    var setting = configuration([], pair.directive)
    setting.blocks = "route * {\n respond 200\n}"
    try withDaemon(setting) { daemon in
      let session = "\(daemon.directory)/session"
      let address = ["s_client", "-connect", "127.0.0.1:\(daemon.port)", "-tls1_2"]
      _ = try ChildProcess.run("openssl", address + ["-sess_out", session])
      #expect(try daemon.reload(setting).ending == .exit(0))
      let output = try ChildProcess.run("openssl", address + ["-sess_in", session]).output
      #expect(output.contains("Reused, TLSv1.2"))
      // A session made where clients show nothing is worth nothing where they have to.
      setting.listener =
        "tls {\n\(pair.directive)\nclient-certificate required ca=\(certificates.authority)\n}"
      #expect(try daemon.reload(setting).ending == .exit(0))
      let refused = try ChildProcess.run("openssl", address + ["-sess_in", session]).output
      #expect(!refused.contains("Reused") && refused.contains("alert handshake failure"))
    }
  }

  @Test func `status and metrics tell when they expire`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["example.com"], days: 9)
    try withDaemon(configuration([], pair.directive)) { daemon in
      let status = try daemon.admin("/v1/status").text
      // A second may pass between the making and the look.
      #expect(status.contains(#/"days_left":[89],/#), "\(status)")
      #expect(status.contains("\"names\":[\"example.com\"]"))
      let text = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)").output
      #expect(text.contains("web: \(pair.certificate), expires 20"))
      #expect(text.contains(#/\([89] days left\)/#))
      let metrics = try daemon.admin("/metrics").text
      let series = "weir_certificate_expiry_seconds{listener=\"web\",file=\"\(pair.certificate)\"} "
      let line = metrics.split(separator: "\n").first { $0.hasPrefix(series) }
      let expiry = line.flatMap { Double($0.dropFirst(series.count)) } ?? 0
      #expect(abs(expiry - Date().timeIntervalSince1970 - 9 * 86_400) < 120)
      #expect(
        daemon.process.output.contains(#/warning: the certificate expires in [89] days/#))
    }
  }
}
