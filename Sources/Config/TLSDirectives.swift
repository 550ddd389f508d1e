import Primitives
import Proxy
import Transport

/// Directives of the `tls` blocks, of listeners and of upstreams.
extension Directive {
  private static let handshakeTimes =
    TimeAmount.milliseconds(100)...TimeAmount.seconds(3600)

  static let listenerTLS: [Directive] =
    [
      certificate(
        .listenerTLS,
        "A certificate for the names in it; clients get the one for the name that they ask for "
          + "(SNI), and the first one where none fits. Several for one name differ in the kind of "
          + "key (RSA, ECDSA)."
      ) { draft, reading in draft.addCredential(reading) },
      Directive(
        name: "client-certificate", context: .listenerTLS,
        arguments: [
          Argument(
            label: "off|optional|required",
            kind: .word(ClientCertificates.allCases.map(\.rawValue), noun: "setting"))
        ],
        options: [
          OptionRow(
            key: "ca", kind: .path,
            summary: "PEM file with the authorities that may sign them; needed unless `off`.")
        ],
        fallback: "off",
        summary: "Whether clients show a certificate. What they proved goes to backends in "
          + "`X-Client-Cert-Subject` and `X-Client-Cert-SHA256` (SHA-256), which no client "
          + "can send itself."
      ) { draft, reading in draft.setClientCertificates(reading) },
      .toggle(
        "session-tickets", .listenerTLS, \.tlsServer.sessionTickets,
        "Clients may resume sessions, on any worker, for up to two hours. The keys stay in memory "
          + "and change every hour."),
      Directive(
        name: "hsts", context: .listenerTLS,
        arguments: [
          Argument(
            label: "MAX-AGE",
            kind: .duration(TimeAmount.seconds(0)...TimeAmount.seconds(10 * 365 * 86_400))),
          Argument(
            label: "include-subdomains",
            kind: .word(["include-subdomains", "preload"], noun: "word"), presence: .optional),
          Argument(
            label: "preload", kind: .word(["preload"], noun: "word"), presence: .optional),
        ],
        fallback: "none",
        summary: "Adds `Strict-Transport-Security` to answers over TLS that have none: browsers "
          + "then refuse plain HTTP to these hosts for MAX-AGE."
      ) { draft, reading in draft.setTransportSecurity(reading) },
      .duration(
        "handshake-timeout", .listenerTLS, \.tlsServer.handshakeTimeout, handshakeTimes,
        "From accept until the handshake is complete; then the connection is closed."),
    ] + parameters(.listenerTLS, \.tlsServer.parameters)

  static let upstreamTLS: [Directive] =
    [
      Directive(
        name: "server-name", context: .upstreamTLS,
        arguments: [Argument(label: "HOST", kind: .host(allowsPort: false))],
        fallback: "the upstream's `host` where that is a name, else that of the `backend` line",
        summary: "The name that is sent to backends (SNI) and that their certificates must have. "
          + "Where the line has an address, no name is sent, and the certificate must have it."
      ) { draft, reading in draft.tlsClient.serverName = reading.text(0) },
      Directive(
        name: "ca", context: .upstreamTLS,
        arguments: [Argument(label: "FILE|system", kind: .either("system", .path))],
        fallback: "system",
        summary: "PEM file with the authorities that may sign the backends' certificates, instead "
          + "of those that the system trusts."
      ) { draft, reading in draft.setAuthorities(reading) },
      certificate(.upstreamTLS, "Shown to backends that ask who weir is.") { draft, reading in
        draft.setClientCredential(reading)
      },
      Directive(
        name: "verify", context: .upstreamTLS,
        arguments: [Argument(label: "on|off", kind: .word(["on", "off"], noun: "setting"))],
        fallback: "on",
        summary: "`off` believes anybody who answers at the backend's address, and says so at "
          + "each start."
      ) { draft, reading in draft.setVerification(reading) },
      .duration(
        "handshake-timeout", .upstreamTLS, \.tlsClient.handshakeTimeout, handshakeTimes,
        "From the connection to the end of the handshake; then another backend is tried."),
    ] + parameters(.upstreamTLS, \.tlsClient.parameters)

  private static func certificate(
    _ context: Context, _ summary: String,
    apply: @escaping @Sendable (inout Draft, Reading) -> Void
  ) -> Directive {
    Directive(
      name: "certificate", context: context,
      arguments: [Argument(label: "FILE", kind: .path)],
      options: [
        OptionRow(
          key: "key", kind: .path, fallback: "the same file",
          summary: "PEM file with the private key, not encrypted."),
        OptionRow(
          key: "chain", kind: .path,
          summary: "PEM file with the certificates between this one and the root, if they are not "
            + "behind it in its own file."),
      ],
      isRepeatable: context == .listenerTLS, summary: summary, apply: apply)
  }

