import HTTP
import Primitives
import Synchronization

/// A cache: responses in memory, shared by all workers, found by key in one part of sixteen.
///
/// Outlives snapshots. Locks are taken in the order shard, fill, log, arena; none is held across a
/// system call.
public final class CacheStore: Sendable {
  /// A fetch without a head is joined this long; then a second one is begun (semantics.md 16).
  private static let patience = TimeAmount.seconds(5)
  /// For so long a backend is asked for each request alone where its response could not be stored.
  private static let markTime = TimeAmount.seconds(120)
  /// The same where that was for want of memory, which may be there again at once.
  private static let shortageTime = TimeAmount.seconds(1)

  public let name: String
  public let options: CacheOptions
  let arena: BlockArena
  let shards: ShardTable
  let log = Lock(PurgeLog())
  private let evictedCount = Atomic<UInt64>(0)
  let purgedCount = Atomic<UInt64>(0)
  private let tableBytes: Int

  /// `nil` where there is no address space.
  public init?(_ options: CacheOptions, seed: UInt64) {
    name = options.name
    self.options = options
    // One bucket of keys for each KiB and some of tags, of four octets, and a mark for each unit.
    let perShard = max(64, options.memoryBytes / 1024 / ShardTable.count)
    let buckets = 1 << (Int.bitWidth - 1 - perShard.leadingZeroBitCount)
    tableBytes =
      buckets * ShardTable.count * 4 * (1 + CacheShard.tagBuckets)
      + options.memoryBytes / BlockArena.unitBytes
    let arena = BlockArena(
      bytes: max(1 << 19, options.memoryBytes - tableBytes), usesHugePages: options.usesHugePages)
    guard let arena else { return nil }
    self.arena = arena
    shards = ShardTable { index in
      CacheShard(arena: arena, bucketCount: buckets, seed: seed &+ UInt64(index))
    }
  }

  static func hash(_ key: ByteView) -> UInt64 { QuickHash.of(key, seed: keySeed) }

  /// So that nobody outside can choose keys that meet in one bucket.
  private static let keySeed = UInt64.random(in: .min ... .max)

  @inline(__always)
  private func shard(_ hash: UInt64) -> Shard { shards.shard(of: hash) }

  // MARK: Looking up

  /// A query for this key, which the caller keeps as long as the query.
  public func query(
    _ key: ByteView, urlLength: Int, _ constraints: RequestConstraints
  ) -> CacheQuery {
    CacheQuery(
      key: key, urlLength: urlLength, hash: CacheStore.hash(key), constraints: constraints)
  }

  /// The short way for a request without constraints: what is stored for it and fresh. `nil`: there
  /// is more to decide, and `lookup` does; nothing has changed. `scratch` is room for a secondary
  /// key. O(1), no allocation.
  public func hit(
    _ key: ByteView, _ head: borrowing RequestHead, scratch: inout ByteSink, now: MonotonicTime
  ) -> CacheHit? {
    let hash = CacheStore.hash(key)
    return shard(hash).withLock { shard in
      var guess: UInt64 = 0
      guard let found = shard.find(key, hash, head, &scratch, guess: &guess) else { return nil }
      let freshness = found.freshness
      let resident = now - found.storedAt
      guard freshness.isFresh(resident: resident) else { return nil }
      found.pin()
      shard.touch(found)
      return CacheHit(
        object: found, age: freshness.age(resident: resident),
        ttl: freshness.ttl(resident: resident))
    }
  }

