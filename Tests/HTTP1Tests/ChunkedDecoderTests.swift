import HTTP
import HTTP1
import Primitives
import TestUnitSupport
import Testing

@Suite struct `The chunked decoder` {
  /// What became of some bytes: the content, and where the trailer section begins.
  enum Result: Equatable {
    case complete(content: [UInt8], end: Int)
    case incomplete(content: [UInt8])
    case refused
  }

  /// Feeds the bytes up to each of `cuts` in turn, keeping what the decoder did not take.
  static func decode(_ bytes: [UInt8], cuts: [Int]) -> Result {
    var decoder = ChunkedDecoder()
    var content: [UInt8] = []
    var taken = 0
    for cut in cuts + [bytes.count] {
      var needsMore = false
      while !needsMore {
        let shown = Array(bytes[taken..<cut])
        do throws(HeadFault) {
          switch try HeldText(shown).decode(with: &decoder) {
          case .data(let skip, let count):
            content += shown[skip..<(skip + count)]
            taken += skip + count
          case .needMore(let skip):
            taken += skip
            needsMore = true
          case .trailers(let skip): return .complete(content: content, end: taken + skip)
          }
        } catch { return .refused }
      }
    }
    return .incomplete(content: content)
  }

  /// The same by a plain reading of RFC 9112 §7.1 and rule 5.
  static func reference(_ bytes: [UInt8]) -> Result {
    var content: [UInt8] = []
    var rest = bytes[...]
    var extensions = 0
    while true {
      let digits = rest.prefix { ASCII.hexValue($0) != nil }
      if digits.count > 16 { return .refused }
      rest = rest.dropFirst(digits.count)
      let text = String(decoding: digits, as: UTF8.self)
      if let value = UInt64(text, radix: 16), value >= 1 << 62 { return .refused }
      if rest.isEmpty { return .incomplete(content: content) }
      guard let size = Int(text, radix: 16) else { return .refused }
      if rest.first == UInt8(ascii: ";") {
        let line = rest.dropFirst().prefix { $0 >= 32 && $0 != 127 || $0 == 9 }
        extensions += line.count
        if line.count > 4096 || extensions > 16_384 { return .refused }
        rest = rest.dropFirst(line.count + 1)
        if rest.isEmpty { return .incomplete(content: content) }
      }
      for byte: UInt8 in [13, 10] {
        if rest.isEmpty { return .incomplete(content: content) }
        guard rest.popFirst() == byte else { return .refused }
      }
      if size == 0 { return .complete(content: content, end: rest.startIndex) }
      content += rest.prefix(size)
      if rest.count < size { return .incomplete(content: content) }
      rest = rest.dropFirst(size)
      for byte: UInt8 in [13, 10] {
        if rest.isEmpty { return .incomplete(content: content) }
        guard rest.popFirst() == byte else { return .refused }
      }
    }
  }

