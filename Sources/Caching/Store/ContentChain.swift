import Glibc
import Primitives
import Synchronization

/// Stands at the front of each block of stored content.
struct ContentBlock: ~Copyable {
  /// Records that have this content; counted in its first block only.
  let owners: Atomic<UInt32>
  var next: UInt32 = 0
  /// Octets of content that it has room for.
  var capacity: UInt32
  var order: UInt8

  static let headerBytes = 16
}

/// A place in stored content, from which reading goes on.
public struct ContentCursor: BitwiseCopyable, Sendable {
  /// 0: in the record's own block.
  @usableFromInline var block: UInt32 = 0
  /// Octets of content in `block` before the place.
  @usableFromInline var offset: UInt32 = 0
  /// Octets of the whole content before the place.
  public var position = 0

  public init() {}

  /// Moves over octets that were read at it.
  @inlinable @inline(__always)
  public mutating func advance(by count: Int) {
    offset += UInt32(truncatingIfNeeded: count)
    position += count
  }
}

/// Content in a chain of blocks, written front to back by one fetch while others read what has been
/// published of it.
///
/// Why the uses are safe: a block is written before what is in it is published, never written after
/// that (but for `reuseLast`, when all have read it), and freed with its last owner, which holds
/// the record that readers have pinned.
struct ContentChain: BitwiseCopyable {
  /// What a fetch of unknown length begins with, in octets; doubled up to the largest block.
  private static let firstBytes = 4096

  private(set) var first: UInt32 = 0
  private var last: UInt32 = 0
  /// Octets in `last`.
  private var used: UInt32 = 0
  private(set) var count = 0
  private(set) var chargedBytes = 0
  /// Where the content begins that the last block has been used for once more; -1: it has not.
  private var reusedFrom = -1

  init() {}

  private static func block(_ unit: UInt32, _ arena: BlockArena)
    -> UnsafeMutablePointer<ContentBlock>
  {
    unsafe UnsafeMutableRawPointer(arena.address(unit))
      .assumingMemoryBound(to: ContentBlock.self)
  }

  private static func octets(_ unit: UInt32, _ arena: BlockArena) -> UnsafeMutablePointer<UInt8> {
    unsafe arena.address(unit) + ContentBlock.headerBytes
  }

  /// Octets that fit without another block.
  private func room(_ arena: BlockArena) -> Int {
    guard last != 0 else { return 0 }
    return unsafe Int(ContentChain.block(last, arena).pointee.capacity - used)
  }

  /// Appends as much as there are blocks for, and returns how much that was. `remaining`: what is
  /// still to come in all, -1 if that is not known. `mayGrow`: into other blocks than the last.
  mutating func append(
    _ octets: ByteView, remaining: Int, mayGrow: Bool = true, _ arena: BlockArena
  ) -> Int {
    var done = 0
    while done < octets.count {
      if room(arena) == 0 {
        guard mayGrow else { return done }
        let due = remaining < 0 ? nil : remaining - done
        guard addBlock(due, arena) else { return done }
      }
      let length = min(room(arena), octets.count - done)
      unsafe memcpy(
        ContentChain.octets(last, arena) + Int(used), octets.pointer + done, length)
      used += UInt32(length)
      count += length
      done += length
    }
    return done
  }

  private mutating func addBlock(_ due: Int?, _ arena: BlockArena) -> Bool {
    var order = ContentChain.order(due, count)
    var unit = arena.allocate(order)
    // Where large blocks have run out small ones do; not the smallest, of which it would take many.
    while unit == 0, order > 3 {
      order -= 1
      unit = arena.allocate(order)
    }
    guard unit != 0 else { return false }
    let capacity = BlockArena.bytes(order) - ContentBlock.headerBytes
    let block = unsafe ContentChain.block(unit, arena)
    unsafe block.initialize(
      to: ContentBlock(owners: Atomic(1), capacity: UInt32(capacity), order: UInt8(order)))
    if last == 0 {
      first = unit
    } else {
      unsafe ContentChain.block(last, arena).pointee.next = unit
    }
    last = unit
    used = 0
    reusedFrom = -1
    chargedBytes += BlockArena.bytes(order)
    return true
  }

  /// The largest block that `due` octets fill; a little larger where that leaves under an eighth
  /// unused.
  private static func order(_ due: Int?, _ count: Int) -> Int {
    guard let due else {
      return min(
        BlockArena.order(holding: max(firstBytes, count)), BlockArena.mostOrder)
    }
    let bytes = due + ContentBlock.headerBytes
    let order = BlockArena.order(holding: bytes)
    if order > BlockArena.mostOrder { return BlockArena.mostOrder }
    return order == 0 || bytes >= BlockArena.bytes(order) / 8 * 7 ? order : order - 1
  }

