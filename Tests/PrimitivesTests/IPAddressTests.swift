import Glibc
import Primitives
import Testing

@Suite struct `An IP address` {
  /// Text in, RFC 5952 text out.
  @Test(arguments: [
    ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"), ("1.20.99.100", "1.20.99.100"),
    ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:DB8::A", "2001:db8::a"),
    ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
    ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
    ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"), ("0:2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
    ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"), ("1:2:3:4:5:6::", "1:2:3:4:5:6::"),
    ("::3:4:5:6:7:8", "::3:4:5:6:7:8"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
    ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"), ("1::3:4:5:6:7:8", "1:0:3:4:5:6:7:8"),
    ("::ffff:1.2.3.4", "1.2.3.4"), ("::FFFF:102:304", "1.2.3.4"),
    ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
    ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("fe80::", "fe80::"),
  ])
  func `is read and written in its one form`(text: String, written: String) {
    #expect(IPAddress(text)?.description == written)
    #expect(IPAddress(written) == IPAddress(text))
  }

  @Test(arguments: [
    "", ".", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.1000", "01.2.3.4", "1.2.3.00", "1..3.4",
    ".1.2.3", "1.2.3.", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4\n", "+1.2.3.4", "-1.2.3.4", "0x1.2.3.4",
    "1.2.3.a", "a.b.c.d", "\u{661}.2.3.4", ":", ":::", "::::", "1:", ":1", "1::2::3", "1:::2",
    "::1::", ":1::2", "1::2:", "12345::", "::g", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "[::1]", "::1%eth0", "::1/64", "1.2.3.4::",
    "::1.2.3", "::1.2.3.4:5", "::01.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3.4.5", "localhost",
  ])
  func `is refused unless it is exactly one literal`(text: String) {
    #expect(IPAddress(text) == nil)
  }

  private func system(_ address: IPAddress) -> String {
    var octets = (0..<16).map { address.octet($0) }
    var text = [CChar](repeating: 0, count: 64)
    inet_ntop(AF_INET6, &octets, &text, 64)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private func parsedBySystem(_ text: String, _ family: Int32) -> [UInt8]? {
    var octets = [UInt8](repeating: 0, count: family == AF_INET ? 4 : 16)
    return inet_pton(family, text, &octets) == 1 ? octets : nil
  }

  @Test func `is what inet_ntop and inet_pton say, for random addresses with runs of zeros`() {
    var random = SeededRandom(seed: 5952)
    for _ in 0..<5000 {
      var words: [UInt64] = []
      for _ in 0..<8 { words.append(random.below(2) == 0 ? 0 : random.next() & 0xFFFF) }
      // Forms that embed IPv4 are written in another way by the C library.
      if words[0...4].allSatisfy({ $0 == 0 }) { words[0] = 1 }
      let address = IPAddress(
        high: words[0] << 48 | words[1] << 32 | words[2] << 16 | words[3],
        low: words[4] << 48 | words[5] << 32 | words[6] << 16 | words[7])
      let text = address.description
      #expect(text == system(address))
      #expect(IPAddress(text) == address && IPAddress(text.uppercased()) == address)
      #expect(parsedBySystem(text, AF_INET6) == (0..<16).map { address.octet($0) })
      let quad = IPAddress(v4: UInt32(truncatingIfNeeded: random.next()))
      #expect(IPAddress(quad.description) == quad && quad.isV4)
      #expect(parsedBySystem(quad.description, AF_INET) == (12..<16).map { quad.octet($0) })
    }
  }

  @Test func `mutated text is read exactly where inet_pton reads it`() {
    var random = SeededRandom(seed: 4291)
    let samples = [
      "1.2.3.4", "255.10.0.1", "2001:db8::1", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8", "::",
    ]
    let alphabet = Array("0123456789abcfF:.: .".utf8)
    for _ in 0..<20_000 {
      var bytes = Array(samples[random.below(samples.count)].utf8)
      for _ in 0...random.below(3) {
        let byte = alphabet[random.below(alphabet.count)]
        switch random.below(3) {
        case 0: bytes.insert(byte, at: random.below(bytes.count + 1))
        case 1 where !bytes.isEmpty: bytes.remove(at: random.below(bytes.count))
        default: if !bytes.isEmpty { bytes[random.below(bytes.count)] = byte }
        }
      }
      let text = String(decoding: bytes, as: UTF8.self)
      let expected =
        bytes.contains(UInt8(ascii: ":"))
        ? parsedBySystem(text, AF_INET6)
        : parsedBySystem(text, AF_INET).map { [UInt8](repeating: 0, count: 10) + [255, 255] + $0 }
      let found = IPAddress(text).map { address in (0..<16).map { address.octet($0) } }
      if found != expected { Issue.record("\(text): \(String(describing: found))") }
    }
  }
}

@Suite struct `An IP network` {
  @Test(arguments: [
    ("10.0.0.0/8", "10.255.255.255", true), ("10.0.0.0/8", "11.0.0.0", false),
    ("10.1.2.3/8", "10.9.9.9", true), ("0.0.0.0/0", "255.1.2.3", true),
    ("0.0.0.0/0", "::1", false), ("::/0", "1.2.3.4", true), ("::/0", "ffff::", true),
    ("1.2.3.4", "1.2.3.4", true), ("1.2.3.4", "1.2.3.5", false), ("1.2.3.4/31", "1.2.3.5", true),
    ("1.2.3.4/32", "1.2.3.5", false), ("2001:db8::/32", "2001:db8:ffff::1", true),
    ("2001:db8::/32", "2001:db9::", false), ("1:2:3:4::/64", "1:2:3:4:ffff::", true),
    ("1:2:3:4::/64", "1:2:3:5::", false), ("1:2:3:4:8000::/65", "1:2:3:4:ffff::", true),
    ("1:2:3:4:8000::/65", "1:2:3:4:7fff::", false), ("1:2:3:4::/63", "1:2:3:5::", true),
    ("::1/128", "::1", true), ("::1/128", "::", false), ("::ffff:10.0.0.0/8", "10.1.1.1", true),
  ])
  func `contains the addresses that share its prefix`(
    network: String, address: String, isInside: Bool
  ) throws {
    #expect(try #require(IPNetwork(network)).contains(#require(IPAddress(address))) == isInside)
  }

  @Test(arguments: [
    "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0/8",
    "10.0.0.0/a", "10.0.0.0/ 8", "10.0.0.0/+8", "10.0.0.0/-0", "::ffff:10.0.0.0/104", "[::1]/64",
    "10.0.0.0/99999999999999999999",
  ])
  func `is refused without an address or with a prefix out of range`(text: String) {
    #expect(IPNetwork(text) == nil)
  }

  @Test func `agrees with comparing bit by bit`() {
    var random = SeededRandom(seed: 8)
    for _ in 0..<2000 {
      let length = random.below(129)
      let high = random.next()
      let low = random.next()
      let address = IPAddress(high: high | 1 << 63, low: low)
      guard let network = IPNetwork("\(address)/\(length)") else {
        Issue.record("\(address)/\(length)")
        continue
      }
      let flipped = random.below(128)
      let other = IPAddress(
        high: flipped < 64 ? address.high ^ (1 << UInt64(63 - flipped)) : address.high,
        low: flipped < 64 ? address.low : address.low ^ (1 << UInt64(127 - flipped)))
      #expect(network.contains(address))
      #expect(network.contains(other) == (flipped >= length))
    }
  }
}
