import Primitives

/// Some of the responses of a shard that have one tag: as much as a cache line holds.
///
/// The lines of a tag are a list, whose first one is in the list of its bucket, too.
struct TagLine: BitwiseCopyable {
  static let most = 6

  /// Of the tag and its kind. Tags with the same one share their lines.
  var hash: UInt32
  /// Further line of the tag.
  var next = TagRef.none
  /// Of a tag's first line: the first line of the next tag of the bucket. Of others: the line
  /// before it.
  var other: TagRef
  var isFirst: Bool
  var count: UInt8 = 0
  var entries = InlineArray<6, RecordName>(repeating: RecordName(slot: 0, turn: 0))

  mutating func append(_ name: RecordName) {
    entries[Int(count)] = name
    count += 1
  }

  /// Drops those of whom `isLeft` is false; how many.
  mutating func drop(_ isLeft: (RecordName) -> Bool) -> Int {
    var left: UInt8 = 0
    for index in 0..<Int(count) where isLeft(entries[index]) {
      entries[Int(left)] = entries[index]
      left += 1
    }
    defer { count = left }
    return Int(count - left)
  }
}

/// Place of a line: its distance from the arena's first octet, in lines.
struct TagRef: Equatable, BitwiseCopyable {
  var raw: UInt32
  static let none = TagRef(raw: 0)
}

/// The lines of one shard's tags, in blocks of the cache's arena: a line is free, or in one list.
///
/// Blocks are as large as the smallest of content, so that lists leave no holes that content does
/// not fit in. A block goes back when all its lines are free. Owned by its index, used with the
/// shard's lock held.
@safe
struct TagLines: ~Copyable {
  /// In place of a block's first line.
  private struct Header: BitwiseCopyable {
    /// All blocks, in a ring.
    var next: UInt32
    var previous: UInt32
    /// Blocks with a free line, but for the one that is held. 0: none.
    var nextFree: UInt32 = 0
    var previousFree: UInt32 = 0
    /// A bit for each of its lines, by their places; the header's is not set.
    var free = TagLines.allFree
  }

  /// 4 KiB.
  static let order = 3
  private static let lineBytes = 64
  private static let linesOfUnit = UInt32(BlockArena.unitBytes / lineBytes)
  private static let linesOfBlock = 1 << order * BlockArena.unitBytes / lineBytes
  private static let allFree = ~UInt64(1)
  /// Lines that a block has.
  static let most = linesOfBlock - 1

  private let arena: BlockArena
  /// First block with a free line; 0: none.
  private var firstFree: UInt32 = 0
  /// The block whose turn it is to be looked at; 0: there are none.
  private var turn: UInt32 = 0
  /// Being looked at: nothing is taken from it, and it does not go back meanwhile.
  private var held: UInt32 = 0
  /// So many free lines are somebody's already: no block goes back for which some of them would.
  private var reserved = 0
  private(set) var freeCount = 0
  private(set) var blockCount = 0

  init(arena: BlockArena) {
    precondition(MemoryLayout<TagLine>.stride == TagLines.lineBytes)
    precondition(MemoryLayout<Header>.size <= TagLines.lineBytes)
    precondition(TagLines.linesOfBlock == UInt64.bitWidth)
    self.arena = arena
  }

  /// Octets of the arena.
  var bytes: Int { blockCount * BlockArena.bytes(TagLines.order) }
  var usedCount: Int { blockCount * TagLines.most - freeCount }
  /// Whether the lines would fit in far fewer blocks.
  var areSparse: Bool { freeCount > 2 * (usedCount + TagLines.most) }

  // MARK: Places

  @unsafe
  @inline(__always)
  subscript(_ ref: TagRef) -> UnsafeMutablePointer<TagLine> {
    unsafe UnsafeMutableRawPointer(arena.address(0) + Int(ref.raw) * TagLines.lineBytes)
      .assumingMemoryBound(to: TagLine.self)
  }

  @unsafe
  private func header(_ block: UInt32) -> UnsafeMutablePointer<Header> {
    unsafe UnsafeMutableRawPointer(arena.address(block)).assumingMemoryBound(to: Header.self)
  }

  private static func ref(_ block: UInt32, _ index: Int) -> TagRef {
    TagRef(raw: block * linesOfUnit + UInt32(index))
  }

  /// Blocks of an order begin at multiples of their size.
  private static func block(_ ref: TagRef) -> UInt32 {
    (ref.raw / linesOfUnit) & ~(1 << UInt32(order) - 1)
  }

  // MARK: Taking and giving back

