import HTTP
import Primitives
import Synchronization

/// What a lookup came to.
///
/// `@unchecked Sendable`: what it points to is shared by threads anyway, and counted.
@safe
public struct CacheFound: BitwiseCopyable, @unchecked Sendable {
  public enum Kind: UInt8, Sendable, BitwiseCopyable {
    /// `object` may be served as it is.
    case hit
    /// `object` may be served although it is stale; `fill`, where there is one, is to be fetched by
    /// the caller behind it.
    case stale
    /// `fill` is under way: wait for it, or read what it has.
    case waits
    /// `fill` is to be fetched by the caller, who then waits for it.
    case fetch
    /// Lately it could not be stored, or this request forbids it: ask a backend for this request.
    case pass
    /// `only-if-cached`, and nothing is: 504.
    case absent
  }

  public var kind: Kind
  /// Pinned for the caller.
  public var object: StoredObject?
  /// Retained for the caller.
  public var fill: Unmanaged<CacheFill>?
  public var freshness = Freshness(initialAge: .zero, lifetime: 0)
  /// Something was stored for the key, but could not be used as it is.
  public var wasStale = false
  /// Purges so far.
  public var sequence: UInt64 = 0
}

/// What one cache holds now.
public struct CacheUsage: Sendable, Equatable {
  public var objects = 0
  /// Of what is stored, tables included.
  public var bytes = 0
  public var fetches = 0
  public var evicted: UInt64 = 0
  public var purged: UInt64 = 0
}

/// A cache: responses in memory, shared by all workers, found by key in one part of sixteen.
///
/// Outlives snapshots. Locks are taken in the order shard, fill, log, arena; none is held across a
/// system call.
public final class CacheStore: Sendable {
  static let shardCount = 16
  /// A folder's worth of records is looked at before the lock is let go.
  private static let purgeBatch = 128
  /// A fetch without a head is joined this long; then a second one is begun (semantics.md 16).
  private static let patience = TimeAmount.seconds(5)

  private final class Shard: Sendable {
    let tables: Lock<CacheShard>
    init(_ shard: consuming sending CacheShard) { tables = Lock(shard) }
  }

  public let name: String
  public let options: CacheOptions
  let arena: BlockArena
  private let shards: [Shard]
  private let log = Lock(PurgeLog())
  private let evictedCount = Atomic<UInt64>(0)
  private let purgedCount = Atomic<UInt64>(0)
  private let tableBytes: Int

  /// `nil` where there is no address space.
  public init?(_ options: CacheOptions, seed: UInt64) {
    name = options.name
    self.options = options
    // One bucket for each KiB, in each of the two tables, and a mark for each unit.
    let perShard = max(64, options.memoryBytes / 1024 / CacheStore.shardCount)
    let buckets = 1 << (Int.bitWidth - 1 - perShard.leadingZeroBitCount)
    tableBytes =
      buckets * CacheStore.shardCount * 8 + options.memoryBytes / BlockArena.unitBytes
    guard let arena = BlockArena(bytes: max(1 << 19, options.memoryBytes - tableBytes)) else {
      return nil
    }
    self.arena = arena
    shards = (0..<CacheStore.shardCount).map { index in
      Shard(
        CacheShard(
          arena: arena, bucketCount: buckets, seed: seed &+ UInt64(index)))
    }
  }

  static func hash(_ key: ByteView) -> UInt64 { StableHash.of(key, seed: keySeed) }

  /// So that nobody outside can choose keys that meet in one bucket.
  private static let keySeed = UInt64.random(in: .min ... .max)

  private func shard(_ hash: UInt64) -> Shard {
    shards[Int(hash >> 60) & (CacheStore.shardCount - 1)]
  }

  // MARK: Looking up

  /// A query for this key, which the caller keeps as long as the query.
  public func query(
    _ key: ByteView, urlLength: Int, _ constraints: RequestConstraints
  ) -> CacheQuery {
    CacheQuery(
      key: key, urlLength: urlLength, hash: CacheStore.hash(key), constraints: constraints)
  }

