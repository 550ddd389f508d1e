import Glibc
import Primitives

/// Where one log line is put together.
///
/// Room is checked once for a line (`AccessLogFormat` computes an upper bound of its length), so
/// that the dozens of small appends that make it need no check of their own; each still asserts
/// its room in debug builds. The buffer owns its memory and never hands out more of it than the
/// line it holds.
@safe
struct LineBuffer: ~Copyable {
  /// Six times the default limit of a request head, the most that escaping makes of it, and the
  /// fixed parts. Memory that no line has reached is never touched.
  static var capacity: Int { 128 * 1024 }
  /// The longest thing appended at once, beyond its own length, is a whole vector.
  private static var slack: Int { 64 }

  private let base: UnsafeMutablePointer<UInt8>
  private(set) var count = 0

  init() { unsafe base = .allocate(capacity: LineBuffer.capacity + LineBuffer.slack) }

  deinit { unsafe base.deallocate() }

  var view: ByteView { unsafe ByteView(base: base, count: count) }

  @inline(__always)
  mutating func removeAll() { count = 0 }

  @inline(__always)
  private func assertRoom(_ length: Int) {
    assert(count + length <= LineBuffer.capacity, "the bound of the line's length is wrong")
  }

  @inline(__always)
  mutating func append(byte: UInt8) {
    assertRoom(1)
    unsafe base[count] = byte
    count &+= 1
  }

  @inline(__always)
  mutating func append(_ literal: StaticString) {
    let length = literal.utf8CodeUnitCount
    assertRoom(length)
    unsafe memcpy(base + count, literal.utf8Start, length)
    count &+= length
  }

  /// The 32 octets of a prepared text, of which `length` count.
  @inline(__always)
  mutating func append(_ text: InlineArray<4, UInt64>, length: Int) {
    assertRoom(length)
    unsafe UnsafeMutableRawPointer(base + count).storeBytes(
      of: text, as: InlineArray<4, UInt64>.self)
    count &+= length
  }

  // MARK: Numbers

  @inline(__always)
  private mutating func append(pair value: UInt) {
    unsafe base[count] = UInt8(truncatingIfNeeded: 0x30 &+ value / 10)
    unsafe base[count &+ 1] = UInt8(truncatingIfNeeded: 0x30 &+ value % 10)
    count &+= 2
  }

  @inline(__always)
  mutating func append(decimal number: Int) {
    if number < 0 { append(byte: UInt8(ascii: "-")) }
    let value = number.magnitude
    assertRoom(20)
    if value < 10 {
      append(byte: UInt8(truncatingIfNeeded: 0x30 &+ value))
    } else if value < 100 {
      append(pair: value)
    } else if value < 1000 {
      append(byte: UInt8(truncatingIfNeeded: 0x30 &+ value / 100))
      append(pair: value % 100)
    } else {
      appendLong(value)
    }
  }

  private mutating func appendLong(_ value: UInt) {
    if value < 10_000 {
      append(pair: value / 100)
      append(pair: value % 100)
      return
    }
    // The leading digits first; what follows has four digits each time.
    let rest = value % 10_000
    append(decimal: Int(value / 10_000))
    append(pair: rest / 100)
    append(pair: rest % 100)
  }

  /// Exactly three digits; 0–999.
  @inline(__always)
  mutating func append(thousandths value: Int) {
    let value = value.magnitude % 1000
    assertRoom(3)
    append(byte: UInt8(truncatingIfNeeded: 0x30 &+ value / 100))
    append(pair: value % 100)
  }

  mutating func append(_ address: IPAddress) {
    guard address.isV4 else {
      var text = InlineArray<48, UInt8>(repeating: 0)
      var span = text.mutableSpan
      let length = unsafe span.withUnsafeMutableBufferPointer { bytes in
        guard let start = bytes.baseAddress else { return 0 }
        var sink = unsafe ByteSink(base: start, capacity: bytes.count)
        sink.append(address)
        return sink.count
      }
      assertRoom(length)
      for index in 0..<length { append(byte: text[index]) }
      return
    }
    let value = address.v4
    append(decimal: Int(value >> 24))
    append(byte: UInt8(ascii: "."))
    append(decimal: Int(value >> 16 & 255))
    append(byte: UInt8(ascii: "."))
    append(decimal: Int(value >> 8 & 255))
    append(byte: UInt8(ascii: "."))
    append(decimal: Int(value & 255))
  }

