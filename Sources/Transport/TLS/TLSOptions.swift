import Primitives

/// What is wrong with a certificate, a key or a setting, as an operator would say it. Control
/// plane only.
public struct TLSFault: Error, Sendable, Equatable {
  public var message: String
  /// What can be done about it.
  public var note: String?

  public init(_ message: String, note: String? = nil) {
    self.message = message
    self.note = note
  }
}

/// The oldest version of the protocol that is spoken.
public enum TLSVersion: String, Sendable, CaseIterable {
  case tls12 = "1.2"
  case tls13 = "1.3"
}

/// What both sides may agree to speak over a connection (ALPN, RFC 7301).
public enum ApplicationProtocol: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  case http2, http11

  /// The registered name.
  public var name: StaticString {
    switch self {
    case .http2: "h2"
    case .http11: "http/1.1"
    }
  }

  /// Names in order of preference as they travel: a length before each.
  static func encoded(_ protocols: [ApplicationProtocol]) -> [UInt8] {
    protocols.flatMap { item in
      let name = ByteView(item.name)
      return [UInt8(name.count)] + (0..<name.count).map { name[$0] }
    }
  }
}

/// Settings that both sides of weir have.
public struct TLSParameters: Sendable, Equatable {
  public var minVersion = TLSVersion.tls12
  /// TLS 1.2, in OpenSSL's words: forward secrecy and authenticated encryption only.
  public var ciphers = "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20"
  /// TLS 1.3.
  public var cipherSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
  /// Key exchange.
  public var groups = "X25519:P-256:P-384"
  /// In order of preference.
  public var protocols = [ApplicationProtocol.http11]

  public init() {}
}

/// Whether clients have to show a certificate.
public enum ClientCertificates: String, Sendable, CaseIterable {
  case off
  /// Asked for; who shows none is served, who shows one that cannot be verified is not.
  case optional
  case required
}

/// `tls { … }` of a listener.
public struct TLSServerOptions: Sendable, Equatable {
  /// The first one is the default, for clients that name none of their names.
  public var credentials: [Credential] = []
  public var parameters = TLSParameters()
  public var clientCertificates = ClientCertificates.off
  /// Who may sign those of clients; needed unless they are off.
  public var clientAuthorities: Authorities?
  public var sessionTickets = true
  /// From accept until both sides have finished (rule 38).
  public var handshakeTimeout = TimeAmount.seconds(5)

  public init() {}
}

/// `tls { … }` of an upstream.
public struct TLSClientOptions: Sendable, Equatable {
  /// False: anybody who answers is believed.
  public var verifies = true
  /// `nil`: those the system trusts.
  public var authorities: Authorities?
  /// Sent as SNI and wanted in the certificate; `nil`: the host name in the backend's line; where
  /// that has an address, no SNI, and the certificate has to name the address.
  public var serverName: String?
  /// Shown to backends that ask.
  public var credential: Credential?
  public var parameters = TLSParameters()
  public var handshakeTimeout = TimeAmount.seconds(2)

  public init() {}
}
