import Glibc
import HTTP
import Primitives
import Synchronization

/// What the cache knows of one stored response, at the front of its block. Behind it, in the same
/// block: key, secondary key, names of `Vary`, tags, head, short content.
///
/// Longer content is in a chain of blocks of its own (`ContentChain`), which a record that a 304
/// has renewed shares with the one before it.
struct CacheRecord: ~Copyable {
  struct Flags: OptionSet, BitwiseCopyable {
    let rawValue: UInt8
    /// It is in its shard's index.
    static let isLinked = Flags(rawValue: 1)
  }

  /// Touched with the shard's lock held. First, because the thread sanitizer takes a change of any
  /// field for one of the first octet, which must not be what other threads use without a lock.
  var flags: Flags = []
  /// One for the index, one for the fetch, one for each exchange that reads.
  let pins: Atomic<UInt32>
  let order: UInt8
  /// Of how many lists of its shard's `TagIndex` it is in.
  let listCount: UInt8
  let hash: UInt64
  /// Sequence of purges when its fetch began.
  let sequence: UInt64
  let storedAt: MonotonicTime
  let layout: Layout
  let head: StoredHead.Layout

  // Touched with the shard's lock held.
  /// Sequence of the purge that removed it; 0: none did.
  var purgedAt: UInt64 = 0
  var freshness: Freshness
  /// Next record of the same bucket; 0: none.
  var nextInBucket: UInt32 = 0
  /// Its number in the eviction policy.
  var slot: UInt32 = 0

  // Written by the fetch, before the record is linked.
  /// First block of the content; 0: it is in the record's own block, or there is none.
  var firstBlock: UInt32 = 0
  /// Octets; -1 as long as the backend has not said.
  var contentLength: Int
  /// Octets of all blocks.
  var chargedBytes = 0
  /// The content has its place behind the head; so much of it is there.
  let hasInlineContent: Bool
  var inlineCount = 0

  /// Where its parts begin.
  static var end: UInt32 { UInt32(MemoryLayout<CacheRecord>.stride) }

  /// Where the parts end, in octets from the record's first; each begins where the one before it
  /// ends.
  struct Layout: BitwiseCopyable {
    var keyEnd: UInt32 = 0
    /// Inside the key.
    var urlEnd: UInt32 = 0
    var secondaryEnd: UInt32 = 0
    var varyEnd: UInt32 = 0
    var tagsEnd: UInt32 = 0
    var headEnd: UInt32 = 0
  }
}

/// What a record is made of; the views live as long as the call they are passed to.
public struct RecordParts {
  var hash: UInt64 = 0
  var key = ByteView.empty
  var urlLength = 0
  var sequence: UInt64 = 0
  /// Canonical names of `Vary`, and what the request that was sent has for them.
  public var vary = ByteView.empty
  public var secondary = ByteView.empty
  /// As `TagList` has them.
  public var tags = ByteView.empty
  public var tagCount = 0
  /// As `StoredHead` made it.
  public var head = ByteView.empty
  public var headLayout: StoredHead.Layout
  public var freshness: Freshness
  /// -1: not known yet.
  public var contentLength = -1
  public var storedAt: MonotonicTime

  public init(
    head: ByteView, _ layout: StoredHead.Layout, _ freshness: Freshness, storedAt: MonotonicTime
  ) {
    self.head = head
    headLayout = layout
    self.freshness = freshness
    self.storedAt = storedAt
  }
}

extension RecordParts {
  /// A confirmation that names no tags leaves them as they are.
  public mutating func takeTags(of object: StoredObject) {
    var list = object.tags
    tags = list.octets
    tagCount = 0
    while list.nextRange() != nil { tagCount += 1 }
  }
}

/// A stored response, for as long as whoever has it holds a pin.
///
/// Why the uses are safe: a record stays at its address until its last pin is given back, its parts
/// are written before anybody else sees it, and what changes later changes under the shard's lock;
/// so it may be passed between threads (`@unchecked Sendable`).
@safe
public struct StoredObject: BitwiseCopyable, @unchecked Sendable {
  let record: UnsafeMutablePointer<CacheRecord>

  @unsafe
  init(_ record: UnsafeMutablePointer<CacheRecord>) { unsafe self.record = record }

  private func part(_ start: UInt32, _ end: UInt32) -> ByteView {
    let base = unsafe UnsafeMutableRawPointer(record).assumingMemoryBound(to: UInt8.self)
    return unsafe ByteView(base: base + Int(start), count: Int(end - start))
  }

