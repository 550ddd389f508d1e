import Glibc
import Primitives

/// What a tag stands for. Besides those that backends give, every response has one for each folder
/// it is in, so that a purge by prefix finds its responses as one by tag does.
enum TagKind: UInt8, BitwiseCopyable {
  case given, folder
  /// Its URL, where the key has more parts than that.
  case url
}

/// Which stored responses of a shard have a tag.
///
/// Each tag has a list of names (`RecordName`), six in a cache line. A response that goes is not
/// looked for in the lists of its tags, most of which are in no cache: its name names nobody from
/// then on, and is dropped when somebody comes by. Whoever enters a response or takes one out
/// comes by at some, as long as more than every second one is such. So entering is in constant
/// time, taking out is as well and touches nothing else, and finding is in the time of what is
/// found (docs/decisions/0709-tags-are-lists-of-names.md).
///
/// Owned by its shard, used with the shard's lock held.
@safe
struct TagIndex: ~Copyable {
  private let buckets: UnsafeMutablePointer<TagRef>
  private let mask: Int
  private let seed: UInt64
  private let arena: BlockArena
  private var lines: TagLines
  /// Names in lists.
  private var count = 0
  /// Those that name somebody.
  private var liveCount = 0
  /// So many names of nobody are always borne.
  private let borne: Int
  /// Lines that are yet to be looked at for what has come and gone.
  private var debt = 0

  /// `bucketCount` is a power of two.
  init(bucketCount: Int, seed: UInt64, arena: BlockArena) {
    // Of zeros, which is none, and not touched before there is a tag.
    guard let zeros = unsafe calloc(bucketCount, MemoryLayout<TagRef>.stride) else {
      fatalError("no memory for a cache's table of tags")
    }
    unsafe buckets = zeros.bindMemory(to: TagRef.self, capacity: bucketCount)
    mask = bucketCount - 1
    self.seed = seed
    self.arena = arena
    lines = TagLines(arena: arena)
    borne = min(64, bucketCount / 16)
  }

  deinit { unsafe free(buckets) }

  /// Octets of the arena.
  var bytes: Int { lines.bytes }
  /// After so many turns of `sweep` all has been looked at, but for what is behind long lists.
  var blockCount: Int { lines.blockCount }

  // MARK: Entering and removing

  /// How many lists a record with these parts is in.
  static func listCount(_ parts: RecordParts) -> Int {
    let hasURL = parts.key.count > parts.urlLength
    var folders = FolderList(parts.key.slice(0, parts.urlLength))
    var count = parts.tagCount + (hasURL ? 1 : 0)
    while folders.next() != nil { count += 1 }
    return count
  }

  /// Sees to the memory for one that is in so many lists; false where there is none.
  mutating func reserve(_ lists: Int) -> Bool { lines.reserve(lists) }
  /// It has been entered, or will not be.
  mutating func endReserve() { lines.endReserve() }

  /// Enters a response for which memory was reserved.
  mutating func enter(
    _ object: StoredObject, _ name: RecordName, _ numbers: borrowing RecordNumbers
  ) {
    var lists = 0
    var tags = object.tags
    while let tag = tags.next() { add(name, hash(tag, .given), numbers, &lists) }
    let url = object.url
    if object.key.count > url.count { add(name, hash(url, .url), numbers, &lists) }
    var folders = FolderList(url)
    while let end = folders.next() {
      add(name, hash(url.slice(0, end), .folder), numbers, &lists)
    }
    precondition(lists == object.listCount, "not in as many lists as was said")
    liveCount += object.listCount
    tidy(object.listCount, numbers)
  }

  /// A response has gone, and its name names nobody any more.
  mutating func removed(_ object: StoredObject, _ numbers: borrowing RecordNumbers) {
    liveCount -= object.listCount
    tidy(object.listCount, numbers)
  }

  private func hash(_ text: ByteView, _ kind: TagKind) -> UInt32 {
    UInt32(truncatingIfNeeded: StableHash.of(text, seed: seed &+ UInt64(kind.rawValue)) >> 16)
  }

  private func first(_ hash: UInt32) -> TagRef {
    var found = unsafe buckets[Int(hash) & mask]
    while found != .none, unsafe lines[found].pointee.hash != hash {
      found = unsafe lines[found].pointee.other
    }
    return found
  }

