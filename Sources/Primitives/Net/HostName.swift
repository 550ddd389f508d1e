/// What may be the name of a host in a Host field, a certificate or a file.
public enum HostName {
  /// Labels of letters, digits, `-` and `_`, and 253 octets in all (RFC 1123 §2.1; the underscore
  /// is common inside networks). Without a dot at its end.
  public static func isValid(_ name: some StringProtocol) -> Bool {
    guard (1...253).contains(name.utf8.count) else { return false }
    return name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
      .allSatisfy { label in
        (1...63).contains(label.count)
          && label.allSatisfy {
            ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "-")
              || $0 == UInt8(ascii: "_")
          }
      }
  }
}