  /// What can be done for a request. `scratch` is room for a secondary key. O(1), and no
  /// allocation where something fresh is stored.
  public func lookup(
    _ query: borrowing CacheQuery, _ head: borrowing RequestHead, _ waiter: FillWaiter,
    scratch: inout ByteSink, now: MonotonicTime
  ) -> CacheFound {
    shard(query.hash).withLock { shard in
      var guess: UInt64 = 0
      let found = shard.find(query.key, query.hash, head, &scratch, guess: &guess)
      var result = unsafe CacheFound(kind: .fetch)
      if let found {
        result.freshness = found.freshness
        let state = found.state(query.constraints, now: now)
        if state == .fresh || state == .staleWhileRevalidate {
          found.pin()
          shard.touch(found)
          result.object = found
          result.kind = state == .fresh ? .hit : .stale
          guard state == .staleWhileRevalidate,
            shard.joinable(query, head, &scratch, guess: guess, now: now) == nil
          else { return result }
          unsafe result.fill = begin(
            query, &shard, guess: guess, stale: found, isBackground: true, now: now)
          return result
        }
        result.wasStale = true
      }
      return miss(query, head, waiter, &shard, &scratch, found, guess, result, now)
    }
  }

  private func miss(
    _ query: borrowing CacheQuery, _ head: borrowing RequestHead, _ waiter: FillWaiter,
    _ shard: inout CacheShard, _ scratch: inout ByteSink, _ stale: StoredObject?,
    _ guess: UInt64, _ result: CacheFound, _ now: MonotonicTime
  ) -> CacheFound {
    var result = result
    if query.constraints.onlyIfCached {
      result.kind = .absent
      return result
    }
    if query.constraints.noStore || (stale == nil && shard.isMarked(query.hash, now: now)) {
      result.kind = .pass
      return result
    }
    let joined = shard.joinable(query, head, &scratch, guess: guess, now: now)
    // What a client wants confirmed now must have been asked for after it.
    if let joined, !query.constraints.noCache,
      now - joined.startedAt < CacheStore.patience
        || joined.inner.withLock({ $0.phase == .growing }) || shard.siblings(joined) > 1,
      joined.join(waiter)
    {
      result.kind = .waits
      unsafe result.fill = Unmanaged.passRetained(joined)
      result.sequence = log.withLock { $0.sequence }
      return result
    }
    unsafe result.fill = begin(
      query, &shard, guess: guess, stale: stale, isBackground: false, now: now)
    _ = unsafe result.fill?._withUnsafeGuaranteedRef { $0.join(waiter) }
    result.sequence = log.withLock { $0.sequence }
    return result
  }

  private func begin(
    _ query: borrowing CacheQuery, _ shard: inout CacheShard, guess: UInt64,
    stale: StoredObject?, isBackground: Bool, now: MonotonicTime
  ) -> Unmanaged<CacheFill> {
    // A purge that is under way has a lower number than this fetch, which it will not be told of:
    // what it is about must not come back by being confirmed.
    let (began, isPurged) = log.withLock { log in
      (log.fetchBegan(), stale.map { log.isBeingPurged(url: $0.url, tags: $0.tags) } ?? false)
    }
    let fill = CacheFill(
      self, query, guess: guess, stale: isPurged ? nil : stale, isBackground: isBackground,
      began: began, now: now)
    shard.fills[query.hash, default: []].append(fill)
    return unsafe Unmanaged.passRetained(fill)
  }

  /// Another reader of what is pinned already.
  public func pin(_ object: StoredObject) { object.pin() }

  /// Gives a pin back; the last one frees the memory.
  public func unpin(_ object: StoredObject) {
    guard object.unpin() else { return }
    let first = unsafe object.record.pointee.firstBlock
    let order = unsafe Int(object.record.pointee.order)
    arena.free(unsafe arena.unit(object.record), order)
    ContentChain.removeOwner(first, arena)
  }

  /// Where reading begins at `position` of what is stored. O(blocks before it).
  public func cursor(at position: Int, of object: StoredObject) -> ContentCursor {
    var cursor = ContentCursor()
    move(&cursor, to: position, of: object)
    return cursor
  }

  /// Moves a cursor on to `position`, which has been published. O(blocks between).
  public func move(_ cursor: inout ContentCursor, to position: Int, of object: StoredObject) {
    while cursor.position < position {
      cursor.advance(by: octets(at: &cursor, upTo: position, of: object).count)
    }
  }

