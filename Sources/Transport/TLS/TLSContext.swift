import CLinux
import COpenSSL
import Glibc
import Primitives

/// What both kinds of context have in common: an `SSL_CTX` with weir's settings.
enum TLSContext {
  static func make(
    _ parameters: TLSParameters, isServer: Bool
  ) throws(TLSFault) -> OpaquePointer {
    TLSLibrary.start()
    guard let context = SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method()) else {
      throw TLSFault("out of memory")
    }
    weir_ssl_ctx_harden(context)
    do throws(TLSFault) {
      try apply(parameters, to: context)
    } catch {
      SSL_CTX_free(context)
      throw error
    }
    return context
  }

  private static func apply(
    _ parameters: TLSParameters, to context: OpaquePointer
  ) throws(TLSFault) {
    ERR_clear_error()
    defer { ERR_clear_error() }
    let version = parameters.minVersion == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION
    guard weir_ssl_ctx_set_min_version(context, version) == 1 else {
      throw TLSFault("this OpenSSL does not speak TLS \(parameters.minVersion.rawValue)")
    }
    guard SSL_CTX_set_cipher_list(context, parameters.ciphers) == 1 else {
      throw TLSFault(
        "no cipher of TLS 1.2 fits '\(parameters.ciphers)'",
        note: "'openssl ciphers -v -tls1_2' lists them")
    }
    guard SSL_CTX_set_ciphersuites(context, parameters.cipherSuites) == 1 else {
      throw TLSFault(
        "'\(parameters.cipherSuites)' is no list of cipher suites of TLS 1.3",
        note: "'openssl ciphers -s -tls1_3 -v' lists them")
    }
    guard weir_ssl_ctx_set_groups(context, parameters.groups) == 1 else {
      throw TLSFault(
        "'\(parameters.groups)' is no list of groups",
        note: "expected names such as 'X25519:P-256:P-384'")
    }
  }

  /// Certificate, chain and key, beside those of other kinds that are there already.
  static func use(_ credential: Credential, in context: OpaquePointer) throws(TLSFault) {
    ERR_clear_error()
    guard SSL_CTX_use_certificate(context, credential.certificate) == 1,
      SSL_CTX_use_PrivateKey(context, credential.key) == 1
    else {
      throw TLSFault(
        "the certificate in '\(credential.files.certificate)' cannot be used: "
          + TLSLibrary.lastError())
    }
    for item in credential.chain where weir_ssl_ctx_add1_chain(context, item) != 1 {
      throw TLSFault(
        "the chain of '\(credential.files.certificate)' cannot be used: "
          + TLSLibrary.lastError())
    }
  }

  static func trust(_ authorities: Authorities, in context: OpaquePointer) throws(TLSFault) {
    guard let store = SSL_CTX_get_cert_store(context) else { return }
    for item in try PEM.certificates(authorities.pem, path: authorities.path) {
      X509_STORE_add_cert(store, item)
      X509_free(item)
    }
    ERR_clear_error()
  }

  /// Checks what only OpenSSL can judge. For the configuration.
  public static func check(_ parameters: TLSParameters) throws(TLSFault) {
    SSL_CTX_free(try make(parameters, isServer: true))
  }
}

extension TLSParameters {
  /// Throws where OpenSSL knows nothing by a name of these lists.
  public func check() throws(TLSFault) { try TLSContext.check(self) }
}

extension Credential {
  /// Throws where OpenSSL would not serve it: a key too short for its security level, a chain
  /// it cannot hold.
  public func check() throws(TLSFault) {
    let context = try TLSContext.make(TLSParameters(), isServer: true)
    defer { SSL_CTX_free(context) }
    try TLSContext.use(self, in: context)
  }
}

/// OpenSSL as a whole.
enum TLSLibrary {
  /// Before anything else is asked of it, on any thread.
  static func start() { _ = isStarted }

  /// Its connections can rest (`TLSChannel.rest`): true where OpenSSL had allocated nothing before
  /// it was started, and the addresses could be reserved.
  static var connectionsCanRest: Bool { isStarted }

  /// Without its handlers at exit, which would run while threads still use it.
  private static let isStarted: Bool = {
    let canRest =
      weir_blocks_prepare() == 1
      && CRYPTO_set_mem_functions(
        weir_block_allocate, weir_block_reallocate, weir_block_free) == 1
    OPENSSL_init_ssl(UInt64(OPENSSL_INIT_NO_ATEXIT), nil)
    return canRest
  }()

  /// The oldest error of this thread, in OpenSSL's words, and the queue emptied.
  static func lastError() -> String {
    let code = ERR_get_error()
    ERR_clear_error()
    guard code != 0, let text = ERR_reason_error_string(code) else { return "unknown error" }
    return String(cString: text)
  }
}