  private static func parameters(
    _ context: Context, _ path: DraftPath<TLSParameters>
  ) -> [Directive] {
    let defaults = TLSParameters()
    func list(
      _ name: String, _ fallback: String, _ summary: String,
      _ target: any WritableKeyPath<TLSParameters, String> & Sendable
    ) -> Directive {
      Directive(
        name: name, context: context,
        arguments: [Argument(label: "LIST", kind: .text(limit: 1024))], fallback: fallback,
        summary: summary
      ) { draft, reading in
        draft[keyPath: path][keyPath: target] = reading.text(0)
        var alone = TLSParameters()
        alone[keyPath: target] = reading.text(0)
        do throws(TLSFault) {
          try alone.check()
        } catch {
          draft.fault(error, at: reading.tokens[0].location)
        }
      }
    }
    return [
      Directive(
        name: "min-version", context: context,
        arguments: [
          Argument(
            label: "1.2|1.3",
            kind: .word(TLSVersion.allCases.map(\.rawValue), noun: "TLS version"))
        ],
        fallback: defaults.minVersion.rawValue, summary: "The oldest version of TLS that is spoken."
      ) { draft, reading in
        draft[keyPath: path].minVersion = TLSVersion(rawValue: reading.text(0)) ?? .tls12
      },
      list(
        "ciphers", defaults.ciphers, "Ciphers of TLS 1.2, in OpenSSL's words.", \.ciphers),
      list(
        "cipher-suites", defaults.cipherSuites, "Cipher suites of TLS 1.3, best first.",
        \.cipherSuites),
      list("groups", defaults.groups, "Groups of the key exchange, best first.", \.groups),
    ]
  }
}

extension Draft {
  /// Expiry is worth a warning this long before.
  static let expiryWarningDays: Int64 = 14

  mutating func fault(_ fault: TLSFault, at location: Location) {
    report.error(fault.message, at: location, notes: fault.note.map { [$0] } ?? [])
  }

  // MARK: Blocks

  mutating func beginTLS(_ context: Context, _ statement: Statement) {
    outerHasFaultyMember = hasFaultyMember
    hasFaultyMember = false
    tlsLocation = statement.name.location
    if context == .listenerTLS {
      tlsServer = TLSServerOptions()
      credentialLocations = []
    } else {
      tlsClient = TLSClientOptions()
    }
  }

  mutating func endTLS(_ context: Context) {
    if context == .listenerTLS {
      endListenerTLS()
    } else {
      upstream.tls = tlsClient
    }
    hasFaultyMember = outerHasFaultyMember
  }

  private mutating func endListenerTLS() {
    listener.tls = tlsServer
    if tlsServer.credentials.isEmpty, !hasFaultyMember {
      report.error(
        "the tls block has no certificate", at: tlsLocation,
        notes: [
          "expected one such as 'certificate /etc/weir/tls/www.pem key=/etc/weir/tls/www.key'"
        ])
    }
    let store = CertificateStore(
      tlsServer.credentials.map { .init(names: $0.names, kind: $0.keyKind) })
    for index in store.hidden(of: tlsServer.credentials.count) {
      report.warning(
        "no client gets this certificate", at: credentialLocations[index],
        notes: ["earlier ones with the same kind of key serve all of its names"])
    }
  }

  /// What follows from the rest of the upstream.
  mutating func completeUpstreamTLS() {
    guard var tls = upstream.tls else { return }
    if tls.serverName == nil, case .literal(let host) = upstream.host {
      tls.serverName = host.split(separator: ":").first.map(String.init)
    }
    upstream.tls = tls
    guard tls.verifies, tls.serverName == nil else { return }
    for named in upstream.names {
      guard case .service = named.query else { continue }
      report.error(
        "a certificate cannot be checked for what DNS says",
        at: backends.first { $0.key == named.name }?.location,
        notes: ["expected 'server-name' in the upstream's 'tls'"])
    }
    for backend in upstream.backends {
      guard case .unix = backend.address else { continue }
      report.error(
        "a certificate cannot be checked for a unix socket",
        at: backends.first { $0.key == backend.name }?.location,
        notes: ["expected 'server-name' in the upstream's 'tls'"])
    }
  }

