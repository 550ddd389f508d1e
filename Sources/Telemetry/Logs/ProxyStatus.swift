import Primitives

extension ByteSink {
  /// The value of a `Proxy-Status` field for an answer of weir's own (RFC 9209):
  /// `weir; error=connection_refused; next-hop="10.0.0.1:80"; received-status=502`.
  ///
  /// - Parameters:
  ///   - name: this instance, as in `Via`.
  ///   - error: an error type, already a token; `nil` to leave it out.
  ///   - nextHop: the backend's name; empty to leave it out.
  ///   - receivedStatus: what the backend answered; 0 to leave it out.
  ///   - details: for people, without quotes and backslashes; empty to leave it out.
  public mutating func appendProxyStatus(
    name: ByteView, error: StaticString?, nextHop: ByteView = .empty, receivedStatus: Int = 0,
    details: StaticString = ""
  ) {
    append(structuredItem: name)
    if let error {
      append("; error=")
      append(error)
    }
    if !nextHop.isEmpty {
      append("; next-hop=")
      append(structuredItem: nextHop)
    }
    if receivedStatus != 0 {
      append("; received-status=")
      append(decimal: receivedStatus)
    }
    if details.utf8CodeUnitCount > 0 {
      append("; details=\"")
      append(details)
      append("\"")
    }
  }

  /// As a token where the text is one (RFC 9651 §3.3.4), else as a string (§3.3.3), in which
  /// octets that strings cannot hold become question marks.
  private mutating func append(structuredItem text: ByteView) {
    if isToken(text) {
      append(text)
      return
    }
    append(byte: UInt8(ascii: "\""))
    for index in 0..<text.count {
      let byte = text[index]
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
        append(byte: UInt8(ascii: "\\"))
        append(byte: byte)
      } else {
        append(byte: (0x20...0x7E).contains(byte) ? byte : UInt8(ascii: "?"))
      }
    }
    append(byte: UInt8(ascii: "\""))
  }

  private func isToken(_ text: ByteView) -> Bool {
    guard !text.isEmpty, ASCII.isLetter(text[0]) || text[0] == UInt8(ascii: "*") else {
      return false
    }
    var index = 0
    while index < text.count {
      index = text.endOfToken(from: index)
      guard index < text.count else { break }
      guard text[index] == UInt8(ascii: ":") || text[index] == UInt8(ascii: "/") else {
        return false
      }
      index += 1
    }
    return true
  }
}