  var layout: CacheRecord.Layout { unsafe record.pointee.layout }

  public var key: ByteView { part(CacheRecord.end, layout.keyEnd) }
  /// `scheme://host/path?query`
  public var url: ByteView { part(CacheRecord.end, layout.urlEnd) }
  var secondary: ByteView { part(layout.keyEnd, layout.secondaryEnd) }
  var vary: ByteView { part(layout.secondaryEnd, layout.varyEnd) }
  public var tags: TagList { TagList(part(layout.varyEnd, layout.tagsEnd)) }
  /// As `StoredHead` made it.
  public var head: ByteView { part(layout.tagsEnd, layout.headEnd) }
  public var headLayout: StoredHead.Layout { unsafe record.pointee.head }
  public var validators: StoredValidators {
    let layout = headLayout
    let head = head
    return StoredValidators(
      etag: head.slice(layout.etag), lastModified: head.slice(layout.lastModified),
      dateSeconds: layout.dateSeconds)
  }
  var hash: UInt64 { unsafe record.pointee.hash }
  var listCount: Int { unsafe Int(record.pointee.listCount) }
  public var storedAt: MonotonicTime { unsafe record.pointee.storedAt }
  public var sequence: UInt64 { unsafe record.pointee.sequence }
  /// -1 as long as its fetch has not learnt it.
  public var contentLength: Int { unsafe record.pointee.contentLength }

  /// Short content behind the head, in the same block.
  var inlineContent: UnsafeMutablePointer<UInt8> {
    unsafe UnsafeMutableRawPointer(record).assumingMemoryBound(to: UInt8.self)
      + Int(layout.headEnd)
  }

  /// Whether a request gets it, by what `Vary` names. `room` is for a secondary key.
  public func isSelected(by head: borrowing RequestHead, _ room: inout ByteSink) -> Bool {
    if vary.isEmpty { return true }
    room.removeAll()
    Vary.appendSecondaryKey(names: vary, head, to: &room)
    return !room.overflowed && room.view.equals(secondary)
  }

  // MARK: Time

  /// Read and changed with the shard's lock held.
  var freshness: Freshness { unsafe record.pointee.freshness }

  func state(_ constraints: RequestConstraints, now: MonotonicTime) -> FreshnessState {
    freshness.state(resident: now - storedAt, constraints)
  }

  /// Stale from now on.
  func expire(now: MonotonicTime) {
    unsafe record.pointee.freshness.expire(resident: now - storedAt)
  }

  var purgedAt: UInt64 { unsafe record.pointee.purgedAt }
  func setPurged(at sequence: UInt64) { unsafe record.pointee.purgedAt = sequence }

  // MARK: Pins

  /// Of one in the index, whose lock is held: somebody reads it, or fetches what is to replace it.
  var isInUse: Bool { unsafe record.pointee.pins.load(ordering: .relaxed) > 1 }

  func pin() { unsafe record.pointee.pins.add(1, ordering: .relaxed) }

  /// True where this was the last one.
  func unpin() -> Bool {
    unsafe record.pointee.pins.subtract(1, ordering: .acquiringAndReleasing).newValue == 0
  }
}

extension StoredObject {
  static let mostLists = Int(UInt8.max)

  /// Whether the largest block has room for a record of these parts.
  static func fits(_ parts: RecordParts) -> Bool {
    TagIndex.listCount(parts) <= mostLists
      && recordBytes(parts) <= BlockArena.bytes(BlockArena.mostOrder)
  }

  /// Octets that a record with these parts needs, without content.
  static func recordBytes(_ parts: RecordParts) -> Int {
    MemoryLayout<CacheRecord>.stride + parts.key.count + parts.secondary.count + parts.vary.count
      + parts.tags.count + parts.head.count
  }

