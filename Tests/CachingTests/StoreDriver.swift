import HTTP
import Primitives
import TestUnitSupport

@testable import Caching

/// Does with a store what workers do, one step at a time.
final class StoreDriver {
  let store: CacheStore
  var now = MonotonicTime(nanoseconds: 1_000_000_000_000)
  /// Seconds, of what arrives from now on.
  var staleIfError: UInt32 = 0
  private var waiters: UInt64 = 0

  init(memory: Int = 4 << 20, maxObject: Int? = nil, maxVariants: Int = 64) {
    var options = CacheOptions(name: "test")
    options.memoryBytes = memory
    options.maxObjectBytes = maxObject
    options.maxVariants = maxVariants
    guard let store = CacheStore(options, seed: 7) else { fatalError("no address space") }
    self.store = store
  }

  /// Another thread's, on the same store; `number` is its own, from 1.
  init(sharing store: CacheStore, number: UInt64) {
    self.store = store
    waiters = number << 32
  }

  /// What the lists of tags take, all stored responses apart.
  var listBytes: Int {
    (0..<ShardTable.count).reduce(0) { sum, index in
      sum + store.shards[index].withLock { $0.listBytes }
    }
  }

  /// What a lookup came to; gives back its pins when it goes.
  final class Found {
    let driver: StoreDriver
    let raw: CacheFound
    let waiter: FillWaiter
    var kind: CacheFound.Kind { raw.kind }
    var fill: CacheFill? { raw.fill?.takeUnretainedValue() }

    init(_ driver: StoreDriver, _ raw: CacheFound, _ waiter: FillWaiter) {
      (self.driver, self.raw, self.waiter) = (driver, raw, waiter)
    }

    deinit {
      if let object = raw.object { driver.store.unpin(object) }
      raw.fill?.release()
    }

    /// The stored content.
    var content: String? { raw.object.map { driver.content(of: $0) } }
  }

  func lookup(
    _ path: String, _ lines: String = "", constraints: RequestConstraints = RequestConstraints()
  ) -> Found {
    waiters += 1
    let waiter = FillWaiter(worker: 0, handle: waiters)
    let key = HeldText("http://a" + path)
    var room = [UInt8](repeating: 0, count: 4096)
    let raw = try? Heads.get(path, lines) { head in
      room.withUnsafeMutableBufferPointer { octets in
        var sink = ByteSink(base: octets.baseAddress!, capacity: octets.count)
        return store.lookup(
          store.query(key.view, urlLength: key.view.count, constraints), head, waiter,
          scratch: &sink, now: now)
      }
    }
    guard let raw else { fatalError("no lookup") }
    return withExtendedLifetime(key) { Found(self, raw, waiter) }
  }

  /// A head arrives for a fetch. False where the store had no room for it.
  @discardableResult
  func head(
    _ fill: CacheFill, tags: [String] = [], length: Int = -1, lifetime: UInt32 = 60,
    swr: UInt32 = 0, vary: String = "", secondary: [UInt8] = [], isTransient: Bool = false
  ) -> Bool {
    parts(tags, lifetime, swr, vary, secondary) { parts in
      parts.contentLength = length
      return store.headArrived(fill, parts, isTransient: isTransient, now: now).refusal == nil
    }
  }

  func refusal(_ fill: CacheFill, tags: [String] = []) -> CacheStore.Refusal? {
    parts(tags, 60, 0, "", []) { store.headArrived(fill, $0, now: now).refusal }
  }

  private func parts<Result>(
    _ tags: [String], _ lifetime: UInt32, _ swr: UInt32, _ vary: String, _ secondary: [UInt8],
    _ body: (inout RecordParts) -> Result
  ) -> Result {
    let head = HeldText("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n")
    let list = HeldText(tags.flatMap { [UInt8($0.utf8.count), 0] + Array($0.utf8) })
    let names = HeldText(vary)
    let values = HeldText(secondary)
    let layout = StoredHead.Layout(
      length: head.view.count, status: 200, fieldsStart: 17, dateSeconds: 0)
    var parts = RecordParts(
      head: head.view, layout,
      Freshness(
        initialAge: .zero, lifetime: lifetime, staleWhileRevalidate: swr,
        staleIfError: staleIfError), storedAt: now)
    parts.tags = list.view
    parts.tagCount = tags.count
    parts.vary = names.view
    parts.secondary = values.view
    return withExtendedLifetime((head, list, names, values)) { body(&parts) }
  }

  func renew(_ fill: CacheFill, length: Int, tags: [String] = []) {
    _ = parts(tags, 60, 0, "", []) { parts in
      parts.contentLength = length
      return store.renew(fill, parts, now: now)
    }
  }

  @discardableResult
  func append(_ fill: CacheFill, _ text: String) -> Int {
    HeldText(text).read { fill.append($0).taken }
  }

  /// A whole fetch and its end; whether it was stored is for a lookup to see.
  func fetch(
    _ fill: CacheFill, _ content: String, tags: [String] = [], length: Int? = nil,
    lifetime: UInt32 = 60, swr: UInt32 = 0, vary: String = "", secondary: [UInt8] = []
  ) {
    guard
      head(
        fill, tags: tags, length: length ?? content.utf8.count, lifetime: lifetime, swr: swr,
        vary: vary, secondary: secondary)
    else {
      _ = store.unstorable(fill, .once, now: now)
      return
    }
    append(fill, content)
    _ = fill.complete(now: now)
  }

  /// Stores something new for the path.
  func put(
    _ path: String, _ content: String, tags: [String] = [], lifetime: UInt32 = 60,
    swr: UInt32 = 0
  ) {
    let found = lookup(path)
    guard found.kind == .fetch, let fill = found.fill else { return }
    fetch(fill, content, tags: tags, lifetime: lifetime, swr: swr)
    _ = fill.leave(found.waiter)
  }

  func content(of object: StoredObject, upTo end: Int? = nil) -> String {
    var cursor = ContentCursor()
    var octets: [UInt8] = []
    let end = end ?? object.contentLength
    while true {
      let piece = store.octets(at: &cursor, upTo: end, of: object)
      if piece.isEmpty { return String(decoding: octets, as: UTF8.self) }
      octets += piece.array
      cursor.advance(by: piece.count)
    }
  }

  func purge(
    tags: [String] = [], urls: [String] = [], prefix: String? = nil, all: Bool = false,
    soft: Bool = false, dryRun: Bool = false
  ) -> PurgeResult {
    var request = PurgeRequest()
    request.tags = tags.map { Array($0.utf8) }
    request.urls = urls.map { Array($0.utf8) }
    request.prefix = prefix.map { Array($0.utf8) }
    request.all = all
    request.soft = soft
    request.dryRun = dryRun
    return store.purge(request, now: now)
  }
}

extension PurgeRequest {
  static var everything: PurgeRequest {
    var request = PurgeRequest()
    request.all = true
    return request
  }

  static func tagged(_ tag: String) -> PurgeRequest {
    var request = PurgeRequest()
    request.tags = [Array(tag.utf8)]
    return request
  }

  static func under(_ prefix: String) -> PurgeRequest {
    var request = PurgeRequest()
    request.prefix = Array(prefix.utf8)
    return request
  }
}
