import Glibc

/// Fixed-size blocks for bytes in transit; owned by one thread.
///
/// Blocks are cut from mapped regions, so one that was only partly filled costs only the pages
/// touched. A freed block is reused last-in first-out while it is warm. The owner calls `coolDown`
/// now and then: pages of blocks that nobody has needed since go back to the kernel, so a burst
/// leaves no memory behind, and a load that lasts does not ask the kernel for the same pages again
/// and again. Blocks are not cleared: every reader is bounded by what was written.
@safe
public struct BufferPool: ~Copyable {
  /// Octets of a block: a head of at most 16 KiB (rule 20) and as much content behind it.
  @inlinable
  public static var blockBytes: Int { 32 * 1024 }
  private static let blocksPerRegion = 64
  /// Free blocks that keep their pages at most, and however quiet it is.
  @usableFromInline static var warmLimit: Int { 1 << 14 }
  @usableFromInline static var quietWarmLimit: Int { 128 }
  /// Blocks that go back at once: some hundred microseconds' work.
  private static let mostCooled = 256

  /// May be changed at any time; blocks that are in use beyond it stay so.
  public var limit: Int
  @usableFromInline var taken = 0
  @inlinable
  public var inUse: Int { taken }
  /// A stack of `warmLimit` places; looking after an array costs more than taking a block.
  @usableFromInline let warm: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>>
  @usableFromInline var warmCount = 0
  /// The fewest since the last `coolDown`: so many were not needed.
  @usableFromInline var leastWarm = 0
  private var cold: [UnsafeMutablePointer<UInt8>] = unsafe []
  private var regions: [UnsafeMutableRawPointer] = unsafe []

  /// At most `limit` blocks at once; more are refused, never waited for.
  public init(limit: Int) {
    self.limit = limit
    unsafe warm = .allocate(capacity: Self.warmLimit)
  }

  deinit {
    unsafe warm.deallocate()
    for index in unsafe regions.indices {
      unsafe munmap(regions[index], Self.blocksPerRegion * Self.blockBytes)
    }
  }

  /// A block of `blockBytes`, or `nil` where the limit or the machine's memory is reached.
  @unsafe
  @inlinable @inline(__always)
  public mutating func take() -> UnsafeMutablePointer<UInt8>? {
    guard warmCount > 0, taken < limit else { return unsafe takeCold() }
    warmCount &-= 1
    leastWarm = min(leastWarm, warmCount)
    taken &+= 1
    return unsafe warm[warmCount]
  }

  @unsafe
  @usableFromInline
  mutating func takeCold() -> UnsafeMutablePointer<UInt8>? {
    guard taken < limit else { return nil }
    if unsafe cold.isEmpty { addRegion() }
    guard let block = unsafe cold.popLast() else { return nil }
    taken += 1
    return unsafe block
  }

  @unsafe
  @inlinable @inline(__always)
  public mutating func give(_ block: UnsafeMutablePointer<UInt8>) {
    precondition(taken > 0, "a block was given back twice")
    taken &-= 1
    guard warmCount < Self.warmLimit else { return unsafe giveCold(block) }
    unsafe warm[warmCount] = block
    warmCount &+= 1
  }

  @unsafe
  @usableFromInline
  mutating func giveCold(_ block: UnsafeMutablePointer<UInt8>) {
    unsafe madvise(block, Self.blockBytes, MADV_DONTNEED)
    unsafe cold.append(block)
  }

  /// There may be something to cool down.
  @inlinable
  public var hasSpare: Bool { warmCount > Self.quietWarmLimit }

  /// Gives back to the kernel what was not needed since the last call, some of it each time.
  public mutating func coolDown() {
    let spare = min(leastWarm - Self.quietWarmLimit, Self.mostCooled)
    if spare > 0 {
      // The ones at the bottom have been free for longest.
      for index in 0..<spare { unsafe giveCold(warm[index]) }
      warmCount -= spare
      unsafe warm.update(from: warm + spare, count: warmCount)
    }
    leastWarm = warmCount
  }