  /// Nothing more will come: what the last block has too much goes back.
  mutating func trim(_ arena: BlockArena) {
    guard last != 0 else { return }
    let block = unsafe ContentChain.block(last, arena)
    let order = unsafe Int(block.pointee.order)
    let needed = BlockArena.order(holding: Int(used) + ContentBlock.headerBytes)
    guard needed < order else { return }
    arena.shrink(last, from: order, to: needed)
    // Its capacity stays as readers know it: they read no further than what was published.
    unsafe block.pointee.order = UInt8(needed)
    chargedBytes -= BlockArena.bytes(order) - BlockArena.bytes(needed)
  }

  /// Frees the blocks that a reader at `position` has left behind, but for the first, which counts
  /// owners. `start`: where the second block's content begins. Only of content that is not going
  /// to be stored.
  mutating func dropBlocks(before position: Int, start: inout Int, _ arena: BlockArena) {
    guard first != 0 else { return }
    let head = unsafe ContentChain.block(first, arena)
    while true {
      let second = unsafe head.pointee.next
      guard second != 0, second != last else { return }
      let block = unsafe ContentChain.block(second, arena)
      let end = unsafe start + Int(block.pointee.capacity)
      // A reader at its very end still looks there for the next one.
      guard end < position else { return }
      unsafe head.pointee.next = block.pointee.next
      let order = unsafe Int(block.pointee.order)
      chargedBytes -= BlockArena.bytes(order)
      arena.free(second, order)
      start = end
    }
  }

  /// No block is to be had, and every reader has read everything: the last block, which is full,
  /// follows upon itself and is written again. `start`: as for `dropBlocks`, which goes before.
  /// Only of content that is not going to be stored.
  mutating func reuseLast(start: inout Int, _ arena: BlockArena) {
    guard last != 0 else { return }
    let block = unsafe ContentChain.block(last, arena)
    precondition(unsafe used == block.pointee.capacity, "a block that has room left")
    unsafe block.pointee.next = last
    used = 0
    reusedFrom = count
    start += unsafe Int(block.pointee.capacity)
  }

  /// Whether another block may follow the last one. Who still looks at the end of what that had
  /// before would go on there, past what it has now.
  func mayGrow(slowest: Int) -> Bool { reusedFrom < 0 || slowest > reusedFrom }

  /// Where the second block's content begins.
  func secondStart(_ arena: BlockArena) -> Int {
    first == 0 ? 0 : unsafe Int(ContentChain.block(first, arena).pointee.capacity)
  }

  // MARK: Owners

  static func addOwner(_ first: UInt32, _ arena: BlockArena) {
    guard first != 0 else { return }
    unsafe block(first, arena).pointee.owners.add(1, ordering: .relaxed)
  }

  /// Frees the whole chain where this was its last owner.
  static func removeOwner(_ first: UInt32, _ arena: BlockArena) {
    guard first != 0 else { return }
    let owners = unsafe block(first, arena).pointee.owners
      .subtract(1, ordering: .acquiringAndReleasing).newValue
    guard owners == 0 else { return }
    var unit = first
    while unit != 0 {
      let content = unsafe block(unit, arena)
      let next = unsafe content.pointee.next
      arena.free(unit, unsafe Int(content.pointee.order))
      // The last one may follow upon itself.
      unit = next == unit ? 0 : next
    }
  }

  // MARK: Reading

  /// All octets of what is stored, where they lie together and are at most so many.
  static func whole(_ object: StoredObject, atMost most: Int, _ arena: BlockArena) -> ByteView? {
    let length = object.contentLength
    guard length >= 0, length <= most else { return nil }
    let first = unsafe object.record.pointee.firstBlock
    if first == 0 { return unsafe ByteView(base: object.inlineContent, count: length) }
    guard unsafe length <= Int(block(first, arena).pointee.capacity) else { return nil }
    return unsafe ByteView(base: octets(first, arena), count: length)
  }

  /// The octets at the cursor that lie together, at most up to `end`, a position of the content
  /// that has been published. Empty at `end`.
  @inline(__always)
  static func octets(
    at cursor: inout ContentCursor, upTo end: Int, of object: StoredObject, _ arena: BlockArena
  ) -> ByteView {
    guard cursor.position < end else { return .empty }
    let due = end - cursor.position
    if cursor.block == 0 {
      let start = unsafe object.record.pointee.firstBlock
      if start == 0 {
        return unsafe ByteView(base: object.inlineContent + Int(cursor.offset), count: due)
      }
      cursor.block = start
    }
    var place = unsafe block(cursor.block, arena)
    while unsafe cursor.offset == place.pointee.capacity {
      cursor.block = unsafe place.pointee.next
      cursor.offset = 0
      unsafe place = block(cursor.block, arena)
    }
    let here = unsafe Int(place.pointee.capacity - cursor.offset)
    return unsafe ByteView(
      base: octets(cursor.block, arena) + Int(cursor.offset), count: min(here, due))
  }
}
