import Primitives
import Testing

@Suite struct `ASCII classes` {
  @Test func `every byte value is in the classes that a plain list says`() {
    let letters = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    let digits = Set("0123456789".utf8)
    let hex = Array("0123456789abcdef".utf8)
    for value in 0...255 {
      let byte = UInt8(value)
      let small = value >= 65 && value <= 90 ? byte + 32 : byte
      #expect(ASCII.lowercased(byte) == small, "\(value)")
      #expect(ASCII.isBlank(byte) == (value == 32 || value == 9), "\(value)")
      #expect(ASCII.isDigit(byte) == digits.contains(byte), "\(value)")
      #expect(ASCII.isLetter(byte) == letters.contains(byte), "\(value)")
      #expect(ASCII.hexValue(byte) == hex.firstIndex(of: small).map(UInt8.init), "\(value)")
      let isUnreserved =
        letters.contains(byte) || digits.contains(byte) || "-._~".utf8.contains(byte)
      #expect(ASCII.isUnreserved(byte) == isUnreserved, "\(value)")
    }
  }
}