  private mutating func addRegion() {
    let bytes = Self.blocksPerRegion * Self.blockBytes
    let flags = Int32(MAP_PRIVATE | MAP_ANONYMOUS)
    let region = unsafe mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0)
    guard let region = unsafe region, unsafe region != MAP_FAILED else { return }
    // A huge page would make one touched byte cost 2 MiB.
    unsafe madvise(region, bytes, MADV_NOHUGEPAGE)
    unsafe regions.append(region)
    let base = unsafe region.assumingMemoryBound(to: UInt8.self)
    for index in stride(from: Self.blocksPerRegion - 1, through: 0, by: -1) {
      unsafe cold.append(base + index * Self.blockBytes)
    }
  }
}

/// Bytes received and not yet consumed, in one pooled block that is held only while there are any.
///
/// `pinned` octets at the front (a request's head, needed until its exchange ends) stay in place
/// when the rest is consumed and space is made for more.
@safe
public struct InputBuffer: BitwiseCopyable {
  @usableFromInline var block: UnsafeMutablePointer<UInt8>?
  @usableFromInline var start: UInt32 = 0
  @usableFromInline var end: UInt32 = 0
  @usableFromInline var pinned: UInt32 = 0

  @inlinable
  public init() { unsafe block = nil }

  @inlinable @inline(__always)
  public var isAttached: Bool { unsafe block != nil }
  /// Octets not consumed.
  @inlinable @inline(__always)
  public var count: Int { Int(end - start) }
  @inlinable @inline(__always)
  public var isEmpty: Bool { start == end }

  /// The octets not consumed, valid until the next mutation.
  @inlinable @inline(__always)
  public var view: ByteView {
    guard let block = unsafe block else { return .empty }
    return unsafe ByteView(base: block + Int(start), count: Int(end - start))
  }

  /// The pinned octets, valid until `unpin`.
  @inlinable @inline(__always)
  public var pinnedView: ByteView {
    guard let block = unsafe block else { return .empty }
    return unsafe ByteView(base: block, count: Int(pinned))
  }

  /// Free octets behind the data.
  @inlinable @inline(__always)
  public var room: Int { isAttached ? BufferPool.blockBytes - Int(end) : 0 }

  /// Takes a block if there is none; false where the pool is exhausted.
  @inlinable @inline(__always)
  public mutating func attach(_ pool: inout BufferPool) -> Bool {
    if isAttached { return true }
    guard let taken = unsafe pool.take() else { return false }
    unsafe block = taken
    start = 0
    end = 0
    pinned = 0
    return true
  }

  /// Gives the block back, whatever is in it.
  @inlinable @inline(__always)
  public mutating func detach(_ pool: inout BufferPool) {
    guard let held = unsafe block else { return }
    unsafe pool.give(held)
    unsafe block = nil
    start = 0
    end = 0
    pinned = 0
  }

  /// Gives the block back if nothing is in it.
  public mutating func detachIfEmpty(_ pool: inout BufferPool) {
    if isEmpty, pinned == 0 { detach(&pool) }
  }

  /// Where the next received octets go; `room` of them. Only with a block attached.
  @unsafe
  @inlinable @inline(__always)
  public var writePointer: UnsafeMutableRawPointer {
    guard let block = unsafe block else { preconditionFailure("no block attached") }
    return unsafe UnsafeMutableRawPointer(block + Int(end))
  }

  @inlinable @inline(__always)
  public mutating func didReceive(_ octets: Int) {
    precondition(octets >= 0 && octets <= room)
    end += UInt32(octets)
  }

  @inlinable @inline(__always)
  public mutating func consume(_ octets: Int) {
    precondition(octets >= 0 && octets <= count)
    start += UInt32(octets)
    if start == end {
      start = pinned
      end = pinned
    }
  }

  /// Consumes the next `octets` (a head) but keeps them readable through `pinnedView`.
  @inlinable @inline(__always)
  public mutating func pin(_ octets: Int) {
    precondition(pinned == 0 && octets <= count)
    moveToFront()
    pinned = UInt32(octets)
    start = pinned
  }

  @inlinable @inline(__always)
  public mutating func unpin() {
    pinned = 0
    if start == end {
      start = 0
      end = 0
    }
  }

  /// Makes all free space contiguous behind the data, by moving the data if that gains anything.
  @inlinable @inline(__always)
  public mutating func moveToFront() {
    if start > pinned { moveData() }
  }

  @usableFromInline
  mutating func moveData() {
    guard let block = unsafe block else { return }
    unsafe memmove(block + Int(pinned), block + Int(start), Int(end - start))
    end -= start - pinned
    start = pinned
  }
}
