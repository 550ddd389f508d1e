import Primitives
import TestUnitSupport
import Testing

@testable import Caching

/// What happens at once, or in an unlucky order.
@Suite struct `A store under pressure` {
  @Test func `a confirmation that brings a longer head leaves all content where it belongs`() {
    let content = String(repeating: "short content. ", count: 235)
    for count in 0..<60 {
      let driver = StoreDriver()
      driver.put("/x", content, lifetime: 10)
      driver.put("/y", content, lifetime: 60)
      driver.now = driver.now + .seconds(11)
      let found = driver.lookup("/x")
      guard let fill = found.fill else { return }
      driver.renew(fill, length: content.utf8.count, tags: (0..<count).map { "tag-\($0)" })
      for index in 0..<20 { driver.put("/\(index)", "z") }
      #expect(driver.lookup("/x").content == content)
      #expect(driver.lookup("/y").content == content)
      driver.store.checkInvariants()
    }
  }

  @Test func `what a confirmation renews is charged with its content`() {
    let driver = StoreDriver()
    for content in ["short", String(repeating: "long ", count: 40_000)] {
      driver.put("/\(content.count)", content, lifetime: 10)
      driver.now = driver.now + .seconds(11)
      let found = driver.lookup("/\(content.count)")
      if let fill = found.fill { driver.renew(fill, length: content.utf8.count) }
    }
    let bytes = driver.store.usage.bytes - StoreDriver().store.usage.bytes
    #expect(bytes == driver.store.arena.usedBytes)
  }

  @Test func `who came between two purges does not get what the first removed`() throws {
    for isLate in [true, false] {
      let driver = StoreDriver()
      let first = driver.lookup("/x")
      let fill = try #require(first.fill)
      _ = driver.purge(tags: ["t"])
      let between = driver.lookup("/x")
      #expect(between.fill === fill)
      if isLate { driver.head(fill, tags: ["t"], length: 3) }
      _ = driver.purge(tags: ["t"])
      if !isLate { driver.head(fill, tags: ["t"], length: 3) }
      let view = fill.look(between.waiter, since: .pending, 0)
      #expect(view.purgedAt > 0 && between.raw.sequence >= view.purgedAt)
      driver.append(fill, "abc")
      _ = fill.complete(now: driver.now)
    }
  }

  @Test func `a copy that was replaced and then purged is not served for an error`() throws {
    let driver = StoreDriver()
    driver.staleIfError = 1000
    driver.put("/x", "old", tags: ["t"], lifetime: 1)
    driver.now = driver.now + .seconds(2)
    let found = driver.lookup("/x")
    let stale = try #require(found.fill?.stale)
    let constraints = RequestConstraints()
    #expect(driver.store.staleIfError(stale, constraints, now: driver.now) != nil)
    var fresh = RequestConstraints()
    fresh.noCache = true
    driver.fetch(try #require(driver.lookup("/x", constraints: fresh).fill), "new")
    #expect(driver.purge(tags: ["t"]).matched == 0)
    #expect(driver.store.staleIfError(stale, constraints, now: driver.now) == nil)
    #expect(driver.lookup("/x").content == "new")
  }

  @Test func `a fetch that nobody wanted any more brings nothing past a purge`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    fill.setOwner(FillWaiter(worker: 3, handle: 99))
    #expect(fill.leave(found.waiter).cancels)
    // The message that cancels it is on its way to another worker.
    driver.head(fill, tags: ["t"], length: 3)
    _ = driver.purge(tags: ["t"])
    driver.append(fill, "old")
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").kind != .hit)
  }