  // MARK: Text

  /// Copies the text as it is and tells whether all of it is printable or at least harmless: no
  /// control below 0x20, no quote, no backslash, nothing above 0x7E but DEL. Where it is not, the
  /// copy has to be undone (`truncate`) and made again with escapes.
  ///
  /// Sixteen octets at a time by word arithmetic: with all high bits clear, subtracting sets an
  /// octet's high bit exactly where it was less, or where a lower octet borrowed from it, which
  /// then was less itself. So the sum of all tests is right, though not which octet it was.
  @inline(__always)
  mutating func appendClean(_ text: ByteView) -> Bool {
    let length = text.count
    assertRoom(length)
    let source = unsafe UnsafeRawPointer(text.pointer)
    let target = unsafe UnsafeMutableRawPointer(base + count)
    count &+= length
    if length >= 16 {
      typealias Pair = SIMD2<UInt64>
      var suspect = Pair(repeating: 0)
      var offset = 0
      repeat {
        let octets = unsafe source.loadUnaligned(fromByteOffset: offset, as: Pair.self)
        unsafe target.storeBytes(of: octets, toByteOffset: offset, as: Pair.self)
        suspect |= LineBuffer.suspects(octets)
        offset &+= 16
      } while offset <= length &- 16
      if offset < length {
        // The last sixteen, some of them again.
        offset = length &- 16
        let octets = unsafe source.loadUnaligned(fromByteOffset: offset, as: Pair.self)
        unsafe target.storeBytes(of: octets, toByteOffset: offset, as: Pair.self)
        suspect |= LineBuffer.suspects(octets)
      }
      return (suspect.x | suspect.y) & 0x8080_8080_8080_8080 == 0
    }
    if length >= 8 {
      let first = unsafe source.loadUnaligned(as: UInt64.self)
      let last = unsafe source.loadUnaligned(fromByteOffset: length &- 8, as: UInt64.self)
      unsafe target.storeBytes(of: first, as: UInt64.self)
      unsafe target.storeBytes(of: last, toByteOffset: length &- 8, as: UInt64.self)
      let suspect = LineBuffer.suspects(first) | LineBuffer.suspects(last)
      return suspect & 0x8080_8080_8080_8080 == 0
    }
    var clean = true
    for index in 0..<length {
      let octet = unsafe source.load(fromByteOffset: index, as: UInt8.self)
      unsafe target.storeBytes(of: octet, toByteOffset: index, as: UInt8.self)
      if octet < 0x20 || octet >= 0x80 || octet == 0x22 || octet == 0x5C { clean = false }
    }
    return clean
  }

  @inline(__always)
  private static func suspects(_ octets: SIMD2<UInt64>) -> SIMD2<UInt64> {
    let quotes = octets ^ SIMD2(repeating: 0x2222_2222_2222_2222)
    let backslashes = octets ^ SIMD2(repeating: 0x5C5C_5C5C_5C5C_5C5C)
    let ones = SIMD2<UInt64>(repeating: 0x0101_0101_0101_0101)
    let controls = octets &- SIMD2(repeating: 0x2020_2020_2020_2020)
    return octets | controls | (quotes &- ones) | (backslashes &- ones)
  }

  @inline(__always)
  private static func suspects(_ octets: UInt64) -> UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    return octets | (octets &- 0x2020_2020_2020_2020)
      | ((octets ^ 0x2222_2222_2222_2222) &- ones) | ((octets ^ 0x5C5C_5C5C_5C5C_5C5C) &- ones)
  }

  @inline(__always)
  mutating func truncate(to length: Int) {
    assert(length <= count)
    count = length
  }
}
