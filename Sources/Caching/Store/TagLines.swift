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
/// A block goes back when all its lines are free. Owned by its index, used with the shard's lock
/// held.
@safe
struct TagLines: ~Copyable {
  /// In place of a block's first line.
  private struct Header: BitwiseCopyable {
    /// All blocks, in a ring.
    var next: UInt32
    var previous: UInt32
    /// Blocks with a free line. 0: none.
    var nextFree: UInt32 = 0
    var previousFree: UInt32 = 0
    /// A bit for each of its lines, by their places; the header's is not set.
    var free = TagLines.allFree
  }

  private static let lineBytes = 64
  private static let linesOfBlock = BlockArena.unitBytes / lineBytes
  private static let allFree: UInt8 = 0xFE

  private let arena: BlockArena
  /// First block with a free line; 0: none.
  private var firstFree: UInt32 = 0
  /// The block whose turn it is to be looked at; 0: there are none.
  private var turn: UInt32 = 0
  /// Being looked at: does not go back meanwhile.
  private var held: UInt32 = 0
  /// So many free lines are somebody's already: no block goes back for which some of them would.
  private var reserved = 0
  private(set) var freeCount = 0
  private(set) var blockCount = 0

  init(arena: BlockArena) {
    precondition(MemoryLayout<TagLine>.stride == TagLines.lineBytes)
    precondition(MemoryLayout<Header>.size <= TagLines.lineBytes)
    self.arena = arena
  }

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
    TagRef(raw: block * UInt32(linesOfBlock) + UInt32(index))
  }

  // MARK: Taking and giving back

  /// Sees to it that so many lines can be taken until `endReserve`, whatever is given back
  /// meanwhile; false where there is no memory for them.
  mutating func reserve(_ count: Int) -> Bool {
    while freeCount < count {
      let block = arena.allocate(0)
      guard block != 0 else { return false }
      add(block)
    }
    reserved = count
    return true
  }

  mutating func endReserve() { reserved = 0 }

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
    freeCount += TagLines.linesOfBlock - 1
    linkFree(block)
  }

  /// One of the lines that were reserved.
  mutating func take(_ line: TagLine) -> TagRef {
    precondition(firstFree != 0, "a line that was not reserved")
    let block = firstFree
    let index = unsafe header(block).pointee.free.trailingZeroBitCount
    unsafe header(block).pointee.free &= ~(1 << UInt8(index))
    freeCount -= 1
    reserved = max(0, reserved - 1)
    if unsafe header(block).pointee.free == 0 { unlinkFree(block) }
    let ref = TagLines.ref(block, index)
    unsafe self[ref].initialize(to: line)
    return ref
  }

  mutating func giveBack(_ ref: TagRef) {
    let block = ref.raw / UInt32(TagLines.linesOfBlock)
    let bit = UInt8(1) << UInt8(ref.raw % UInt32(TagLines.linesOfBlock))
    let free = unsafe header(block).pointee.free
    precondition(free & bit == 0, "a line that is free already")
    unsafe header(block).pointee.free = free | bit
    freeCount += 1
    if free == 0 { linkFree(block) }
    releaseIfFree(block)
  }

  private mutating func releaseIfFree(_ block: UInt32) {
    let lines = TagLines.linesOfBlock - 1
    guard unsafe header(block).pointee.free == TagLines.allFree, block != held,
      freeCount - lines >= reserved
    else { return }
    unlinkFree(block)
    let (next, previous) = unsafe (header(block).pointee.next, header(block).pointee.previous)
    unsafe header(previous).pointee.next = next
    unsafe header(next).pointee.previous = previous
    if turn == block { turn = next == block ? 0 : next }
    blockCount -= 1
    freeCount -= lines
    arena.free(block, 0)
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
    if turn != 0 { turn = unsafe header(turn).pointee.next }
    return held
  }

  /// Its lines that are in lists; one that was given back meanwhile is not among them.
  func line(_ block: UInt32, _ index: Int) -> TagRef? {
    unsafe header(block).pointee.free & 1 << UInt8(index) == 0 ? TagLines.ref(block, index) : nil
  }

  static var places: Range<Int> { 1..<linesOfBlock }

  mutating func endTurn() {
    let block = held
    held = 0
    releaseIfFree(block)
  }
}
