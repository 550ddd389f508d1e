import Primitives

/// `host[:port]` as it stands in a Host field or an absolute-form target (RFC 9110 §7.2), checked
/// strictly: what is not plainly one host is refused rather than interpreted.
public enum Authority {
  /// Makes the authority lower case where it stands (safety rule 12), and returns the range of the
  /// host within it, without port and without the final dot of a fully
  /// qualified name, so that `example.com.` takes the route of `example.com`.
  ///
  /// Throws 400 for an empty host, user information, a port outside 1–65535, or any byte that no
  /// host name or address literal has.
  @inlinable @inline(__always)
  public static func normalize(_ bytes: ByteView) throws(HeadFault) -> ByteRange {
    // Nearly all are in their normal form already.
    let normal = bytes.normalHostLength
    if normal > 0, normal == bytes.count { return ByteRange(0, normal) }
    return try normalizeAny(bytes, normal)
  }

  @usableFromInline
  static func normalizeAny(_ bytes: ByteView, _ normal: Int) throws(HeadFault) -> ByteRange {
    if normal > 0 {
      try checkPort(bytes.slice(from: normal + 1))
      return ByteRange(0, normal)
    }
    bytes.lowercaseInPlace()
    var end: Int
    if bytes.count > 0, bytes[0] == UInt8(ascii: "[") {
      end = try endOfAddressLiteral(bytes)
    } else {
      end = bytes.endOfHostName
    }
    guard end > 0 else { throw .bad("empty or malformed host") }
    if end < bytes.count {
      guard bytes[end] == UInt8(ascii: ":") else { throw .bad("malformed host") }
      try checkPort(bytes.slice(from: end + 1))
    }
    if end > 1, bytes[end - 1] == UInt8(ascii: ".") { end -= 1 }
    try refuseEmptyLabels(bytes.slice(0, end))
    return ByteRange(0, end)
  }

  private static func checkPort(_ text: ByteView) throws(HeadFault) {
    guard text.count <= 5, let port = text.decimal, (1...65535).contains(port) else {
      throw .bad("port outside 1-65535")
    }
  }

  /// RFC 1035 §2.3.1: what is left between dots is a label, and no label is empty.
  private static func refuseEmptyLabels(_ host: ByteView) throws(HeadFault) {
    var previous = UInt8(ascii: ".")
    for index in 0..<host.count {
      let byte = host[index]
      if byte == UInt8(ascii: "."), previous == byte { throw .bad("empty label in host") }
      previous = byte
    }
    if previous == UInt8(ascii: ".") { throw .bad("empty label in host") }
  }

  private static func endOfAddressLiteral(_ bytes: ByteView) throws(HeadFault) -> Int {
    var index = 1
    while index < bytes.count, bytes[index] != UInt8(ascii: "]") {
      let byte = bytes[index]
      guard ASCII.hexValue(byte) != nil || byte == UInt8(ascii: ":") || byte == UInt8(ascii: ".")
      else { throw .bad("malformed address literal in host") }
      index += 1
    }
    // Rare enough for a string: names, not literals, are what clients send.
    let literal = index < bytes.count ? bytes.slice(1, index).string : ""
    guard literal.contains(":"), IPAddress(literal) != nil else {
      throw .bad("malformed address literal in host")
    }
    return index + 1
  }
}
