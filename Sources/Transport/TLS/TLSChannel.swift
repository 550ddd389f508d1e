import CLinux
import COpenSSL
import Glibc
import Primitives

/// What a handshake has come to.
public enum HandshakeProgress: BitwiseCopyable, Equatable {
  /// Both sides have finished: octets may flow.
  case complete
  /// The peer's next flight is awaited.
  case waits
  case failed(HandshakeFailure)
}

/// Why a handshake failed, as far as it makes a difference to anybody.
public enum HandshakeFailure: BitwiseCopyable, Equatable, Sendable {
  /// The peer's certificate was refused: OpenSSL's number of the check (X509_V_ERR_…).
  case certificate(Int32)
  /// No TLS, no common version or cipher, an alert: OpenSSL's error code.
  case protocolError(UInt)
  /// A client sent an HTTP request without TLS.
  case plainHTTP
  /// A backend that is to speak HTTP/2 did not agree to it.
  case noHTTP2
  /// The connection ended, or failed, before the handshake did.
  case closed
  /// Out of memory or buffers.
  case exhausted

  /// Which check failed, for the operator.
  public var text: String {
    switch self {
    case .certificate(let code):
      X509_verify_cert_error_string(Int(code)).map { String(cString: $0) } ?? "refused"
    case .protocolError(let code):
      ERR_reason_error_string(UInt(code)).map { String(cString: $0) } ?? "protocol error"
    case .plainHTTP: "plain HTTP"
    case .noHTTP2: "HTTP/2 was not agreed on"
    case .closed: "connection closed"
    case .exhausted: "out of memory"
    }
  }
}

/// What opening received records came to.
enum Opened: BitwiseCopyable {
  /// At least one octet of content.
  case octets
  /// All that was received is used up, and no whole record was in it.
  case drained
  /// The peer said that it will send no more (close_notify).
  case closed
  case failed
}

/// One TLS connection between the octets on a socket and the octets of HTTP: OpenSSL over buffers
/// of our own, so that one `recv` takes a whole flight and one `send` puts a whole answer.
///
/// Owned by its `Wire`, on one thread. The state lives at a fixed address, because OpenSSL holds
/// pointers to it; it is allocated with the connection and freed by `free`. Received ciphertext
/// holds a pooled block only while some of it is not used up; OpenSSL releases its own buffers
/// between records, and a connection that nobody has used for a while rests: see `rest`.
public struct TLSChannel: BitwiseCopyable {
  struct State {
    /// OpenSSL's connection; while `resting` is set, nothing is behind it.
    fileprivate let connection: OpaquePointer
    /// What `connection` held when it was laid to rest.
    fileprivate var resting: UnsafeMutableRawPointer?
    /// OpenSSL was called since `rest` was asked last.
    fileprivate var wasCalled = true
    var ciphertext = InputBuffer()
    /// Where ciphertext goes; set for the length of one call into OpenSSL.
    var output: UnsafeMutablePointer<OutputQueue>?
    var pool: UnsafeMutablePointer<BufferPool>?
    var isComplete = false
    /// An error has ended it: not even a close_notify may follow.
    var isBroken = false
    var hasSaidGoodbye = false
    /// Of a client connection: the newest session that the backend gave.
    var session: OpaquePointer?
    let server: TLSServerContext?
    let client: TLSClientContext?
    /// Finished header lines about the client's certificate.
    var identity: [UInt8] = []
  }

  /// One record holds this much; two parts that fit are sealed as one.
  static let recordBytes = 16 * 1024

  let state: UnsafeMutablePointer<State>

  /// Server side. `nil` without memory.
  init?(server: TLSServerContext) {
    guard let ssl = SSL_new(server.contexts[0]) else { return nil }
    self.init(State(connection: ssl, server: server, client: nil))
    SSL_set_accept_state(ssl)
  }

