import CLinux
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
    unsafe weir_copy(base + written, bytes.pointer, bytes.count)
    written &+= bytes.count
  }

  @inlinable @inline(__always)
  public mutating func append(_ literal: StaticString) {
    let length = literal.utf8CodeUnitCount
    guard reserve(length) else { return }
    unsafe memcpy(base + written, literal.utf8Start, length)
    written &+= length
  }

  @inlinable @inline(__always)
  public mutating func append(byte: UInt8) {
    guard reserve(1) else { return }
    unsafe base[written] = byte
    written &+= 1
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

  @inlinable
  public mutating func append(decimal value: UInt) {
    if capacity &- written >= 21 {
      written &+= unsafe weir_write_decimal(base + written, UInt64(value))
    } else {
      append(decimalAtTheEnd: value)
    }
  }

  /// Where a longer number would not fit.
  @usableFromInline
  mutating func append(decimalAtTheEnd value: UInt) {
    var digits = 1
    var rest = value / 10
    while rest > 0 {
      digits += 1
      rest /= 10
    }
    append(decimal: value, width: digits)
  }

  /// An IPv4 address in host byte order.
  @inlinable
  mutating func append(quad address: UInt32) {
    if capacity &- written >= 16 {
      written &+= unsafe weir_write_ipv4(base + written, address)
      return
    }
    for shift: UInt32 in [24, 16, 8, 0] {
      append(decimal: UInt(address >> shift & 255))
      if shift > 0 { append(byte: UInt8(ascii: ".")) }
    }
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

  /// Sixteen small digits.
  @inlinable
  public mutating func append(hex16 value: UInt64) {
    guard reserve(16) else { return }
    unsafe weir_write_hex16(base + written, value)
    written &+= 16
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
    // No difference can overflow: `written` never exceeds `capacity`.
    if length <= capacity &- written { return true }
    hasOverflowed = true
    return false
  }
}
