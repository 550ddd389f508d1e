import HTTP
import Primitives
import Synchronization

/// What a lookup asks for. The views live as long as the call.
public struct CacheQuery: ~Copyable {
  public let key: ByteView
  public let urlLength: Int
  public let hash: UInt64
  public let constraints: RequestConstraints
}

/// One part of a cache's index, behind its own lock: responses whose keys' hashes end alike, their
/// tags, who is to go first, and the fetches in flight for them.
///
/// Why the uses are safe: everything is touched with the lock held, and a record in the index has a
/// pin, so it is where its number says. Hence `@unchecked Sendable`: what a thread does with it, it
/// does behind the lock.
@safe
struct CacheShard: ~Copyable, @unchecked Sendable {
  /// Keys that lately turned out to be unstorable.
  private static let markCount = 1024
  /// Objects that a purge takes before it lets others have the lock.
  static let purgeBatch = 128
  /// Buckets that a purge of everything looks at before it does.
  private static let purgeBuckets = 4096
  /// Blocks of tags' lists that it clears then.
  private static let purgeBlocks = 64
  /// Lines of those who have gone that a purge by tag comes by before it does.
  private static let purgePatience = 1024
  /// Blocks of tags' lists that are cleared before others have to go for a new one.
  private static let roomBlocks = 16
  /// Candidates that `evict` looks at.
  private static let mostSpared = 32

  private struct Mark {
    var hash: UInt64
    var until: MonotonicTime
  }

  let arena: BlockArena
  private let buckets: UnsafeMutablePointer<UInt32>
  private let mask: UInt64
  private let marks: UnsafeMutablePointer<Mark>
  private var tags: TagIndex
  private var eviction: EvictionOrder
  /// Of the records, also in `eviction`.
  private var numbers = RecordNumbers()
  private(set) var objectCount = 0
  private var objectBytes = 0
  var fills: [UInt64: [CacheFill]] = [:]
  /// Never used: as in `RequestHead`, it keeps the compiler from copying what it lends.
  private let place = Atomic<Bool>(false)

  /// Buckets of tags for each one of keys: a response has several tags.
  static let tagBuckets = 4

  /// `bucketCount` is a power of two.
  init(arena: BlockArena, bucketCount: Int, seed: UInt64) {
    self.arena = arena
    unsafe buckets = .allocate(capacity: bucketCount)
    unsafe buckets.initialize(repeating: 0, count: bucketCount)
    mask = UInt64(bucketCount - 1)
    unsafe marks = .allocate(capacity: CacheShard.markCount)
    unsafe marks.initialize(repeating: Mark(hash: 0, until: .zero), count: CacheShard.markCount)
    tags = TagIndex(
      bucketCount: bucketCount * CacheShard.tagBuckets, seed: seed, arena: arena)
    eviction = EvictionOrder(mostSlots: arena.capacityBytes / BlockArena.unitBytes)
  }

  deinit {
    unsafe buckets.deallocate()
    unsafe marks.deallocate()
  }

  private func object(_ unit: UInt32) -> StoredObject {
    unsafe StoredObject(
      UnsafeMutableRawPointer(arena.address(unit)).assumingMemoryBound(to: CacheRecord.self))
  }

  private func unit(_ object: StoredObject) -> UInt32 { unsafe arena.unit(object.record) }

  /// Of the arena: what is stored, and the lists of its tags.
  var bytes: Int { objectBytes + listBytes }
  var listBytes: Int { tags.bytes }

  // MARK: Finding

  /// The newest response that this request selects. `sink` is room for a secondary key; `guess`
  /// becomes the hash of the request's, where a response with the key has names to choose by.
  func find(
    _ key: ByteView, _ hash: UInt64, _ head: borrowing RequestHead, _ sink: inout ByteSink,
    guess: inout UInt64
  ) -> StoredObject? {
    var unit = unsafe buckets[Int(hash & mask)]
    var names = ByteView.empty
    while unit != 0 {
      let candidate = object(unit)
      unsafe unit = candidate.record.pointee.nextInBucket
      guard unsafe candidate.record.pointee.hash == hash, candidate.key.equals(key)
      else { continue }
      if candidate.vary.isEmpty { return candidate }
      if !names.equals(candidate.vary) {
        names = candidate.vary
        sink.removeAll()
        Vary.appendSecondaryKey(names: names, head, to: &sink)
        if sink.overflowed { return nil }
        guess = StableHash.of(sink.view, seed: StableHash.of(names))
      }
      if sink.view.equals(candidate.secondary) { return candidate }
    }
    return nil
  }