  @Test(arguments: [
    ("0\r\n", ""), ("0\r\n\r\n", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello"),
    ("1\r\na\r\n2\r\nbc\r\n0\r\n", "abc"), ("A\r\n0123456789\r\n0\r\n", "0123456789"),
    ("a\r\n0123456789\r\n000\r\n", "0123456789"), ("0000000000000001\r\nx\r\n0\r\n", "x"),
    ("1;a=b\r\nx\r\n0;c\r\n", "x"), ("1;\r\nx\r\n0;;\"\t\u{E9}\r\n", "x"),
    ("4\r\n\r\n\r\n\r\n0\r\nT: v\r\n\r\n", "\r\n\r\n"), ("00\r\n", ""),
  ])
  func `gives the content, however it comes`(coded: String, content: String) {
    let bytes = Array(coded.utf8)
    let expected = Self.reference(bytes)
    guard case .complete(Array(content.utf8), _) = expected else {
      Issue.record("the reference says \(expected)")
      return
    }
    #expect(Self.decode(bytes, cuts: []) == expected)
    #expect(Self.decode(bytes, cuts: Array(0..<bytes.count)) == expected)
    for first in 0...bytes.count {
      #expect(Self.decode(bytes, cuts: [first]) == expected)
      for second in first...bytes.count {
        #expect(Self.decode(bytes, cuts: [first, second]) == expected)
      }
    }
  }

  @Test(arguments: [
    "\r\n", "\n", " 5\r\n", "5 \r\n", "5 ;a\r\n", "5\t\r\n", "+5\r\n", "-5\r\n", "0x5\r\n",
    "5_0\r\n", "g\r\n",
    ";a\r\n", "5\n", "5\rX", "5;a\n", "5;a\rb", "5;\u{0}\r\n", "5;a\u{7F}\r\n", "5;\u{1}\r\n",
    "5\r\nhelloX", "5\r\nhello\n", "5\r\nhello\rX", "5\r\nhello\r\n\r\n", "5\r\nhello0\r\n",
    "00000000000000000\r\n", "00000000000000001\r\n", "8000000000000000\r\n",
    "ffffffffffffffff\r\n",
    "4000000000000000\r\n", "0\n", "0\rX", "1\r\na\r\n\r\n", "\u{0}", "5\u{0}\r\n", "\u{FF}",
  ])
  func `refuses what another parser might read differently, however it comes`(coded: String) {
    let bytes = HeadSamples.bytes(coded)
    #expect(Self.reference(bytes) == .refused)
    for cut in 0...bytes.count { #expect(Self.decode(bytes, cuts: [cut]) == .refused) }
    #expect(Self.decode(bytes, cuts: Array(0..<bytes.count)) == .refused)
  }

  @Test func `the largest size is below 2^62`() throws {
    var decoder = ChunkedDecoder()
    let step = try HeldText("3fffffffffffffff\r\nabc").decode(with: &decoder)
    #expect(step == .data(skip: 18, count: 3))
  }

  @Test func `extensions are dropped up to 4 KiB a line and 16 KiB a message`() {
    func coded(_ lines: [Int]) -> [UInt8] {
      Array(lines.map { "1;" + String(repeating: "e", count: $0) + "\r\nx\r\n" }.joined().utf8)
    }
    for (lines, isAccepted) in [
      ([4096], true), ([4097], false), ([4096, 4096, 4096, 4096], true),
      ([4096, 4096, 4096, 4096, 1], false), ([4096, 4096, 4096, 4095, 2], false),
    ] {
      let found = Self.decode(coded(lines), cuts: [100, 4000, 4098])
      #expect((found != .refused) == isAccepted, "\(lines)")
      #expect(found == Self.reference(coded(lines)))
    }
    let endless = Array(("1;" + String(repeating: "e", count: 5000)).utf8)
    #expect(Self.decode(endless, cuts: []) == .refused)
  }

  @Test(arguments: 1...6)
  func `agrees with a plain reading on mutated messages in random pieces`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let alphabet = Array("0123afAF;\r\n xg\u{0}\t".utf8)
    for _ in 0..<1200 {
      var bytes: [UInt8] = []
      for _ in 0..<random.below(5) {
        let size = random.below(3) == 0 ? random.below(40) : 1 + random.below(4)
        let line = String(size, radix: 16, uppercase: random.below(2) == 0)
        bytes += Array((line + (random.below(4) == 0 ? ";x=y" : "") + "\r\n").utf8)
        bytes += (0..<size).map { _ in alphabet[random.below(alphabet.count)] } + [13, 10]
      }
      if random.below(4) > 0 { bytes += Array("0\r\n\r\n".utf8) }
      for _ in 0..<random.below(3) where !bytes.isEmpty {
        let place = random.below(bytes.count)
        switch random.below(3) {
        case 0: bytes[place] = alphabet[random.below(alphabet.count)]
        case 1: bytes.insert(alphabet[random.below(alphabet.count)], at: place)
        default: bytes.remove(at: place)
        }
      }
      let cuts = (0..<random.below(6)).map { _ in random.below(bytes.count + 1) }.sorted()
      let expected = Self.reference(bytes)
      let found = Self.decode(bytes, cuts: cuts)
      if found != expected { Issue.record("\(found), not \(expected): \(bytes) cut at \(cuts)") }
    }
  }
}

extension HeldText {
  func decode(with decoder: inout ChunkedDecoder) throws(HeadFault) -> ChunkedDecoder.Step {
    defer { withExtendedLifetime(self) {} }
    return try decoder.next(view)
  }
}
