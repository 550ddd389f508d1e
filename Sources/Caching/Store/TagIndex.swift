import Glibc
import Primitives

/// One tag of one stored response, in that response's record.
///
/// All responses with the same tag are in a ring. One of each ring, its leader, is in the chain of
/// the tag's bucket.
struct TagNode: BitwiseCopyable {
  /// Of the tag and its kind.
  var hash: UInt32
  /// Where the text stands, in octets from the record's first.
  var start: UInt16
  var count: UInt16
  /// Next leader of the same bucket; of leaders only.
  var nextLeader = TagRef.none
  var next = TagRef.none
  var previous = TagRef.none
  /// Its place among the record's nodes.
  var index: UInt8
  var isLeader = false
  let kind: TagKind
}

/// What a tag stands for. Besides those that backends give, every response has one for each folder
/// it is in, so that a purge by prefix finds its responses as one by tag does.
enum TagKind: UInt8, BitwiseCopyable {
  case given, folder
  /// Its URL, where the key has more parts than that.
  case url
}

/// Place of a node: its distance from the arena's first octet, in units of eight.
struct TagRef: Equatable, BitwiseCopyable {
  var raw: UInt32
  static let none = TagRef(raw: 0)
}

/// Which stored responses of a shard have a tag: looked up, entered and removed in constant time.
///
/// Owned by its shard, used with the shard's lock held.
@safe
struct TagIndex: ~Copyable {
  private let buckets: UnsafeMutablePointer<TagRef>
  private let mask: Int
  private let seed: UInt64
  private let arena: BlockArena

  /// `bucketCount` is a power of two.
  init(bucketCount: Int, seed: UInt64, arena: BlockArena) {
    unsafe buckets = .allocate(capacity: bucketCount)
    unsafe buckets.initialize(repeating: .none, count: bucketCount)
    mask = bucketCount - 1
    self.seed = seed
    self.arena = arena
  }

  deinit { unsafe buckets.deallocate() }

  // MARK: Places

  private func node(_ ref: TagRef) -> UnsafeMutablePointer<TagNode> {
    unsafe UnsafeMutableRawPointer(arena.address(0) + Int(ref.raw) * 8)
      .assumingMemoryBound(to: TagNode.self)
  }

  private func ref(_ node: UnsafeMutablePointer<TagNode>) -> TagRef {
    let offset = unsafe UnsafeMutableRawPointer(node) - UnsafeMutableRawPointer(arena.address(0))
    return TagRef(raw: UInt32(offset / 8))
  }

  private static func nodes(_ object: StoredObject) -> UnsafeMutablePointer<TagNode> {
    unsafe (UnsafeMutableRawPointer(object.record) + MemoryLayout<CacheRecord>.stride)
      .assumingMemoryBound(to: TagNode.self)
  }

  private func object(_ node: UnsafeMutablePointer<TagNode>) -> StoredObject {
    let first = unsafe UnsafeMutableRawPointer(node - Int(node.pointee.index))
    let record = unsafe (first - MemoryLayout<CacheRecord>.stride)
      .assumingMemoryBound(to: CacheRecord.self)
    return unsafe StoredObject(record)
  }

  private func text(_ node: UnsafeMutablePointer<TagNode>) -> ByteView {
    let record = unsafe UnsafeMutableRawPointer(object(node).record)
      .assumingMemoryBound(to: UInt8.self)
    return unsafe ByteView(
      base: record + Int(node.pointee.start), count: Int(node.pointee.count))
  }

  private func hash(_ text: ByteView, _ kind: TagKind) -> UInt32 {
    UInt32(truncatingIfNeeded: StableHash.of(text, seed: seed &+ UInt64(kind.rawValue)) >> 16)
  }

  // MARK: Entering and removing

  /// Nodes that a record with these parts needs.
  static func nodeCount(_ parts: RecordParts) -> Int {
    let hasURL = parts.key.count > parts.urlLength
    var folders = FolderList(parts.key.slice(0, parts.urlLength))
    var count = parts.tagCount + (hasURL ? 1 : 0)
    while folders.next() != nil { count += 1 }
    return count
  }

  func enter(_ object: StoredObject) {
    var index = 0
    let layout = object.layout
    var tags = object.tags
    while let range = tags.nextRange() {
      add(object, .given, Int(layout.varyEnd) + Int(range.start), range.count, &index)
    }
    if object.key.count > object.url.count {
      add(object, .url, Int(layout.nodesEnd), object.url.count, &index)
    }
    var folders = FolderList(object.url)
    while let end = folders.next() { add(object, .folder, Int(layout.nodesEnd), end, &index) }
    unsafe precondition(index == Int(object.record.pointee.nodeCount), "nodes left over")
  }

