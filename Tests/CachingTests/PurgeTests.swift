import Primitives
import Testing

@testable import Caching

@Suite struct `A purge` {
  @Test func `removes exactly what it names`() {
    let cases: [([String], [String], String?, Bool, [String])] = [
      (["red"], [], nil, false, ["/a/1", "/b/1"]), (["blue"], [], nil, false, ["/a/2"]),
      (["red", "blue"], [], nil, false, ["/a/1", "/a/2", "/b/1"]),
      (["Red"], [], nil, false, []), ([], ["http://a/a/1"], nil, false, ["/a/1"]),
      ([], ["http://a/a/"], nil, false, []), ([], [], "http://a/a/", false, ["/a/1", "/a/2"]),
      ([], [], "http://a/a/1", false, ["/a/1"]), ([], [], "http://a/", false, ["*"]),
      ([], [], "http://b/", false, []), ([], [], nil, true, ["*"]),
      (["blue"], ["http://a/b/1"], "http://a/c", false, ["/a/2", "/b/1", "/c"]),
    ]
    let all = ["/a/1", "/a/2", "/b/1", "/c"]
    for (tags, urls, prefix, everything, gone) in cases {
      let driver = StoreDriver()
      driver.put("/a/1", "1", tags: ["red", "x"])
      driver.put("/a/2", "2", tags: ["blue"])
      driver.put("/b/1", "3", tags: ["red"])
      driver.put("/c", "4")
      let dry = driver.purge(tags: tags, urls: urls, prefix: prefix, all: everything, dryRun: true)
      let expected = gone == ["*"] ? all : gone
      #expect(dry.matched == expected.count && driver.store.usage.objects == 4)
      let result = driver.purge(tags: tags, urls: urls, prefix: prefix, all: everything)
      #expect(result.matched == expected.count && result.bytes == dry.bytes)
      #expect(result.sequence == 1)
      for path in all {
        #expect((driver.lookup(path).kind == .fetch) == expected.contains(path), "\(path)")
      }
      driver.store.checkInvariants()
    }
  }

  @Test func `that is soft makes stale, once, and only shortens a life`() {
    let driver = StoreDriver()
    driver.put("/x", "x", tags: ["a", "b"], lifetime: 60, swr: 30)
    #expect(driver.purge(tags: ["a", "b"], soft: true).matched == 1)
    let found = driver.lookup("/x")
    #expect(found.kind == .stale && found.content == "x")
    driver.now = driver.now + .seconds(30)
    #expect(driver.lookup("/x").kind != .stale)
  }

