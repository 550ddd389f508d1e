import COpenSSL
import Glibc
import Primitives

/// HMAC-SHA-256 (RFC 2104) with one key: proves that a text was written by who has it.
public struct MessageSeal: Sendable {
  public static let keyBytes = 32

  private let key: [UInt8]

  public init(key: [UInt8]) { self.key = key }

  /// A new key from the kernel (getrandom). Every start makes one, and OpenSSL's own generator
  /// would have to be set up first: a fifth of the time to the first answer.
  public static func randomKey() -> [UInt8] {
    var source = SystemRandomNumberGenerator()
    return (0..<keyBytes).map { _ in UInt8.random(in: .min ... .max, using: &source) }
  }

  /// The first 128 bits of the code for `text`.
  public func code(_ text: ByteView) -> (UInt64, UInt64) {
    var digest: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    var length: UInt32 = 0
    let made = withUnsafeMutableBytes(of: &digest) { room in
      HMAC(
        EVP_sha256(), key, Int32(key.count), text.pointer, text.count,
        room.bindMemory(to: UInt8.self).baseAddress, &length)
    }
    precondition(made != nil && length == 32, "HMAC failed")
    return (UInt64(bigEndian: digest.0), UInt64(bigEndian: digest.1))
  }

  /// Whether `code` is the one for `text`. Takes the same time for every wrong one.
  public func accepts(_ code: (UInt64, UInt64), for text: ByteView) -> Bool {
    let right = self.code(text)
    return (right.0 ^ code.0) | (right.1 ^ code.1) == 0
  }
}