  /// As `first`, but drops names of nobody in the lines on the way, which cost most to come to.
  private mutating func firstTidied(
    _ hash: UInt32, _ numbers: borrowing RecordNumbers
  ) -> TagRef {
    var found = unsafe buckets[Int(hash) & mask]
    while found != .none, unsafe lines[found].pointee.hash != hash {
      let next = unsafe lines[found].pointee.other
      dropGone(found, numbers)
      if unsafe lines[found].pointee.count == 0 { _ = removeEmpty(found) }
      found = next
    }
    return found
  }

  private mutating func add(
    _ name: RecordName, _ hash: UInt32, _ numbers: borrowing RecordNumbers, _ lists: inout Int
  ) {
    lists += 1
    count += 1
    let first = firstTidied(hash, numbers)
    guard first != .none else {
      let bucket = Int(hash) & mask
      var line = unsafe TagLine(hash: hash, other: buckets[bucket], isFirst: true)
      line.append(name)
      unsafe buckets[bucket] = lines.take(line)
      return
    }
    let place = unsafe lines[first]
    if unsafe Int(place.pointee.count) == TagLine.most { dropGone(first, numbers) }
    if unsafe Int(place.pointee.count) == TagLine.most { makeRoom(first) }
    unsafe place.pointee.append(name)
  }

  /// What is in a tag's first line moves to a new one behind it.
  private mutating func makeRoom(_ first: TagRef) {
    var line = unsafe lines[first].pointee
    line.other = first
    line.isFirst = false
    let second = lines.take(line)
    if line.next != .none { unsafe lines[line.next].pointee.other = second }
    unsafe lines[first].pointee.next = second
    unsafe lines[first].pointee.count = 0
  }

  // MARK: Names of nobody

  private mutating func dropGone(_ ref: TagRef, _ numbers: borrowing RecordNumbers) {
    let line = unsafe lines[ref]
    count -= unsafe line.pointee.drop { numbers.unit($0) != nil }
  }

  /// Takes a line without names out of its lists. What is there instead: the line after it, which
  /// may have got its place; or none.
  private mutating func removeEmpty(_ ref: TagRef) -> TagRef {
    let line = unsafe lines[ref].pointee
    if !line.isFirst {
      unsafe lines[line.other].pointee.next = line.next
      if line.next != .none { unsafe lines[line.next].pointee.other = line.other }
      lines.giveBack(ref)
      return line.next
    }
    guard line.next != .none else {
      removeFirst(ref, line)
      return .none
    }
    // Where the first one is, others know; where the second is, it and the third do.
    let second = unsafe lines[line.next].pointee
    unsafe lines[ref].pointee.next = second.next
    unsafe lines[ref].pointee.count = second.count
    unsafe lines[ref].pointee.entries = second.entries
    if second.next != .none { unsafe lines[second.next].pointee.other = ref }
    lines.giveBack(line.next)
    return ref
  }

  private mutating func removeFirst(_ ref: TagRef, _ line: TagLine) {
    replaceFirst(ref, line, by: line.other)
    lines.giveBack(ref)
  }

  /// In the list of its bucket.
  private func replaceFirst(_ ref: TagRef, _ line: TagLine, by other: TagRef) {
    let bucket = Int(line.hash) & mask
    if unsafe buckets[bucket] == ref {
      unsafe buckets[bucket] = other
      return
    }
    var before = unsafe buckets[bucket]
    while unsafe lines[before].pointee.other != ref {
      before = unsafe lines[before].pointee.other
    }
    unsafe lines[before].pointee.other = other
  }

  // MARK: Tidying

  /// Whether less than half of the names, or of the memory, is of use.
  private var isUntidy: Bool { count > 2 * liveCount + borne || lines.areSparse }

  /// Looks at twice as many lines as there were lists to change, a block at a time.
  private mutating func tidy(_ lists: Int, _ numbers: borrowing RecordNumbers) {
    guard isUntidy else {
      debt = 0
      return
    }
    debt += 2 * lists
    while debt > 0, isUntidy { debt -= sweep(numbers) }
  }

