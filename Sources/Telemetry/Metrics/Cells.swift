import Synchronization

/// Counters that one thread writes and any thread reads.
///
/// With a single writer an addition is a plain load, add and store, without the bus lock of an
/// atomic addition; being atomic accesses, a reader on another thread sees each value whole, and
/// some recent one. Readers of several cells see no common instant: sums over cells are estimates
/// while traffic flows, and exact when it stops.
///
/// A handle to cells that a `CellBlock` owns: trivially copied, kept no longer than the owner.
@safe
public struct Cells: BitwiseCopyable {
  @usableFromInline let base: UnsafeMutablePointer<Atomic<UInt64>>
  public let count: Int

  @unsafe
  @inlinable @inline(__always)
  init(base: UnsafeMutablePointer<Atomic<UInt64>>, count: Int) {
    unsafe self.base = base
    self.count = count
  }

  /// On the writing thread only.
  @inlinable @inline(__always)
  public func add(_ index: Int, _ amount: UInt64 = 1) {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "cell out of bounds")
    let value = unsafe base[index].load(ordering: .relaxed)
    unsafe base[index].store(value &+ amount, ordering: .relaxed)
  }

  /// On any thread.
  public func load(_ index: Int) -> UInt64 {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "cell out of bounds")
    return unsafe base[index].load(ordering: .relaxed)
  }

  /// The cells from `start` up to `end`.
  @inlinable @inline(__always)
  func slice(_ start: Int, _ end: Int) -> Cells {
    precondition(start >= 0 && start <= end && end <= count, "cells out of bounds")
    return unsafe Cells(base: base + start, count: end - start)
  }
}

/// Memory of cells, zero at first, on cache lines of its own: two workers' cells never share one.
enum CellBlock {
  private static var cacheLineBytes: Int { 64 }

  /// Freed with `free`, by its owner.
  static func allocate(_ count: Int) -> Cells {
    let stride = MemoryLayout<Atomic<UInt64>>.stride
    let bytes = (count * stride + cacheLineBytes - 1) / cacheLineBytes * cacheLineBytes
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: cacheLineBytes)
    let base = unsafe memory.bindMemory(to: Atomic<UInt64>.self, capacity: count)
    for index in 0..<count { unsafe (base + index).initialize(to: Atomic(0)) }
    return unsafe Cells(base: base, count: count)
  }

  static func free(_ cells: Cells) {
    unsafe cells.base.deinitialize(count: cells.count)
    unsafe UnsafeMutableRawPointer(cells.base).deallocate()
  }
}