  /// Writes a record, pinned once, into a block that has room for it.
  static func write(
    _ parts: RecordParts, lists: Int, _ block: UnsafeMutablePointer<UInt8>, order: Int,
    hasInlineContent: Bool
  ) -> StoredObject {
    var layout = CacheRecord.Layout()
    var end = Int(CacheRecord.end)
    layout.urlEnd = UInt32(end + parts.urlLength)
    layout.keyEnd = unsafe put(parts.key, block, &end)
    layout.secondaryEnd = unsafe put(parts.secondary, block, &end)
    layout.varyEnd = unsafe put(parts.vary, block, &end)
    layout.tagsEnd = unsafe put(parts.tags, block, &end)
    layout.headEnd = unsafe put(parts.head, block, &end)
    precondition(end <= BlockArena.bytes(order), "a record larger than its block")
    let record = unsafe UnsafeMutableRawPointer(block).assumingMemoryBound(to: CacheRecord.self)
    unsafe record.initialize(
      to: CacheRecord(
        pins: Atomic(1), order: UInt8(order), listCount: UInt8(lists),
        hash: parts.hash, sequence: parts.sequence, storedAt: parts.storedAt, layout: layout,
        head: parts.headLayout, freshness: parts.freshness, contentLength: parts.contentLength,
        chargedBytes: BlockArena.bytes(order), hasInlineContent: hasInlineContent))
    return unsafe StoredObject(record)
  }

  private static func put(
    _ view: ByteView, _ block: UnsafeMutablePointer<UInt8>, _ end: inout Int
  ) -> UInt32 {
    unsafe memcpy(block + end, view.pointer, view.count)
    end += view.count
    return UInt32(end)
  }
}

extension StoredObject {
  var chargedBytes: Int { unsafe record.pointee.chargedBytes }
  var hasInlineContent: Bool { unsafe record.pointee.hasInlineContent }

  /// Content of known length goes behind the head where that takes hardly more memory than blocks
  /// of its own would: then a response is one block, and one part to send.
  static func isBestInline(_ bytes: Int, _ length: Int) -> Bool {
    let together = BlockArena.order(holding: bytes + length)
    guard together <= BlockArena.mostOrder, length <= 8192 else { return length == 0 }
    let apart =
      BlockArena.bytes(BlockArena.order(holding: bytes)) + length + ContentBlock.headerBytes
    return BlockArena.bytes(together) <= apart + apart / 8 + BlockArena.unitBytes
  }

  var hasBlocks: Bool { unsafe record.pointee.firstBlock != 0 }

  func setFirstBlock(_ unit: UInt32) { unsafe record.pointee.firstBlock = unit }

  /// Appends to the content in the record's own block.
  func appendInline(_ octets: ByteView) -> Int {
    let written = unsafe record.pointee.inlineCount
    let taken = min(octets.count, contentLength - written)
    unsafe memcpy(inlineContent + written, octets.pointer, taken)
    unsafe record.pointee.inlineCount += taken
    return taken
  }

  /// The content's length is final, and its blocks are counted.
  func finish(length: Int, chainBytes: Int) {
    // Where it was known readers look at it without a lock.
    if contentLength < 0 { unsafe record.pointee.contentLength = length }
    unsafe record.pointee.chargedBytes += chainBytes
  }

  /// Shares the content of another record, or copies it where that has it in its own block.
  func takeContent(of other: StoredObject, _ arena: BlockArena) {
    let blocks = unsafe other.record.pointee.firstBlock
    if blocks != 0 {
      ContentChain.addOwner(blocks, arena)
      setFirstBlock(blocks)
      unsafe record.pointee.chargedBytes +=
        other.chargedBytes - BlockArena.bytes(Int(other.record.pointee.order))
    } else {
      let content = unsafe ByteView(base: other.inlineContent, count: other.contentLength)
      _ = appendInline(content)
    }
  }
}

/// Tags, each with two octets of length before it.
public struct TagList {
  let octets: ByteView
  private var index = 0

  init(_ octets: ByteView) { self.octets = octets }

  /// Of the tags that one response may have.
  public static let mostBytes = CacheTags.most * (CacheTags.mostBytes + 2)

  public mutating func next() -> ByteView? {
    guard let range = nextRange() else { return nil }
    return octets.slice(range)
  }

  mutating func nextRange() -> ByteRange? {
    guard index + 2 <= octets.count else { return nil }
    let length = Int(octets[index]) | Int(octets[index + 1]) << 8
    let range = ByteRange(index + 2, index + 2 + length)
    index = Int(range.end)
    return range
  }

  /// Appends one as a list has it.
  public static func append(_ tag: ByteView, to sink: inout ByteSink) {
    sink.append(byte: UInt8(truncatingIfNeeded: tag.count))
    sink.append(byte: UInt8(truncatingIfNeeded: tag.count >> 8))
    sink.append(tag)
  }
}
