import Primitives

/// The parts of a cache's index, each behind its own lock and on cache lines of its own: workers
/// that look at different ones have nothing in common, not even a reference count.
///
/// Why the uses are safe: made in `init`, freed in `deinit`, and what is in a place is behind its
/// lock; hence `@unchecked Sendable`.
@safe
struct ShardTable: ~Copyable, @unchecked Sendable {
  static let count = 16
  private static let lineBytes = 128
  private static let stride =
    (MemoryLayout<Lock<CacheShard>>.size + lineBytes - 1) / lineBytes * lineBytes

  private let base: UnsafeMutableRawPointer

  init(_ make: (Int) -> sending CacheShard) {
    unsafe base = .allocate(
      byteCount: ShardTable.count * ShardTable.stride, alignment: ShardTable.lineBytes)
    for index in 0..<ShardTable.count {
      unsafe place(index).initialize(to: Lock(make(index)))
    }
  }

  deinit {
    for index in 0..<ShardTable.count { unsafe place(index).deinitialize(count: 1) }
    unsafe base.deallocate()
  }

  @inline(__always)
  private func place(_ index: Int) -> UnsafeMutablePointer<Lock<CacheShard>> {
    precondition(index >= 0 && index < ShardTable.count)
    return unsafe (base + index * ShardTable.stride).assumingMemoryBound(
      to: Lock<CacheShard>.self)
  }

  /// Must not outlive the table.
  @inline(__always)
  subscript(_ index: Int) -> Shard { unsafe Shard(UnsafePointer(place(index))) }

  /// The one in which keys with this hash are.
  @inline(__always)
  func shard(of hash: UInt64) -> Shard { self[Int(hash >> 60) & (ShardTable.count - 1)] }
}

/// One of them, as long as its table is there.
@safe
struct Shard: BitwiseCopyable {
  private let place: UnsafePointer<Lock<CacheShard>>

  @unsafe
  @inline(__always)
  init(_ place: UnsafePointer<Lock<CacheShard>>) { unsafe self.place = place }

  @inline(__always)
  func withLock<Result>(
    _ body: (inout sending CacheShard) -> sending Result
  ) -> sending Result {
    unsafe place.pointee.withLock(body)
  }
}