  /// A fetch in flight that will bring what this request wants, as far as one can know.
  func joinable(
    _ query: borrowing CacheQuery, _ head: borrowing RequestHead, _ sink: inout ByteSink,
    guess: UInt64, now: MonotonicTime
  ) -> CacheFill? {
    guard let candidates = fills[query.hash] else { return nil }
    var pending: CacheFill?
    for fill in candidates where query.key.equals(fill.key) {
      let (phase, object) = fill.inner.withLock { inner in
        // Who was told to look for another one does not want this one again; a window's beginning
        // may have gone.
        inner.isSuperseded || inner.isWindow ? (.failed, nil) : (inner.phase, inner.object)
      }
      if phase == .pending, fill.guess == 0 || guess == 0 || fill.guess == guess {
        // A later one is asked for where the first is slow (semantics.md 16).
        if pending == nil || fill.startedAt > pending!.startedAt { pending = fill }
      } else if phase == .growing, let object {
        if object.vary.isEmpty { return fill }
        sink.removeAll()
        Vary.appendSecondaryKey(names: object.vary, head, to: &sink)
        if !sink.overflowed, sink.view.equals(object.secondary) { return fill }
      }
    }
    return pending
  }

  @inline(__always)
  func touch(_ object: StoredObject) { unsafe eviction.touch(Int(object.record.pointee.slot)) }

  /// Fetches without a head for the same as this one.
  func siblings(_ fill: CacheFill) -> Int {
    (fills[fill.hash] ?? []).count { $0.isSame(as: fill) && $0.isPending }
  }

  /// Nobody joins it any more.
  mutating func detach(_ fill: CacheFill) {
    guard var candidates = fills[fill.hash] else { return }
    candidates.removeAll { $0 === fill }
    fills[fill.hash] = candidates.isEmpty ? nil : candidates
  }

  // MARK: Keys that are not worth a wait

  func isMarked(_ hash: UInt64, now: MonotonicTime) -> Bool {
    let mark = unsafe marks[Int(hash >> 32) & (CacheShard.markCount - 1)]
    return mark.hash == hash && mark.until > now
  }

  func mark(_ hash: UInt64, until end: MonotonicTime) {
    unsafe marks[Int(hash >> 32) & (CacheShard.markCount - 1)] = Mark(hash: hash, until: end)
  }

  func unmark(_ hash: UInt64) {
    let index = Int(hash >> 32) & (CacheShard.markCount - 1)
    if unsafe marks[index].hash == hash { unsafe marks[index].until = .zero }
  }

  // MARK: Entering and removing

  /// Memory for what `enter` writes besides the record; false where there is none.
  mutating func reserveTags(of object: StoredObject) -> Bool { tags.reserve(object.listCount) }
  /// The same, where what lists have of those who have gone may go for it: responses that go take
  /// none of their names along.
  mutating func makeRoom(forTagsOf object: StoredObject) -> Bool {
    if reserveTags(of: object) { return true }
    for _ in 0..<min(tags.blockCount, CacheShard.roomBlocks) { tags.sweep(numbers) }
    return reserveTags(of: object)
  }
  mutating func endReserve() { tags.endReserve() }
  /// Memory of lists whose responses have gone; false where there is none.
  mutating func reclaimTags() -> Bool { tags.reclaim(numbers) }

