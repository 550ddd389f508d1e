import COpenSSL
import Glibc
import Primitives

// What OpenSSL calls. Free functions, every one of them: a closure formed in `main` would carry an
// actor's isolation and trap on a worker's thread.

/// A BIO reads from and writes to the buffers of its channel; it never touches a socket.
enum ChannelBIO {
  /// Made once for the process and never changed afterwards.
  static let method = Method()

  /// Immutable after init, and OpenSSL only reads it, on any thread (Sendable).
  final class Method: @unchecked Sendable {
    let pointer: OpaquePointer

    init() {
      guard let made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir channel")
      else { preconditionFailure("no memory for one BIO method") }
      pointer = made
      BIO_meth_set_read(made, readCiphertext)
      BIO_meth_set_write(made, writeCiphertext)
      BIO_meth_set_ctrl(made, controlBIO)
      BIO_meth_set_create(made, createBIO)
    }
  }
}

private func createBIO(_ bio: OpaquePointer?) -> Int32 {
  BIO_set_init(bio, 1)
  return 1
}

private func controlBIO(
  _ bio: OpaquePointer?, _ command: Int32, _ number: Int, _ pointer: UnsafeMutableRawPointer?
) -> Int {
  // Nothing is ever held back, so there is nothing to flush.
  command == BIO_CTRL_FLUSH ? 1 : 0
}

private func readCiphertext(
  _ bio: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int32
) -> Int32 {
  guard let bio, let buffer, let context = BIO_get_data(bio) else { return -1 }
  weir_bio_clear(bio)
  let state = context.assumingMemoryBound(to: TLSChannel.State.self)
  let octets = state.pointee.ciphertext.view
  guard !octets.isEmpty else {
    weir_bio_wants_more(bio)
    return -1
  }
  let count = min(octets.count, Int(capacity))
  memcpy(buffer, octets.pointer, count)
  state.pointee.ciphertext.consume(count)
  return Int32(count)
}

/// Takes everything: what a full socket refuses waits in the wire's queue, not in OpenSSL.
private func writeCiphertext(
  _ bio: OpaquePointer?, _ buffer: UnsafePointer<CChar>?, _ count: Int32
) -> Int32 {
  guard let bio, let buffer, let context = BIO_get_data(bio) else { return -1 }
  weir_bio_clear(bio)
  let state = context.assumingMemoryBound(to: TLSChannel.State.self)
  guard let output = state.pointee.output, let pool = state.pointee.pool else { return -1 }
  let octets = UnsafeRawPointer(buffer).assumingMemoryBound(to: UInt8.self)
  let view = ByteView(UnsafeBufferPointer(start: octets, count: Int(count)))
  return output.pointee.append(view, &pool.pointee) ? count : -1
}

/// RFC 6066 §3: the certificates of the name that the client asks for.
func chooseCertificate(
  _ ssl: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?,
  _ argument: UnsafeMutableRawPointer?
) -> Int32 {
  guard let argument, let name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else {
    return SSL_TLSEXT_ERR_OK
  }
  return Unmanaged<TLSServerContext>.fromOpaque(argument)._withUnsafeGuaranteedRef { server in
    let length = strlen(name)
    let octets = UnsafeRawPointer(name).assumingMemoryBound(to: UInt8.self)
    let set = server.store.set(for: UnsafeBufferPointer(start: octets, count: length))
    if set > 0 { SSL_set_SSL_CTX(ssl, server.contexts[set]) }
    return SSL_TLSEXT_ERR_OK
  }
}

/// RFC 7301 §3.2: weir's order of preference decides; without anything in common the handshake
/// ends, because guessing a protocol is what ALPN is there to prevent.
func chooseProtocol(
  _ ssl: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
  _ length: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?,
  _ offeredLength: UInt32, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
  guard let argument, let chosen, let length, let offered else { return SSL_TLSEXT_ERR_NOACK }
  return Unmanaged<TLSServerContext>.fromOpaque(argument)._withUnsafeGuaranteedRef { server in
    var result: UnsafeMutablePointer<UInt8>?
    let outcome = server.protocols.withUnsafeBufferPointer { own in
      SSL_select_next_proto(
        &result, length, own.baseAddress, UInt32(own.count), offered, offeredLength)
    }
    guard outcome == OPENSSL_NPN_NEGOTIATED, let result else {
      return SSL_TLSEXT_ERR_ALERT_FATAL
    }
    // The result may lie in our list, which the context keeps as long as the connection lives.
    chosen.pointee = UnsafePointer(result)
    return SSL_TLSEXT_ERR_OK
  }
}

/// RFC 5077 §4: seals and opens session tickets with the keys that all workers share. 0: unknown
/// key, a full handshake follows; 2: opened with an old key, a new ticket is sent.
func sealTicket(
  _ ssl: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ iv: UnsafeMutablePointer<UInt8>?,
  _ cipher: OpaquePointer?, _ mac: OpaquePointer?, _ seals: Int32
) -> Int32 {
  guard let ssl, let name, let iv, let cipher, let mac, let context = weir_ssl_context(ssl) else {
    return -1
  }
  let state = context.assumingMemoryBound(to: TLSChannel.State.self)
  guard let tickets = state.pointee.server?.tickets else { return -1 }
  let now = MonotonicTime.now()
  if seals == 1 {
    var key = tickets.sealing(now: now)
    guard RAND_bytes(iv, 16) == 1 else { return -1 }
    for (index, octet) in key.name.enumerated() { name[index] = octet }
    return use(&key, iv, cipher, mac, seals: true) ? 1 : -1
  }
  guard var found = tickets.opening(UnsafeBufferPointer(start: name, count: 16), now: now) else {
    return 0
  }
  guard use(&found.key, iv, cipher, mac, seals: false) else { return -1 }
  return found.isOld ? 2 : 1
}

private func use(
  _ key: inout TicketKeyRing.Key, _ iv: UnsafeMutablePointer<UInt8>, _ cipher: OpaquePointer,
  _ mac: OpaquePointer, seals: Bool
) -> Bool {
  key.material.withUnsafeMutableBufferPointer { octets in
    guard let base = octets.baseAddress else { return false }
    let started =
      seals
      ? EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nil, base + 16, iv)
      : EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nil, base + 16, iv)
    return started == 1 && weir_ticket_mac(mac, base + 48, 32) == 1
  }
}

/// A backend gave us a session to resume: the newest one waits for the worker to take it. 1: the
/// reference is ours now.
func keepSession(_ ssl: OpaquePointer?, _ session: OpaquePointer?) -> Int32 {
  guard let ssl, let session, let context = weir_ssl_context(ssl) else { return 0 }
  let state = context.assumingMemoryBound(to: TLSChannel.State.self)
  if let older = state.pointee.session { SSL_SESSION_free(older) }
  state.pointee.session = session
  return 1
}