  /// What can be done for a request. `scratch` is room for a secondary key. O(1), and no
  /// allocation where something fresh is stored.
  public func lookup(
    _ query: borrowing CacheQuery, _ head: borrowing RequestHead, _ waiter: FillWaiter,
    scratch: inout ByteSink, now: MonotonicTime
  ) -> CacheFound {
    shard(query.hash).tables.withLock { shard in
      var guess: UInt64 = 0
      let found = shard.find(query, head, &scratch, guess: &guess)
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
        || joined.inner.withLock({ $0.phase == .growing }) || shard.siblings(joined) > 1
    {
      joined.join(waiter)
      result.kind = .waits
      unsafe result.fill = Unmanaged.passRetained(joined)
      result.sequence = log.withLock { $0.sequence }
      return result
    }
    unsafe result.fill = begin(
      query, &shard, guess: guess, stale: stale, isBackground: false, now: now)
    unsafe result.fill?._withUnsafeGuaranteedRef { $0.join(waiter) }
    result.sequence = log.withLock { $0.sequence }
    return result
  }

  private func begin(
    _ query: borrowing CacheQuery, _ shard: inout CacheShard, guess: UInt64,
    stale: StoredObject?, isBackground: Bool, now: MonotonicTime
  ) -> Unmanaged<CacheFill> {
    let fill = CacheFill(
      self, query, guess: guess, stale: stale, isBackground: isBackground,
      began: log.withLock { $0.fetchBegan() }, now: now)
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
    while cursor.position < position {
      cursor.advance(by: octets(at: &cursor, upTo: position, of: object).count)
    }
    return cursor
  }

  /// How long a pinned response is fresh.
  public func freshness(of object: StoredObject) -> Freshness {
    shard(object.hash).tables.withLock { _ in object.freshness }
  }

  /// The freshness of a stale response that may be served because its backend failed (RFC 5861
  /// §4); `nil` where it may not.
  public func staleIfError(
    _ object: StoredObject, _ constraints: RequestConstraints, now: MonotonicTime
  ) -> Freshness? {
    shard(object.hash).tables.withLock { _ in
      guard object.purgedAt == 0 else { return nil }
      switch object.state(constraints, now: now) {
      case .fresh, .staleWhileRevalidate, .staleIfError: return object.freshness
      case .mustRevalidate, .dead: return nil
      }
    }
  }

  /// Octets of the content at the cursor, up to `end`; as `ContentChain.octets`.
  @inline(__always)
  public func octets(
    at cursor: inout ContentCursor, upTo end: Int, of object: StoredObject
  ) -> ByteView {
    ContentChain.octets(at: &cursor, upTo: end, of: object, arena)
  }

  // MARK: Fetches

  /// A head has come that may be stored; a transient one is only for those who wait. False where
  /// there is no memory for it: the response is then for who asked for it alone.
  public func headArrived(
    _ fill: CacheFill, _ parts: RecordParts, isTransient: Bool = false, now: MonotonicTime
  ) -> (isStored: Bool, wakes: [FillWaiter]) {
    guard let object = place(fill, parts) else { return (false, []) }
    let wakes = shard(fill.hash).tables.withLock { shard in
      shard.unmark(fill.hash)
      let purge = log.withLock { $0.match(url: object.url, tags: object.tags, since: fill.began) }
      if isTransient || purge?.isSoft == false { shard.detach(fill) }
      var wakes = fill.inner.withLock { inner in
        inner.isTransient = isTransient
        inner.phase = .growing
        inner.object = object
        if let purge {
          if purge.isSoft { inner.isSoftPurged = true } else { inner.purgedAt = purge.sequence }
        }
        let wakes = inner.sleepers
        inner.sleepers = []
        return wakes
      }
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
    return (true, wakes)
  }

  /// A record of these parts in a block of its own, pinned once.
  private func place(_ fill: CacheFill, _ parts: RecordParts) -> StoredObject? {
    var parts = parts
    parts.sequence = fill.began
    return unsafe fill.key.withUnsafeBufferPointer { key in
      parts.key = unsafe ByteView(key)
      parts.urlLength = fill.urlLength
      parts.hash = fill.hash
      return write(parts)
    }
  }

  private func write(_ parts: RecordParts) -> StoredObject? {
    let nodes = TagIndex.nodeCount(parts)
    let bytes = StoredObject.recordBytes(parts, nodes: nodes)
    let length = parts.contentLength
    let isInline = length >= 0 && StoredObject.isBestInline(bytes, length)
    let order = BlockArena.order(holding: isInline ? bytes + length : bytes)
    guard order <= BlockArena.mostOrder, nodes <= Int(UInt8.max) else { return nil }
    let block = allocate(order, near: parts.hash)
    guard block != 0 else { return nil }
    return unsafe StoredObject.write(
      parts, nodes: nodes, arena.address(block), order: order, hasInlineContent: isInline)
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

  /// Drops what is worth least, in this shard or, where it has nothing, in the next that has.
  private func evict(near hash: UInt64) -> Bool {
    let first = Int(hash >> 60)
    for step in 0..<CacheStore.shardCount {
      let shard = shards[(first + step) & (CacheStore.shardCount - 1)]
      guard let victim = shard.tables.withLock({ $0.evict() }) else { continue }
      unpin(victim)
      evictedCount.add(1, ordering: .relaxed)
      return true
    }
    return false
  }

  /// Content has come. Returns how much of it was taken: less than all where the slowest reader has
  /// to come after first; and who has something to read now.
  public func append(_ fill: CacheFill, _ octets: ByteView) -> (taken: Int, wakes: [FillWaiter]) {
    var (taken, wakes) = fill.append(octets, limit: options.objectLimitBytes)
    while taken < octets.count, !fill.isWindow, evict(near: fill.hash) {
      let more = fill.append(octets.slice(from: taken), limit: options.objectLimitBytes)
      taken += more.taken
      wakes += more.wakes
    }
    if taken < octets.count, !fill.isWindow { fill.becomeWindow() }
    if fill.isWindow { shard(fill.hash).tables.withLock { $0.detach(fill) } }
    return (taken, wakes)
  }

  /// All content has come: from now on it is found without the fetch.
  public func complete(_ fill: CacheFill, now: MonotonicTime) -> [FillWaiter] {
    guard let object = fill.finishContent() else { return fail(fill, 0) }
    var gone: [StoredObject] = []
    let wakes = shard(fill.hash).tables.withLock { shard in
      let (isStorable, isSoft) = fill.inner.withLock {
        ($0.purgedAt == 0 && !$0.isWindow && !$0.isTransient, $0.isSoftPurged)
      }
      shard.detach(fill)
      if isStorable {
        if isSoft { object.expire(now: now) }
        gone = shard.enter(object, maxVariants: options.maxVariants)
      }
      return fill.end(.complete)
    }
    for other in gone { unpin(other) }
    ended(fill)
    return wakes
  }

  /// The backend has confirmed what is stored (304): its record gets these parts, its content
  /// stays. Falls back to `fail` where there is no memory.
  public func renew(
    _ fill: CacheFill, _ parts: RecordParts, now: MonotonicTime
  ) -> [FillWaiter] {
    guard let stale = fill.stale, let object = place(fill, parts) else { return fail(fill, 0) }
    object.takeContent(of: stale, arena)
    var gone: [StoredObject] = []
    let wakes = shard(fill.hash).tables.withLock { shard in
      let purge = log.withLock { $0.match(url: stale.url, tags: stale.tags, since: fill.began) }
      let removed = stale.purgedAt
      let hard = max(removed, purge.map { $0.isSoft ? 0 : $0.sequence } ?? 0)
      shard.detach(fill)
      if hard == 0 {
        if purge != nil { object.expire(now: now) }
        gone = shard.enter(object, maxVariants: options.maxVariants)
      }
      fill.inner.withLock { inner in
        inner.object = object
        inner.purgedAt = max(inner.purgedAt, hard)
      }
      return fill.end(.renewed)
    }
    for other in gone { unpin(other) }
    ended(fill)
    return wakes
  }

  /// What came cannot be stored: whoever waits asks for himself. `marks`: so will everybody else
  /// for a while.
  public func unstorable(
    _ fill: CacheFill, marks: Bool, now: MonotonicTime
  ) -> [FillWaiter] {
    let wakes = shard(fill.hash).tables.withLock { shard in
      if marks { shard.mark(fill.hash, now: now) }
      shard.detach(fill)
      return fill.end(.unstorable)
    }
    ended(fill)
    return wakes
  }

  /// The fetch has failed, or its response was cut short. `failure` is what waiters are told.
  public func fail(_ fill: CacheFill, _ failure: UInt32) -> [FillWaiter] {
    let wakes = shard(fill.hash).tables.withLock { shard in
      shard.detach(fill)
      return fill.end(.failed, failure: failure)
    }
    ended(fill)
    return wakes
  }

  private func ended(_ fill: CacheFill) { log.withLock { $0.fetchEnded(fill.began) } }

  /// True where still nobody reads: nobody will, from now on.
  func detachUnwanted(_ fill: CacheFill) -> Bool {
    shard(fill.hash).tables.withLock { shard in
      let isUnwanted = fill.inner.withLock { inner in
        guard inner.isUnwanted(fill.isBackground), !inner.isCancelled else { return false }
        inner.isCancelled = true
        return true
      }
      if isUnwanted { shard.detach(fill) }
      return isUnwanted
    }
  }

  // MARK: Purging

  /// Removes what matches, or makes it stale. When this returns, a lookup that begins now does not
  /// find what was removed, on any worker, whatever is in flight. O(what matches), and for a prefix
  /// O(what is in its folder).
  public func purge(_ request: PurgeRequest, now: MonotonicTime) -> PurgeResult {
    var result = PurgeResult()
    result.sequence = log.withLock { request.dryRun ? $0.sequence : $0.add(request) }
    for shard in shards {
      let gone = shard.tables.withLock { shard in
        purge(request, &shard, &result, now)
      }
      for object in gone { unpin(object) }
    }
    if !request.dryRun {
      purgedCount.add(UInt64(result.matched), ordering: .relaxed)
    }
    return result
  }

  private func purge(
    _ request: PurgeRequest, _ shard: inout CacheShard, _ result: inout PurgeResult,
    _ now: MonotonicTime
  ) -> [StoredObject] {
    let matches = shard.matches(request)
    result.matched += matches.count
    for object in matches { result.bytes += object.chargedBytes }
    if request.dryRun { return [] }
    if request.soft {
      for object in matches { object.expire(now: now) }
    } else {
      for object in matches {
        object.setPurged(at: result.sequence)
        shard.remove(object)
      }
    }
    for fill in shard.fills.values.joined() where fill.isMatched(by: request) {
      fill.inner.withLock { inner in
        if request.soft {
          inner.isSoftPurged = true
        } else {
          inner.purgedAt = result.sequence
        }
      }
      if !request.soft { shard.detach(fill) }
    }
    return request.soft ? [] : matches
  }

  // MARK: Looking in

  public var usage: CacheUsage {
    var usage = CacheUsage()
    usage.bytes = tableBytes
    for shard in shards {
      shard.tables.withLock { shard in
        usage.objects += shard.objectCount
        usage.bytes += shard.bytes
        usage.fetches += shard.fills.values.reduce(0) { $0 + $1.count }
      }
    }
    usage.evicted = evictedCount.load(ordering: .relaxed)
    usage.purged = purgedCount.load(ordering: .relaxed)
    return usage
  }

  /// For tests.
  func checkInvariants() {
    arena.checkInvariants()
    for shard in shards { shard.tables.withLock { $0.checkInvariants() } }
  }
}