  /// How long a pinned response is fresh.
  public func freshness(of object: StoredObject) -> Freshness {
    shard(object.hash).withLock { _ in object.freshness }
  }

  /// The freshness of a stale response that may be served because its backend failed (RFC 5861
  /// §4); `nil` where it may not.
  public func staleIfError(
    _ object: StoredObject, _ constraints: RequestConstraints, now: MonotonicTime
  ) -> Freshness? {
    shard(object.hash).withLock { _ in
      guard object.purgedAt == 0 else { return nil }
      switch object.state(constraints, now: now) {
      case .fresh, .staleWhileRevalidate, .staleIfError: return object.freshness
      case .mustRevalidate, .dead: return nil
      }
    }
  }

  /// All of a stored response's content, where it lies together and is at most so long.
  public func wholeContent(of object: StoredObject, atMost most: Int) -> ByteView? {
    ContentChain.whole(object, atMost: most, arena)
  }

  /// Octets of the content at the cursor, up to `end`; as `ContentChain.octets`.
  @inline(__always)
  public func octets(
    at cursor: inout ContentCursor, upTo end: Int, of object: StoredObject
  ) -> ByteView {
    ContentChain.octets(at: &cursor, upTo: end, of: object, arena)
  }

  // MARK: Fetches

  /// Why what came is for who asked for it alone, and for how long that holds for the key.
  public enum Refusal: Sendable {
    /// By what it is.
    case lasting
    /// There was no memory for it.
    case shortage
    /// Says nothing about the next one.
    case once
  }

  /// A head has come that may be stored; a transient one is only for those who wait. `refusal`:
  /// there is no room for it, and `unstorable` has to be called.
  public func headArrived(
    _ fill: CacheFill, _ parts: RecordParts, isTransient: Bool = false, now: MonotonicTime
  ) -> (refusal: Refusal?, wakes: [FillWaiter]) {
    guard let object = place(fill, parts) else {
      return (withKey(of: fill, parts, StoredObject.fits) ? .shortage : .lasting, [])
    }
    let wakes = shard(fill.hash).withLock { shard in
      shard.unmark(fill.hash)
      let isPurged = notePurges(of: object, fill)
      // What nobody finds takes nobody from another fetch, which would begin once more for them.
      let isFound = !isTransient && !isPurged
      if !isFound { shard.detach(fill) }
      var wakes = fill.inner.withLock { inner in
        inner.isTransient = isTransient
        inner.phase = .growing
        inner.object = object
        // Who has not looked for another one yet reads this one, and must be woken for it.
        inner.isSuperseded = false
        let wakes = inner.sleepers
        inner.sleepers = []
        return wakes
      }
      guard isFound else { return wakes }
      for other in shard.fills[fill.hash] ?? [] where other !== fill && other.isSame(as: fill) {
        wakes += other.inner.withLock { inner in
          guard inner.phase == .pending else { return [] }
          inner.isSuperseded = true
          let wakes = inner.sleepers
          inner.sleepers = []
          return wakes
        }
      }
      return wakes
    }
    return (nil, wakes)
  }

  /// Tells the fetch of purges since it began that were about `object`. True where there was one.
  private func notePurges(of object: StoredObject, _ fill: CacheFill) -> Bool {
    let purge = log.withLock { $0.match(url: object.url, tags: object.tags, since: fill.began) }
    guard let purge else { return false }
    fill.inner.withLock { $0.purged(at: purge.sequence, isSoft: purge.isSoft) }
    return true
  }

  /// A record of these parts in a block of its own, pinned once. `isInline`: whether its content
  /// will be there, too; `nil`: where that is best.
  private func place(
    _ fill: CacheFill, _ parts: RecordParts, isInline: Bool? = nil
  ) -> StoredObject? {
    var parts = parts
    parts.sequence = fill.began
    return withKey(of: fill, parts) { write($0, isInline) }
  }

