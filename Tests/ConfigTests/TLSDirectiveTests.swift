import Config
import Proxy
import TestSupport
import Testing
import Transport

/// The `tls` blocks: certificates are read and checked with the file.
@Suite(.blocking) struct TLSDirectiveTests {
  private func faults(_ listenerTLS: String, _ others: [String: String] = [:]) -> String {
    rendered(load("listener web {\nbind :443\ntls {\n\(listenerTLS)\n}\n}\n", others: others))
  }

  @Test func `fill the options`() throws {
    let authority = SampleCertificate.text(try SampleCertificate.certificates.get().authority)
    let result = load(
      fileWith(
        listenerTLS: """
          client-certificate optional ca=ca.pem
          session-tickets off
          hsts 365d include-subdomains preload
          handshake-timeout 3s
          min-version 1.3
          groups X25519
          """,
        upstreamTLS: """
          server-name api.internal
          ca ca.pem
          certificate w.pem key=w.key
          handshake-timeout 1s
          """), others: ["ca.pem": authority])
    #expect(rendered(result) == "")
    let listener = try #require(result.options?.listeners.first)
    let tls = try #require(listener.tls)
    #expect(tls.credentials.map(\.names) == [["www.example.com"]])
    #expect(tls.credentials.map(\.keyKind) == [.ecdsa])
    #expect(tls.clientCertificates == .optional && tls.clientAuthorities?.path == "ca.pem")
    #expect(!tls.sessionTickets && tls.handshakeTimeout == .seconds(3))
    #expect(tls.parameters.minVersion == .tls13 && tls.parameters.groups == "X25519")
    #expect(
      listener.transportSecurity == "max-age=31536000; includeSubDomains; preload")
    let client = try #require(result.options?.upstreams.first?.tls)
    #expect(client.verifies && client.serverName == "api.internal")
    #expect(client.authorities?.path == "ca.pem" && client.credential?.names == ["www.example.com"])
    #expect(client.handshakeTimeout == .seconds(1))
  }

  @Test func `have safe defaults`() throws {
    let options = try #require(load(fileWith(listenerTLS: "", upstreamTLS: "")).options)
    let tls = try #require(options.listeners.first?.tls)
    #expect(tls.parameters == TLSParameters() && tls.clientCertificates == .off)
    #expect(tls.parameters.minVersion == .tls12 && tls.handshakeTimeout == .seconds(5))
    let client = try #require(options.upstreams.first?.tls)
    #expect(client.verifies && client.authorities == nil && client.serverName == nil)
    #expect(client.handshakeTimeout == .seconds(2))
  }

  @Test func `the name of backends is the upstream's host where none is given`() throws {
    let options = load(fileWith(upstream: "host api.internal:8443", upstreamTLS: "")).options
    #expect(options?.upstreams.first?.tls?.serverName == "api.internal")
    let kept = load(fileWith(upstream: "host preserve", upstreamTLS: "")).options
    #expect(kept?.upstreams.first?.tls?.serverName == nil)
  }

  @Test func `a key of another certificate is shown where it stands`() throws {
    let other = try SampleCertificate.certificates.get().issue(["other.example.com"])
    let text = faults(
      "certificate w.pem key=other.key", ["other.key": SampleCertificate.text(other.key)])
    #expect(
      text.hasPrefix(
        """
        proxy.conf:4:13: error: the key in 'other.key' does not belong to the certificate in 'w.pem'
            4 | certificate w.pem key=other.key
              |             ^~~~~
              = a chain in one file begins with the server's own certificate
        """))
  }

  @Test func `an encrypted key is refused with what to do about it`() throws {
    let certificates = try SampleCertificate.certificates.get()
    let encrypted = try certificates.encrypt(SampleCertificate.pair.get())
    let text = faults(
      "certificate w.pem key=e.key", ["e.key": SampleCertificate.text(encrypted.key)])
    #expect(text.contains("proxy.conf:4:13: error: the key in 'e.key' is encrypted"))
    #expect(text.contains("= decrypt it with 'openssl pkey'"))
  }

  @Test(
    arguments: [
      ("", "4:1", ""),
      ("certificate w.pem", "4:13", "'w.pem' holds no private key"),
      ("certificate none.pem key=w.key", "4:13", "'none.pem' cannot be read: no such file"),
      ("certificate w.pem key=none.key", "4:23", "'none.key' cannot be read: no such file"),
      ("certificate w.key key=w.key", "4:13", "'w.key' holds no certificate"),
      ("certificate w.pem key=w.pem", "4:13", "'w.pem' holds no private key"),
      ("certificate broken.pem key=w.key", "4:13", "certificate 1 in 'broken.pem' is damaged"),
      ("ciphers RC4", "5:9", "no cipher of TLS 1.2 fits 'RC4'"),
      ("cipher-suites AES", "5:15", "'AES' is no list of cipher suites"),
      ("groups P-9", "5:8", "'P-9' is no list of groups"),
      ("min-version 1.1", "5:13", "unknown TLS version '1.1'"),
      ("client-certificate required", "5:20", "'required' needs 'ca='"),
      ("client-certificate required ca=w.key", "5:32", "'w.key' holds no certificate"),
      ("hsts forever", "5:6", "expected a duration"),
      ("certficate w.pem", "5:1", "did you mean 'certificate'?"),
    ])
  func `faults have their place`(line: String, place: String, message: String) {
    let isCertificate = line.hasPrefix("certificate") || line.isEmpty
    let text = faults(
      isCertificate ? line : "certificate w.pem key=w.key\n\(line)",
      ["broken.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
    if line.isEmpty {
      #expect(text.contains("proxy.conf:3:1: error: the tls block has no certificate"))
    } else {
      #expect(text.contains("proxy.conf:\(place): error: "), "\(text)")
      #expect(text.contains(message), "\(text)")
      #expect(text.components(separatedBy: "error:").count == 2, "\(text)")
    }
  }

  /// A second may pass between the making and the look.
  @Test(
    arguments: [
      (-1, ["has expired"]), (1, ["within a day", "in 1 day\n"]), (5, ["in 4 days", "in 5 days"]),
      (13, ["in 12 days", "in 13 days"]),
    ])
  func `expiry is a warning, and no more`(days: Int, messages: [String]) throws {
    let pair = try SampleCertificate.certificates.get().issue(["a.example"], days: days)
    let result = load(
      "listener web {\nbind :443\ntls {\ncertificate a.pem key=a.key\n}\n}\n"
        + "route * {\nrespond 200\n}",
      others: [
        "a.pem": SampleCertificate.text(pair.certificate),
        "a.key": SampleCertificate.text(pair.key),
      ])
    #expect(result.options != nil)
    #expect(rendered(result).contains("proxy.conf:4:13: warning: the certificate"))
    #expect(messages.contains { rendered(result).contains($0) }, "\(rendered(result))")
  }

  @Test func `a certificate that no client gets is a warning`() throws {
    let text = faults("certificate w.pem key=w.key\ncertificate w.pem key=w.key")
    #expect(text.contains("proxy.conf:5:13: warning: no client gets this certificate"))
  }

  @Test func `switching verification off is a warning`() {
    let result = load(fileWith(upstreamTLS: "verify off"))
    #expect(result.options?.upstreams.first?.tls?.verifies == false)
    #expect(rendered(result).contains("warning: backends are not verified"))
  }

  @Test func `a listener either redirects or speaks TLS`() {
    let text = rendered(load(fileWith(listener: "redirect-to-https", listenerTLS: "")))
    #expect(text.contains("error: this listener speaks TLS: there is nothing to redirect"))
    let options = load(fileWith(listener: "redirect-to-https 301 port=8443")).options
    #expect(options?.listeners.first?.redirectToHTTPS?.status == 301)
    #expect(options?.listeners.first?.redirectToHTTPS?.port == 8443)
  }

  @Test func `certificates are read again all or not at all`() throws {
    let certificates = try SampleCertificate.certificates.get()
    let text = fileWith(listenerTLS: "")
    var options = try #require(load(text).options)
    let first = try #require(options.listeners.first?.tls?.credentials.first)
    let renewed = try certificates.issue(["www.example.com"])
    var files = MemoryFiles([
      "w.pem": SampleCertificate.text(renewed.certificate), "w.key": "nothing",
    ])
    let faults = CertificateReading.reread(&options, files: files)
    #expect(faults == ["error: 'w.key' holds no private key"])
    #expect(options.listeners.first?.tls?.credentials.first == first)
    files.contents["w.key"] = Array(SampleCertificate.text(renewed.key).utf8)
    #expect(CertificateReading.reread(&options, files: files) == [])
    #expect(options.listeners.first?.tls?.credentials.first?.fingerprint != first.fingerprint)
  }
}