  /// Enters a record in place of what its requests selected before; returns what went, whose pins
  /// the caller gives back. What was fetched for a later request stays. Where somebody else has
  /// taken what was reserved, it is not entered.
  mutating func enter(_ object: StoredObject, maxVariants: Int) -> [StoredObject] {
    var gone: [StoredObject] = []
    var variants: [StoredObject] = []
    let hash = unsafe object.record.pointee.hash
    var next = unsafe buckets[Int(hash & mask)]
    while next != 0 {
      let other = self.object(next)
      unsafe next = other.record.pointee.nextInBucket
      guard unsafe other.record.pointee.hash == hash, other.key.equals(object.key) else { continue }
      if other.vary.equals(object.vary), other.secondary.equals(object.secondary) {
        if other.sequence > object.sequence { return [] }
        gone.append(other)
      } else {
        variants.append(other)
      }
    }
    // The oldest are last in the chain.
    while variants.count >= maxVariants, let oldest = variants.popLast() { gone.append(oldest) }
    for other in gone { remove(other) }
    guard reserveTags(of: object) else { return gone }
    object.pin()
    let name = numbers.give(to: unit(object))
    unsafe object.record.pointee.slot = name.slot
    unsafe object.record.pointee.flags.insert(.isLinked)
    unsafe object.record.pointee.nextInBucket = buckets[Int(hash & mask)]
    unsafe buckets[Int(hash & mask)] = unit(object)
    tags.enter(object, name, numbers)
    let charged = object.chargedBytes
    eviction.insert(
      Int(name.slot), fingerprint: UInt32(truncatingIfNeeded: hash >> 20), bytes: charged)
    objectCount += 1
    objectBytes += charged
    return gone
  }

  /// Takes a record out; the index's pin on it passes to the caller.
  mutating func remove(_ object: StoredObject) {
    let hash = unsafe object.record.pointee.hash
    let own = unit(object)
    let next = unsafe object.record.pointee.nextInBucket
    if unsafe buckets[Int(hash & mask)] == own {
      unsafe buckets[Int(hash & mask)] = next
    } else {
      var before = self.object(unsafe buckets[Int(hash & mask)])
      while unsafe before.record.pointee.nextInBucket != own {
        before = self.object(unsafe before.record.pointee.nextInBucket)
      }
      unsafe before.record.pointee.nextInBucket = next
    }
    let slot = unsafe object.record.pointee.slot
    if eviction.contains(Int(slot)) { eviction.remove(Int(slot)) }
    numbers.takeBack(slot)
    tags.removed(object, numbers)
    unsafe object.record.pointee.flags.remove(.isLinked)
    objectCount -= 1
    objectBytes -= object.chargedBytes
  }

  /// Takes out what is worth least; its pin passes to the caller. `nil` where nothing is stored, or
  /// too much of it is being read: what is in use would free no memory now, and counts as used.
  mutating func evict() -> StoredObject? {
    for _ in 0..<CacheShard.mostSpared {
      guard let slot = eviction.victim() else { return nil }
      let victim = object(numbers.unit(slot))
      guard victim.isInUse else {
        remove(victim)
        return victim
      }
      eviction.spare(slot)
    }
    return nil
  }

  // MARK: Purging

  /// How far a purge has come in this shard.
  struct PurgePlace {
    /// Of a purge of everything.
    var bucket = 0
    /// The same, when everything is gone: blocks of tags' lists that are to be cleared.
    var blocks: Int?
    var isFirst = true
    var isDone = false
  }

  /// The next stored responses that the request matches, once each: a batch where what is found is
  /// removed before the next call, or where everything is wanted; else all of them. `since`: what
  /// was fetched after that purge is left out.
  mutating func matches(
    _ request: PurgeRequest, since sequence: UInt64, _ place: inout PurgePlace
  ) -> [StoredObject] {
    var found: [StoredObject] = []
    var seen = Set<UInt32>()
    if request.all { return nextOfAll(since: sequence, clears: !request.dryRun, &place) }
    let limit = removesAllItVisits(request) ? CacheShard.purgeBatch : Int.max
    func note(_ object: StoredObject) -> Bool {
      let slot = unsafe object.record.pointee.slot
      if object.sequence < sequence, seen.insert(slot).inserted { found.append(object) }
      return found.count < limit
    }
    let hasSeenAll = visit(request, patience: limit < .max ? CacheShard.purgePatience : .max, note)
    place.isDone = hasSeenAll && found.count < limit
    return found
  }

