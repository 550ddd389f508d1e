import Primitives
import Synchronization

/// Who waits for news of a fetch: a worker, and a handle of that worker's.
public struct FillWaiter: Hashable, Sendable, BitwiseCopyable {
  public var worker: Int32
  public var handle: UInt64

  public init(worker: Int, handle: UInt64) {
    self.worker = Int32(worker)
    self.handle = handle
  }
}

/// One fetch in flight, and the response that grows from it.
///
///     pending ──storable head──► growing ──end──► complete
///        │  └───── 304 ────────────────────────► renewed
///        ├───────── other head ────────────────► unstorable   (everybody asks for himself)
///        └── no head, every attempt failed ────► failed ◄── cut short ── growing
///
/// Shared by the worker that fetches and those whose exchanges wait. It leaves the shard's table
/// before its last phase begins, so whoever joined through the table is told of that phase.
public final class CacheFill: Sendable {
  public enum Phase: UInt8, Sendable, BitwiseCopyable {
    case pending, growing, complete, renewed, unstorable, failed
  }

  struct Inner: ~Copyable {
    var phase = Phase.pending
    /// From the head on, pinned for the fill.
    var object: StoredObject?
    /// Why it failed, as the proxy numbers its terminations.
    var failure: UInt32 = 0
    /// Requests that began at or after this purge must not have what it brings; 0: none.
    var purgedAt: UInt64 = 0
    /// It was not only soft purges: what it brings is not stored.
    var isRemoved = false
    /// Another fetch for the same has its head already.
    var isSuperseded = false
    var sleepers: [FillWaiter] = []
    /// Those that wait for it or read from it, with how far they have come.
    var readers: [FillWaiter: Int] = [:]
    var chain = ContentChain()
    /// Its content outgrew what is stored, or no memory was left: blocks go as they are read.
    var isWindow = false
    /// Only for those who wait, never stored: an error.
    var isTransient = false
    /// Where the second block's content begins.
    var windowStart = 0
    /// The fetch waits for its slowest reader.
    var isPaused = false
    /// Who fetches.
    var owner: FillWaiter?
    /// Nobody wanted it any more.
    var isCancelled = false
  }

  /// Content that a window holds for its slowest reader, in octets.
  static let windowBytes = 1 << 20

  let store: CacheStore
  public let hash: UInt64
  let key: [UInt8]
  let urlLength: Int
  /// Of the secondary key that its request has by the names of an earlier response; 0: unknown.
  let guess: UInt64
  /// Sequence of purges when it began.
  let began: UInt64
  /// What may be served if it fails, and what a 304 renews; pinned for the fill.
  public let stale: StoredObject?
  /// Begun for nobody: it renews what is served meanwhile.
  public let isBackground: Bool
  let startedAt: MonotonicTime
  /// Octets of content that may be read.
  private let published = Atomic<Int>(0)
  let inner = Lock(Inner())

  init(
    _ store: CacheStore, _ query: borrowing CacheQuery, guess: UInt64, stale: StoredObject?,
    isBackground: Bool, began: UInt64, now: MonotonicTime
  ) {
    self.store = store
    hash = query.hash
    key = query.key.array
    urlLength = query.urlLength
    self.guess = guess
    self.began = began
    self.stale = stale
    self.isBackground = isBackground
    startedAt = now
    stale?.pin()
  }

  deinit {
    if let stale { store.unpin(stale) }
    if let object = inner.withLock({ $0.object }) { store.unpin(object) }
  }

  // MARK: Reading

  /// What a waiter finds when it looks.
  public struct View: BitwiseCopyable {
    public var phase: Phase
    /// Pinned as long as the fill lives.
    public var object: StoredObject?
    public var failure: UInt32
    public var purgedAt: UInt64
    public var isSuperseded: Bool
    /// It will be found by later requests.
    public var isStored: Bool
    /// Octets of the whole content; -1: not known yet.
    public var length: Int
    public var published: Int
  }

  /// Looks, and, where nothing has come since `phase` and `count`, asks to be woken by the next.
  public func look(_ waiter: FillWaiter, since phase: Phase, _ count: Int) -> View {
    inner.withLock { inner in
      let available = published.load(ordering: .acquiring)
      if inner.phase == phase, available == count, !inner.isSuperseded,
        !inner.sleepers.contains(waiter)
      {
        inner.sleepers.append(waiter)
      }
      return View(
        phase: inner.phase, object: inner.object, failure: inner.failure,
        purgedAt: inner.purgedAt, isSuperseded: inner.isSuperseded,
        isStored: inner.isStorable, length: inner.object?.contentLength ?? -1,
        published: available)
    }
  }

