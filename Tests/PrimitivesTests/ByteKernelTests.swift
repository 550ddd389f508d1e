import CLinux
import Primitives
import Testing

/// The kernels that look at sixteen octets at a time, against the plain reading of what they say.
@Suite struct `The kernels of byte views` {
  private static let alphabet = Array(
    "abzAZ09-._~%/?;:[]@!$&'()*+,=#<>\\^`{|} \t\r\n\u{0}\u{7F}\u{E9}GETPOST".utf8)

  private static func randomText(_ random: inout SeededRandom, _ plain: [UInt8]) -> [UInt8] {
    let isPlain = random.below(2) == 0
    return (0..<random.below(50)).map { _ in
      let choices = isPlain && random.below(30) > 0 ? plain : alphabet
      return choices[random.below(choices.count)]
    }
  }

  private static func isToken(_ byte: UInt8) -> Bool {
    ASCII.isLetter(byte) || ASCII.isDigit(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
  }

  private static func isTarget(_ byte: UInt8) -> Bool {
    byte > 0x20 && byte < 0x7F && !"\"#<>\\^`{|}".utf8.contains(byte)
  }

  @Test func `tokens and targets end where the first foreign octet stands`() {
    var random = SeededRandom(seed: 3986)
    for _ in 0..<20000 {
      let bytes = Self.randomText(&random, Array("GETPOSTabc-/?=09_.".utf8))
      GuardedBytes(bytes).read { view in
        let start = random.below(bytes.count + 1)
        let token = bytes[start...].firstIndex { !Self.isToken($0) } ?? bytes.count
        let target = bytes[start...].firstIndex { !Self.isTarget($0) } ?? bytes.count
        #expect(view.endOfToken(from: start) == token)
        #expect(view.endOfTarget(from: start) == target)
      }
    }
    for octet in UInt8.min...UInt8.max {
      for place in [0, 7, 15, 16, 20] {
        var bytes = [UInt8](repeating: UInt8(ascii: "a"), count: 33)
        bytes[place] = octet
        GuardedBytes(bytes).read { view in
          #expect(view.endOfToken(from: 0) == (Self.isToken(octet) ? 33 : place))
          #expect(view.endOfTarget(from: 0) == (Self.isTarget(octet) ? 33 : place))
        }
      }
    }
  }

  @Test func `a path ends at its question mark, and only what is before it is judged`() {
    var random = SeededRandom(seed: 3987)
    for _ in 0..<20000 {
      let bytes = Self.randomText(&random, Array("/////abc..;%?".utf8))
      let end = bytes.firstIndex(of: UInt8(ascii: "?")) ?? bytes.count
      let path = String(decoding: bytes[..<end], as: UTF8.self)
      var traits: PathTraits = []
      if path.contains("%") { traits.insert(.encoded) }
      if path.contains("//") { traits.insert(.emptySegment) }
      if path.contains("/.") || path.contains(";.") { traits.insert(.leadingDot) }
      // Whatever stands behind and before the path must not be judged with it.
      for around in ["", "/.", "//%?", "abcdefghijklmnopqrstuvwxyz/./"] {
        let text = Array(around.utf8) + bytes + Array(around.utf8)
        let start = around.utf8.count
        GuardedBytes(text).read { view in
          let found = view.scanPath(from: start, to: start + bytes.count)
          #expect(found.end == start + end && found.traits == traits, "\(path)")
        }
      }
    }
  }

  @Test func `a host in normal form is known at each length`() {
    var random = SeededRandom(seed: 1035)
    for _ in 0..<20000 {
      let bytes = Self.randomText(&random, Array("abcxyz019-.ab:".utf8))
      let name = bytes.prefix { $0 != UInt8(ascii: ":") }
      let labels = name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
      let isNormal =
        !name.isEmpty && labels.allSatisfy { !$0.isEmpty }
        && name.allSatisfy {
          ASCII.isDigit($0) || ASCII.isLetter($0) && $0 == ASCII.lowercased($0)
            || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
        }
      GuardedBytes(bytes).read { view in
        #expect(view.normalHostLength == (isNormal ? name.count : 0), "\(view.string)")
      }
    }
  }

  @Test func `numbers and addresses are what Swift writes, and stay within their room`() {
    var random = SeededRandom(seed: 10)
    var numbers = [0, 9, 10, 99, 100, 999, 1000, 999_999, 1_000_000, UInt64.max]
    for _ in 0..<3000 { numbers.append(random.next() >> UInt64(random.below(64))) }
    for number in numbers {
      var space = [UInt8](repeating: 0xEE, count: 24)
      let length = space.withUnsafeMutableBufferPointer {
        weir_write_decimal($0.baseAddress!, number)
      }
      #expect(String(decoding: space[..<length], as: UTF8.self) == String(number))
      #expect(space[21...].allSatisfy { $0 == 0xEE })
      let address = UInt32(truncatingIfNeeded: number)
      space = [UInt8](repeating: 0xEE, count: 24)
      let quad = space.withUnsafeMutableBufferPointer { weir_write_ipv4($0.baseAddress!, address) }
      let text = [24, 16, 8, 0].map { String(address >> UInt32($0) & 255) }.joined(separator: ".")
      #expect(String(decoding: space[..<quad], as: UTF8.self) == text)
      #expect(space[16...].allSatisfy { $0 == 0xEE })
    }
  }

  @Test func `a short copy is whole at each length and touches nothing else`() {
    for length in 0...70 {
      let bytes = (0..<length).map { UInt8($0 + 1) }
      var space = [UInt8](repeating: 0xEE, count: 80)
      GuardedBytes(bytes).read { view in
        space.withUnsafeMutableBufferPointer {
          weir_copy($0.baseAddress!, view.pointer, length)
        }
      }
      #expect(Array(space[..<length]) == bytes && space[length...].allSatisfy { $0 == 0xEE })
    }
  }
}
