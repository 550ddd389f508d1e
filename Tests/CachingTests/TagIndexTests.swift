import Primitives
import TestUnitSupport
import Testing

@testable import Caching

/// The lists of a store's tags: what is in them, and what of them is left when responses go.
@Suite struct `Lists of tags` {
  @Test func `find every second one of thousands, each once`() {
    let driver = StoreDriver(memory: 32 << 20)
    for index in 0..<4000 {
      driver.put("/\(index)", "x", tags: ["all", index % 2 == 0 ? "even" : "odd", "own-\(index)"])
    }
    #expect(driver.purge(tags: ["all"], dryRun: true).matched == 4000)
    #expect(driver.purge(tags: ["even"]).matched == 2000)
    driver.store.checkInvariants()
    #expect(driver.purge(tags: ["all"], dryRun: true).matched == 2000)
    #expect(driver.purge(tags: ["even"]).matched == 0)
    for index in 0..<4000 {
      let isStored = driver.lookup("/\(index)").kind == .hit
      #expect(isStored == (index % 2 == 1), "\(index)")
    }
    #expect(driver.purge(tags: (0..<4000).map { "own-\($0)" }).matched == 2000)
    driver.store.checkInvariants()
  }

  /// A number that is used again is not taken for the response that had it.
  @Test func `do not take one response for another`() {
    let driver = StoreDriver()
    for round in 0..<50 {
      for index in 0..<100 { driver.put("/\(index)", "x", tags: ["a", "round-\(round)"]) }
      if round > 0 { #expect(driver.purge(tags: ["round-\(round - 1)"]).matched == 0) }
      #expect(driver.purge(tags: ["a"], dryRun: true).matched == 100)
      #expect(driver.purge(tags: ["round-\(round)"]).matched == 100)
      #expect(driver.purge(tags: ["a"], dryRun: true).matched == 0)
      driver.store.checkInvariants()
    }
  }

  /// Twelve lists for each response, nobody else in ten of them; the store is full many times over.
  @Test func `grow with what is stored, not with what was`() {
    let driver = StoreDriver(memory: 2 << 20)
    var most = 0
    for index in 0..<30_000 {
      driver.put(
        "/\(index)", "x", tags: (0..<10).map { "\(index)-\($0)" } + ["all"], lifetime: 3600)
      guard index % 1000 == 999 else { continue }
      most = max(most, driver.listBytes)
      driver.store.checkInvariants()
    }
    let objects = driver.store.usage.objects
    #expect(objects > 500)
    // A line for each of ten lists, at most twice as many names as there are in use, and what is
    // swept meanwhile.
    #expect(most < 10 * 64 * 3 * objects, "\(most) octets for \(objects) objects")
    #expect(driver.store.usage.bytes <= 2 << 20)
  }

  @Test func `give their memory back`() {
    let driver = StoreDriver(memory: 8 << 20)
    for index in 0..<3000 { driver.put("/\(index)", "x", tags: ["all", "own-\(index)"]) }
    #expect(driver.listBytes > 3000 * 64)
    #expect(driver.purge(tags: ["all"]).matched == 3000)
    // Of each part so many names of nobody at most, each in a line of its own.
    #expect(driver.listBytes <= ShardTable.count * 80 * 64)
    #expect(driver.store.arena.usedBytes == driver.listBytes)
    driver.store.checkInvariants()
  }

  @Test func `find what is in a folder, and no other`() {
    let driver = StoreDriver(memory: 8 << 20)
    for index in 0..<600 { driver.put("/\(index % 3)/\(index % 20)/\(index)", "x") }
    #expect(driver.purge(prefix: "http://a/1/", dryRun: true).matched == 200)
    #expect(driver.purge(prefix: "http://a/1/1/", dryRun: true).matched == 10)
    #expect(driver.purge(prefix: "http://a/1/1", dryRun: true).matched == 110)
    #expect(driver.purge(prefix: "http://a/1/1").matched == 110)
    #expect(driver.purge(prefix: "http://a/").matched == 490)
    driver.store.checkInvariants()
  }

  /// Where nothing may go there is no memory for lists: the response is served, and not stored.
  @Test func `without memory for them nothing is stored, and nothing is lost`() throws {
    let driver = StoreDriver(memory: 1 << 20)
    var held: [StoreDriver.Found] = []
    // Whole blocks of 64 KiB, then the rest in ever smaller ones, until one more unit is not there.
    for size in [60_000, 3000, 1200, 300, 10] {
      for index in 0..<400 {
        driver.put("/\(size)-\(index)", String(repeating: "x", count: size), tags: ["t"])
        let found = driver.lookup("/\(size)-\(index)")
        guard found.kind == .hit else {
          _ = found.fill?.fail(0)
          break
        }
        held.append(found)
      }
    }
    let objects = driver.store.usage.objects
    #expect(objects == held.count && objects > 10)
    let tags = (0..<60).map { "many-\($0)" }
    driver.put("/tagged", "x", tags: tags)
    #expect(driver.store.usage.objects == objects)
    #expect(driver.purge(tags: tags).matched == 0)
    driver.store.checkInvariants()
    #expect(driver.purge(tags: ["t"]).matched == objects)
    for found in held { #expect(found.content?.hasPrefix("x") == true) }
    held = []
    driver.put("/tagged", "x", tags: tags)
    #expect(driver.purge(tags: [tags[59]]).matched == 1)
    driver.store.checkInvariants()
  }
}