  /// Authority, and path with query, of the resource as its key has them: what the backend is asked
  /// for, in whatever form the request named it.
  public func withTarget(_ body: (_ authority: ByteView, _ target: ByteView) -> Void) {
    key.withView { key in
      let url = key.slice(0, urlLength)
      // Behind `scheme://`.
      let host = (url.firstIndex(of: UInt8(ascii: ":")) ?? 0) + 3
      let end = url.firstIndex(of: UInt8(ascii: "/"), from: host) ?? url.count
      body(url.slice(host, end), url.slice(from: end))
    }
  }

  /// False where it is too late: blocks at the front may have gone.
  func join(_ waiter: FillWaiter) -> Bool {
    inner.withLock { inner in
      guard !inner.isWindow else { return false }
      inner.readers[waiter] = 0
      return true
    }
  }

  /// The reader has come so far. Returns who fetches where that may go on now.
  public func advanced(_ reader: FillWaiter, to position: Int) -> FillWaiter? {
    inner.withLock { inner in
      // Noted from the beginning: one that has all there is may sleep when it becomes a window.
      guard inner.readers[reader] != nil else { return nil }
      inner.readers[reader] = position
      return inner.resumed(published.load(ordering: .relaxed))
    }
  }

  /// The reader reads no more. `cancels`: nobody wants what is being fetched, and it would not be
  /// stored; `wakes`: who fetches, where either concerns it.
  public func leave(_ reader: FillWaiter) -> (cancels: Bool, wakes: FillWaiter?) {
    let isIdle = inner.withLock { inner in
      inner.readers[reader] = nil
      inner.sleepers.removeAll { $0 == reader }
      return inner.isUnwanted(isBackground)
    }
    // Nobody may join between the look and the end.
    if isIdle, store.detachUnwanted(self) { return (true, inner.withLock { $0.owner }) }
    return (
      false, inner.withLock { inner in inner.resumed(published.load(ordering: .relaxed)) }
    )
  }

  /// Somebody waits for what it brings, or reads it.
  public var hasReaders: Bool { inner.withLock { !$0.readers.isEmpty } }

  public func setOwner(_ owner: FillWaiter) { inner.withLock { $0.owner = owner } }

  // MARK: Writing

  /// As `CacheStore.append`.
  public func append(_ octets: ByteView) -> Appended { store.append(self, octets) }

  /// What became of content that has come.
  public struct Appended {
    /// Octets that were taken. Where these are not all, the slowest reader has to come after first,
    /// and whoever fetches is woken when it has; unless `lacksMemory`.
    public var taken = 0
    /// Readers with something new to read.
    public var wakes: [FillWaiter] = []
    /// Nobody will tell when there is memory: it is to be tried again.
    public var lacksMemory = false
    /// It is not going to be stored, and nobody reads.
    public var isUnwanted = false

    mutating func add(_ more: Appended) {
      taken += more.taken
      wakes += more.wakes
      lacksMemory = more.lacksMemory
      isUnwanted = more.isUnwanted
    }
  }

  /// As `CacheStore.complete`.
  public func complete(now: MonotonicTime) -> [FillWaiter] { store.complete(self, now: now) }

  /// As `CacheStore.fail`.
  public func fail(_ failure: UInt32) -> [FillWaiter] { store.fail(self, failure) }

  /// Takes as many octets as there is room for. `reuses`: there is no memory to be had, and a
  /// window's last block is taken for what comes, once all readers have read it.
  func append(_ octets: ByteView, limit: Int, reuses: Bool = false) -> Appended {
    inner.withLock { inner in
      var result = Appended()
      guard let object = inner.object else { return result }
      (result.taken, result.lacksMemory) = inner.write(
        octets, to: object, limit: limit, reuses: reuses, store.arena)
      result.isUnwanted = inner.isWindow && inner.readers.isEmpty
      guard result.taken > 0 else { return result }
      let count = published.load(ordering: .relaxed) + result.taken
      published.store(count, ordering: .releasing)
      result.wakes = inner.sleepers
      inner.sleepers.removeAll(keepingCapacity: true)
      return result
    }
  }

  /// True where, still, nobody wants it, and nobody will from now on.
  public func giveUp() -> Bool { store.detachUnwanted(self) }