  @Test func `nobody joins a window, from which blocks have gone`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: -1)
    driver.append(fill, "some content")
    // As far as a fetch gets before it takes the shard's lock.
    _ = withOctets("that is too long") { fill.append($0, limit: 16) }
    let other = driver.lookup("/x")
    #expect(other.fill !== fill && other.kind == .fetch)
  }

  @Test func `a reader that has kept up is not waited for when its object becomes a window`() throws
  {
    let driver = StoreDriver(memory: 16 << 20, maxObject: 1 << 20)
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: -1)
    let piece = String(repeating: "0123456789abcdef", count: 1024)
    for index in 1...200 {
      try #require(driver.append(fill, piece) == piece.utf8.count, "\(index)")
      _ = fill.advanced(found.waiter, to: index * piece.utf8.count)
    }
  }

  @Test func `where memory lacks a fetch is told to come again, and does`() throws {
    let driver = StoreDriver(memory: 1 << 20)
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: -1)
    driver.append(fill, "begin")
    // All else is being read.
    var pinned: [StoreDriver.Found] = []
    for index in 0..<400 {
      driver.put("/\(index)", String(repeating: "x", count: 3000))
      let held = driver.lookup("/\(index)")
      guard held.kind == .hit else { continue }
      pinned.append(held)
    }
    let piece = String(repeating: "0123456789abcdef", count: 512)
    // Its reader stands still.
    var last = CacheFill.Appended(taken: 1)
    for _ in 0..<400 where last.taken > 0 { last = withOctets(piece) { fill.append($0) } }
    #expect(last.taken == 0 && last.lacksMemory)
    pinned.removeAll()
    last = withOctets(piece) { fill.append($0) }
    #expect(last.taken == piece.utf8.count && !last.lacksMemory)
    _ = fill.fail(0)
  }

  @Test func `a window gets memory from what is stored`() throws {
    let driver = StoreDriver(memory: 8 << 20, maxObject: 1 << 20)
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: -1)
    let piece = String(repeating: "0123456789abcdef", count: 1024)
    for index in 1...400 {
      // Full, whatever it has freed.
      driver.put("/\(index)", String(repeating: "x", count: 60_000))
      try #require(driver.append(fill, piece) == piece.utf8.count, "\(index)")
      _ = fill.advanced(found.waiter, to: index * piece.utf8.count)
    }
  }

  @Test func `who learns that another fetch was quicker does not wait for the slow one again`()
    throws
  {
    let driver = StoreDriver()
    let slow = driver.lookup("/x")
    let second = driver.lookup("/x")
    var fresh = RequestConstraints()
    fresh.noCache = true
    let quick = driver.lookup("/x", constraints: fresh)
    #expect(quick.kind == .fetch && quick.fill !== slow.fill)
    driver.head(try #require(quick.fill), length: 3, vary: "x-a", secondary: Array("other".utf8))
    #expect(slow.fill?.look(second.waiter, since: .pending, 0).isSuperseded == true)
    let again = driver.lookup("/x")
    #expect(again.fill !== slow.fill)
  }

  @Test func `what a purge reached on its way takes nobody from the fetch that replaces it`()
    throws
  {
    for (soft, isTransient) in [(false, false), (true, false), (false, true)] {
      let driver = StoreDriver()
      let old = driver.lookup("/x")
      if isTransient {
        driver.now = driver.now + .seconds(5)
      } else {
        _ = driver.purge(urls: ["http://a/x"], soft: soft)
      }
      let new = driver.lookup("/x")
      let fill = try #require(new.fill)
      #expect(new.kind == .fetch && fill !== old.fill)
      driver.head(try #require(old.fill), length: 3, isTransient: isTransient)
      #expect(!fill.look(new.waiter, since: .pending, 0).isSuperseded)
      #expect(driver.lookup("/x").fill === fill)
      _ = old.fill?.fail(0)
      _ = fill.fail(0)
    }
  }

  @Test func `a soft purge keeps later requests from a fetch that began before it`() throws {
    for hasHead in [true, false] {
      let driver = StoreDriver()
      let found = driver.lookup("/x")
      let fill = try #require(found.fill)
      if hasHead { driver.head(fill, tags: ["t"], length: 3, swr: 60) }
      _ = driver.purge(tags: ["t"], soft: true)
      let waiting = driver.lookup("/x")
      if !hasHead { driver.head(fill, tags: ["t"], length: 3, swr: 60) }
      let view = fill.look(found.waiter, since: .pending, 0)
      if waiting.fill === fill { #expect(waiting.raw.sequence >= view.purgedAt) }
      #expect(view.purgedAt > found.raw.sequence)
      let after = driver.lookup("/x")
      #expect(after.fill !== fill)
      driver.append(fill, "old")
      _ = fill.complete(now: driver.now)
      // Whoever asks now gets it as stale, by permission.
      #expect(driver.lookup("/x").kind == .stale)
    }
  }

  @Test func `what a soft purge made stale does not replace what was fetched since`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, tags: ["t"], length: 3, swr: 60)
    _ = driver.purge(tags: ["t"], soft: true)
    let after = driver.lookup("/x")
    driver.fetch(try #require(after.fill), "new", tags: ["t"])
    driver.append(fill, "old")
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").content == "new")
  }

  @Test
  func `a hard purge after a soft one reaches a fetch that the table has no more`()
    throws
  {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, tags: ["t"], length: 3, swr: 60)
    _ = driver.purge(tags: ["t"], soft: true)
    _ = driver.purge(tags: ["t"])
    driver.append(fill, "old")
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").kind == .fetch)
  }

  @Test func `who reads what another fetch had superseded before its head is woken by content`()
    throws
  {
    let driver = StoreDriver()
    let slow = driver.lookup("/x")
    var fresh = RequestConstraints()
    fresh.noCache = true
    let quick = driver.lookup("/x", constraints: fresh)
    driver.head(try #require(quick.fill), length: 3)
    let fill = try #require(slow.fill)
    driver.head(fill, length: 3)
    #expect(fill.look(slow.waiter, since: .pending, 0).phase == .growing)
    _ = fill.look(slow.waiter, since: .growing, 0)
    #expect(withOctets("abc") { fill.append($0).wakes } == [slow.waiter])
    _ = fill.complete(now: driver.now)
    _ = quick.fill?.fail(0)
  }
}
