import Primitives
import Testing

@testable import Caching

@Suite struct `A store` {
  @Test func `answers from what was fetched, short, long, and in many pieces`() {
    let driver = StoreDriver()
    for length in [0, 1, 100, 1000, 1024, 4096, 8192, 65_519, 65_520, 65_521, 300_000] {
      let content = String((0..<length).map { Character(UnicodeScalar(UInt8(33 + $0 % 90))) })
      driver.put("/\(length)", content)
      let found = driver.lookup("/\(length)")
      #expect(found.kind == .hit)
      #expect(found.content == content, "\(length)")
    }
    driver.store.checkInvariants()
  }

  @Test func `content of unknown length takes no more blocks than it fills`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: -1)
    var content = ""
    for index in 0..<500 {
      let piece = "piece \(index) "
      content += piece
      #expect(driver.append(fill, piece) == piece.utf8.count)
    }
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").content == content)
    #expect(driver.store.arena.usedBytes - driver.listBytes < content.utf8.count + 2048)
  }

  @Test func `one fetch serves all who come while it lasts`() throws {
    let driver = StoreDriver()
    let first = driver.lookup("/x")
    #expect(first.kind == .fetch)
    let second = driver.lookup("/x")
    #expect(second.kind == .waits && second.fill === first.fill)
    let fill = try #require(first.fill)
    #expect(fill.look(second.waiter, since: .pending, 0).phase == .pending)
    driver.head(fill, length: 6)
    driver.append(fill, "abc")
    let third = driver.lookup("/x")
    #expect(third.kind == .waits && third.fill === fill)
    let view = fill.look(third.waiter, since: .growing, 0)
    #expect(view.phase == .growing && view.published == 3)
    #expect(driver.content(of: try #require(view.object), upTo: 3) == "abc")
    driver.append(fill, "def")
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").kind == .hit)
    #expect(driver.store.usage.fetches == 0)
  }

  @Test func `whoever sleeps is woken by the head, by content and by the end, once each`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    let waiter = found.waiter
    _ = fill.look(waiter, since: .pending, 0)
    _ = fill.look(waiter, since: .pending, 0)
    let parts = driver.head(fill, length: 3)
    #expect(parts)
    #expect(fill.look(waiter, since: .growing, 0).phase == .growing)
    let wakes = withOctets("abc") { fill.append($0).wakes }
    #expect(wakes == [waiter])
    #expect(fill.look(waiter, since: .growing, 3).published == 3)
    #expect(fill.complete(now: driver.now) == [waiter])
  }

  @Test func `variants are told apart, and only so many are kept`() {
    let driver = StoreDriver(maxVariants: 3)
    func key(_ value: String) -> [UInt8] {
      (try? Heads.get("/v", "X-A: \(value)") { head in
        withOctets("x-a") { names in
          Heads.appended { Caching.Vary.appendSecondaryKey(names: names, head, to: &$0) }
        }
      }) ?? []
    }
    for value in 0..<5 {
      let found = driver.lookup("/v", "X-A: \(value)")
      #expect(found.kind == .fetch)
      guard let fill = found.fill else { return }
      driver.fetch(fill, "for \(value)", vary: "x-a", secondary: key("\(value)"))
    }
    for value in 0..<5 {
      let found = driver.lookup("/v", "X-A: \(value)")
      #expect(found.kind == (value < 2 ? .fetch : .hit), "\(value)")
      if value >= 2 { #expect(found.content == "for \(value)") }
    }
    driver.store.checkInvariants()
  }

  @Test func `what is stale is confirmed, and keeps its content`() throws {
    let driver = StoreDriver()
    for content in ["short", String(repeating: "long ", count: 4000)] {
      driver.put("/\(content.count)", content, tags: ["t"], lifetime: 10)
      driver.now = driver.now + .seconds(11)
      let found = driver.lookup("/\(content.count)")
      #expect(found.kind == .fetch && found.raw.wasStale)
      let fill = try #require(found.fill)
      #expect(fill.stale != nil)
      driver.renew(fill, length: content.utf8.count, tags: ["t"])
      #expect(driver.lookup("/\(content.count)").content == content)
      #expect(driver.store.usage.objects == 1 || content != "short")
    }
    #expect(driver.purge(tags: ["t"]).matched == 2)
    driver.store.checkInvariants()
    #expect(driver.store.usage.objects == 0)
  }

  @Test func `within its window a stale response is served, and one fetch begins behind it`() {
    let driver = StoreDriver()
    driver.put("/x", "old", lifetime: 10, swr: 10)
    driver.now = driver.now + .seconds(10)
    let first = driver.lookup("/x")
    #expect(first.kind == .stale && first.content == "old" && first.fill?.isBackground == true)
    let second = driver.lookup("/x")
    #expect(second.kind == .stale && second.fill == nil)
    if let fill = first.fill { driver.fetch(fill, "new") }
    #expect(driver.lookup("/x").content == "new")
    driver.now = driver.now + .seconds(60)
    #expect(driver.lookup("/x").kind == .fetch)
  }

  @Test func `an unstorable answer lets later requests pass for a while, a storable one again not`()
  {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    if let fill = found.fill { _ = driver.store.unstorable(fill, .lasting, now: driver.now) }
    #expect(driver.lookup("/x").kind == .pass)
    #expect(driver.lookup("/y").kind == .fetch)
    driver.now = driver.now + .seconds(120)
    driver.put("/x", "now")
    #expect(driver.lookup("/x").kind == .hit)
  }

  @Test func `who leaves a fetch without a head last cancels it, and nobody joins it after`() throws
  {
    let driver = StoreDriver()
    let first = driver.lookup("/x")
    let second = driver.lookup("/x")
    let fill = try #require(first.fill)
    fill.setOwner(FillWaiter(worker: 3, handle: 99))
    #expect(fill.leave(first.waiter).cancels == false)
    let last = fill.leave(second.waiter)
    #expect(last.cancels && last.wakes == FillWaiter(worker: 3, handle: 99))
    #expect(driver.lookup("/x").kind == .fetch)
    _ = fill.fail(0)
  }

  @Test func `a fetch whose head has come goes on without readers`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: 3)
    #expect(fill.leave(found.waiter).cancels == false)
    driver.append(fill, "abc")
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").content == "abc")
  }

  @Test func `a slow fetch is doubled once, and who waits takes whichever answers first`() throws {
    let driver = StoreDriver()
    let first = driver.lookup("/x")
    driver.now = driver.now + .seconds(5)
    let second = driver.lookup("/x")
    #expect(second.kind == .fetch && second.fill !== first.fill)
    driver.now = driver.now + .seconds(6)
    #expect(driver.lookup("/x").kind == .waits)
    let slow = try #require(first.fill)
    _ = slow.look(first.waiter, since: .pending, 0)
    let quick = try #require(second.fill)
    driver.head(quick, length: 3)
    #expect(slow.look(first.waiter, since: .pending, 0).isSuperseded)
    driver.append(quick, "abc")
    _ = quick.complete(now: driver.now)
    _ = slow.fail(0)
    #expect(driver.lookup("/x").content == "abc")
  }

  @Test func `content that outgrows the limit passes through a window, and is not stored`() throws {
    let driver = StoreDriver(memory: 16 << 20, maxObject: 1 << 20)
    let found = driver.lookup("/x")
    let fill = try #require(found.fill)
    driver.head(fill, length: -1)
    let piece = String(repeating: "0123456789abcdef", count: 2048)
    var sent = 0
    while case let taken = driver.append(fill, piece), taken == piece.utf8.count { sent += taken }
    #expect(sent >= 1 << 20 && sent <= 3 << 20)
    let other = driver.lookup("/x")
    #expect(other.kind == .fetch)
    _ = other.fill?.fail(0)
    // The reader goes on, and so may the fetch; what was read is freed.
    let object = try #require(fill.look(found.waiter, since: .growing, 0).object)
    var cursor = ContentCursor()
    for _ in 0..<40 {
      let end = fill.look(found.waiter, since: .complete, 0).published
      while case let octets = driver.store.octets(at: &cursor, upTo: end, of: object),
        !octets.isEmpty
      {
        #expect(octets[0] == piece.utf8.prefix(16).map { $0 }[cursor.position % 16])
        cursor.advance(by: octets.count)
      }
      _ = fill.advanced(found.waiter, to: cursor.position)
      driver.append(fill, piece)
    }
    #expect(cursor.position > sent + (1 << 19))
    #expect(driver.store.arena.usedBytes < 4 << 20)
    _ = fill.complete(now: driver.now)
    #expect(driver.lookup("/x").kind == .fetch)
  }
}

/// Octets of a text as long as `body` looks at them.
func withOctets<Result>(_ text: String, _ body: (ByteView) -> Result) -> Result {
  Array(text.utf8).withUnsafeBufferPointer { body(ByteView($0)) }
}