  private func add(
    _ object: StoredObject, _ kind: TagKind, _ start: Int, _ count: Int, _ index: inout Int
  ) {
    let place = unsafe TagIndex.nodes(object) + index
    unsafe place.initialize(
      to: TagNode(
        hash: 0, start: UInt16(start), count: UInt16(count), index: UInt8(index), kind: kind))
    index += 1
    let text = unsafe text(place)
    unsafe place.pointee.hash = hash(text, kind)
    let own = unsafe ref(place)
    let leader = unsafe leader(place.pointee.hash, text, kind)
    if leader == .none {
      let bucket = unsafe Int(place.pointee.hash) & mask
      unsafe place.pointee.isLeader = true
      unsafe place.pointee.nextLeader = buckets[bucket]
      unsafe place.pointee.next = own
      unsafe place.pointee.previous = own
      unsafe buckets[bucket] = own
      return
    }
    let first = unsafe node(leader)
    let second = unsafe first.pointee.next
    unsafe place.pointee.previous = leader
    unsafe place.pointee.next = second
    unsafe node(second).pointee.previous = own
    unsafe first.pointee.next = own
  }

  func remove(_ object: StoredObject) {
    for index in 0..<Int(unsafe object.record.pointee.nodeCount) {
      let place = unsafe TagIndex.nodes(object) + index
      let own = unsafe ref(place)
      let next = unsafe place.pointee.next
      if unsafe place.pointee.isLeader {
        unsafe replaceLeader(place, by: next == own ? .none : next)
      }
      unsafe node(place.pointee.previous).pointee.next = next
      unsafe node(next).pointee.previous = place.pointee.previous
    }
  }

  private func replaceLeader(_ place: UnsafeMutablePointer<TagNode>, by other: TagRef) {
    let own = unsafe ref(place)
    var successor = unsafe place.pointee.nextLeader
    if other != .none {
      let chosen = unsafe node(other)
      unsafe chosen.pointee.isLeader = true
      unsafe chosen.pointee.nextLeader = successor
      successor = other
    }
    let bucket = unsafe Int(place.pointee.hash) & mask
    if unsafe buckets[bucket] == own {
      unsafe buckets[bucket] = successor
      return
    }
    var before = unsafe buckets[bucket]
    while unsafe node(before).pointee.nextLeader != own {
      before = unsafe node(before).pointee.nextLeader
    }
    unsafe node(before).pointee.nextLeader = successor
  }

  // MARK: Finding

  private func leader(_ hash: UInt32, _ text: ByteView, _ kind: TagKind) -> TagRef {
    var found = unsafe buckets[Int(hash) & mask]
    while found != .none {
      let candidate = unsafe node(found)
      if unsafe candidate.pointee.hash == hash, unsafe candidate.pointee.kind == kind,
        unsafe self.text(candidate).equals(text)
      {
        return found
      }
      found = unsafe candidate.pointee.nextLeader
    }
    return .none
  }

  /// Calls with each response that has the tag until the body returns false.
  func visit(_ text: ByteView, _ kind: TagKind, _ body: (StoredObject) -> Bool) {
    let first = leader(hash(text, kind), text, kind)
    guard first != .none else { return }
    var current = first
    repeat {
      guard unsafe body(object(node(current))) else { return }
      current = unsafe node(current).pointee.next
    } while current != first
  }
}

/// The folders a URL is in: `scheme://host/`, `scheme://host/a/`, … as lengths of its beginning.
struct FolderList {
  /// Deeper ones are found through the last that counts.
  static let most = 8
  private let url: ByteView
  private var index: Int
  private let end: Int
  private var count = 0

  init(_ url: ByteView) {
    self.url = url
    // The third slash is the path's first.
    var slashes = 0
    var start = url.count
    for position in 0..<url.count where url[position] == UInt8(ascii: "/") {
      slashes += 1
      if slashes == 3 {
        start = position
        break
      }
    }
    index = start
    end = url.firstIndex(of: UInt8(ascii: "?")) ?? url.count
  }

  mutating func next() -> Int? {
    guard count < FolderList.most, index < end,
      let slash = url.firstIndex(of: UInt8(ascii: "/"), from: index), slash < end
    else { return nil }
    index = slash + 1
    count += 1
    return index
  }
}
