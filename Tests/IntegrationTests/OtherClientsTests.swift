import Foundation
import TestSupport
import Testing

/// Must show 1 of the issue: clients that others have written, against one listener with two
/// certificates by name.
@Suite(.blocking) struct `Clients of others` {
  private static let names = ["one.test", "two.test"]

  private struct Service {
    let certificates: TestCertificates
    let origin: HTTPOrigin
    let configuration: DaemonConfiguration

    init(_ names: [String]) throws {
      let certificates = try TestCertificates()
      let origin = try HTTPOrigin()
      var configuration = DaemonConfiguration([origin.address])
      let pairs = try names.map { try certificates.issue([$0]).directive }
      configuration.listener =
        "keep-alive-requests 100000\ntls {\n\(pairs.joined(separator: "\n"))\n}"
      self.configuration = configuration
      self.certificates = certificates
      self.origin = origin
    }
  }

  private func run(_ path: String, _ arguments: [String]) throws -> String {
    let (ending, output) = try ChildProcess.run(path, arguments, seconds: 120)
    #expect(ending == .exit(0), "\(path) \(arguments): \(output)")
    return output
  }

  @Test func `curl, of both protocols and both names`() throws {
    let service = try Service(Self.names)
    try withDaemon(service.configuration) { daemon in
      for name in Self.names {
        for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
          let output = try run(
            "curl",
            [
              "-sS", option, "--cacert", service.certificates.authority, "--resolve",
              "\(name):\(daemon.port):127.0.0.1", "-o", "/dev/null", "-w",
              "%{http_version} %{response_code} %{size_download}",
              "https://\(name):\(daemon.port)/bytes/300000",
            ])
          #expect(output == "\(version) 200 300000")
        }
      }
    }
  }

  @Test func `openssl s_client is shown the certificate that it asks for`() throws {
    let service = try Service(Self.names)
    try withDaemon(service.configuration) { daemon in
      for name in Self.names {
        // Standard input is empty: it leaves when the handshake is done.
        let output = try run(
          "openssl",
          [
            "s_client", "-connect", "127.0.0.1:\(daemon.port)", "-servername", name, "-alpn", "h2",
            "-CAfile", service.certificates.authority, "-verify_hostname", name,
            "-verify_return_error",
          ])
        #expect(output.contains("ALPN protocol: h2") && output.contains("CN = \(name)"))
      }
    }
  }

  @Test func `nghttp, and httpx over each name`() throws {
    let service = try Service(Self.names)
    try withDaemon(service.configuration) { daemon in
      let verbose = try run(
        "nghttp", ["-nv", "https://127.0.0.1:\(daemon.port)/a", "-H", ":authority: one.test"])
      #expect(verbose.contains(":status: 200"))
      let script = try PythonScript.start(
        "httpx_client.py",
        ["\(daemon.port)", service.certificates.authority] + Self.names)
      let ending = script.waitForEnd(120)
      #expect(ending == .exit(0) && script.output.hasSuffix("ok\n"), "\(script.output)")
      for name in Self.names {
        #expect(script.output.contains("served \(name)\n"), "\(script.output)")
      }
    }
  }

  /// 100,000 requests take the release binary some seconds; WEIR_SOAK=1 has them.
  @Test func `h2load over sixteen connections of thirty-two streams fails none`() throws {
    let service = try Service(Self.names)
    let count = ProcessInfo.processInfo.environment["WEIR_SOAK"] == nil ? 3200 : 100_000
    try withDaemon(service.configuration) { daemon in
      let output = try run(
        "h2load",
        [
          "-n", "\(count)", "-c", "16", "-m", "32", "--connect-to=127.0.0.1:\(daemon.port)",
          "https://two.test/bytes/100",
        ])
      #expect(output.contains("\(count) succeeded, 0 failed, 0 errored, 0 timeout"), "\(output)")
      #expect(output.contains("status codes: \(count) 2xx"), "\(output)")
    }
  }

  private static let browser = ["/usr/bin/chromium", "/usr/bin/google-chrome"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }

  /// A page that loads forty others and then says how it came itself.
  private static let page = """
    <html><body><script>
    const all = [...Array(40).keys()].map(n => fetch('/piece/' + n).then(r => r.text()));
    Promise.all(all).then(texts => {
      const how = performance.getEntriesByType('navigation')[0].nextHopProtocol;
      document.body.textContent = 'loaded ' + texts.join('').length + ' by ' + how;
    });
    </script></body></html>
    """

  @Test(.enabled(if: browser != nil, "no Chromium is installed"))
  func `a browser, which believes only the certificate of the name`() throws {
    let certificates = try TestCertificates()
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let isPage = try connection.readHead().text.hasPrefix("GET /page ")
        let content = isPage ? Self.page : String(repeating: "x", count: 1000)
        try connection.send(
          "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "
            + "\(content.utf8.count)\r\n\r\n\(content)")
      }
    }
    let pairs = try Self.names.map { try certificates.issue([$0]) }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener =
      "tls {\n\(pairs.map(\.directive).joined(separator: "\n"))\n}"
    try withDaemon(configuration) { daemon in
      for (name, pair) in zip(Self.names, pairs) {
        let profile = try TemporaryDirectory.make()
        defer { try? FileManager.default.removeItem(atPath: profile) }
        let output = try run(
          Self.browser!,
          [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--user-data-dir=\(profile)", "--host-resolver-rules=MAP * 127.0.0.1",
            "--ignore-certificate-errors-spki-list=\(try publicKey(of: pair))",
            "--virtual-time-budget=20000", "--dump-dom", "https://\(name):\(daemon.port)/page",
          ])
        #expect(output.contains("loaded 40000 by h2"), "\(output)")
      }
    }
  }

  /// SHA-256 of the certificate's public key, in base 64.
  private func publicKey(of pair: TestCertificates.Pair) throws -> String {
    let command =
      "openssl x509 -in \(pair.certificate) -pubkey -noout | openssl pkey -pubin -outform der"
      + " | openssl dgst -sha256 -binary | openssl base64"
    return try run("/bin/sh", ["-c", command]).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
