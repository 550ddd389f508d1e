import Primitives
import Testing
import Transport

@Suite struct `The PROXY protocol` {
  private typealias Reading = ProxyProtocolHeader.Reading

  private static func read(_ octets: [UInt8]) -> Reading {
    octets.withByteView { ProxyProtocolHeader.read($0) }
  }

  private static func client(_ address: String, _ port: UInt16) -> ProxyProtocolHeader.Client? {
    IPAddress(address).map { .init(address: $0, port: port) }
  }

  @Test(arguments: [
    ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", "192.0.2.1", 56324),
    ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", "2001:db8::1", 1),
    ("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 0 80\r\n", "::ffff:192.0.2.1", 0),
  ])
  func `version 1 names the client`(text: String, address: String, port: UInt16) {
    let octets = Array(text.utf8)
    let wanted = Reading.complete(length: octets.count, client: Self.client(address, port))
    #expect(Self.read(octets) == wanted)
    #expect(Self.read(octets + Array("GET / HTTP/1.1".utf8)) == wanted)
    for count in 0..<octets.count {
      #expect(Self.read(Array(octets[..<count])) == .needsMore, "\(count) octets")
    }
  }

  @Test(arguments: ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN what ever it says\r\n"])
  func `version 1 may not know the client`(text: String) {
    #expect(Self.read(Array(text.utf8)) == .complete(length: text.utf8.count, client: nil))
  }

  @Test(arguments: [
    "GET / HTTP/1.1\r\n", "PROXX", "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n",
    "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
    "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY \r\n", "PROXY UNKNOWNx\r\n",
    "PROXY TCP4 \(String(repeating: "1", count: 120))\r\n",
  ])
  func `version 1 is strict`(text: String) {
    #expect(Self.read(Array(text.utf8)) == .malformed)
  }

  @Test(arguments: [ProxyProtocolHeader.Version.v1, .v2])
  func `what is written is read`(version: ProxyProtocolHeader.Version) {
    let v4 = (Self.client("192.0.2.1", 56324), Self.client("198.51.100.7", 443))
    let v6 = (Self.client("2001:db8::1", 1), Self.client("2001:db8::2", 65535))
    for (client, server) in [v4, v6, (nil, nil), (v4.0, v6.1), (v4.0, nil)] {
      var octets = [UInt8](repeating: 0, count: 256)
      let count = octets.withUnsafeMutableBufferPointer { space -> Int in
        guard let base = space.baseAddress else { return 0 }
        var sink = ByteSink(base: base, capacity: space.count)
        ProxyProtocolHeader.write(version, client: client, server: server, to: &sink)
        return sink.count
      }
      let isOne = client != nil && client?.address.isV4 == server?.address.isV4
      let wanted = Reading.complete(length: count, client: isOne ? client : nil)
      #expect(count <= 107 && Self.read(Array(octets[..<count])) == wanted)
    }
  }

  private static let signature: [UInt8] = [
    0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
  ]

  private static func binary(
    _ command: UInt8, _ family: UInt8, _ content: [UInt8], length: Int? = nil
  ) -> [UInt8] {
    let length = length ?? content.count
    return signature + [command, family, UInt8(length >> 8), UInt8(length & 0xFF)] + content
  }

  private static let v4: [UInt8] = [192, 0, 2, 1, 198, 51, 100, 7, 0xDC, 0x04, 0x01, 0xBB]
  private static let v6: [UInt8] =
    [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [1]
    + [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [2] + [0, 80, 1, 0xBB]

  @Test func `version 2 names the client, whatever follows`() {
    let extra: [UInt8] = [0x02, 0x00, 0x03, 0x61, 0x62, 0x63, 0x04, 0x00, 0x00]
    for (family, addresses, client) in [
      (UInt8(0x11), Self.v4, Self.client("192.0.2.1", 56324)),
      (0x21, Self.v6, Self.client("2001:db8::1", 80)),
    ] {
      for content in [addresses, addresses + extra] {
        let header = Self.binary(0x21, family, content)
        #expect(
          Self.read(header + [0x16, 0x03]) == .complete(length: header.count, client: client))
        for count in 0..<header.count { #expect(Self.read(Array(header[..<count])) == .needsMore) }
      }
    }
  }

  @Test func `version 2 may speak for the proxy itself`() {
    for header in [
      Self.binary(0x20, 0x00, []), Self.binary(0x20, 0x11, Self.v4), Self.binary(0x21, 0x00, [1]),
      Self.binary(0x21, 0x31, [UInt8](repeating: 0, count: 216)),
    ] { #expect(Self.read(header) == .complete(length: header.count, client: nil)) }
  }

  @Test func `version 2 is strict`() {
    for header in [
      Self.binary(0x11, 0x11, Self.v4), Self.binary(0x22, 0x11, Self.v4),
      Self.binary(0x21, 0x12, Self.v4), Self.binary(0x21, 0x11, Array(Self.v4.dropLast())),
      Self.binary(0x21, 0x21, Self.v4), Self.binary(0x21, 0x11, [], length: 5000),
      Self.binary(0x21, 0x11, Self.v4 + [0x02, 0x00]),
      Self.binary(0x21, 0x11, Self.v4 + [0x02, 0x00, 0x02, 0x61]),
    ] { #expect(Self.read(header) == .malformed, "\(header)") }
  }

  /// The checksum is CRC-32C, whose value of "123456789" is E3069283 (RFC 3720 has others).
  @Test func `version 2's checksum is checked`() {
    var header = Self.binary(0x21, 0x11, Self.v4 + [0x03, 0x00, 0x04, 0, 0, 0, 0])
    let sum = Self.castagnoli(header)
    for index in 0..<4 { header[header.count - 4 + index] = UInt8(sum >> (24 - 8 * index) & 0xFF) }
    #expect(Self.castagnoli(Array("123456789".utf8)) == 0xE306_9283)
    let wanted = Reading.complete(length: header.count, client: Self.client("192.0.2.1", 56324))
    #expect(Self.read(header) == wanted)
    for index in 16..<header.count where !(28..<31).contains(index) {
      var changed = header
      changed[index] ^= 1
      #expect(Self.read(changed) == .malformed, "octet \(index)")
    }
  }

  /// By the definition, polynomial division of the reversed octets.
  private static func castagnoli(_ octets: [UInt8]) -> UInt32 {
    var rest: UInt32 = .max
    for octet in octets {
      for bit in 0..<8 {
        let isOdd = (rest ^ UInt32(octet >> bit)) & 1 == 1
        rest = isOdd ? (rest >> 1) ^ 0x82F6_3B78 : rest >> 1
      }
    }
    return ~rest
  }
}