  @Test func `catches a fetch that began before it, by tag, URL, prefix and all`() throws {
    for index in 0..<4 {
      let driver = StoreDriver()
      let first = driver.lookup("/f/x")
      let fill = try #require(first.fill)
      // Somebody joins before it, somebody after.
      let before = driver.lookup("/f/x")
      let result =
        switch index {
        case 0: driver.purge(tags: ["t"])
        case 1: driver.purge(urls: ["http://a/f/x"])
        case 2: driver.purge(prefix: "http://a/f/")
        default: driver.purge(all: true)
        }
      #expect(result.sequence == 1 && result.matched == 0)
      let after = driver.lookup("/f/x")
      driver.fetch(fill, "old", tags: ["t"])
      let view = fill.look(before.waiter, since: .pending, 0)
      #expect(view.phase == .complete && view.purgedAt == 1)
      #expect(before.raw.sequence < view.purgedAt)
      // After: either it never joined, or it learns that this is not for it.
      if after.fill === fill { #expect(after.raw.sequence >= view.purgedAt) }
      #expect(driver.lookup("/f/x").kind != .hit)
    }
  }

  @Test func `catches a fetch whose head it came after`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, tags: ["t"], length: 3)
    driver.append(fill, "ab")
    #expect(driver.purge(tags: ["t"]).matched == 0)
    #expect(driver.lookup("/x").kind == .fetch)
    driver.append(fill, "c")
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").kind != .hit)
  }

  @Test func `is not undone by a confirmation of what it removed`() throws {
    for isURL in [true, false] {
      let driver = StoreDriver()
      driver.put("/x", "old", tags: ["t"], lifetime: 1)
      driver.now = driver.now + .seconds(2)
      let found = driver.lookup("/x")
      let fill = try #require(found.fill)
      _ = isURL ? driver.purge(urls: ["http://a/x"]) : driver.purge(tags: ["t"])
      let after = driver.lookup("/x")
      #expect(after.fill !== fill)
      driver.renew(fill, length: 3, tags: ["t"])
      #expect(fill.look(found.waiter, since: .pending, 0).purgedAt == 1)
      #expect(driver.lookup("/x").kind != .hit)
    }
  }

  /// It has its number, and has not come by where the copy is yet.
  @Test(arguments: [false, true])
  func `under way leaves nothing to confirm of what it is about`(isSoft: Bool) throws {
    let driver = StoreDriver()
    driver.put("/x", "old", tags: ["a"], lifetime: 10)
    driver.put("/y", "old", tags: ["b"], lifetime: 10)
    driver.now = driver.now + .seconds(11)
    var request = PurgeRequest()
    request.tags = [Array("a".utf8)]
    request.soft = isSoft
    let sequence = driver.store.log.withLock { $0.add(request) }
    for (path, stays) in [("/x", isSoft), ("/y", true)] {
      let fill = try #require(driver.lookup(path).fill)
      #expect((fill.stale != nil) == stays, "\(path)")
      _ = fill.fail(0)
    }
    driver.store.log.withLock { $0.finished(sequence) }
    let fill = try #require(driver.lookup("/x").fill)
    #expect(fill.stale != nil)
    _ = fill.fail(0)
  }

  @Test func `of a tag costs what matches, however much is stored`() {
    // A tag of two objects among thousands with one in common: only the two are looked at.
    let driver = StoreDriver(memory: 16 << 20)
    for index in 0..<5000 { driver.put("/\(index)", "x", tags: ["all", "own-\(index / 2)"]) }
    #expect(driver.purge(tags: ["own-77"]).matched == 2)
    #expect(driver.purge(tags: ["all"], dryRun: true).matched == 4998)
    driver.store.checkInvariants()
  }

  @Test(arguments: 0..<4)
  func `agrees with a list, whatever comes in whatever order`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let driver = StoreDriver(memory: 32 << 20)
    var model: [String: (content: String, tags: Set<String>)] = [:]
    for turn in 0..<3000 {
      let path = "/\(random.below(6))/\(random.below(5))/\(random.below(4))"
      switch random.below(10) {
      case 0:
        let tag = "t\(random.below(12))"
        let gone = model.filter { $0.value.tags.contains(tag) }
        #expect(driver.purge(tags: [tag]).matched == gone.count)
        for key in gone.keys { model[key] = nil }
      case 1:
        let matched = driver.purge(urls: ["http://a" + path]).matched
        #expect(matched == (model[path] == nil ? 0 : 1))
        model[path] = nil
      case 2 where random.below(4) == 0:
        let prefix = "/\(random.below(6))/\(random.below(5))"
        let gone = model.keys.filter { $0.hasPrefix(prefix) }
        #expect(driver.purge(prefix: "http://a" + prefix).matched == gone.count)
        for key in gone { model[key] = nil }
      default:
        let found = driver.lookup(path)
        #expect(found.content == model[path]?.content)
        guard found.kind == .fetch, let fill = found.fill else { continue }
        let tags = Set((0..<random.below(5)).map { _ in "t\(random.below(12))" })
        let content = String(repeating: "\(turn) ", count: random.below(900))
        driver.fetch(fill, content, tags: tags.sorted())
        model[path] = (content, tags)
      }
    }
    #expect(driver.store.usage.objects == model.count)
    driver.store.checkInvariants()
    #expect(driver.purge(all: true).matched == model.count)
    #expect(driver.store.arena.usedBytes == 0)
  }
}