  /// Drops the names of nobody in the block whose turn it is, and moves its lines to others where
  /// it has few; how many lines that was.
  @discardableResult
  mutating func sweep(_ numbers: borrowing RecordNumbers) -> Int {
    let block = lines.beginTurn()
    guard block != 0 else { return 1 }
    var left = 2 * TagLines.most
    for index in TagLines.places {
      // Where the next line takes the place of an empty one, it is looked at as well.
      while left > 0, let ref = lines.line(block, index) {
        left -= 1
        dropGone(ref, numbers)
        guard unsafe lines[ref].pointee.count == 0 else { break }
        _ = removeEmpty(ref)
      }
    }
    if lines.shouldEmptyHeld {
      for index in TagLines.places {
        if let ref = lines.line(block, index) { move(ref) }
      }
    }
    lines.endTurn()
    return max(1, 2 * TagLines.most - left)
  }

  /// Moves a line to another block.
  private mutating func move(_ ref: TagRef) {
    let line = unsafe lines[ref].pointee
    let place = lines.take(line)
    if line.next != .none { unsafe lines[line.next].pointee.other = place }
    if line.isFirst {
      replaceFirst(ref, line, by: place)
    } else {
      unsafe lines[line.other].pointee.next = place
    }
    lines.giveBack(ref)
  }

  /// Drops names of nobody, as many as one has time for while memory is short. False where there
  /// are none.
  mutating func reclaim(_ numbers: borrowing RecordNumbers) -> Bool {
    let (count, blocks) = (count, lines.blockCount)
    guard count > liveCount || lines.areSparse else { return false }
    for _ in 0..<min(blocks, TagIndex.mostReclaimed) { sweep(numbers) }
    return self.count < count || lines.blockCount < blocks
  }

  /// Blocks.
  private static let mostReclaimed = 512

  // MARK: Finding

  /// Whether a response found by a tag's hash has the tag.
  private func has(_ object: StoredObject, _ text: ByteView, _ kind: TagKind) -> Bool {
    switch kind {
    case .given:
      var tags = object.tags
      while let tag = tags.next() {
        if tag.equals(text) { return true }
      }
      return false
    case .url: return object.key.count > object.url.count && object.url.equals(text)
    case .folder: return object.url.begins(with: text)
    }
  }

  /// Calls with each response that has the tag until the body returns false. False where there
  /// was so much to drop that it has to be called once more: `patience` is of emptied lines.
  mutating func visit(
    _ text: ByteView, _ kind: TagKind, _ numbers: borrowing RecordNumbers,
    patience: Int = .max, _ body: (StoredObject) -> Bool
  ) -> Bool {
    var patience = patience
    var ref = first(hash(text, kind))
    while ref != .none {
      dropGone(ref, numbers)
      let line = unsafe lines[ref].pointee
      if line.count == 0 {
        guard patience > 0 else { return false }
        patience -= 1
        ref = removeEmpty(ref)
        continue
      }
      for index in 0..<Int(line.count) {
        guard let unit = numbers.unit(line.entries[index]) else { continue }
        let object = unsafe StoredObject(
          UnsafeMutableRawPointer(arena.address(unit)).assumingMemoryBound(to: CacheRecord.self))
        if has(object, text, kind), !body(object) { return true }
      }
      ref = line.next
    }
    return true
  }

  /// Lists, counts and names agree; O(lists), for tests. `lists`: of all responses of the shard.
  func checkInvariants(_ lists: Int, _ numbers: borrowing RecordNumbers) {
    var (total, live, lineCount) = (0, 0, 0)
    for bucket in 0...mask {
      var first = unsafe buckets[bucket]
      while first != .none {
        var (ref, before) = (first, TagRef.none)
        while ref != .none {
          let line = unsafe lines[ref].pointee
          precondition(Int(line.hash) & mask == bucket && line.isFirst == (ref == first))
          precondition(line.isFirst || line.other == before, "a list is torn")
          total += Int(line.count)
          live += (0..<Int(line.count)).count { numbers.unit(line.entries[$0]) != nil }
          lineCount += 1
          (before, ref) = (ref, line.next)
        }
        first = unsafe lines[first].pointee.other
      }
    }
    precondition(total == count && live == liveCount, "names do not add up")
    precondition(liveCount == lists, "a response is not in all its lists")
    precondition(lineCount + lines.freeCount == lines.blockCount * TagLines.most)
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
