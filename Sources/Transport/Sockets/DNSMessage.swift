import Primitives

/// What c-ares does not tell of a message of DNS (RFC 1035 §4.1).
enum DNSMessage {
  private static let headBytes = 12
  /// Type, class, TTL and length of a record, behind its name.
  private static let recordBytes = 10

  /// The shortest TTL of the records in the answer section; 0 where the message ends too early, or
  /// has none.
  static func shortestTTL(_ message: some RandomAccessCollection<UInt8>) -> TimeAmount {
    let octets = Array(message)
    guard octets.count > headBytes else { return .zero }
    func number(_ index: Int) -> Int { Int(octets[index]) << 8 | Int(octets[index + 1]) }
    var index = headBytes
    for _ in 0..<number(4) {
      guard let end = endOfName(octets, index), end + 4 <= octets.count else { return .zero }
      index = end + 4
    }
    var shortest = UInt32.max
    for _ in 0..<number(6) {
      guard let end = endOfName(octets, index), end + recordBytes <= octets.count else {
        return .zero
      }
      let ttl = UInt32(number(end + 4)) << 16 | UInt32(number(end + 6))
      // RFC 2181 §8: one with the highest bit set counts as 0.
      shortest = min(shortest, ttl > UInt32(Int32.max) ? 0 : ttl)
      index = end + recordBytes + number(end + 8)
    }
    return number(6) == 0 ? .zero : .seconds(Int64(shortest))
  }

  /// Behind the name that begins there; a name ends with an empty label or with a pointer.
  private static func endOfName(_ octets: [UInt8], _ start: Int) -> Int? {
    var index = start
    while index < octets.count {
      let length = Int(octets[index])
      if length == 0 { return index + 1 }
      if length & 0xC0 == 0xC0 { return index + 2 }
      index += 1 + length
    }
    return nil
  }
}