  private func withKey<Result>(
    of fill: CacheFill, _ parts: RecordParts, _ body: (RecordParts) -> Result
  ) -> Result {
    var parts = parts
    return unsafe fill.key.withUnsafeBufferPointer { key in
      parts.key = unsafe ByteView(key)
      parts.urlLength = fill.urlLength
      parts.hash = fill.hash
      return body(parts)
    }
  }

  private func write(_ parts: RecordParts, _ isInline: Bool?) -> StoredObject? {
    let lists = TagIndex.listCount(parts)
    let bytes = StoredObject.recordBytes(parts)
    let length = parts.contentLength
    let isInline = isInline ?? (length >= 0 && StoredObject.isBestInline(bytes, length))
    let order = BlockArena.order(holding: isInline ? bytes + length : bytes)
    guard order <= BlockArena.mostOrder, lists <= StoredObject.mostLists else { return nil }
    let block = allocate(order, near: parts.hash)
    guard block != 0 else { return nil }
    return unsafe StoredObject.write(
      parts, lists: lists, arena.address(block), order: order, hasInlineContent: isInline)
  }

  /// A block, for which others make room where it must be; 0: even so there is none.
  private func allocate(_ order: Int, near hash: UInt64) -> UInt32 {
    var block = arena.allocate(order)
    var tries = 0
    while block == 0, tries < 64, evict(near: hash) {
      block = arena.allocate(order)
      tries += 1
    }
    return block
  }

  /// Sees to it that its shard can enter it, where others have to go for that, as for its content.
  private func makeRoom(forTagsOf object: StoredObject) {
    while !shard(object.hash).withLock({ $0.makeRoom(forTagsOf: object) }),
      evict(near: object.hash)
    {}
  }

  /// Drops what is worth least, in this shard or, where it has nothing, in the next that has; then
  /// what lists still have of those that have gone.
  private func evict(near hash: UInt64) -> Bool {
    let first = Int(hash >> 60)
    for step in 0..<ShardTable.count {
      let shard = shards[(first + step) % ShardTable.count]
      guard let victim = shard.withLock({ $0.evict() }) else { continue }
      unpin(victim)
      evictedCount.add(1, ordering: .relaxed)
      return true
    }
    for index in 0..<ShardTable.count where shards[index].withLock({ $0.reclaimTags() }) {
      return true
    }
    return false
  }

  /// Content has come. What is worth least makes room for it; where that does not do, it becomes a
  /// window.
  public func append(_ fill: CacheFill, _ octets: ByteView) -> CacheFill.Appended {
    let limit = options.objectLimitBytes
    var result = fill.append(octets, limit: limit)
    while result.lacksMemory, evict(near: fill.hash) {
      result.add(fill.append(octets.slice(from: result.taken), limit: limit))
    }
    if result.lacksMemory, fill.becomeWindow() {
      result.add(fill.append(octets.slice(from: result.taken), limit: limit))
    }
    if result.lacksMemory {
      result.add(fill.append(octets.slice(from: result.taken), limit: limit, reuses: true))
    }
    if fill.isWindow { shard(fill.hash).withLock { $0.detach(fill) } }
    return result
  }

  /// All content has come: from now on it is found without the fetch.
  public func complete(_ fill: CacheFill, now: MonotonicTime) -> [FillWaiter] {
    guard let object = fill.finishContent() else { return fail(fill, 0) }
    return settle(fill, object, .complete, now: now)
  }

  /// The backend has confirmed what is stored (304): its record gets these parts, its content
  /// stays. Where there is no memory for that, whoever waits asks for himself.
  public func renew(
    _ fill: CacheFill, _ parts: RecordParts, now: MonotonicTime
  ) -> [FillWaiter] {
    guard let stale = fill.stale, let object = place(fill, parts, isInline: !stale.hasBlocks)
    else { return unstorable(fill, .once, now: now) }
    object.takeContent(of: stale, arena)
    return settle(fill, object, .renewed, now: now)
  }