  // MARK: Certificates

  fileprivate mutating func addCredential(_ reading: Reading) {
    guard let credential = readCredential(reading) else { return }
    tlsServer.credentials.append(credential)
    credentialLocations.append(reading.tokens[0].location)
    if credential.names.isEmpty {
      report.warning(
        "the certificate has no DNS name", at: reading.tokens[0].location,
        notes: ["no client can ask for it by name"])
    }
  }

  fileprivate mutating func setClientCredential(_ reading: Reading) {
    tlsClient.credential = readCredential(reading)
  }

  private mutating func readCredential(_ reading: Reading) -> Credential? {
    hasFaultyMember = true
    let token = reading.tokens[0]
    let keyOption = reading.options["key"]?.token
    let chainOption = reading.options["chain"]?.token
    guard let certificate = readContent(token.text, token.location) else { return nil }
    var key = certificate
    if let keyOption {
      guard let read = readContent(keyOption.value, keyOption.valueLocation) else { return nil }
      key = read
    }
    var chain: ReadFile?
    if let chainOption {
      chain = readContent(chainOption.value, chainOption.valueLocation)
      guard chain != nil else { return nil }
    }
    do throws(TLSFault) {
      let credential = try Credential(
        files: .init(certificate: certificate.path, key: key.path, chain: chain?.path),
        certificatePEM: certificate.bytes, keyPEM: key.bytes, chainPEM: chain?.bytes)
      try credential.check()
      hasFaultyMember = false
      warnOfExpiry(credential, at: token.location)
      return credential
    } catch {
      fault(error, at: token.location)
      return nil
    }
  }

  private mutating func readContent(_ text: String, _ location: Location) -> ReadFile? {
    switch readFile(text, location) {
    case .success(let file): return file
    case .failure(let fault):
      self.fault(fault, at: location)
      return nil
    }
  }

  private mutating func warnOfExpiry(_ credential: Credential, at location: Location) {
    let now = WallClock.now().seconds
    let days = credential.daysLeft(now: now)
    if days < 0 {
      report.warning("the certificate has expired", at: location, notes: ["\(-days) days ago"])
    } else if days < Draft.expiryWarningDays {
      let when = days == 0 ? "within a day" : "in \(days) day\(days == 1 ? "" : "s")"
      report.warning(
        "the certificate expires \(when)",
        at: location, notes: ["renew it, then 'weir reload --certificates'"])
    }
    if credential.notBefore > now {
      report.warning("the certificate is not valid yet", at: location)
    }
  }

  private mutating func authorities(_ text: String, _ location: Location) -> Authorities? {
    guard let file = readContent(text, location) else { return nil }
    do throws(TLSFault) {
      return try Authorities(path: file.path, pem: file.bytes)
    } catch {
      fault(error, at: location)
      return nil
    }
  }

  fileprivate mutating func setAuthorities(_ reading: Reading) {
    guard reading.text(0) != "system" else { return }
    tlsClient.authorities = authorities(reading.text(0), reading.tokens[0].location)
  }

  fileprivate mutating func setClientCertificates(_ reading: Reading) {
    let policy = ClientCertificates(rawValue: reading.text(0)) ?? .off
    tlsServer.clientCertificates = policy
    if let token = reading.options["ca"]?.token {
      tlsServer.clientAuthorities = authorities(token.value, token.valueLocation)
    } else if policy != .off {
      report.error(
        "'\(policy.rawValue)' needs 'ca='", at: reading.tokens[0].location,
        notes: ["the authorities that may sign clients' certificates"])
    }
  }

  fileprivate mutating func setVerification(_ reading: Reading) {
    tlsClient.verifies = reading.text(0) == "on"
    guard !tlsClient.verifies else { return }
    report.warning(
      "backends are not verified: whoever answers at their address is believed",
      at: reading.name.location,
      notes: ["'ca FILE' trusts an authority of your own instead"])
  }

  fileprivate mutating func setTransportSecurity(_ reading: Reading) {
    guard case .duration(let age) = reading.values[0] else { return }
    var value = "max-age=\(age.milliseconds / 1000)"
    let words = (1..<reading.values.count).map { reading.text($0) }
    if words.contains("include-subdomains") { value += "; includeSubDomains" }
    if words.contains("preload") { value += "; preload" }
    listener.transportSecurity = value
  }
}

/// A file that a directive names: its bytes, and its path as it was found.
struct ReadFile: Sendable {
  var path: String
  var bytes: [UInt8]
}
