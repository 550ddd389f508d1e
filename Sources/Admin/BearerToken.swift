import Primitives

/// Bearer authentication (RFC 6750 §2.1) against one token from a file.
enum BearerToken {
  /// Whether exactly one `Authorization` field carries the token.
  ///
  /// Takes the same time wherever the first wrong octet is, so that nobody can guess the token one
  /// octet after the other.
  static func isAccepted(_ fields: [String], token: String) -> Bool {
    guard fields.count == 1, let credentials = credentials(fields[0]) else { return false }
    let wanted = Array(token.utf8)
    var difference: UInt8 = wanted.count == credentials.count ? 0 : 1
    for index in wanted.indices {
      difference |= wanted[index] ^ (index < credentials.count ? credentials[index] : 0)
    }
    return difference == 0
  }

  /// What follows the scheme, whose case does not count (RFC 9110 §11.1).
  private static func credentials(_ field: String) -> [UInt8]? {
    let bytes = Array(field.utf8)
    let scheme = Array("bearer".utf8)
    guard bytes.count > scheme.count + 1, bytes[scheme.count] == UInt8(ascii: " ") else {
      return nil
    }
    for (index, letter) in scheme.enumerated()
    where ASCII.lowercased(bytes[index]) != letter {
      return nil
    }
    return Array(bytes[scheme.count...].drop { $0 == UInt8(ascii: " ") })
  }
}