  /// A batch of what is stored; when there is no more, the lists of tags are cleared, by and by.
  private mutating func nextOfAll(
    since sequence: UInt64, clears: Bool, _ place: inout PurgePlace
  ) -> [StoredObject] {
    var found: [StoredObject] = []
    let end = min(Int(mask) + 1, place.bucket + CacheShard.purgeBuckets)
    while place.bucket < end, found.count < CacheShard.purgeBatch {
      var next = unsafe buckets[place.bucket]
      while next != 0 {
        let candidate = object(next)
        unsafe next = candidate.record.pointee.nextInBucket
        if candidate.sequence < sequence { found.append(candidate) }
      }
      place.bucket += 1
    }
    guard found.isEmpty, place.bucket > Int(mask) else { return found }
    let blocks = place.blocks ?? (clears ? tags.blockCount : 0)
    for _ in 0..<min(blocks, CacheShard.purgeBlocks) { tags.sweep(numbers) }
    place.blocks = max(0, blocks - CacheShard.purgeBlocks)
    place.isDone = place.blocks == 0
    return []
  }

  /// Else each batch would begin with what the ones before it have looked at.
  private func removesAllItVisits(_ request: PurgeRequest) -> Bool {
    guard !request.soft, !request.dryRun else { return false }
    guard let prefix = request.prefix else { return true }
    var isFolder = false
    prefix.withView { isFolder = FolderList.deepest($0) == prefix.count }
    return isFolder
  }

  /// Calls with what the request matches until that says no; with some of it more than once. False
  /// where it has to be called once more.
  private mutating func visit(
    _ request: PurgeRequest, patience: Int, _ body: (StoredObject) -> Bool
  ) -> Bool {
    var isDone = true
    for tag in request.tags {
      tag.withView {
        isDone = tags.visit($0, .given, numbers, patience: patience, body) && isDone
      }
    }
    for url in request.urls {
      url.withView { url in
        visit(url, body)
        isDone = tags.visit(url, .url, numbers, patience: patience, body) && isDone
      }
    }
    request.prefix?.withView { prefix in
      guard let folder = FolderList.deepest(prefix) else { return }
      let found = tags.visit(prefix.slice(0, folder), .folder, numbers, patience: patience) {
        $0.url.begins(with: prefix) ? body($0) : true
      }
      isDone = found && isDone
    }
    return isDone
  }

  /// Responses whose key is this URL and no more.
  private func visit(_ url: ByteView, _ body: (StoredObject) -> Bool) {
    let hash = CacheStore.hash(url)
    var next = unsafe buckets[Int(hash & mask)]
    while next != 0 {
      let candidate = object(next)
      unsafe next = candidate.record.pointee.nextInBucket
      if candidate.key.equals(url), !body(candidate) { return }
    }
  }
}

extension FolderList {
  /// The longest folder that every URL with this beginning is in; `nil` where it has no path.
  static func deepest(_ prefix: ByteView) -> Int? {
    var folders = FolderList(prefix)
    var last: Int?
    while let end = folders.next() { last = end }
    return last
  }
}

extension [UInt8] {
  func withView(_ body: (ByteView) -> Void) {
    unsafe withUnsafeBufferPointer { unsafe body(ByteView($0)) }
  }
}

extension CacheShard {
  /// Index, numbers and counts agree; O(objects), for tests.
  mutating func checkInvariants() {
    var count = 0
    var lists = 0
    var total = 0
    var place = PurgePlace()
    while !place.isDone {
      for candidate in matches(everything, since: .max, &place) {
        let flags = unsafe candidate.record.pointee.flags
        precondition(flags.contains(.isLinked), "a record in the index that is not linked")
        count += 1
        lists += candidate.listCount
        total += candidate.chargedBytes
      }
    }
    precondition(count == objectCount && total == objectBytes, "counts do not add up")
    tags.checkInvariants(lists, numbers)
  }

  private var everything: PurgeRequest {
    var request = PurgeRequest()
    request.all = true
    return request
  }
}
