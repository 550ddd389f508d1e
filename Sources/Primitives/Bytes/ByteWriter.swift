import CLinux
import Glibc

/// Bytes being written into room that was asked for once: what `ByteSink.write(within:)` lends.
///
/// A head is made of dozens of short pieces, and asking for room before each costs as much as
/// writing it. The caller names an upper bound instead. Each append asserts it in debug builds, and
/// `ByteSink` traps in all builds where it was passed.
@safe
public struct ByteWriter: ~Copyable {
  /// The widest store of a kernel, of which only a part may count.
  @usableFromInline static var slack: Int { 32 }

  @usableFromInline var next: UnsafeMutablePointer<UInt8>
  @usableFromInline let end: UnsafeMutablePointer<UInt8>

  @inlinable @inline(__always)
  init(from start: UnsafeMutablePointer<UInt8>, to end: UnsafeMutablePointer<UInt8>) {
    unsafe next = start
    unsafe self.end = end
  }

  @inlinable @inline(__always)
  func assertRoom(_ length: Int) {
    unsafe assert(length <= end - next, "the bound of what is written is wrong")
  }

  @inlinable @inline(__always)
  public mutating func append(_ bytes: ByteView) {
    assertRoom(bytes.count)
    unsafe weir_copy(next, bytes.pointer, bytes.count)
    unsafe next += bytes.count
  }

  @inlinable @inline(__always)
  public mutating func append(_ literal: StaticString) {
    let length = literal.utf8CodeUnitCount
    assertRoom(length)
    unsafe memcpy(next, literal.utf8Start, length)
    unsafe next += length
  }

  @inlinable @inline(__always)
  public mutating func append(byte: UInt8) {
    assertRoom(1)
    unsafe next.pointee = byte
    unsafe next += 1
  }

  /// At most 20 octets.
  @inlinable @inline(__always)
  public mutating func append(decimal value: UInt) {
    assertRoom(20)
    unsafe next += weir_write_decimal(next, UInt64(value))
  }

  /// A number that is rarely negative: at most 20 octets.
  @inlinable @inline(__always)
  public mutating func append(decimal value: Int) {
    if value < 0 { append(byte: UInt8(ascii: "-")) }
    append(decimal: value.magnitude)
  }

  /// Exactly three digits; 0–999.
  @inlinable @inline(__always)
  public mutating func append(thousandths value: Int) {
    precondition(UInt(bitPattern: value) < 1000, "no number of three digits")
    assertRoom(3)
    unsafe next += weir_write_entry(next, 1000 &+ value)
  }

  /// The 32 octets of a prepared text, of which `length` count.
  @inlinable @inline(__always)
  public mutating func append(_ text: InlineArray<4, UInt64>, length: Int) {
    assertRoom(length)
    unsafe UnsafeMutableRawPointer(next).storeBytes(of: text, as: InlineArray<4, UInt64>.self)
    unsafe next += length
  }

  /// Copies a text as it is. Not zero where it may not stay so in a log line: it has a control
  /// below 0x20, a quote, a backslash, or anything above 0x7F.
  @inlinable @inline(__always)
  public mutating func append(plain text: ByteView) -> UInt32 {
    assertRoom(text.count)
    let odd = unsafe weir_copy_plain(next, text.pointer, text.count)
    unsafe next += text.count
    return odd
  }

  /// Sixteen small digits.
  @inlinable @inline(__always)
  public mutating func append(hex16 value: UInt64) {
    assertRoom(16)
    unsafe weir_write_hex16(next, value)
    unsafe next += 16
  }

  /// As `ByteSink` writes it: at most 45 octets.
  @inlinable @inline(__always)
  public mutating func append(_ address: IPAddress) {
    assertRoom(45)
    if address.isV4 {
      unsafe next += weir_write_ipv4(next, address.v4)
    } else {
      appendV6(address)
    }
  }

  @usableFromInline
  mutating func appendV6(_ address: IPAddress) {
    var sink = unsafe ByteSink(base: next, capacity: 45)
    sink.append(address)
    unsafe next += sink.count
  }
}

extension ByteSink {
  /// Lends room for `bound` octets, which `body` must not exceed; where there is not so much, the
  /// sink has overflowed and `body` is not called.
  @inlinable @inline(__always)
  public mutating func write(within bound: Int, _ body: (inout ByteWriter) -> Void) {
    guard reserve(bound &+ ByteWriter.slack) else { return }
    var writer = unsafe ByteWriter(
      from: base + written, to: base + written + bound)
    body(&writer)
    let length = unsafe writer.next - (base + written)
    precondition(length <= bound, "more was written than there was room for")
    written &+= length
  }
}