  var isWindow: Bool { inner.withLock { $0.isWindow } }
  var isPending: Bool { inner.withLock { $0.phase == .pending } }

  /// False where it was one.
  func becomeWindow() -> Bool {
    inner.withLock { inner in
      defer { inner.isWindow = true }
      return !inner.isWindow
    }
  }

  /// All content has come; `nil` where there was no head.
  func finishContent() -> StoredObject? {
    inner.withLock { inner in
      guard let object = inner.object else { return nil }
      inner.chain.trim(store.arena)
      object.finish(
        length: published.load(ordering: .relaxed), chainBytes: inner.chain.chargedBytes)
      return object
    }
  }

  /// Whether both want the same, as far as one can know.
  func isSame(as other: CacheFill) -> Bool {
    key == other.key && (guess == other.guess || guess == 0 || other.guess == 0)
  }

  /// Whether a purge is about what it brings. What has no head yet has no tags: it is checked when
  /// that comes.
  func isMatched(by request: PurgeRequest) -> Bool {
    let object = inner.withLock { $0.object }
    return unsafe key.withUnsafeBufferPointer { octets in
      let url = unsafe ByteView(octets).slice(0, urlLength)
      return PurgeLog.matches(request, url, object?.tags ?? TagList(.empty))
    }
  }

  /// Takes all sleepers and moves on to `phase`.
  func end(_ phase: Phase, failure: UInt32 = 0) -> [FillWaiter] {
    inner.withLock { inner in
      inner.phase = phase
      inner.failure = failure
      let wakes = inner.sleepers
      inner.sleepers = []
      return wakes
    }
  }
}

extension CacheFill.Inner {
  /// Nobody reads, and what comes will not be stored.
  func isUnwanted(_ isBackground: Bool) -> Bool {
    guard readers.isEmpty else { return false }
    return phase == .pending ? !isBackground : phase == .growing && (isWindow || isTransient)
  }

  /// What it brings will be found by later requests. What nobody wanted is not in the shard's table
  /// any more, so that no purge would reach it.
  var isStorable: Bool { !isRemoved && !isWindow && !isTransient && !isCancelled }

  /// A purge was about it. The first one counts: who came after that must not have it.
  mutating func purged(at sequence: UInt64, isSoft: Bool) {
    purgedAt = purgedAt == 0 ? sequence : min(purgedAt, sequence)
    if !isSoft { isRemoved = true }
  }

  /// Who fetches, where it was paused and its slowest reader has made room.
  mutating func resumed(_ published: Int) -> FillWaiter? {
    guard isPaused, published - (readers.values.min() ?? published) < CacheFill.windowBytes / 2
    else { return nil }
    isPaused = false
    return owner
  }

  /// Octets that were written, and whether it was memory that lacked for more. `reuses`: as
  /// `ContentChain.reuseLast`, where that is so.
  mutating func write(
    _ octets: ByteView, to object: StoredObject, limit: Int, reuses: Bool, _ arena: BlockArena
  ) -> (taken: Int, lacksMemory: Bool) {
    if object.hasInlineContent { return (object.appendInline(octets), false) }
    if chain.count + octets.count > limit { isWindow = true }
    var due = octets
    var slowest = chain.count
    if isWindow {
      slowest = readers.values.min() ?? chain.count
      chain.dropBlocks(before: slowest, start: &windowStart, arena)
      let room = CacheFill.windowBytes - (chain.count - slowest)
      if room < octets.count { isPaused = true }
      guard room > 0 else { return (0, false) }
      due = octets.slice(0, min(octets.count, room))
    }
    let remaining = object.contentLength < 0 ? -1 : object.contentLength - chain.count
    let hadBlocks = chain.first != 0
    var mayGrow = !isWindow || chain.mayGrow(slowest: slowest)
    var taken = chain.append(due, remaining: remaining, mayGrow: mayGrow, arena)
    if reuses, isWindow, taken == 0, hadBlocks, slowest == chain.count {
      chain.reuseLast(start: &windowStart, arena)
      mayGrow = false
      taken = chain.append(due, remaining: remaining, mayGrow: mayGrow, arena)
    }
    if !hadBlocks, chain.first != 0 {
      object.setFirstBlock(chain.first)
      windowStart = chain.secondStart(arena)
    }
    // What is left over goes on when its slowest reader has made room, and nobody else tells.
    if isWindow, taken < octets.count { isPaused = true }
    return (taken, taken < due.count && mayGrow)
  }
}
