/// Names one record of a slab for as long as that record lives.
///
/// 8 bits kind, 24 bits generation, 32 bits index: the word that epoll, timers and mailboxes carry.
/// A handle whose record has gone resolves to `nil`, never to the record's successor (unless
/// 16,777,216 generations pass while an event is queued).
public struct Handle: Sendable, Hashable, BitwiseCopyable {
  public let raw: UInt64

  @inlinable @inline(__always)
  public init(raw: UInt64) { self.raw = raw }

  public init(kind: UInt8, generation: UInt32, index: UInt32) {
    raw = UInt64(kind) << 56 | UInt64(generation & 0xFF_FFFF) << 32 | UInt64(index)
  }

  /// Resolves to nothing.
  @inlinable
  public static var none: Handle { Handle(raw: 0) }

  public var kind: UInt8 { UInt8(raw >> 56) }
  public var generation: UInt32 { UInt32(truncatingIfNeeded: raw >> 32) & 0xFF_FFFF }
  public var index: UInt32 { UInt32(truncatingIfNeeded: raw) }
}

/// Records at addresses that never move, found by handle in O(1).
///
/// Grown in chunks as needed and never shrunk, up to `limit` records; owned by one thread.
/// Pointers handed out are valid until `remove` of that record. Elements are plain bytes, so
/// nothing has to be destroyed.
@safe
public struct Slab<Element: BitwiseCopyable>: ~Copyable {
  private struct Slot {
    /// Of a record: its handle, so that one comparison tells whether another one is good. Of a free
    /// slot: kind 0, an even generation, and in the place of the index the next free slot.
    var word: UInt64
    var element: Element
  }

  private static var chunkBits: UInt32 { 7 }
  private static var chunkSize: Int { 1 << Int(chunkBits) }

  public let kind: UInt8
  public let limit: Int
  public private(set) var count = 0
  private let chunks: UnsafeMutablePointer<UnsafeMutablePointer<Slot>>
  private var chunkCount = 0
  private var firstFree = UInt32.max
  private var unused: UInt32 = 0

  /// `kind` is 1–255 and marks the slab's handles.
  public init(kind: UInt8, limit: Int) {
    precondition(kind > 0 && limit > 0 && limit < Int(UInt32.max))
    self.kind = kind
    self.limit = limit
    let directory = (limit + Self.chunkSize - 1) >> Int(Self.chunkBits)
    unsafe chunks = .allocate(capacity: directory)
  }

  deinit {
    for index in 0..<chunkCount { unsafe chunks[index].deallocate() }
    unsafe chunks.deallocate()
  }

  /// `nil` where `limit` records live already.
  public mutating func insert(_ element: Element) -> Handle? {
    unsafe withUnsafePointer(to: element) { unsafe insert(copyOf: $0)?.handle }
  }

  /// As `insert`, for a large record that is filled in where it stands, from a template.
  @unsafe
  @inline(__always)
  public mutating func insert(
    copyOf template: UnsafePointer<Element>
  ) -> (handle: Handle, record: UnsafeMutablePointer<Element>)? {
    guard count < limit else { return nil }
    let index: UInt32
    if firstFree != .max {
      index = firstFree
      firstFree = unsafe UInt32(truncatingIfNeeded: slot(index).pointee.word)
    } else {
      index = unused
      unused += 1
      if Int(index) >> Int(Self.chunkBits) == chunkCount { addChunk() }
    }
    let slot = unsafe slot(index)
    let generation = unsafe UInt32(truncatingIfNeeded: slot.pointee.word >> 32)
    let handle = Handle(kind: kind, generation: generation &+ 1, index: index)
    unsafe slot.pointee.word = handle.raw
    let record = unsafe elementPointer(slot)
    unsafe UnsafeMutableRawPointer(record).copyMemory(
      from: template, byteCount: MemoryLayout<Element>.size)
    count &+= 1
    return unsafe (handle, record)
  }

  /// The record, or `nil` where it has been removed or the handle is of another slab.
  @unsafe
  @inline(__always)
  public func resolve(_ handle: Handle) -> UnsafeMutablePointer<Element>? {
    guard handle.index < unused else { return nil }
    let slot = unsafe slot(handle.index)
    guard unsafe slot.pointee.word == handle.raw else { return nil }
    return unsafe elementPointer(slot)
  }

  /// The record that must exist: a missing one is a bug of ours and traps.
  @unsafe
  @inline(__always)
  public subscript(_ handle: Handle) -> UnsafeMutablePointer<Element> {
    guard let pointer = unsafe resolve(handle) else { preconditionFailure("stale handle") }
    return unsafe pointer
  }

  @inline(__always)
  public mutating func remove(_ handle: Handle) {
    guard unsafe resolve(handle) != nil else { preconditionFailure("stale handle removed") }
    let slot = unsafe slot(handle.index)
    var generation = (handle.generation &+ 1) & 0xFF_FFFF
    // Never 0 again: a free slot's word must not be that of `Handle.none`.
    if generation == 0 { generation = 2 }
    unsafe slot.pointee.word = UInt64(generation) << 32 | UInt64(firstFree)
    firstFree = handle.index
    count -= 1
  }

  /// Handles of all records, in index order; for shutdown and tests, O(capacity).
  public func handles() -> [Handle] {
    var found: [Handle] = []
    for index in 0..<unused {
      let handle = unsafe Handle(raw: slot(index).pointee.word)
      if handle.kind == kind { found.append(handle) }
    }
    return found
  }

  @inline(__always)
  private func slot(_ index: UInt32) -> UnsafeMutablePointer<Slot> {
    unsafe chunks[Int(index >> Self.chunkBits)] + Int(index) & (Self.chunkSize - 1)
  }

  @inline(__always)
  private func elementPointer(_ slot: UnsafeMutablePointer<Slot>) -> UnsafeMutablePointer<Element> {
    let offset = MemoryLayout<Slot>.offset(of: \.element)!
    return unsafe (UnsafeMutableRawPointer(slot) + offset).assumingMemoryBound(to: Element.self)
  }

  private mutating func addChunk() {
    let chunk = UnsafeMutablePointer<Slot>.allocate(capacity: Self.chunkSize)
    // Only these words are set: untouched records cost no memory pages.
    for index in 0..<Self.chunkSize { unsafe chunk[index].word = 0 }
    unsafe chunks[chunkCount] = chunk
    chunkCount += 1
  }
}
