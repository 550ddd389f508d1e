import Primitives
import TestUnitSupport
import Testing

@testable import Caching

/// What becomes of a store all of whose memory is being read, and of one that is purged meanwhile.
@Suite struct `A store whose memory is in use` {
  /// Stores until there is no room, and reads all of it.
  private func fill(_ driver: StoreDriver) -> [StoreDriver.Found] {
    var held: [StoreDriver.Found] = []
    for index in 0..<400 {
      let path = "/\(index)"
      driver.put(path, String(repeating: "x", count: 3000))
      let found = driver.lookup(path)
      if found.kind == .hit {
        held.append(found)
      } else if let fill = found.fill {
        _ = fill.fail(0)
      }
    }
    return held
  }

  @Test func `keeps what is read, whatever wants in`() throws {
    let driver = StoreDriver(memory: 1 << 20)
    let large = driver.lookup("/large")
    let fill = try #require(large.fill)
    driver.head(fill, length: -1)
    driver.append(fill, "begin")
    let held = self.fill(driver)
    #expect(held.count > 100)
    let objects = driver.store.usage.objects
    for _ in 0..<50 {
      let last = withOctets(String(repeating: "y", count: 8192)) { fill.append($0) }
      if last.lacksMemory { break }
      _ = fill.advanced(large.waiter, to: fill.look(large.waiter, since: .pending, 0).published)
    }
    let more = withOctets(String(repeating: "y", count: 8192)) { fill.append($0) }
    #expect(more.taken == 0 && more.lacksMemory)
    // It would have freed nothing to forget them.
    #expect(driver.store.usage.objects == objects)
    for found in held { #expect(found.content == String(repeating: "x", count: 3000)) }
    driver.store.checkInvariants()
    _ = fill.fail(0)
  }

  @Test func `does not stop who has read all that has come`() throws {
    let driver = StoreDriver(memory: 1 << 20)
    let large = driver.lookup("/large")
    let other = driver.lookup("/large")
    let fill = try #require(large.fill)
    driver.head(fill, length: -1)
    let pieces = (0..<600).map { "\($0): " + String(repeating: "y", count: $0 * 37 % 3000) }
    driver.append(fill, pieces[0])
    let held = self.fill(driver)
    let object = try #require(fill.look(large.waiter, since: .pending, 0).object)
    // Two that read by turns, whatever has come, so that one is behind the other.
    var cursors = [ContentCursor(), ContentCursor()]
    var texts: [[UInt8]] = [[], []]
    func read(_ index: Int, _ waiter: FillWaiter) {
      let end = fill.look(waiter, since: .pending, 0).published
      while case let octets = driver.store.octets(at: &cursors[index], upTo: end, of: object),
        !octets.isEmpty
      {
        texts[index] += octets.array
        cursors[index].advance(by: octets.count)
      }
      _ = fill.advanced(waiter, to: cursors[index].position)
    }
    for (number, piece) in pieces.enumerated().dropFirst() {
      var rest = Array(piece.utf8)[...]
      var turns = 0
      while !rest.isEmpty {
        rest = rest.dropFirst(HeldText(Array(rest)).read { fill.append($0).taken })
        if turns % 2 == number % 2 { read(0, large.waiter) } else { read(1, other.waiter) }
        turns += 1
        try #require(turns < 100, "stuck at \(number)")
      }
      driver.store.arena.checkInvariants()
    }
    read(0, large.waiter)
    read(1, other.waiter)
    _ = fill.complete(now: driver.now)
    let whole = Array(pieces.joined().utf8)
    #expect(texts[0] == whole && texts[1] == whole)
    for found in held { #expect(found.content == String(repeating: "x", count: 3000)) }
  }

  @Test func `lets a key pass for a second where memory lacked, and not for two minutes`() throws {
    let driver = StoreDriver(memory: 1 << 20)
    let held = fill(driver)
    let found = driver.lookup("/new")
    let fetch = try #require(found.fill)
    #expect(!driver.head(fetch, length: 3))
    _ = driver.store.unstorable(fetch, .shortage, now: driver.now)
    #expect(driver.lookup("/new").kind == .pass)
    driver.now = driver.now + .seconds(1)
    withExtendedLifetime(held) {}
    let again = driver.lookup("/new")
    #expect(again.kind == .fetch)
    _ = again.fill?.fail(0)
  }

  @Test func `tells what is too large for any block from what has no room now`() throws {
    let driver = StoreDriver()
    let found = driver.lookup("/large")
    let fill = try #require(found.fill)
    #expect(driver.refusal(fill, tags: (0..<300).map { "tag-\($0)" }) == .lasting)
    _ = fill.fail(0)
    let full = StoreDriver(memory: 1 << 20)
    let held = self.fill(full)
    let next = try #require(full.lookup("/new").fill)
    #expect(full.refusal(next) == .shortage)
    withExtendedLifetime(held) {}
    _ = next.fail(0)
  }

  // MARK: Purging in batches

  private func shard(_ count: Int, tags: [String] = []) -> StoreDriver {
    let driver = StoreDriver(memory: 8 << 20)
    for index in 0..<count { driver.put("/f/\(index)", "x", tags: tags) }
    return driver
  }

  @Test func `gives others their turn within a purge, and leaves nothing out`() {
    let driver = shard(4000, tags: ["t"])
    for (request, isBatched) in [
      (PurgeRequest.everything, true), (.tagged("t"), true), (.under("http://a/f/"), true),
      (.under("http://a/f"), false),
    ] {
      let sizes = driver.store.batches(request)
      // A bucket is never left half done.
      if isBatched { #expect(sizes.max() ?? 0 <= CacheShard.purgeBatch + 32) }
      #expect(sizes.reduce(0, +) >= (isBatched ? 16 : 4000))
    }
    #expect(driver.purge(tags: ["t"]).matched == 4000)
    #expect(driver.store.usage.objects == 0)
    driver.store.checkInvariants()
  }

  @Test func `removes everything by each way, many batches long`() {
    for order in 0..<5 {
      let driver = shard(4000, tags: ["t", "u"])
      let result =
        switch order {
        case 0: driver.purge(all: true)
        case 1: driver.purge(tags: ["t"])
        case 2: driver.purge(prefix: "http://a/f/")
        case 3: driver.purge(prefix: "http://a/f")
        default: driver.purge(tags: ["u", "t"], urls: ["http://a/f/1"], prefix: "http://a/")
        }
      #expect(result.matched == 4000, "\(order)")
      #expect(driver.store.usage.objects == 0 && driver.store.usage.purged == 4000)
      driver.store.checkInvariants()
    }
  }

  @Test func `counts and makes stale each response once`() {
    let driver = shard(2000, tags: ["t"])
    #expect(driver.purge(tags: ["t"], dryRun: true).matched == 2000)
    #expect(driver.purge(all: true, dryRun: true).matched == 2000)
    #expect(driver.purge(all: true, soft: true).matched == 2000)
    #expect(driver.purge(tags: ["t"], soft: true).matched == 2000)
    #expect(driver.store.usage.objects == 2000)
    #expect(driver.lookup("/f/1").kind == .fetch)
  }
}
