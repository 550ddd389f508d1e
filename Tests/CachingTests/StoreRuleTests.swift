import Primitives
import TestUnitSupport
import Testing

@testable import Caching

/// Rules whose absence nobody would see without waiting, or without looking at memory.
@Suite struct `A store's rules` {
  @Test func `a window frees what its readers have left behind`() throws {
    let driver = StoreDriver(memory: 16 << 20, maxObject: 1 << 20)
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: -1)
    let piece = String(repeating: "0123456789abcdef", count: 1024)
    for index in 1...400 {
      try #require(driver.append(fill, piece) == piece.utf8.count, "\(index)")
      _ = fill.advanced(found.waiter, to: index * piece.utf8.count)
      #expect(driver.store.arena.usedBytes < 3 << 19, "\(index)")
    }
    _ = fill.fail(0)
  }

  @Test func `an error is for those who wait, and not stored`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: 3, isTransient: true)
    let other = driver.lookup("/x")
    #expect(other.fill !== fill)
    _ = other.fill?.fail(0)
    driver.append(fill, "bad")
    _ = fill.complete(now: driver.now)
    let view = fill.look(found.waiter, since: .pending, 0)
    #expect(view.phase == .complete && !view.isStored)
    #expect(driver.lookup("/x").kind == .fetch)
  }

  @Test func `what ends early is not stored`() throws {
    let driver = StoreDriver()
    for length in [6, -1] {
      let fill = try #require(driver.lookup("/x").fill)
      driver.head(fill, length: length)
      driver.append(fill, "abc")
      _ = fill.fail(0)
      #expect(driver.lookup("/x").kind != .hit && driver.store.usage.objects == 0)
    }
  }

  @Test func `a full answer replaces what was to be confirmed`() throws {
    let driver = StoreDriver()
    driver.put("/x", "old", lifetime: 10)
    driver.now = driver.now + .seconds(11)
    let fill = try #require(driver.lookup("/x").fill)
    #expect(fill.stale != nil)
    driver.fetch(fill, "new")
    #expect(driver.lookup("/x").content == "new" && driver.store.usage.objects == 1)
  }

  @Test func `what a client wants confirmed is asked for after it asked`() throws {
    let driver = StoreDriver()
    let first = driver.lookup("/x")
    var fresh = RequestConstraints()
    fresh.noCache = true
    let second = driver.lookup("/x", constraints: fresh)
    #expect(second.kind == .fetch && second.fill !== first.fill)
  }

  @Test func `stale-if-error ends where its window does`() throws {
    let driver = StoreDriver()
    driver.staleIfError = 10
    driver.put("/x", "old", lifetime: 5)
    driver.now = driver.now + .seconds(6)
    let stale = try #require(driver.lookup("/x").fill?.stale)
    func mayServe(_ constraints: RequestConstraints = RequestConstraints()) -> Bool {
      driver.store.staleIfError(stale, constraints, now: driver.now) != nil
    }
    #expect(mayServe())
    var fresh = RequestConstraints()
    fresh.noCache = true
    #expect(!mayServe(fresh))
    driver.now = driver.now + .seconds(8)
    #expect(mayServe())
    driver.now = driver.now + .seconds(1)
    #expect(!mayServe())
  }
}
