import Primitives
import Testing

@testable import Routing

@Suite struct SegmentHashTests {
  @Test func `the next slash is found at every length, place and start`() {
    // `.` and `0` are the neighbours of `/`, where arithmetic on whole words could slip.
    var wrong: [String] = []
    for filler in [UInt8(ascii: "."), UInt8(ascii: "0"), 0xAF, 0x00, 0xFF] {
      for length in 0...27 {
        for first in 0...length {
          for second in first...length {
            var bytes = [UInt8](repeating: filler, count: length)
            for place in [first, second] where place < length { bytes[place] = 0x2F }
            for start in 0...length {
              let expected = bytes[start...].firstIndex(of: 0x2F) ?? length
              let found = bytes.withByteView { nextSlash($0.pointer, from: start, length) }
              // Not an expectation each: there are 800,000 of them.
              if found != expected { wrong.append("\(bytes) from \(start)") }
            }
          }
        }
      }
    }
    #expect(wrong.isEmpty, "\(wrong.prefix(3))")
  }

  @Test func `bytes are compared to the last one`() {
    for length in 0...40 {
      let bytes = (0..<length).map { UInt8($0) }
      let same = bytes
      let isEqual = bytes.withByteView { a in
        same.withByteView { sameBytes(a.pointer, $0.pointer, length) }
      }
      #expect(isEqual)
      for place in 0..<length {
        var other = bytes
        other[place] ^= 0x80
        let isSame = bytes.withByteView { a in
          other.withByteView { sameBytes(a.pointer, $0.pointer, length) }
        }
        #expect(!isSame, "length \(length), place \(place)")
      }
    }
  }

  @Test func `short segments and their parents rarely share a hash`() {
    var hashes: Set<UInt32> = []
    var count = 0
    for parent in 0..<64 as Range<UInt32> {
      for number in 0..<1000 {
        let bytes = Array(String(number, radix: 36).utf8)
        hashes.insert(
          bytes.withByteView { SegmentHash.of($0.pointer, $0.count, seed: parent) })
        count += 1
      }
    }
    // 64,000 of 2^32 by chance share about half a hash.
    #expect(count - hashes.count <= 8)
    // Tables use the low bits: 64,000 balls must reach nearly 1 - 1/e of as many cells.
    let low = Set(hashes.map { $0 & 0xFFFF })
    #expect(low.count > 39_000)
  }
}
