import CLinux
import Glibc

/// A half-open range of byte offsets into some head or buffer, small enough for tables.
public struct ByteRange: Sendable, Hashable, BitwiseCopyable {
  public var start: UInt32
  public var end: UInt32

  @inlinable @inline(__always)
  public init(_ start: Int, _ end: Int) {
    self.start = UInt32(truncatingIfNeeded: start)
    self.end = UInt32(truncatingIfNeeded: end)
  }

  @inlinable
  public static var empty: ByteRange { ByteRange(0, 0) }
  public var count: Int { Int(end) - Int(start) }
  public var isEmpty: Bool { end == start }
}

/// Bytes that somebody else owns: a head in a connection's buffer, a part of a string, a test
/// array.
///
/// Every access is bounds checked, in release builds too: a wrong index traps, it never reads a
/// neighbour's bytes. What the type cannot check is lifetime: a view must not outlive the buffer
/// it was made from. Views are passed down as arguments and dropped before the event that made
/// them ends; what has to live longer is kept as a `ByteRange`.
@safe
public struct ByteView {
  @usableFromInline let base: UnsafeMutablePointer<UInt8>
  public let count: Int

  /// A view of `count` bytes at `base`, which stay valid and unmoved while the view is used.
  @unsafe
  @inline(__always)
  public init(base: UnsafeMutablePointer<UInt8>, count: Int) {
    unsafe self.base = base
    self.count = count
  }

  @unsafe
  public init(_ bytes: UnsafeBufferPointer<UInt8>) {
    self.count = bytes.count
    unsafe self.base =
      bytes.baseAddress.map { unsafe UnsafeMutablePointer(mutating: $0) } ?? ByteView.nowhere
  }

  /// The bytes of a literal, which live as long as the process.
  @inline(__always)
  public init(_ literal: StaticString) {
    self.count = literal.utf8CodeUnitCount
    unsafe self.base = UnsafeMutablePointer(mutating: literal.utf8Start)
  }

  /// An address for views of nothing; never read, because such a view has no valid index.
  private static var nowhere: UnsafeMutablePointer<UInt8> {
    unsafe UnsafeMutablePointer(mutating: ("" as StaticString).utf8Start)
  }

  public static var empty: ByteView { ByteView("") }
  @inline(__always)
  public var isEmpty: Bool { count == 0 }

  /// For C calls and copies inside the unsafe allow-list.
  @unsafe
  public var pointer: UnsafePointer<UInt8> { unsafe UnsafePointer(base) }

