import CLinux
import Glibc
import Primitives

/// Where log lines are put together.
///
/// Room is checked once for a line (`AccessLogBatch` computes an upper bound of its length), so
/// that the dozens of small appends that make it need no check of their own; each still asserts
/// its room in debug builds. The buffer owns its memory and never lends more of it than the lines
/// it holds.
@safe
struct LineBuffer: ~Copyable {
  /// Twice the longest line of a request within the default limits: a head of 16 KiB, each octet
  /// escaped with six. Memory that no line has reached is never touched.
  static var capacity: Int { 256 * 1024 }
  /// Whole vectors are written, of which only a part may count.
  private static var slack: Int { 64 }

  private let base: UnsafeMutablePointer<UInt8>
  private(set) var count = 0
  /// High bits that were set by an octet that may not stand in a line as it is: found in words,
  /// and found in vectors.
  private var suspects: UInt64 = 0
  private var vectorSuspects = SIMD16<UInt8>(repeating: 0)

  init() {
    unsafe base = .allocate(capacity: LineBuffer.capacity + LineBuffer.slack)
  }

  deinit { unsafe base.deallocate() }

  var view: ByteView { unsafe ByteView(base: base, count: count) }

  @inline(__always)
  mutating func removeAll() {
    truncate(to: 0)
  }

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

  /// A text that needs no escapes.
  @inline(__always)
  mutating func append(prepared text: ByteView) {
    assertRoom(text.count)
    unsafe weir_copy(base + count, text.pointer, text.count)
    count &+= text.count
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
  mutating func append(decimal number: Int) {
    assertRoom(21)
    if number < 0 { append(byte: UInt8(ascii: "-")) }
    count &+= unsafe weir_write_decimal(base + count, UInt64(number.magnitude))
  }

  /// Exactly three digits; 0–999.
  @inline(__always)
  mutating func append(thousandths value: Int) {
    assertRoom(3)
    count &+= unsafe weir_write_entry(base + count, Int(1000 + value.magnitude % 1000))
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
    assertRoom(16)
    count &+= unsafe weir_write_ipv4(base + count, address.v4)
  }

  // MARK: Text

  /// Whether a text appended since the last `truncate` or `removeAll` holds an octet that needs
  /// an escape: a control below 0x20, a quote, a backslash, or anything above 0x7F.
  @inline(__always)
  var isSuspect: Bool {
    let words = unsafe unsafeBitCast(vectorSuspects, to: SIMD2<UInt64>.self)
    return (suspects | words.x | words.y) & 0x8080_8080_8080_8080 != 0
  }

  /// Copies the text as it is, and notes in `isSuspect` whether it may stay so.
  ///
  /// Not inlined: a line has thirteen texts, and their copies of this would fill a third of the
  /// instruction cache.
  @inline(never)
  mutating func appendUnescaped(_ text: ByteView) {
    let length = text.count
    assertRoom(length)
    let source = unsafe UnsafeRawPointer(text.pointer)
    let target = unsafe UnsafeMutableRawPointer(base + count)
    count &+= length
    if length >= 16 {
      typealias Octets = SIMD16<UInt8>
      // The last sixteen first; the loop does some of them again.
      let last = unsafe source.loadUnaligned(fromByteOffset: length &- 16, as: Octets.self)
      unsafe target.storeBytes(of: last, toByteOffset: length &- 16, as: Octets.self)
      var found = vectorSuspects | LineBuffer.suspects(last)
      var offset = 0
      while offset < length &- 16 {
        let octets = unsafe source.loadUnaligned(fromByteOffset: offset, as: Octets.self)
        unsafe target.storeBytes(of: octets, toByteOffset: offset, as: Octets.self)
        found |= LineBuffer.suspects(octets)
        offset &+= 16
      }
      vectorSuspects = found
    } else if length >= 8 {
      let first = unsafe source.loadUnaligned(as: UInt64.self)
      let last = unsafe source.loadUnaligned(fromByteOffset: length &- 8, as: UInt64.self)
      unsafe target.storeBytes(of: first, as: UInt64.self)
      unsafe target.storeBytes(of: last, toByteOffset: length &- 8, as: UInt64.self)
      suspects |= LineBuffer.suspects(first) | LineBuffer.suspects(last)
    } else if length >= 4 {
      let first = unsafe source.loadUnaligned(as: UInt32.self)
      let last = unsafe source.loadUnaligned(fromByteOffset: length &- 4, as: UInt32.self)
      unsafe target.storeBytes(of: first, as: UInt32.self)
      unsafe target.storeBytes(of: last, toByteOffset: length &- 4, as: UInt32.self)
      suspects |= LineBuffer.suspects(UInt64(first) << 32 | UInt64(last))
    } else if length > 0 {
      // One to three octets: the first, the middle one and the last, some of them the same.
      let first = unsafe source.load(as: UInt8.self)
      let middle = unsafe source.load(fromByteOffset: length >> 1, as: UInt8.self)
      let last = unsafe source.load(fromByteOffset: length &- 1, as: UInt8.self)
      unsafe target.storeBytes(of: first, as: UInt8.self)
      unsafe target.storeBytes(of: middle, toByteOffset: length >> 1, as: UInt8.self)
      unsafe target.storeBytes(of: last, toByteOffset: length &- 1, as: UInt8.self)
      let octets = UInt64(first) | UInt64(middle) << 8 | UInt64(last) << 16
      suspects |= LineBuffer.suspects(octets | 0x3030_3030_3000_0000)
    }
  }

  // Where an octet is below 0x80, subtracting sets its high bit if it was less; flipping bit 1
  // first brings the quote next to the controls (0x20), so one subtraction finds both. In
  // words a borrow can mark the octet above a suspect too, which does no harm.

  @inline(__always)
  private static func suspects(_ octets: SIMD16<UInt8>) -> SIMD16<UInt8> {
    let low = (octets ^ SIMD16(repeating: 2)) &- SIMD16(repeating: 0x21)
    let backslashes = (octets ^ SIMD16(repeating: 0x5C)) &- SIMD16(repeating: 1)
    return octets | low | backslashes
  }

  @inline(__always)
  private static func suspects(_ octets: UInt64) -> UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let low = (octets ^ 0x0202_0202_0202_0202) &- 0x2121_2121_2121_2121
    return octets | low | ((octets ^ 0x5C5C_5C5C_5C5C_5C5C) &- ones)
  }

  @inline(__always)
  mutating func truncate(to length: Int) {
    assert(length <= count)
    count = length
    suspects = 0
    vectorSuspects = SIMD16(repeating: 0)
  }
}
