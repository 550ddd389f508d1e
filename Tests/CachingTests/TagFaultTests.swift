import Primitives
import TestUnitSupport
import Testing

@testable import Caching

/// What a shard's lists of tags cost where somebody makes them cost much.
@Suite struct `Lists of tags under attack` {
  /// What is not going to be stored, an error for those who wait or what a purge was about, takes
  /// nobody's place.
  @Test(arguments: [true, false])
  func `nobody goes for what is not stored`(isTransient: Bool) throws {
    let driver = StoreDriver(memory: 1 << 20)
    let fill = try #require(driver.lookup("/error").fill)
    driver.head(fill, tags: (0..<120).map { "e\($0)" }, length: 1, isTransient: isTransient)
    driver.append(fill, "x")
    if !isTransient { _ = driver.purge(tags: ["e1"]) }
    for index in 0..<4000 { driver.put("/\(index)", "x", tags: ["t"]) }
    let (objects, evicted) = (driver.store.usage.objects, driver.store.usage.evicted)
    _ = fill.complete(now: driver.now)
    #expect(driver.store.usage.objects == objects && driver.store.usage.evicted == evicted)
  }

  /// All with `a` go, one by one, and all of them have `b` as well, whose first line is in the
  /// oldest block: whoever tidies that must not follow the whole list.
  @Test func `one removal frees few blocks`() {
    let driver = StoreDriver(memory: 128 << 20)
    for index in 0..<40_000 { driver.put("/\(index)", "x", tags: ["a", "b", "c"]) }
    var most = 0
    for index in 0..<ShardTable.count {
      let shard = driver.store.shards[index]
      var place = CacheShard.PurgePlace()
      while !place.isDone {
        let gone = shard.withLock { shard in
          let gone = shard.matches(.tagged("a"), since: .max, &place)
          for object in gone {
            let before = shard.listBytes
            shard.remove(object)
            most = max(most, before - shard.listBytes)
          }
          return gone
        }
        for object in gone { driver.store.unpin(object) }
      }
    }
    driver.store.checkInvariants()
    #expect(most / BlockArena.unitBytes <= 16)
  }

  /// Nothing is stored, and of each part's 64 names of nobody every one has a block of its own.
  @Test(arguments: [1, 16])
  func `little is left when everything has gone`(megabytes: Int) throws {
    let driver = StoreDriver(memory: megabytes << 20)
    var random = SeededRandom(seed: 1)
    for index in 0..<(megabytes << 12) {
      driver.put(
        "/\(random.below(9))/\(index)", "x", tags: (0..<random.below(20)).map { "\(index)-\($0)" })
    }
    _ = driver.purge(all: true)
    #expect(driver.listBytes <= 16 * 64 * 512 / (megabytes == 1 ? 4 : 1))
    let size = driver.store.options.objectLimitBytes
    driver.put("/large", String(repeating: "y", count: size - 1000))
    #expect(driver.lookup("/large").kind == .hit)
  }

  /// Small responses with tags of their own fill it; everything of them may go.
  @Test func `large content gets in however many lists there were`() {
    let driver = StoreDriver(memory: 1 << 20)
    var random = SeededRandom(seed: 1)
    for index in 0..<3500 {
      let tags = (0..<5).map { "\(index)-\($0)" } + ["all"]
      driver.put("/\(random.below(9))/\(index)", "x", tags: tags, lifetime: 9999)
    }
    for size in [4000, 8000, 60_000, 100_000] {
      driver.put("/large\(size)", String(repeating: "y", count: size))
      #expect(driver.lookup("/large\(size)").kind == .hit, "\(size)")
    }
  }

  /// What names of those that have gone still take is most of what a new one needs: half of a part
  /// must not go before they do.
  @Test(arguments: [true, false])
  func `one response takes the place of few where there are many small ones`(hasOwnTags: Bool) {
    let driver = StoreDriver(memory: 16 << 20)
    var (index, evictions, most) = (0, 0, 0)
    while evictions < 12_000, index < 60_000 {
      driver.put("/\(index)", "x", tags: hasOwnTags ? ["a\(index)", "b\(index)"] : ["a", "b"])
      index += 1
      let evicted = Int(driver.store.usage.evicted)
      most = max(most, evicted - evictions)
      evictions = evicted
    }
    driver.store.checkInvariants()
    #expect(evictions >= 12_000 && most <= 64)
  }

  // MARK: What holds

  /// Reserved and not needed.
  @Test func `memory that was reserved goes back`() {
    let driver = StoreDriver(memory: 8 << 20)
    let tags = (0..<120).map { "t\($0)" }
    for index in 0..<600 { driver.put("/\(index)", "x", tags: tags) }
    #expect(driver.purge(all: true).matched == 600)
    driver.store.checkInvariants()
    #expect(driver.listBytes <= ShardTable.count * 8 << 10)
  }

  /// Others go for the lists of one that comes, too.
  @Test func `a full store takes one with many tags`() throws {
    let driver = StoreDriver(memory: 1 << 20)
    let found = driver.lookup("/tagged")
    let fill = try #require(found.fill)
    driver.head(fill, tags: (0..<120).map { "e\($0)" }, length: 1)
    driver.append(fill, "x")
    for index in 0..<4000 { driver.put("/\(index)", "x", lifetime: 9999) }
    let others: [UInt32] = (0..<4000).map { _ in driver.store.arena.allocate(0) }
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/tagged").kind == .hit)
    #expect(driver.purge(tags: ["e119"]).matched == 1)
    driver.store.checkInvariants()
    for block in others where block != 0 { driver.store.arena.free(block, 0) }
  }

  /// Its record has a place already, its lists get none: what was stored goes, and it is not.
  @Test func `what has no memory for its lists is served and not stored`() throws {
    let driver = StoreDriver(memory: 1 << 20)
    driver.put("/x", "old", tags: ["old"], lifetime: 1)
    driver.now = driver.now + .seconds(2)
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, tags: (0..<120).map { "e\($0)" }, length: 3)
    driver.append(fill, "new")
    let arena = driver.store.arena
    var others: [UInt32] = []
    while case let block = arena.allocate(0), block != 0 { others.append(block) }
    _ = fill.complete(now: driver.now)
    let view = fill.look(found.waiter, since: .pending, 0)
    #expect(view.phase == .complete && view.object.map { driver.content(of: $0) } == "new")
    driver.store.checkInvariants()
    #expect(driver.store.usage.objects == 0)
    #expect(driver.purge(tags: ["e1", "old"]).matched == 0)
    for block in others { arena.free(block, 0) }
    driver.put("/x", "newer", tags: ["e1"])
    #expect(driver.purge(tags: ["e1", "old"]).matched == 1)
    driver.store.checkInvariants()
  }

  /// One URL without end; many tags each time, none of them again.
  @Test func `replacing without end takes no more than one does`() {
    let driver = StoreDriver(memory: 1 << 20)
    var most = 0
    for round in 0..<3000 {
      let found = driver.lookup("/x")
      guard let fill = found.fill else { continue }
      driver.fetch(fill, "x", tags: (0..<20).map { "\(round)-\($0)" }, lifetime: 1)
      _ = fill.leave(found.waiter)
      driver.now = driver.now + .seconds(2)
      most = max(most, driver.listBytes)
    }
    driver.store.checkInvariants()
    #expect(most <= 16 << 10)
  }
}
