import Primitives

/// What `Forwarded` (RFC 7239) says of where a request went. A trusted proxy's is passed on to the
/// backend, and is often one that it has from its own client: an answer that was made of another
/// host than the key's must not be stored under that key.
public enum ForwardedClaims {
  /// Whether every `host` and `proto` of the field's elements is that of the request. False also
  /// where it does not parse: a backend may read something in it that we do not.
  public static func agree(_ field: ByteView, authority: ByteView, scheme: StaticString) -> Bool {
    var index = 0
    while index < field.count {
      guard let pair = pair(field, &index) else { return false }
      if pair.name.equalsLowercased("host") {
        guard pair.value.equalsIgnoringCase(authority) else { return false }
      } else if pair.name.equalsLowercased("proto") {
        guard pair.value.equalsLowercased(scheme) else { return false }
      }
    }
    return true
  }

  /// The pair at `index`, which moves behind the separator after it; both parts empty where there
  /// is nothing between two separators; `nil` where it is malformed.
  private static func pair(
    _ field: ByteView, _ index: inout Int
  ) -> (name: ByteView, value: ByteView)? {
    let start = index
    while index < field.count, !isSeparator(field[index]), field[index] != UInt8(ascii: "=") {
      index += 1
    }
    let name = field.slice(start, index).trimmed()
    guard index < field.count, field[index] == UInt8(ascii: "=") else {
      index += 1
      return name.isEmpty ? (name, name) : nil
    }
    index += 1
    let value: ByteView
    if index < field.count, field[index] == UInt8(ascii: "\"") {
      let end = field.firstIndex(of: UInt8(ascii: "\""), from: index + 1) ?? field.count
      value = field.slice(index + 1, end)
      // An escape stands for another text than its octets.
      guard end < field.count, value.firstIndex(of: UInt8(ascii: "\\")) == nil else { return nil }
      index = end + 1
    } else {
      let begin = index
      while index < field.count, !isSeparator(field[index]) { index += 1 }
      value = field.slice(begin, index).trimmed()
      guard value.firstIndex(of: UInt8(ascii: "\"")) == nil else { return nil }
    }
    while index < field.count, isBlank(field[index]) { index += 1 }
    guard index == field.count || isSeparator(field[index]) else { return nil }
    index += 1
    return name.isEmpty ? nil : (name, value)
  }

  private static func isSeparator(_ octet: UInt8) -> Bool {
    octet == UInt8(ascii: ",") || octet == UInt8(ascii: ";")
  }

  private static func isBlank(_ octet: UInt8) -> Bool { octet == 0x20 || octet == 0x09 }
}
