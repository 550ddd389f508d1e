import Foundation
import Primitives
import Synchronization
import TestUnitSupport
import Testing

@testable import Caching

/// Several threads on one store: what they leave behind adds up, and no purge is undone.
@Suite struct `A store that threads share` {
  private final class Shared: Sendable {
    let store: CacheStore
    let steps: Int
    let tagCount: Int
    let pathCount: Int
    let clock = Atomic<UInt64>(0)
    let hits = Atomic<Int>(0)
    let wrong = Atomic<Int>(0)
    let matched = Atomic<Int>(0)
    /// By tag, then by path: responses whose fetch began before this must not be found.
    let floors: Lock<[String: UInt64]> = Lock([:])

    init(_ store: CacheStore, steps: Int, tagCount: Int, pathCount: Int) {
      self.pathCount = pathCount
      self.store = store
      self.steps = steps
      self.tagCount = tagCount
    }
  }

  private struct Flight {
    let found: StoreDriver.Found
    let fill: CacheFill
    let path: String
    let birth: UInt64
  }

  private static func work(_ shared: Shared, _ number: Int) {
    let driver = StoreDriver(sharing: shared.store, number: UInt64(number + 1))
    var random = SeededRandom(seed: UInt64(number))
    var flights: [Flight] = []
    var held: [StoreDriver.Found] = []
    for _ in 0..<shared.steps {
      switch random.below(20) {
      case 0, 1: purge(shared, driver, &random)
      case 2..<8 where !flights.isEmpty:
        finish(flights.remove(at: random.below(flights.count)), shared, driver, &random)
      case 8 where !held.isEmpty: held.remove(at: random.below(held.count))
      default:
        let path = "/\(random.below(3))/\(random.below(4))/\(random.below(shared.pathCount))"
        let floors = shared.floors.withLock { $0 }
        let found = driver.lookup(path)
        if found.kind == .hit, let content = found.content {
          check(content, path, floors, shared)
          if random.below(4) == 0, held.count < 30 { held.append(found) }
        } else if found.kind == .fetch, let fill = found.fill {
          let birth = shared.clock.load(ordering: .sequentiallyConsistent)
          flights.append(Flight(found: found, fill: fill, path: path, birth: birth))
        } else {
          _ = found.fill?.leave(found.waiter)
        }
        if flights.count > 12 { finish(flights.removeFirst(), shared, driver, &random) }
      }
    }
    for flight in flights { finish(flight, shared, driver, &random) }
  }

  private static func purge(
    _ shared: Shared, _ driver: StoreDriver, _ random: inout SeededRandom
  ) {
    var request = PurgeRequest()
    var names: [String] = []
    switch random.below(3) {
    case 0: names = ["t\(random.below(shared.tagCount))", "t\(random.below(shared.tagCount))"]
    case 1:
      names = ["/\(random.below(3))/\(random.below(4))/\(random.below(shared.pathCount))"]
    default:
      if random.below(20) == 0 { request.prefix = Array("http://a/\(random.below(3))/".utf8) }
    }
    request.tags = names.filter { $0.first == "t" }.map { Array($0.utf8) }
    request.urls = names.filter { $0.first == "/" }.map { Array("http://a\($0)".utf8) }
    let kind = random.below(5)
    request.dryRun = kind == 0
    request.soft = kind == 1
    let time = shared.clock.add(1, ordering: .sequentiallyConsistent).newValue
    let result = shared.store.purge(request, now: driver.now)
    guard !request.dryRun, !request.soft else { return }
    shared.matched.add(result.matched, ordering: .relaxed)
    shared.floors.withLock { floors in
      for name in names { floors[name] = max(floors[name] ?? 0, time) }
    }
  }

  /// The content says when its fetch had begun, and its tags.
  private static func check(
    _ content: String, _ path: String, _ floors: [String: UInt64], _ shared: Shared
  ) {
    let parts = content.split(separator: "|", omittingEmptySubsequences: false)
    shared.hits.add(1, ordering: .relaxed)
    guard parts.count == 4, parts[1] == path, let birth = UInt64(parts[0]) else {
      shared.wrong.add(1, ordering: .relaxed)
      return
    }
    for name in parts[2].split(separator: ",").map(String.init) + [path]
    where birth < floors[name] ?? 0 {
      shared.wrong.add(1, ordering: .relaxed)
    }
  }

  private static func finish(
    _ flight: Flight, _ shared: Shared, _ driver: StoreDriver, _ random: inout SeededRandom
  ) {
    if random.below(20) == 0 {
      _ = flight.fill.fail(0)
    } else if random.below(4) == 0, let stale = flight.fill.stale {
      // Confirmed: it stays as old as it is.
      var list = stale.tags
      var tags: [String] = []
      while let tag = list.next() { tags.append(String(decoding: tag.array, as: UTF8.self)) }
      driver.renew(flight.fill, length: stale.contentLength, tags: tags)
    } else {
      let most = random.below(10) == 0 ? 100 : 12
      let tags = Set((0..<random.below(most)).map { _ in "t\(random.below(shared.tagCount))" })
      let rest = String(repeating: "x", count: random.below(random.below(6) == 0 ? 9000 : 400))
      driver.fetch(
        flight.fill, "\(flight.birth)|\(flight.path)|\(tags.joined(separator: ","))|" + rest,
        tags: Array(tags))
    }
    _ = flight.fill.leave(flight.found.waiter)
  }

  @Test(arguments: [1, 2, 8])
  func `is whole when they end, and no purge is undone`(megabytes: Int) async throws {
    let owner = StoreDriver(memory: megabytes << 20)
    let store = owner.store
    let shared = Shared(
      store, steps: 4000, tagCount: megabytes == 2 ? 2000 : 400,
      pathCount: megabytes == 8 ? 40 : 160)
    let left = DispatchGroup()
    for number in 0..<4 {
      left.enter()
      Thread {
        `A store that threads share`.work(shared, number)
        left.leave()
      }.start()
    }
    await withCheckedContinuation { continuation in
      left.notify(queue: .global()) { continuation.resume() }
    }
    #expect(shared.wrong.load(ordering: .relaxed) == 0)
    #expect(shared.hits.load(ordering: .relaxed) > 300)
    #expect(shared.matched.load(ordering: .relaxed) > 100)
    store.checkInvariants()
    #expect(store.usage.fetches == 0)
    #expect(store.arena.usedBytes > 0 && store.usage.bytes <= megabytes << 20)
    #expect(owner.purge(all: true, dryRun: true).matched == store.usage.objects)
    #expect(owner.purge(all: true).matched > 0)
    store.checkInvariants()
    var lists = 0
    for index in 0..<ShardTable.count { lists += store.shards[index].withLock { $0.listBytes } }
    #expect(store.arena.usedBytes == lists)
    print(
      "threads: \(megabytes) MiB, \(shared.hits.load(ordering: .relaxed)) hits,",
      "\(store.usage.evicted) evicted, \(store.usage.purged) purged, \(lists) of lists")
  }
}