/// The TLS side of a listener: certificates by name, and what clients have to show.
///
/// Made with a snapshot and used by all workers; a channel keeps its context until it closes, so
/// that a reload touches no connection. Immutable after init, and OpenSSL allows any number of
/// threads to make connections from one `SSL_CTX` (Sendable).
public final class TLSServerContext: @unchecked Sendable {
  public let handshakeTimeout: TimeAmount
  let store: CertificateStore
  /// An `SSL_CTX` for each set of `store`.
  let contexts: [OpaquePointer]
  /// ALPN names in the order of preference.
  let protocols: [UInt8]
  let tickets: SessionTickets

  /// `name` keeps the sessions of one listener from being resumed at another, whose clients may
  /// have to show more.
  public init(
    _ options: TLSServerOptions, name: String, tickets: SessionTickets
  ) throws(TLSFault) {
    handshakeTimeout = options.handshakeTimeout
    protocols = ApplicationProtocol.encoded(options.parameters.protocols)
    self.tickets = tickets
    store = CertificateStore(
      options.credentials.map { CertificateStore.Entry(names: $0.names, kind: $0.keyKind) })
    var made: [OpaquePointer] = []
    do throws(TLSFault) {
      for set in store.sets {
        let context = try TLSContext.make(options.parameters, isServer: true)
        made.append(context)
        for index in set { try TLSContext.use(options.credentials[index], in: context) }
        try TLSServerContext.demand(options, name, in: context)
      }
    } catch {
      for context in made { SSL_CTX_free(context) }
      throw error
    }
    contexts = made
    let unretained = Unmanaged.passUnretained(self).toOpaque()
    for context in made {
      weir_ssl_ctx_set_servername(context, chooseCertificate, unretained)
      SSL_CTX_set_alpn_select_cb(context, chooseProtocol, unretained)
      if options.sessionTickets {
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, sealTicket)
      } else {
        weir_ssl_ctx_no_tickets(context)
      }
    }
  }

  deinit { for context in contexts { SSL_CTX_free(context) } }

  /// Client certificates, and in which sessions what was shown counts.
  private static func demand(
    _ options: TLSServerOptions, _ name: String, in context: OpaquePointer
  ) throws(TLSFault) {
    weir_ssl_ctx_session_cache(context, Int(SSL_SESS_CACHE_OFF))
    SSL_CTX_set_timeout(context, Int(TicketKeyRing.ticketLifetime.milliseconds / 1000))
    var realm = Array("\(name)\n\(options.clientCertificates.rawValue)\n".utf8)
    realm += options.clientAuthorities?.pem ?? []
    var digest = [UInt8](repeating: 0, count: 32)
    var length: UInt32 = 0
    EVP_Digest(realm, realm.count, &digest, &length, EVP_sha256(), nil)
    SSL_CTX_set_session_id_context(context, digest, length)
    guard options.clientCertificates != .off, let authorities = options.clientAuthorities else {
      return
    }
    try TLSContext.trust(authorities, in: context)
    for item in try PEM.certificates(authorities.pem, path: authorities.path) {
      SSL_CTX_add_client_CA(context, item)
      X509_free(item)
    }
    let isRequired = options.clientCertificates == .required
    SSL_CTX_set_verify(
      context, SSL_VERIFY_PEER | (isRequired ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), nil)
  }
}

/// The TLS side of an upstream: whom weir believes to be its backend.
///
/// One object for equal options, across reloads: connections and sessions that were made under
/// other rules are never used under these. Immutable after init, as above (Sendable).
public final class TLSClientContext: @unchecked Sendable, Hashable {
  public let options: TLSClientOptions
  let context: OpaquePointer
  let protocols: [UInt8]

  public init(_ options: TLSClientOptions) throws(TLSFault) {
    self.options = options
    protocols = ApplicationProtocol.encoded(options.parameters.protocols)
    let context = try TLSContext.make(options.parameters, isServer: false)
    do throws(TLSFault) {
      if let credential = options.credential { try TLSContext.use(credential, in: context) }
      if let authorities = options.authorities {
        try TLSContext.trust(authorities, in: context)
      } else if options.verifies, SSL_CTX_set_default_verify_paths(context) != 1 {
        throw TLSFault("the system has no store of certificate authorities")
      }
    } catch {
      SSL_CTX_free(context)
      throw error
    }
    self.context = context
    SSL_CTX_set_verify(context, options.verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nil)
    SSL_CTX_set_alpn_protos(context, protocols, UInt32(protocols.count))
    weir_ssl_ctx_session_cache(
      context, Int(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL))
    SSL_CTX_sess_set_new_cb(context, keepSession)
  }

  deinit { SSL_CTX_free(context) }

  /// Equal options have one object (`SharedState.clientContext`).
  public static func == (a: TLSClientContext, b: TLSClientContext) -> Bool { a === b }
  public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
