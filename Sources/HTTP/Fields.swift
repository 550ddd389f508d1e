import CLinux
import Primitives

/// One field line: offsets into the head it was parsed from.
public struct Field: BitwiseCopyable, Sendable {
  public var name: FieldName
  /// The line begins with its name.
  let start: UInt32
  let nameEnd: UInt32
  let valueStart: UInt32
  let valueEnd: UInt32
  let end: UInt32

  public init(
    name: FieldName, nameRange: ByteRange, valueRange: ByteRange, lineRange: ByteRange
  ) {
    self.name = name
    start = nameRange.start
    nameEnd = nameRange.end
    valueStart = valueRange.start
    valueEnd = valueRange.end
    end = lineRange.end
  }

  /// From a scanned line that ends with CRLF.
  @inline(__always)
  public init(_ name: FieldName, start: Int, _ line: weir_field_line) {
    self.name = name
    self.start = UInt32(truncatingIfNeeded: start)
    nameEnd = line.name_end
    valueStart = line.value_start
    valueEnd = line.value_end
    end = line.line_end &+ 2
  }

  @inline(__always)
  public var nameRange: ByteRange { ByteRange(Int(start), Int(nameEnd)) }
  /// Without the white space around it.
  @inline(__always)
  public var valueRange: ByteRange { ByteRange(Int(valueStart), Int(valueEnd)) }
  /// The whole line with its CRLF, so that runs of untouched lines are forwarded by one copy.
  @inline(__always)
  public var lineRange: ByteRange { ByteRange(Int(start), Int(end)) }
}

/// The field lines of one head, in the order received.
///
/// Storage is allocated once (a worker keeps one table per direction and parses every head into
/// it), so a request allocates nothing. Known names are found through a bit set before any scan.
@safe
public struct Fields: ~Copyable {
  /// The most lines any configuration may allow (`max-header-fields`).
  public static let hardLimit = 256

  @usableFromInline let storage: UnsafeMutablePointer<Field>
  @usableFromInline var used = 0
  /// Bit n: a field whose `FieldName` has raw value n is present.
  @usableFromInline var presentBits: UInt64 = 0

  /// The known names that occur.
  @inlinable @inline(__always)
  public var present: FieldSet { FieldSet(rawValue: presentBits) }

  @inlinable @inline(__always)
  public var count: Int { used }

  public init() { unsafe storage = .allocate(capacity: Fields.hardLimit) }

  deinit { unsafe storage.deallocate() }

  @inlinable @inline(__always)
  public subscript(_ index: Int) -> Field {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "field index out of bounds")
    return unsafe storage[index]
  }

  public mutating func removeAll() {
    used = 0
    presentBits = 0
  }

  /// False where the table is full.
  @inlinable @inline(__always)
  public mutating func append(_ field: Field) -> Bool {
    guard used < Fields.hardLimit else { return false }
    unsafe storage[used] = field
    used += 1
    presentBits |= field.name.bit
    return true
  }

  @inlinable @inline(__always)
  public func contains(_ name: FieldName) -> Bool { presentBits & name.bit != 0 }

  /// Index of the first line at or after `start` with this known name, or `nil`.
  @inlinable @inline(__always)
  public func firstIndex(of name: FieldName, from start: Int = 0) -> Int? {
    guard contains(name) else { return nil }
    var index = start
    while index < count {
      if unsafe storage[index].name == name { return index }
      index += 1
    }
    return nil
  }

  /// Index of the first line at or after `start` with this name, known or not; `lowercased` is in
  /// lower case, `head` the bytes the table was parsed from.
  public func firstIndex(
    named lowercased: ByteView, in head: ByteView, from start: Int = 0
  ) -> Int? {
    var index = start
    while index < count {
      if head.slice(self[index].nameRange).equalsIgnoringCase(lowercased) { return index }
      index += 1
    }
    return nil
  }
}
