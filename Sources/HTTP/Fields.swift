import Primitives

/// One field line: offsets into the head it was parsed from.
public struct Field: BitwiseCopyable, Sendable {
  public var name: FieldName
  public var nameRange: ByteRange
  /// Without the white space around it.
  public var valueRange: ByteRange
  /// The whole line with its CRLF, so that runs of untouched lines are forwarded by one copy.
  public var lineRange: ByteRange

  public init(
    name: FieldName, nameRange: ByteRange, valueRange: ByteRange, lineRange: ByteRange
  ) {
    self.name = name
    self.nameRange = nameRange
    self.valueRange = valueRange
    self.lineRange = lineRange
  }
}

/// The field lines of one head, in the order received.
///
/// Storage is allocated once (a worker keeps one table per direction and parses every head into
/// it), so a request allocates nothing. Known names are found through a bit set before any scan.
@safe
public struct Fields: ~Copyable {
  /// The most lines any configuration may allow (`max-header-fields`).
  public static let hardLimit = 256

  private let storage: UnsafeMutablePointer<Field>
  public private(set) var count = 0
  /// Bit n: a field whose `FieldName` has raw value n is present.
  private var present: UInt64 = 0

  public init() { unsafe storage = .allocate(capacity: Fields.hardLimit) }

  deinit { unsafe storage.deallocate() }

  @inline(__always)
  public subscript(_ index: Int) -> Field {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "field index out of bounds")
    return unsafe storage[index]
  }

  public mutating func removeAll() {
    count = 0
    present = 0
  }

  /// False where the table is full.
  @inline(__always)
  public mutating func append(_ field: Field) -> Bool {
    guard count < Fields.hardLimit else { return false }
    unsafe storage[count] = field
    count += 1
    present |= field.name.bit
    return true
  }

  @inline(__always)
  public func contains(_ name: FieldName) -> Bool { present & name.bit != 0 }

  /// Index of the first line at or after `start` with this known name, or `nil`.
  @inline(__always)
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
