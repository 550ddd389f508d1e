import COpenSSL
import Glibc
import Primitives

/// A certificate with its chain and its private key, read from PEM and found to fit together.
///
/// Immutable after init: the certificate and key objects behind the pointers are only read, and
/// OpenSSL counts references to them atomically, so one may be used on all threads (Sendable).
public final class Credential: @unchecked Sendable, Equatable {
  public enum KeyKind: String, Sendable { case rsa, ecdsa, other }

  /// The files, in the words of the configuration, for diagnostics and for reading them again.
  public struct Files: Sendable, Equatable {
    public var certificate: String
    public var key: String
    public var chain: String?

    public init(certificate: String, key: String, chain: String?) {
      self.certificate = certificate
      self.key = key
      self.chain = chain
    }
  }

  public let files: Files
  /// DNS names that it is valid for, in lower case.
  public let names: [String]
  public let keyKind: KeyKind
  /// Seconds since 1970.
  public let notBefore: Int64
  public let notAfter: Int64
  /// SHA-256 of the certificate, lower-case hex.
  public let fingerprint: String
  /// SHA-256 over certificate and chain: another chain makes another credential.
  private let identity: [UInt8]
  let certificate: OpaquePointer
  let key: OpaquePointer
  let chain: [OpaquePointer]

  /// `certificatePEM` holds the certificate first, then its chain, if that is in the same file.
  public init(
    files: Files, certificatePEM: [UInt8], keyPEM: [UInt8], chainPEM: [UInt8]?
  ) throws(TLSFault) {
    self.files = files
    var all = try PEM.certificates(certificatePEM, path: files.certificate)
    if let chainPEM, let path = files.chain {
      do throws(TLSFault) {
        all += try PEM.certificates(chainPEM, path: path)
      } catch {
        for item in all { X509_free(item) }
        throw error
      }
    }
    certificate = all[0]
    chain = Array(all.dropFirst())
    var digest: [UInt8] = []
    for item in all { digest += PEM.sha256(item) }
    identity = digest
    names = PEM.names(all[0])
    notBefore = weir_asn1_seconds(X509_get0_notBefore(all[0]), 0)
    notAfter = weir_asn1_seconds(X509_get0_notAfter(all[0]), 0)
    fingerprint = PEM.hex(digest[..<32])
    do throws(TLSFault) {
      key = try PEM.privateKey(keyPEM, path: files.key)
    } catch {
      for item in all { X509_free(item) }
      throw error
    }
    switch EVP_PKEY_get_base_id(key) {
    case EVP_PKEY_RSA, EVP_PKEY_RSA_PSS: keyKind = .rsa
    case EVP_PKEY_EC: keyKind = .ecdsa
    default: keyKind = .other
    }
    ERR_clear_error()
    if X509_check_private_key(certificate, key) != 1 {
      ERR_clear_error()
      throw TLSFault(
        "the key in '\(files.key)' does not belong to the certificate in '\(files.certificate)'",
        note: "a chain in one file begins with the server's own certificate")
    }
  }

  deinit {
    X509_free(certificate)
    for item in chain { X509_free(item) }
    EVP_PKEY_free(key)
  }

  public static func == (a: Credential, b: Credential) -> Bool {
    a === b || (a.identity == b.identity && a.files == b.files)
  }

  /// Whole days until it expires, rounded down; negative once it has.
  public func daysLeft(now: Int64) -> Int64 {
    let left = notAfter - now
    return left >= 0 ? left / 86_400 : -((-left + 86_399) / 86_400)
  }
}

/// Certificates that are trusted to sign others.
public struct Authorities: Sendable, Equatable {
  public var path: String
  /// As read; checked by `init`.
  public var pem: [UInt8]

  public init(path: String, pem: [UInt8]) throws(TLSFault) {
    for item in try PEM.certificates(pem, path: path) { X509_free(item) }
    self.path = path
    self.pem = pem
  }
}

