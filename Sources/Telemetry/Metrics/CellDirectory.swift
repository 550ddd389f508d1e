import Synchronization

/// Blocks of cells by small integer id: grown by the thread that owns them, while another reads.
///
/// Two levels of pointers that are only ever set, from nil to a block that is complete: a reader
/// that sees the pointer (acquire) sees the block's contents (release), and nothing moves or goes
/// away before the directory itself does. Memory grows with the ids in use: 4 KiB for each
/// stretch of 512 ids that is touched, and a block for each id that is.
@safe
struct CellDirectory: ~Copyable {
  /// Ids above share the cells of the last one, so a mistake in handing out ids costs the truth
  /// of a metric and never the service.
  static var idLimit: Int { chunkCount * chunkSize }
  private static var chunkCount: Int { 256 }
  private static var chunkSize: Int { 512 }

  private typealias Pointers = UnsafeMutablePointer<Atomic<UnsafeMutableRawPointer?>>

  private let chunks: Pointers
  private let cellsPerBlock: Int

  init(cellsPerBlock: Int) {
    self.cellsPerBlock = cellsPerBlock
    unsafe chunks = CellDirectory.allocate(CellDirectory.chunkCount)
  }

  deinit {
    for chunkIndex in 0..<CellDirectory.chunkCount {
      guard let chunk = unsafe CellDirectory.pointers(chunks[chunkIndex]) else { continue }
      for index in 0..<CellDirectory.chunkSize {
        if let block = unsafe cells(chunk[index].load(ordering: .relaxed)) {
          CellBlock.free(block)
        }
      }
      unsafe CellDirectory.free(chunk, CellDirectory.chunkSize)
    }
    unsafe CellDirectory.free(chunks, CellDirectory.chunkCount)
  }

  /// The cells of an id, made at its first use. On the owning thread only.
  @inline(__always)
  func block(_ id: Int) -> Cells {
    if let block = existing(id) { return block }
    return makeBlock(id)
  }

  /// The cells of an id, or `nil` before its first use. On any thread.
  @inline(__always)
  func existing(_ id: Int) -> Cells? {
    let id = CellDirectory.clamp(id)
    guard let chunk = unsafe CellDirectory.pointers(chunks[id / CellDirectory.chunkSize]) else {
      return nil
    }
    return unsafe cells(chunk[id % CellDirectory.chunkSize].load(ordering: .acquiring))
  }

  @inline(never)
  private func makeBlock(_ id: Int) -> Cells {
    let id = CellDirectory.clamp(id)
    let chunkIndex = id / CellDirectory.chunkSize
    let chunk: Pointers
    if let present = unsafe CellDirectory.pointers(chunks[chunkIndex]) {
      unsafe chunk = present
    } else {
      unsafe chunk = CellDirectory.allocate(CellDirectory.chunkSize)
      unsafe chunks[chunkIndex].store(UnsafeMutableRawPointer(chunk), ordering: .releasing)
    }
    let block = CellBlock.allocate(cellsPerBlock)
    unsafe chunk[id % CellDirectory.chunkSize].store(
      UnsafeMutableRawPointer(block.base), ordering: .releasing)
    return block
  }

  @inline(__always)
  private static func clamp(_ id: Int) -> Int { min(max(id, 0), idLimit - 1) }

  @inline(__always)
  private func cells(_ memory: UnsafeMutableRawPointer?) -> Cells? {
    guard let memory = unsafe memory else { return nil }
    let base = unsafe memory.assumingMemoryBound(to: Atomic<UInt64>.self)
    return unsafe Cells(base: base, count: cellsPerBlock)
  }

  @inline(__always)
  private static func pointers(
    _ chunk: borrowing Atomic<UnsafeMutableRawPointer?>
  ) -> Pointers? {
    unsafe chunk.load(ordering: .acquiring)?
      .assumingMemoryBound(to: Atomic<UnsafeMutableRawPointer?>.self)
  }

  private static func allocate(_ count: Int) -> Pointers {
    let pointers = Pointers.allocate(capacity: count)
    for index in 0..<count { unsafe (pointers + index).initialize(to: Atomic(nil)) }
    return unsafe pointers
  }

  private static func free(_ pointers: Pointers, _ count: Int) {
    unsafe pointers.deinitialize(count: count)
    unsafe pointers.deallocate()
  }
}
