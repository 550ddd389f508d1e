import CLinux
import COpenSSL
import Foundation

/// TLS for the connections of a test: the library's own sockets layer, so that nothing of it is
/// shared with what is tested.
///
/// The pointer is to an `SSL_CTX`, which OpenSSL allows all threads to make connections from; it
/// is not changed after init (Sendable).
public final class TestTLS: @unchecked Sendable {
  fileprivate let context: OpaquePointer
  fileprivate let isServer: Bool
  /// The one protocol that a server agrees to, behind its length.
  private let agreed: UnsafeMutableBufferPointer<UInt8>

  /// A server that shows this certificate, and wants one of the authority's where it is given. It
  /// agrees to one protocol (RFC 7301), where the client offers that.
  public init(
    serving pair: TestCertificates.Pair, clientAuthority: String? = nil, agreeing: String = ""
  ) throws {
    context = SSL_CTX_new(TLS_server_method())
    isServer = true
    agreed = .allocate(capacity: agreeing.utf8.count + 1)
    _ = agreed.initialize(from: [UInt8(agreeing.utf8.count)] + Array(agreeing.utf8))
    try use(pair)
    if !agreeing.isEmpty { SSL_CTX_set_alpn_select_cb(context, agree, agreed.baseAddress) }
    if let clientAuthority {
      SSL_CTX_load_verify_file(context, clientAuthority)
      SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
      SSL_CTX_set_session_id_context(context, "test", 4)
    }
  }

  /// A client that trusts this authority only, and offers these protocols (RFC 7301).
  public init(
    trusting authority: String, showing pair: TestCertificates.Pair? = nil, offering: [String] = []
  ) throws {
    context = SSL_CTX_new(TLS_client_method())
    isServer = false
    agreed = .allocate(capacity: 1)
    guard SSL_CTX_load_verify_file(context, authority) == 1 else {
      throw TestFailure("no authority in \(authority)")
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
    let protocols = offering.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
    SSL_CTX_set_alpn_protos(context, protocols, UInt32(protocols.count))
    if let pair { try use(pair) }
  }

  deinit {
    SSL_CTX_free(context)
    agreed.deallocate()
  }

  private func use(_ pair: TestCertificates.Pair) throws {
    guard SSL_CTX_use_certificate_chain_file(context, pair.certificate) == 1,
      SSL_CTX_use_PrivateKey_file(context, pair.key, SSL_FILETYPE_PEM) == 1
    else { throw TestFailure("\(pair) cannot be used") }
  }

  /// One connection's TLS.
  final class Session {
    let ssl: OpaquePointer

    init(_ tls: TestTLS, descriptor: Int32, name: String?) throws {
      // OpenSSL's sockets write without MSG_NOSIGNAL, and a daemon may close at any time.
      signal(SIGPIPE, SIG_IGN)
      ssl = SSL_new(tls.context)
      SSL_set_fd(ssl, descriptor)
      if let name, !tls.isServer {
        weir_ssl_set_servername(ssl, name)
        SSL_set1_host(ssl, name)
      }
      ERR_clear_error()
      let result = tls.isServer ? SSL_accept(ssl) : SSL_connect(ssl)
      guard result == 1 else { throw TestFailure("handshake: \(Session.reason())") }
    }

    deinit { SSL_free(ssl) }

    var hasPending: Bool { SSL_pending(ssl) > 0 }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
      var count = 0
      ERR_clear_error()
      guard bytes.isEmpty || SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count) == 1
      else { throw WireError.reset }
    }

    /// 0: the other side said that it sends no more; throws where it went without a word.
    func read(_ room: UnsafeMutableRawBufferPointer) throws -> Int {
      var count = 0
      ERR_clear_error()
      let result = SSL_read_ex(ssl, room.baseAddress, room.count, &count)
      if result == 1 { return count }
      switch SSL_get_error(ssl, result) {
      case SSL_ERROR_ZERO_RETURN: return 0
      default: throw WireError.endedEarly("no close_notify: \(Session.reason())")
      }
    }

    static func reason() -> String {
      let code = ERR_get_error()
      return code == 0
        ? "connection ended" : ERR_reason_error_string(code).map { String(cString: $0) } ?? "?"
    }
  }
}

extension WireConnection {
  /// Speaks TLS from now on; `name` is asked for and wanted in the certificate.
  public func startTLS(_ tls: TestTLS, name: String? = nil) throws {
    var limit = timeval(tv_sec: Int(stepSeconds), tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(
        descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    session = try TestTLS.Session(tls, descriptor: descriptor, name: name)
  }

  /// The names in the certificate that the other side showed.
  public var peerCertificateNames: [String] {
    guard let session, let shown = SSL_get1_peer_certificate(session.ssl) else { return [] }
    defer { X509_free(shown) }
    var room = [CChar](repeating: 0, count: 4096)
    let used = weir_x509_names(shown, &room, room.count)
    return room[..<used].split(separator: 0).map { name in
      String(decoding: name.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }

  /// Serial number of that certificate: `TestCertificates` numbers what it issues from 1.
  public var peerCertificateNumber: Int {
    guard let session, let shown = SSL_get1_peer_certificate(session.ssl) else { return 0 }
    defer { X509_free(shown) }
    return ASN1_INTEGER_get(X509_get0_serialNumber(shown))
  }

  public var wasResumed: Bool { session.map { SSL_session_reused($0.ssl) == 1 } ?? false }

  /// Says that nothing more will come, as RFC 8446 §6.1 wants it.
  public func sayGoodbye() {
    if let session { SSL_shutdown(session.ssl) }
  }
}

/// Takes the server's protocol where it is among those offered, and else says nothing.
private func agree(
  _: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
  _ length: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?, _ count: UInt32,
  _ agreed: UnsafeMutableRawPointer?
) -> Int32 {
  guard let agreed = agreed?.assumingMemoryBound(to: UInt8.self), let offered else {
    return SSL_TLSEXT_ERR_NOACK
  }
  let name = Array(UnsafeBufferPointer(start: agreed, count: Int(agreed[0]) + 1))
  var rest = Array(UnsafeBufferPointer(start: offered, count: Int(count)))[...]
  while let size = rest.first, rest.count > Int(size) {
    if Array(rest.prefix(Int(size) + 1)) == name {
      chosen?.pointee = UnsafePointer(agreed + 1)
      length?.pointee = agreed[0]
      return SSL_TLSEXT_ERR_OK
    }
    rest = rest.dropFirst(Int(size) + 1)
  }
  return SSL_TLSEXT_ERR_NOACK
}