  /// Client side. Where the options name nobody, `name` is who is asked for and wanted in the
  /// certificate; without one, `address` is wanted there. `session` is tried first.
  init?(
    client: TLSClientContext, name: String?, address: IPAddress?, session: OpaquePointer?
  ) {
    guard let ssl = SSL_new(client.context) else { return nil }
    self.init(State(connection: ssl, server: nil, client: client))
    SSL_set_connect_state(ssl)
    if let name = client.options.serverName ?? name {
      weir_ssl_set_servername(ssl, name)
      SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
      if client.options.verifies { SSL_set1_host(ssl, name) }
    } else if client.options.verifies, let address {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address.description)
    }
    if let session { SSL_set_session(ssl, session) }
  }

  private init?(_ value: State) {
    guard let bio = BIO_new(ChannelBIO.method.pointer) else {
      SSL_free(value.connection)
      return nil
    }
    state = .allocate(capacity: 1)
    state.initialize(to: value)
    BIO_set_data(bio, state)
    SSL_set_bio(value.connection, bio, bio)
    weir_ssl_set_context(value.connection, state)
  }

  func free(_ pool: inout BufferPool) {
    state.pointee.ciphertext.detach(&pool)
    SSL_free(ssl)
    if let session = state.pointee.session { SSL_SESSION_free(session) }
    state.deinitialize(count: 1)
    state.deallocate()
  }

  // MARK: Rest

  /// Asked from time to time while nothing happens. Where OpenSSL was not called since it was
  /// asked last, its connection gives back its pages, and is filled again by the next call. False:
  /// ask again later.
  func rest() -> Bool {
    guard state.pointee.resting == nil else { return true }
    guard !state.pointee.wasCalled else {
      state.pointee.wasCalled = false
      return false
    }
    guard TLSLibrary.connectionsCanRest, state.pointee.isComplete, !hasInput else { return true }
    state.pointee.resting = weir_block_rest(UnsafeMutableRawPointer(state.pointee.connection))
    return true
  }

  var isResting: Bool { state.pointee.resting != nil }

  /// Awake.
  private var ssl: OpaquePointer {
    @inline(__always) get {
      if state.pointee.resting != nil { wake() }
      return state.pointee.connection
    }
  }

  @inline(never)
  private func wake() {
    weir_block_wake(UnsafeMutableRawPointer(state.pointee.connection), state.pointee.resting)
    state.pointee.resting = nil
  }

  // MARK: What is known

  /// Received octets that have not become content yet, though nothing more need arrive.
  var hasInput: Bool {
    if !state.pointee.ciphertext.isEmpty { return true }
    return state.pointee.resting == nil && SSL_pending(state.pointee.connection) > 0
  }

  public var isComplete: Bool { state.pointee.isComplete }
  public var wasResumed: Bool { SSL_session_reused(ssl) == 1 }

  /// What both sides agreed to speak; `nil`: nothing was said about it.
  public var negotiatedProtocol: ApplicationProtocol? {
    var name: UnsafePointer<UInt8>?
    var length: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &name, &length)
    let chosen = ByteView(UnsafeBufferPointer(start: name, count: Int(length)))
    return ApplicationProtocol.allCases.first { chosen.equals(ByteView($0.name)) }
  }

  /// Header lines with CRLF that tell a backend who the client proved to be; empty where it showed
  /// no certificate. Called with the octets, which stay only for the call.
  public func withClientIdentity<Result>(_ body: (ByteView) -> Result) -> Result {
    state.pointee.identity.withUnsafeBufferPointer { body(ByteView($0)) }
  }

  /// The newest session that the backend gave since it was asked last; the caller's to free.
  public func takeSession() -> TLSSession? {
    guard let session = state.pointee.session else { return nil }
    state.pointee.session = nil
    return TLSSession(owning: session)
  }

  // MARK: Calls into OpenSSL

  /// Where the handshake stands after what has been received.
  func advance(_ output: inout OutputQueue, _ pool: inout BufferPool) -> HandshakeProgress {
    let ssl = ssl
    let result = calling(&output, &pool) { SSL_do_handshake(ssl) }
    state.pointee.ciphertext.detachIfEmpty(&pool)
    if result == 1 {
      state.pointee.isComplete = true
      if state.pointee.server != nil { noteIdentity() }
      return .complete
    }
    if SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ { return .waits }
    state.pointee.isBroken = true
    return .failed(failure(ssl))
  }

  private func failure(_ ssl: OpaquePointer) -> HandshakeFailure {
    let code = ERR_peek_error()
    ERR_clear_error()
    let reason = weir_err_reason(code)
    if reason == SSL_R_HTTP_REQUEST { return .plainHTTP }
    let verified = SSL_get_verify_result(ssl)
    if reason == SSL_R_CERTIFICATE_VERIFY_FAILED, verified != X509_V_OK {
      return .certificate(Int32(truncatingIfNeeded: verified))
    }
    return code == 0 ? .exhausted : .protocolError(UInt(code))
  }

  /// Opens as many received records as fit into `input`. No call is made whose answer is known to
  /// be that more must come first.
  func open(
    into input: inout InputBuffer, _ output: inout OutputQueue, _ pool: inout BufferPool
  ) -> Opened {
    let ssl = ssl
    var opened = false
    while input.room > 0, hasInput {
      var count = 0
      let pointer = input.writePointer
      let room = input.room
      let result = calling(&output, &pool) { SSL_read_ex(ssl, pointer, room, &count) }
      if result == 1 {
        input.didReceive(count)
        opened = true
        continue
      }
      switch SSL_get_error(ssl, result) {
      case SSL_ERROR_WANT_READ: break
      case SSL_ERROR_ZERO_RETURN:
        state.pointee.ciphertext.detach(&pool)
        return opened ? .octets : .closed
      default:
        state.pointee.isBroken = true
        ERR_clear_error()
        state.pointee.ciphertext.detach(&pool)
        return opened ? .octets : .failed
      }
    }
    state.pointee.ciphertext.detachIfEmpty(&pool)
    return opened ? .octets : .drained
  }

  /// The peer has said that it sends no more.
  var peerSaidGoodbye: Bool { SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 }

  /// Seals two parts in order, as few records as they need. False where no buffer is left, and
  /// the connection cannot go on.
  func seal(
    _ first: ByteView, _ second: ByteView, _ output: inout OutputQueue,
    _ pool: inout BufferPool
  ) -> Bool {
    guard !state.pointee.isBroken else { return false }
    if first.isEmpty { return seal(second, &output, &pool) }
    if second.isEmpty { return seal(first, &output, &pool) }
    guard first.count < TLSChannel.recordBytes, let block = pool.take() else {
      return seal(first, &output, &pool) && seal(second, &output, &pool)
    }
    defer { pool.give(block) }
    let share = min(second.count, TLSChannel.recordBytes - first.count)
    memcpy(block, first.pointer, first.count)
    memcpy(block + first.count, second.pointer, share)
    return seal(ByteView(base: block, count: first.count + share), &output, &pool)
      && seal(second.slice(from: share), &output, &pool)
  }

  private func seal(
    _ octets: ByteView, _ output: inout OutputQueue, _ pool: inout BufferPool
  ) -> Bool {
    guard !octets.isEmpty else { return true }
    let ssl = ssl
    var count = 0
    let result = calling(&output, &pool) {
      SSL_write_ex(ssl, octets.pointer, octets.count, &count)
    }
    if result == 1 { return true }
    state.pointee.isBroken = true
    ERR_clear_error()
    return false
  }

  /// Puts the close_notify behind what is queued, once.
  func sayGoodbye(_ output: inout OutputQueue, _ pool: inout BufferPool) {
    guard state.pointee.isComplete, !state.pointee.isBroken, !state.pointee.hasSaidGoodbye
    else { return }
    state.pointee.hasSaidGoodbye = true
    let ssl = ssl
    _ = calling(&output, &pool) { SSL_shutdown(ssl) }
    ERR_clear_error()
  }

  /// Lends the buffers to the BIO for one call. The error queue is the thread's: what an earlier
  /// connection left in it would be taken for this one's. It is looked at first, because emptying
  /// an empty one costs OpenSSL a thousand instructions.
  @inline(__always)
  private func calling(
    _ output: inout OutputQueue, _ pool: inout BufferPool, _ body: () -> Int32
  ) -> Int32 {
    if ERR_peek_error() != 0 { ERR_clear_error() }
    return withUnsafeMutablePointer(to: &output) { output in
      withUnsafeMutablePointer(to: &pool) { pool in
        state.pointee.output = output
        state.pointee.pool = pool
        state.pointee.wasCalled = true
        defer {
          state.pointee.output = nil
          state.pointee.pool = nil
        }
        return body()
      }
    }
  }

  // MARK: Who the client is

  private static let subjectLimit = 2048

  private func noteIdentity() {
    guard let shown = SSL_get1_peer_certificate(ssl) else { return }
    defer { X509_free(shown) }
    var subject = [UInt8](repeating: 0, count: TLSChannel.subjectLimit)
    let length = subject.withUnsafeMutableBytes { room in
      room.baseAddress.map {
        weir_x509_subject(shown, $0.assumingMemoryBound(to: CChar.self), room.count)
      } ?? 0
    }
    let isClean = subject[..<length].allSatisfy { $0 >= 0x20 && $0 < 0x7F }
    var lines: [UInt8] = []
    if length > 0, isClean {
      lines += Array("X-Client-Cert-Subject: ".utf8) + subject[..<length] + Array("\r\n".utf8)
    }
    lines += Array("X-Client-Cert-SHA256: \(PEM.hex(PEM.sha256(shown)))\r\n".utf8)
    state.pointee.identity = lines
  }
}

/// A session that a backend gave, to be offered on the next connection: saves it the handshake's
/// signature and us its check.
public final class TLSSession {
  let pointer: OpaquePointer
  /// Sessions are not offered for longer, whatever the backend allows: a certificate that was
  /// revoked or has expired is looked at again after this.
  private static let lifetimeSeconds = 3600

  init(owning pointer: OpaquePointer) { self.pointer = pointer }
  deinit { SSL_SESSION_free(pointer) }

  /// Young enough, and in the backend's eyes still good.
  public func isUsable(wallSeconds: Int64) -> Bool {
    wallSeconds - Int64(SSL_SESSION_get_time(pointer)) < TLSSession.lifetimeSeconds
      && SSL_SESSION_is_resumable(pointer) == 1
  }
}