/// Reading PEM files (RFC 7468).
enum PEM {
  /// Certificates of one file: a chain, or a collection of authorities.
  private static let limit = 1000
  private static let namesCapacity = 64 << 10

  /// At least one; each must be freed.
  static func certificates(_ pem: [UInt8], path: String) throws(TLSFault) -> [OpaquePointer] {
    TLSLibrary.start()
    guard let bio = memory(pem) else { throw TLSFault("out of memory") }
    defer { BIO_free(bio) }
    var found: [OpaquePointer] = []
    ERR_clear_error()
    while found.count < limit, let item = PEM_read_bio_X509(bio, nil, refusePassword, nil) {
      found.append(item)
    }
    // The end of the file is reported as a missing first line, and is none of a fault.
    let reason = weir_err_reason(ERR_peek_last_error())
    ERR_clear_error()
    if found.count == limit {
      for item in found { X509_free(item) }
      throw TLSFault("'\(path)' holds \(limit) certificates or more")
    }
    guard found.isEmpty || reason != PEM_R_NO_START_LINE else { return found }
    for item in found { X509_free(item) }
    guard reason != PEM_R_NO_START_LINE else {
      throw TLSFault(
        "'\(path)' holds no certificate", note: "expected PEM: '-----BEGIN CERTIFICATE-----'")
    }
    throw TLSFault("certificate \(found.count + 1) in '\(path)' is damaged")
  }

  /// To be freed by the caller.
  static func privateKey(_ pem: [UInt8], path: String) throws(TLSFault) -> OpaquePointer {
    guard let bio = memory(pem) else { throw TLSFault("out of memory") }
    defer { BIO_free(bio) }
    ERR_clear_error()
    defer { ERR_clear_error() }
    if let key = PEM_read_bio_PrivateKey(bio, nil, refusePassword, nil) { return key }
    if isEncrypted(pem) {
      throw TLSFault(
        "the key in '\(path)' is encrypted, and nobody is there to ask for its password",
        note: "decrypt it with 'openssl pkey' into a file that only weir's user can read")
    }
    throw TLSFault(
      "'\(path)' holds no private key", note: "expected PEM: '-----BEGIN PRIVATE KEY-----'")
  }

  /// RFC 7468 §11 and the older form with a `Proc-Type` line (RFC 1421 §4.6.1.1).
  private static func isEncrypted(_ pem: [UInt8]) -> Bool {
    let text = String(decoding: pem, as: UTF8.self)
    return text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
      || text.contains("Proc-Type: 4,ENCRYPTED")
  }

  /// The octets must stay while it is used, so they are copied.
  private static func memory(_ octets: [UInt8]) -> OpaquePointer? {
    guard let bio = BIO_new(BIO_s_mem()) else { return nil }
    guard BIO_write(bio, octets, Int32(octets.count)) == Int32(octets.count) || octets.isEmpty
    else {
      BIO_free(bio)
      return nil
    }
    return bio
  }

  static func sha256(_ certificate: OpaquePointer) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    _ = weir_x509_sha256(certificate, &digest)
    return digest
  }

  static func hex(_ octets: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef")
    return String(octets.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  static func names(_ certificate: OpaquePointer) -> [String] {
    var room = [CChar](repeating: 0, count: namesCapacity)
    let used = weir_x509_names(certificate, &room, namesCapacity)
    return room[..<used].split(separator: 0).map { name in
      String(decoding: name.map { UInt8(bitPattern: $0) }, as: UTF8.self).lowercased()
    }
  }
}

/// A free function: OpenSSL asks it for the password of an encrypted key, and gets none. Without
/// it the library would ask on the terminal.
private func refusePassword(
  _ buffer: UnsafeMutablePointer<CChar>?, _ size: Int32, _ writes: Int32,
  _ context: UnsafeMutableRawPointer?
) -> Int32 { -1 }
