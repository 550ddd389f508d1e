import CLinux
import Primitives

/// One field line: offsets into the head it was parsed from.
public struct Field: BitwiseCopyable, Sendable {
  @usableFromInline let line: weir_field

  public init(
    name: FieldName, nameRange: ByteRange, valueRange: ByteRange, lineRange: ByteRange
  ) {
    line = weir_field(
      start: nameRange.start, name_end: nameRange.end, value_start: valueRange.start,
      value_end: valueRange.end, end: lineRange.end, name: name.rawValue)
  }

  @inlinable @inline(__always)
  init(_ line: weir_field) { self.line = line }

  @inlinable @inline(__always)
  public var name: FieldName { FieldName(number: line.name) }
  /// The line begins with its name.
  @inlinable @inline(__always)
  public var nameRange: ByteRange { ByteRange(Int(line.start), Int(line.name_end)) }
  /// Without the white space around it.
  @inlinable @inline(__always)
  public var valueRange: ByteRange { ByteRange(Int(line.value_start), Int(line.value_end)) }
  /// The whole line with its CRLF, so that runs of untouched lines are forwarded by one copy.
  @inlinable @inline(__always)
  public var lineRange: ByteRange { ByteRange(Int(line.start), Int(line.end)) }
}

/// The field lines of one head, in the order received.
///
/// Storage is allocated once (a worker keeps one table per direction and parses every head into
/// it), so a request allocates nothing. Known names are found without any scan: a bit set tells
/// whether they are there, and a table where.
@safe
public struct Fields: ~Copyable {
  /// The most lines any configuration may allow (`max-header-fields`).
  @inlinable
  public static var hardLimit: Int { 256 }
  /// Numbers of names are below this, as bits of a word.
  private static let names = 64

  @usableFromInline let table: UnsafeMutablePointer<weir_field_table>

  /// An unknown name has an underscore in it.
  @inlinable @inline(__always)
  public var hasUnderscores: Bool { unsafe table.pointee.has_underscore != 0 }

  /// The known names that occur.
  @inlinable @inline(__always)
  public var present: FieldSet { unsafe FieldSet(rawValue: table.pointee.present) }

  /// By the number of a name: the last of its lines.
  @inlinable @inline(__always)
  var lineOf: UnsafeMutablePointer<UInt8> {
    unsafe UnsafeMutableRawPointer(table.pointee.fields + Fields.hardLimit)
      .assumingMemoryBound(to: UInt8.self)
  }

  @inlinable @inline(__always)
  public var count: Int { unsafe Int(table.pointee.count) }

  public init() {
    unsafe table = .allocate(capacity: 1)
    unsafe table.initialize(to: weir_field_table())
    // Behind the lines, a place for each name.
    let stride = MemoryLayout<weir_field>.stride
    let bytes = Fields.hardLimit * stride + Fields.names
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
    unsafe table.pointee.fields = memory.bindMemory(
      to: weir_field.self, capacity: Fields.hardLimit)
  }

  deinit {
    unsafe UnsafeMutableRawPointer(table.pointee.fields).deallocate()
    unsafe table.deallocate()
  }

  @inlinable @inline(__always)
  public subscript(_ index: Int) -> Field {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "field index out of bounds")
    return unsafe Field(table.pointee.fields[index])
  }

  @inlinable @inline(__always)
  public mutating func removeAll() {
    unsafe table.pointee.count = 0
    unsafe table.pointee.present = 0
    unsafe table.pointee.repeated = 0
    unsafe table.pointee.has_underscore = 0
  }

  /// What `scan` found out about a section.
  public enum ScanOutcome: UInt32, Sendable {
    case complete, partial, bareCR, badName, badValue, longLine, tooMany
  }

  /// Fills the table with the lines of the section that begins at `start`, up to and including
  /// its blank line; `end` is behind that where the outcome is `.complete`.
  ///
  /// At most `maxFields` lines (and never more than `hardLimit`) of at most `maxFieldBytes` octets
  /// without their CRLF. Nothing is accepted that RFC 9112 §5 does not allow.
  @inlinable @inline(__always)
  public mutating func scan(
    _ bytes: ByteView, from start: Int, maxFields: Int, maxFieldBytes: Int
  ) -> (outcome: ScanOutcome, end: Int) {
    precondition(start >= 0 && start <= bytes.count && bytes.count < Int(UInt32.max))
    let section = unsafe weir_scan_fields(
      table, bytes.pointer, UInt32(truncatingIfNeeded: start),
      UInt32(truncatingIfNeeded: bytes.count), UInt32(min(maxFields, Fields.hardLimit)),
      UInt32(clamping: maxFieldBytes))
    guard let outcome = ScanOutcome(rawValue: section.outcome) else {
      preconditionFailure("an outcome of the scanner is not known here")
    }
    return (outcome, Int(section.end))
  }

  /// Copies the lines except those named by `dropping` or marked in `mask` into `sink`; runs of
  /// untouched lines go in one copy each. `head`: the bytes the table was parsed from.
  @inlinable @inline(__always)
  public func copy(
    of head: ByteView, dropping: FieldSet, mask: borrowing FieldMask, to sink: inout ByteSink
  ) {
    precondition(count == 0 || Int(self[count - 1].lineRange.end) <= head.count)
    unsafe mask.words.span.withUnsafeBufferPointer { mask in
      unsafe sink.write { target, room in
        let written = unsafe weir_copy_fields(
          table, head.pointer, dropping.rawValue, mask.baseAddress, target, room)
        return written == Int(bitPattern: UInt.max) ? nil : written
      }
    }
  }

  /// False where the table is full. The line begins where the one before it ended.
  public mutating func append(_ field: Field) -> Bool {
    let index = count
    guard index < Fields.hardLimit else { return false }
    unsafe table.pointee.fields[index] = field.line
    unsafe lineOf[Int(field.name.rawValue)] = UInt8(index)
    unsafe table.pointee.repeated |= table.pointee.present & field.name.bit
    unsafe table.pointee.present |= field.name.bit
    unsafe table.pointee.count += 1
    return true
  }

  @inlinable @inline(__always)
  public func contains(_ name: FieldName) -> Bool { unsafe table.pointee.present & name.bit != 0 }

  /// There is more than one line with this known name.
  @inlinable @inline(__always)
  public func hasSeveral(_ name: FieldName) -> Bool {
    unsafe table.pointee.present & table.pointee.repeated & name.bit != 0
  }

  /// Index of the first line at or after `start` with this known name, or `nil`; without a search
  /// unless there are several.
  @inlinable @inline(__always)
  public func firstIndex(of name: FieldName, from start: Int = 0) -> Int? {
    guard contains(name) else { return nil }
    if hasSeveral(name) { return search(name, from: start) }
    let index = unsafe Int(lineOf[Int(name.rawValue)])
    return index >= start ? index : nil
  }

  @usableFromInline
  func search(_ name: FieldName, from start: Int) -> Int? {
    var index = start
    while index < count {
      if unsafe table.pointee.fields[index].name == name.rawValue { return index }
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
