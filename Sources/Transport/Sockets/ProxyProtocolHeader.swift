import Primitives

/// What a proxy in front says of the client before the client's own octets: the PROXY protocol of
/// HAProxy (proxy-protocol.txt, 2.2 and later), versions 1 and 2.
///
/// A pure reader of a header that is read again from its beginning until it is whole.
public enum ProxyProtocolHeader {
  public enum Reading: Equatable, Sendable {
    case needsMore
    /// The connection is closed: nothing behind it can be believed.
    case malformed
    /// `length` octets are the header. `client`: who is behind the proxy; `nil`: the proxy itself
    /// (a health check of its own, or a client that has no address).
    case complete(length: Int, client: Client?)
  }

  public struct Client: Equatable, Sendable {
    public let address: IPAddress
    public let port: UInt16

    public init(address: IPAddress, port: UInt16) {
      self.address = address
      self.port = port
    }
  }

  /// No header is longer; with what follows in version 2 there is room for certificates' names.
  public static let maxBytes = 4096
  private static let maxLineBytes = 107
  private static let signature: [UInt8] = [
    0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
  ]
  private static let word = Array("PROXY ".utf8)

  public static func read(_ octets: ByteView) -> Reading {
    let start = min(octets.count, signature.count)
    if (0..<start).allSatisfy({ octets[$0] == signature[$0] }) {
      return start < signature.count ? .needsMore : binary(octets)
    }
    let head = min(octets.count, word.count)
    guard (0..<head).allSatisfy({ octets[$0] == word[$0] }) else { return .malformed }
    return line(octets)
  }

  // MARK: Writing

  public enum Version: Int, Sendable, Equatable, Hashable {
    case v1 = 1
    case v2 = 2
  }

  /// The header of a connection that `client` has made to `server`; `nil`, or addresses of two
  /// families: one that speaks for the proxy itself. At most 107 octets.
  public static func write(
    _ version: Version, client: Client?, server: Client?, to sink: inout ByteSink
  ) {
    guard let client, let server, client.address.isV4 == server.address.isV4 else {
      switch version {
      case .v1: sink.append("PROXY UNKNOWN\r\n")
      case .v2:
        sink.append(signature)
        sink.append([0x20, 0x00, 0x00, 0x00])
      }
      return
    }
    let isV4 = client.address.isV4
    switch version {
    case .v1:
      sink.append(isV4 ? "PROXY TCP4 " : "PROXY TCP6 ")
      let words = "\(client.address) \(server.address) \(client.port) \(server.port)\r\n"
      sink.append(string: words)
    case .v2:
      sink.append(signature)
      sink.append(isV4 ? [0x21, 0x11, 0x00, 0x0C] : [0x21, 0x21, 0x00, 0x24])
      for address in [client.address, server.address] {
        for index in (isV4 ? 12 : 0)..<16 { sink.append(byte: address.octet(index)) }
      }
      for port in [client.port, server.port] {
        sink.append(byte: UInt8(port >> 8))
        sink.append(byte: UInt8(port & 0xFF))
      }
    }
  }

  // MARK: Version 1

  private static func line(_ octets: ByteView) -> Reading {
    let seen = min(octets.count, maxLineBytes)
    guard let end = (0..<seen).first(where: { octets[$0] == 0x0A }) else {
      return seen < maxLineBytes ? .needsMore : .malformed
    }
    guard end > 0, octets[end - 1] == 0x0D else { return .malformed }
    let text = String(
      decoding: (0..<(end - 1)).map { octets[$0] }, as: UTF8.self)
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    // What follows UNKNOWN is to be ignored.
    if words.count > 1, words[1] == "UNKNOWN" { return .complete(length: end + 1, client: nil) }
    guard words.count == 6, let mark = family(words[1]), words[2].contains(mark),
      words[3].contains(mark), let source = IPAddress(words[2]), IPAddress(words[3]) != nil,
      let port = port(words[4]), self.port(words[5]) != nil
    else { return .malformed }
    return .complete(length: end + 1, client: Client(address: source, port: port))
  }

  /// What every address of the family has in it, and none of the other; an IPv4 address may come
  /// written as an IPv6 one.
  private static func family(_ word: Substring) -> Character? {
    word == "TCP4" ? "." : word == "TCP6" ? ":" : nil
  }

  /// Without signs and leading zeros.
  private static func port(_ word: Substring) -> UInt16? {
    guard let value = UInt16(word), String(value) == word else { return nil }
    return value
  }

  // MARK: Version 2

  private static func binary(_ octets: ByteView) -> Reading {
    guard octets.count >= 16 else { return .needsMore }
    let version = octets[12]
    let length = 16 + number(octets, 14)
    guard version == 0x20 || version == 0x21, length <= maxBytes else { return .malformed }
    guard octets.count >= length else { return .needsMore }
    if version == 0x20 { return .complete(length: length, client: nil) }
    let addressBytes: Int
    var client: Client?
    switch octets[13] {
    case 0x11:
      addressBytes = 12
      guard length >= 16 + addressBytes else { return .malformed }
      let value = UInt32(number(octets, 16)) << 16 | UInt32(number(octets, 18))
      client = Client(address: IPAddress(v4: value), port: UInt16(number(octets, 24)))
    case 0x21:
      addressBytes = 36
      guard length >= 16 + addressBytes else { return .malformed }
      client = Client(
        address: IPAddress(high: long(octets, 16), low: long(octets, 24)),
        port: UInt16(number(octets, 48)))
    case 0x31: addressBytes = 216
    case 0x00: addressBytes = 0
    default: return .malformed
    }
    guard length >= 16 + addressBytes, isSound(octets, from: 16 + addressBytes, to: length) else {
      return .malformed
    }
    return .complete(length: length, client: client)
  }

  /// Big-endian, two octets.
  private static func number(_ octets: ByteView, _ at: Int) -> Int {
    Int(octets[at]) << 8 | Int(octets[at + 1])
  }

  private static func long(_ octets: ByteView, _ at: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 << 8 | UInt64(octets[at + $1]) }
  }

  /// The type of the value that holds a checksum of the whole header (PP2_TYPE_CRC32C).
  private static let checksumType: UInt8 = 0x03

  /// Whether what follows the addresses is whole, and its checksum, where there is one, is right.
  private static func isSound(_ octets: ByteView, from start: Int, to end: Int) -> Bool {
    // Without a protocol the rest is to be ignored.
    if octets[13] == 0x00 { return true }
    var at = start
    while at < end {
      guard at + 3 <= end else { return false }
      let value = at + 3
      let next = value + number(octets, at + 1)
      guard next <= end else { return false }
      if octets[at] == checksumType {
        guard next - value == 4 else { return false }
        let wanted = number(octets, value) << 16 | number(octets, value + 2)
        let found = CRC32C.of(count: end) { (value..<next).contains($0) ? 0 : octets[$0] }
        guard UInt32(wanted) == found else { return false }
      }
      at = next
    }
    return true
  }
}

/// The checksum of RFC 3720 §12.1 (Castagnoli), bit by bit: a few headers of a few dozen octets.
enum CRC32C {
  static func of(count: Int, _ octet: (Int) -> UInt8) -> UInt32 {
    var rest: UInt32 = .max
    for index in 0..<count {
      rest ^= UInt32(octet(index))
      for _ in 0..<8 { rest = rest >> 1 ^ (rest & 1 == 1 ? 0x82F6_3B78 : 0) }
    }
    return ~rest
  }
}
