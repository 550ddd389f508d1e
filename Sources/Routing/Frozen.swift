/// A table that is written once and then only read.
///
/// Route tables are read by every worker on every request; an array there would cost a reference
/// count shared by all processors. The elements are plain values, so a pointer serves.
///
/// Why the uses are safe: the memory is filled in `init` and never written again (so it may be
/// read from any thread: hence `@unchecked Sendable`), every access is bounds checked, and the
/// only owner, `RouteTable`, frees it in its `deinit`.
struct Frozen<Element: BitwiseCopyable>: @unchecked Sendable {
  private let base: UnsafeMutablePointer<Element>
  let count: Int

  init(_ elements: [Element]) {
    base = .allocate(capacity: max(elements.count, 1))
    count = elements.count
    elements.withUnsafeBufferPointer { source in
      if let first = source.baseAddress { base.initialize(from: first, count: source.count) }
    }
  }

  @inline(__always)
  subscript(_ index: Int) -> Element {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "table index out of bounds")
    return base[index]
  }

  /// The bytes from `start` on, for comparing; `length` of them must be inside the table.
  @inline(__always)
  func address(_ start: Int, _ length: Int) -> UnsafePointer<Element> {
    precondition(start >= 0 && length >= 0 && start <= count - length)
    return UnsafePointer(base + start)
  }

  /// Called by the owner, once, after the last use.
  func deallocate() { base.deallocate() }
}

/// A run of consecutive entries of a table.
struct Span32: BitwiseCopyable {
  var start: UInt32
  var count: UInt32

  static let empty = Span32(start: 0, count: 0)
  var isEmpty: Bool { count == 0 }
  var indices: Range<Int> { Int(start)..<(Int(start) + Int(count)) }
}
