import Glibc

/// Bytes being written, front to back, into a region that somebody else owns.
///
/// What does not fit is not written: `overflowed` becomes true and stays so, and the caller
/// answers as its protocol says (431 for a request head, 502 for a response head, a dropped log
/// line). Nothing is ever written past `capacity`. The region must outlive the sink, as with
/// `ByteView`.
@safe
public struct ByteSink {
  @usableFromInline let base: UnsafeMutablePointer<UInt8>
  public let capacity: Int
  @usableFromInline var written = 0
  @usableFromInline var hasOverflowed = false

  @inlinable @inline(__always)
  public var count: Int { written }
  @inlinable @inline(__always)
  public var overflowed: Bool { hasOverflowed }

  @unsafe
  public init(base: UnsafeMutablePointer<UInt8>, capacity: Int) {
    unsafe self.base = base
    self.capacity = capacity
  }

  /// What has been written so far.
  public var view: ByteView { unsafe ByteView(base: base, count: written) }

  public mutating func removeAll() {
    written = 0
    hasOverflowed = false
  }

  /// Back to an earlier `count`; forgets an overflow that came after it.
  public mutating func truncate(to length: Int) {
    precondition(length >= 0 && length <= written)
    written = length
    hasOverflowed = false
  }

  @inlinable @inline(__always)
  public mutating func append(_ bytes: ByteView) {
    guard reserve(bytes.count) else { return }
    unsafe memcpy(base + written, bytes.pointer, bytes.count)
    written += bytes.count
  }

  @inlinable @inline(__always)
  public mutating func append(_ literal: StaticString) {
    let length = literal.utf8CodeUnitCount
    guard reserve(length) else { return }
    unsafe memcpy(base + written, literal.utf8Start, length)
    written += length
  }

  @inlinable @inline(__always)
  public mutating func append(byte: UInt8) {
    guard reserve(1) else { return }
    unsafe base[written] = byte
    written += 1
  }

  /// Off the data path, or for strings made when the configuration was compiled.
  public mutating func append(string: String) {
    var copy = string
    copy.withUTF8 { unsafe append(ByteView($0)) }
  }

  public mutating func append(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBufferPointer { unsafe append(ByteView($0)) }
  }

  public mutating func append(decimal value: Int) {
    if value < 0 {
      append(byte: UInt8(ascii: "-"))
      append(decimal: value.magnitude)
    } else {
      append(decimal: value.magnitude)
    }
  }

  public mutating func append(decimal value: UInt) {
    guard value >= 10 else { return append(byte: UInt8(ascii: "0") + UInt8(value)) }
    var digits = 2
    var rest = value / 100
    while rest > 0 {
      digits += 1
      rest /= 10
    }
    append(decimal: value, width: digits)
  }

  /// Exactly `width` digits, with leading zeros; higher digits are cut.
  public mutating func append(decimal value: UInt, width: Int) {
    guard reserve(width) else { return }
    var rest = value
    var index = written + width
    while index > written {
      index -= 1
      unsafe base[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    }
    written += width
  }

  /// Lower-case hexadecimal without leading zeros: the size line of a chunk.
  public mutating func append(hex value: UInt) {
    let digits = max(1, (UInt.bitWidth - value.leadingZeroBitCount + 3) / 4)
    append(hex: value, width: digits)
  }

  public mutating func append(hex value: UInt, width: Int) {
    guard reserve(width) else { return }
    let digits = unsafe ASCII.lowerHex.utf8Start
    var rest = value
    var index = written + width
    while index > written {
      index -= 1
      unsafe base[index] = unsafe digits[Int(rest & 15)]
      rest >>= 4
    }
    written += width
  }

  /// 16 digits, eight at a time: each nibble is spread to a byte of its own, and turned into its
  /// digit by one addition for all eight.
  public mutating func append(hex16 value: UInt64) {
    guard reserve(16) else { return }
    let target = unsafe UnsafeMutableRawPointer(base + written)
    unsafe target.storeBytes(
      of: ByteSink.hexDigits(UInt32(truncatingIfNeeded: value >> 32)).bigEndian, as: UInt64.self)
    unsafe target.storeBytes(
      of: ByteSink.hexDigits(UInt32(truncatingIfNeeded: value)).bigEndian, toByteOffset: 8,
      as: UInt64.self)
    written += 16
  }

  private static func hexDigits(_ value: UInt32) -> UInt64 {
    var spread = UInt64(value)
    spread = (spread << 16 | spread) & 0x0000_FFFF_0000_FFFF
    spread = (spread << 8 | spread) & 0x00FF_00FF_00FF_00FF
    spread = (spread << 4 | spread) & 0x0F0F_0F0F_0F0F_0F0F
    // A nibble above 9 has bit 4 set after adding 6.
    let letters = (spread &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
    return spread &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
  }

  /// Lets a C kernel write at the end: `body` gets the place and the room there, and returns how
  /// much it wrote, or `nil` where it did not fit.
  @unsafe
  @inlinable @inline(__always)
  public mutating func write(_ body: (UnsafeMutablePointer<UInt8>, Int) -> Int?) {
    guard let length = unsafe body(base + written, capacity - written) else {
      hasOverflowed = true
      return
    }
    precondition(length >= 0 && length <= capacity - written)
    written += length
  }

  @inlinable @inline(__always)
  mutating func reserve(_ length: Int) -> Bool {
    if length <= capacity - written { return true }
    hasOverflowed = true
    return false
  }
}