  /// Enters what has come, unless a purge was about it, and ends the fetch.
  private func settle(
    _ fill: CacheFill, _ object: StoredObject, _ phase: CacheFill.Phase, now: MonotonicTime
  ) -> [FillWaiter] {
    var gone: [StoredObject] = []
    if fill.inner.withLock({ $0.isStorable }) { makeRoom(forTagsOf: object) }
    let wakes = shard(fill.hash).withLock { shard in
      shard.detach(fill)
      if phase == .renewed, let stale = fill.stale {
        _ = notePurges(of: stale, fill)
        _ = notePurges(of: object, fill)
        fill.inner.withLock { inner in
          inner.object = object
          if stale.purgedAt > 0 { inner.purged(at: stale.purgedAt, isSoft: false) }
        }
      }
      // Since one purge took it out of the table others may have come, which did not see it.
      let isPurged = fill.inner.withLock { $0.purgedAt > 0 }
      if isPurged { _ = notePurges(of: object, fill) }
      if fill.inner.withLock({ $0.isStorable }) {
        if isPurged { object.expire(now: now) }
        gone = shard.enter(object, maxVariants: options.maxVariants)
      }
      shard.endReserve()
      return fill.end(phase)
    }
    for other in gone { unpin(other) }
    ended(fill)
    return wakes
  }

  /// What came cannot be stored: whoever waits asks for himself, and so does everybody else for as
  /// long as the reason holds.
  public func unstorable(
    _ fill: CacheFill, _ refusal: Refusal, now: MonotonicTime
  ) -> [FillWaiter] {
    let wakes = shard(fill.hash).withLock { shard in
      switch refusal {
      case .lasting: shard.mark(fill.hash, until: now + CacheStore.markTime)
      case .shortage: shard.mark(fill.hash, until: now + CacheStore.shortageTime)
      case .once: break
      }
      shard.detach(fill)
      return fill.end(.unstorable)
    }
    ended(fill)
    return wakes
  }

  /// The fetch has failed, or its response was cut short. `failure` is what waiters are told.
  public func fail(_ fill: CacheFill, _ failure: UInt32) -> [FillWaiter] {
    let wakes = shard(fill.hash).withLock { shard in
      shard.detach(fill)
      return fill.end(.failed, failure: failure)
    }
    ended(fill)
    return wakes
  }

  private func ended(_ fill: CacheFill) { log.withLock { $0.fetchEnded(fill.began) } }

  /// True where still nobody reads: nobody will, from now on.
  func detachUnwanted(_ fill: CacheFill) -> Bool {
    shard(fill.hash).withLock { shard in
      let isUnwanted = fill.inner.withLock { inner in
        guard inner.isUnwanted(fill.isBackground), !inner.isCancelled else { return false }
        inner.isCancelled = true
        return true
      }
      if isUnwanted { shard.detach(fill) }
      return isUnwanted
    }
  }

  // MARK: Looking in

  public var usage: CacheUsage {
    var usage = CacheUsage()
    usage.bytes = tableBytes
    for index in 0..<ShardTable.count {
      shards[index].withLock { shard in
        usage.objects += shard.objectCount
        usage.bytes += shard.bytes
        usage.fetches += shard.fills.values.reduce(0) { $0 + $1.count }
      }
    }
    usage.evicted = evictedCount.load(ordering: .relaxed)
    usage.purged = purgedCount.load(ordering: .relaxed)
    return usage
  }

  /// For tests: traps where the structures contradict each other.
  package func checkInvariants() {
    arena.checkInvariants()
    for index in 0..<ShardTable.count {
      shards[index].withLock { $0.checkInvariants() }
    }
  }
}