  /// Sees to it that so many lines can be taken until `endReserve`, whatever is given back
  /// meanwhile; false where there is no memory for them.
  mutating func reserve(_ count: Int) -> Bool {
    while freeCount < count {
      let block = arena.allocate(TagLines.order)
      guard block != 0 else { return false }
      add(block)
    }
    reserved = count
    return true
  }

  /// What was reserved and not taken goes back, but for a block's worth that will soon be wanted.
  mutating func endReserve() {
    reserved = 0
    while freeCount > 2 * TagLines.most, unsafe header(firstFree).pointee.free == TagLines.allFree {
      releaseIfFree(firstFree)
    }
  }

  private mutating func add(_ block: UInt32) {
    if turn == 0 {
      unsafe header(block).initialize(to: Header(next: block, previous: block))
      turn = block
    } else {
      // Behind the one whose turn it is: looked at last.
      let previous = unsafe header(turn).pointee.previous
      unsafe header(block).initialize(to: Header(next: turn, previous: previous))
      unsafe header(previous).pointee.next = block
      unsafe header(turn).pointee.previous = block
    }
    blockCount += 1
    freeCount += TagLines.most
    linkFree(block)
  }

  /// One of the free lines, of which there is one.
  mutating func take(_ line: TagLine) -> TagRef {
    precondition(firstFree != 0, "a line that was not reserved")
    let block = firstFree
    let index = unsafe header(block).pointee.free.trailingZeroBitCount
    unsafe header(block).pointee.free &= ~(1 << UInt64(index))
    freeCount -= 1
    if unsafe header(block).pointee.free == 0 { unlinkFree(block) }
    let ref = TagLines.ref(block, index)
    unsafe self[ref].initialize(to: line)
    return ref
  }

  mutating func giveBack(_ ref: TagRef) {
    let block = TagLines.block(ref)
    let bit = UInt64(1) << UInt64(ref.raw - block * TagLines.linesOfUnit)
    let free = unsafe header(block).pointee.free
    precondition(free & bit == 0, "a line that is free already")
    unsafe header(block).pointee.free = free | bit
    freeCount += 1
    guard block != held else { return }
    if free == 0 { linkFree(block) }
    releaseIfFree(block)
  }

  private mutating func releaseIfFree(_ block: UInt32) {
    guard unsafe header(block).pointee.free == TagLines.allFree,
      freeCount - TagLines.most >= reserved
    else { return }
    unlinkFree(block)
    let (next, previous) = unsafe (header(block).pointee.next, header(block).pointee.previous)
    unsafe header(previous).pointee.next = next
    unsafe header(next).pointee.previous = previous
    if turn == block { turn = next == block ? 0 : next }
    blockCount -= 1
    freeCount -= TagLines.most
    arena.free(block, TagLines.order)
  }

  private mutating func linkFree(_ block: UInt32) {
    unsafe header(block).pointee.nextFree = firstFree
    unsafe header(block).pointee.previousFree = 0
    if firstFree != 0 { unsafe header(firstFree).pointee.previousFree = block }
    firstFree = block
  }

  private mutating func unlinkFree(_ block: UInt32) {
    let (next, previous) = unsafe (
      header(block).pointee.nextFree, header(block).pointee.previousFree
    )
    if previous == 0 { firstFree = next } else { unsafe header(previous).pointee.nextFree = next }
    if next != 0 { unsafe header(next).pointee.previousFree = previous }
  }

  // MARK: Looking at all of them

  /// The block whose turn it is, held until `endTurn`; 0: there is none. The next one is next.
  mutating func beginTurn() -> UInt32 {
    held = turn
    guard held != 0 else { return 0 }
    turn = unsafe header(held).pointee.next
    if unsafe header(held).pointee.free != 0 { unlinkFree(held) }
    return held
  }

  static var places: Range<Int> { 1..<linesOfBlock }

  /// Its lines that are in lists; one that was given back meanwhile is not among them.
  func line(_ block: UInt32, _ index: Int) -> TagRef? {
    unsafe header(block).pointee.free & 1 << UInt64(index) == 0 ? TagLines.ref(block, index) : nil
  }

  /// Whether the held block's lines are better kept in others, which have room for them.
  var shouldEmptyHeld: Bool {
    let free = unsafe header(held).pointee.free.nonzeroBitCount
    let used = TagLines.most - free
    return used <= TagLines.most / 2 && freeCount - free >= max(used, reserved)
  }

  mutating func endTurn() {
    let block = held
    held = 0
    guard block != 0, unsafe header(block).pointee.free != 0 else { return }
    linkFree(block)
    releaseIfFree(block)
  }
}
