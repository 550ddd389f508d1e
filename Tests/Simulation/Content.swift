/// Content that tells where it belongs: octet i of the content with key k is a function of both, so
/// that what is lost, repeated, shifted or taken from another exchange is noticed.
enum Content {
  /// A prime, so that no buffer's size divides it.
  private static let period = 65_521
  private static let window = 1 << 16

  private static let table: [UInt8] = {
    var random = Draw(seed: 0xC0_47E4)
    var octets = (0..<period).map { _ in UInt8(truncatingIfNeeded: random.next() >> 32) }
    octets += octets.prefix(window)
    return octets
  }()

  private static func start(_ key: UInt64) -> Int {
    Int((key &* 0x9E37_79B9_7F4A_7C15) >> 17) % period
  }

  static func append(_ key: UInt64, from offset: Int, count: Int, to octets: inout [UInt8]) {
    var done = 0
    while done < count {
      let first = (start(key) + offset + done) % period
      let size = min(window, count - done)
      octets += table[first..<(first + size)]
      done += size
    }
  }

  /// All of it in chunks whose sizes are drawn, each with `suffix` behind its size, and their end.
  static func appendChunks(
    _ key: UInt64, count: Int, suffix: String = "", random: inout Draw, to octets: inout [UInt8]
  ) {
    var done = 0
    while done < count {
      let size = min(count - done, random.size(upTo: 30_000) + 1)
      octets += Array("\(String(size, radix: 16))\(suffix)\r\n".utf8)
      append(key, from: done, count: size, to: &octets)
      octets += [13, 10]
      done += size
    }
    octets += Array("0\r\n\r\n".utf8)
  }

  static func matches(_ key: UInt64, from offset: Int, _ octets: ArraySlice<UInt8>) -> Bool {
    var done = octets.startIndex
    while done < octets.endIndex {
      let first = (start(key) + offset + done - octets.startIndex) % period
      let size = min(window, octets.endIndex - done)
      guard octets[done..<(done + size)].elementsEqual(table[first..<(first + size)]) else {
        return false
      }
      done += size
    }
    return true
  }
}