  @inline(__always)
  public subscript(_ index: Int) -> UInt8 {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "byte index out of bounds")
    return unsafe base[index]
  }

  /// The bytes from `start` up to `end`.
  @inline(__always)
  public func slice(_ start: Int, _ end: Int) -> ByteView {
    precondition(start >= 0 && start <= end && end <= count, "byte slice out of bounds")
    return unsafe ByteView(base: base + start, count: end - start)
  }

  @inline(__always)
  public func slice(_ range: ByteRange) -> ByteView { slice(Int(range.start), Int(range.end)) }
  @inline(__always)
  public func slice(from start: Int) -> ByteView { slice(start, count) }

  // MARK: Scanning. Each returns the index of the first byte outside the class, or `count`.

  /// First byte at or after `start` that is not a token character (RFC 9110 §5.6.2).
  @inline(__always)
  public func endOfToken(from start: Int) -> Int {
    precondition(start >= 0 && start <= count)
    return unsafe start + weir_scan_token(base + start, count - start)
  }

  /// Where the path ends that begins at `start`: at the first `?`, or at `limit`; and what a path
  /// that is neither encoded nor odd is known by, in one pass over it.
  @inlinable @inline(__always)
  public func scanPath(from start: Int, to limit: Int) -> (end: Int, traits: PathTraits) {
    precondition(start >= 0 && start <= limit && limit <= count, "byte slice out of bounds")
    var traits: UInt32 = 0
    let length = unsafe weir_scan_path(base + start, limit - start, count - start, &traits)
    return (start + length, PathTraits(rawValue: traits))
  }

  /// Length of the name in `name` or `name:port`, where that is in its normal form already: small
  /// letters, digits, hyphens and single dots, none of them at either end. 0 for anything else.
  @inline(__always)
  public var normalHostLength: Int { unsafe weir_normal_host(base, count) }

  /// First byte that a host name in lower case does not have, or `count`.
  @inline(__always)
  public var endOfHostName: Int { unsafe weir_scan_host(base, count) }

  /// First byte at or after `start` that may not stand in a field value (RFC 9110 §5.5): controls
  /// except tab.
  @inline(__always)
  public func endOfFieldValue(from start: Int) -> Int {
    precondition(start >= 0 && start <= count)
    return unsafe start + weir_scan_value(base + start, count - start)
  }

  /// First byte at or after `start` that may not stand in a request target.
  @inline(__always)
  public func endOfTarget(from start: Int) -> Int {
    precondition(start >= 0 && start <= count)
    return unsafe start + weir_scan_target(base + start, count - start)
  }

  /// Index of the first `byte` at or after `start`, or `nil`.
  @inline(__always)
  public func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
    precondition(start >= 0 && start <= count)
    let index = unsafe start + weir_find_byte(base + start, byte, count - start)
    return index == count ? nil : index
  }

  // MARK: Comparing

  /// Whether the bytes are exactly those of `literal`.
  @inline(__always)
  public func equals(_ literal: StaticString) -> Bool {
    count == literal.utf8CodeUnitCount && hasPrefix(literal)
  }

  /// Whether the first bytes are those of `literal`: one comparison of words where it is inlined.
  @inline(__always)
  public func hasPrefix(_ literal: StaticString) -> Bool {
    let length = literal.utf8CodeUnitCount
    return unsafe count >= length && memcmp(base, literal.utf8Start, length) == 0
  }

  public func equals(_ other: ByteView) -> Bool {
    unsafe count == other.count && memcmp(base, other.base, count) == 0
  }

  /// Whether the bytes are those of `literal`, ASCII case ignored; `literal` is lower case.
  @inline(__always)
  public func equalsLowercased(_ literal: StaticString) -> Bool {
    guard count == literal.utf8CodeUnitCount else { return false }
    return unsafe weir_equals_lowercased(base, literal.utf8Start, count) != 0
  }

  /// Equality with ASCII case ignored on both sides.
  public func equalsIgnoringCase(_ other: ByteView) -> Bool {
    guard count == other.count else { return false }
    for index in 0..<count
    where ASCII.lowercased(self[index]) != ASCII.lowercased(other[index]) {
      return false
    }
    return true
  }

  /// The view without spaces and tabs at either end (OWS, RFC 9110 §5.6.3).
  public func trimmed() -> ByteView {
    var start = 0
    var end = count
    while start < end, ASCII.isBlank(self[start]) { start += 1 }
    while end > start, ASCII.isBlank(self[end - 1]) { end -= 1 }
    return slice(start, end)
  }

  // MARK: Converting

  /// Non-negative decimal of 1 to 18 digits and nothing else; `nil` otherwise.
  @inlinable @inline(__always)
  public var decimal: Int? {
    let value = unsafe weir_parse_decimal(base, count)
    return value >= 0 ? Int(value) : nil
  }

  /// The number of exactly three digits that begins at `index`; `nil` where one is no digit.
  @inlinable @inline(__always)
  public func threeDigits(at index: Int) -> Int? {
    let zero = UInt8(ascii: "0")
    let (a, b, c) = (self[index] &- zero, self[index + 1] &- zero, self[index + 2] &- zero)
    guard a < 10, b < 10, c < 10 else { return nil }
    return Int(a) * 100 + Int(b) * 10 + Int(c)
  }

  /// ASCII capitals become small letters in the underlying buffer: names of hosts are compared,
  /// routed and forwarded in one form (safety rule 12).
  public func lowercaseInPlace() {
    unsafe weir_lowercase(base, count)
  }

  /// Eight octets from `index` on, the first one foremost.
  @inlinable @inline(__always)
  public func bigEndian64(at index: Int) -> UInt64 {
    precondition(index >= 0 && index <= count - 8)
    return unsafe UInt64(
      bigEndian: UnsafeRawPointer(base + index).loadUnaligned(as: UInt64.self))
  }

  /// Makes one octet another, where it stands.
  public func flipLowestBit(at index: Int) {
    precondition(index >= 0 && index < count)
    unsafe base[index] ^= 1
  }

  /// Off the data path only.
  public var string: String {
    unsafe String(decoding: UnsafeBufferPointer(start: base, count: count), as: UTF8.self)
  }

  /// Off the data path only.
  public var array: [UInt8] {
    unsafe [UInt8](UnsafeBufferPointer(start: base, count: count))
  }
}

/// What is to be looked at more closely in a path.
public struct PathTraits: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// A percent sign.
  public static let encoded = PathTraits(rawValue: 1)
  /// Two slashes in a row.
  public static let emptySegment = PathTraits(rawValue: 2)
  /// A dot behind a slash or a semicolon.
  public static let leadingDot = PathTraits(rawValue: 4)
}

extension Array where Element == UInt8 {
  /// Lends the array's bytes to `body`; the view must not leave it.
  public func withByteView<Result, Failure: Error>(
    _ body: (ByteView) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe self.withUnsafeBufferPointer {
      (bytes: UnsafeBufferPointer<UInt8>) throws(Failure) -> Result in
      try unsafe body(ByteView(bytes))
    }
  }
}
