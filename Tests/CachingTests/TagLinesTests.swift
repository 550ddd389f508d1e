import Primitives
import TestUnitSupport
import Testing

@testable import Caching

/// The lines of a shard's tags: who has one, which blocks they are in, and when those go back.
@Suite struct `Lines of tags` {
  private func arena() throws -> BlockArena { try #require(BlockArena(bytes: 1 << 20)) }

  private func line(_ hash: UInt32) -> TagLine {
    TagLine(hash: hash, other: .none, isFirst: true)
  }

  private func reserve(_ count: Int, of lines: inout TagLines, _ expected: Bool = true) {
    let isThere = lines.reserve(count)
    #expect(isThere == expected)
  }

  private func expect(_ line: UnsafeMutablePointer<TagLine>, _ hash: UInt32) {
    #expect(line.pointee.hash == hash)
  }

  @Test func `are there where they were reserved, whatever is given back meanwhile`() throws {
    let arena = try arena()
    var lines = TagLines(arena: arena)
    let most = TagLines.most
    reserve(most, of: &lines)
    let first = lines.take(line(1))
    lines.endReserve()
    reserve(most - 1, of: &lines)
    #expect(lines.blockCount == 1 && lines.freeCount == most - 1)
    // With it goes all of its block, which is what was reserved.
    lines.giveBack(first)
    #expect(lines.blockCount == 1 && lines.freeCount == most)
    var taken: [TagRef] = []
    for index in 1..<most { taken.append(lines.take(line(UInt32(index)))) }
    lines.endReserve()
    for ref in taken { lines.giveBack(ref) }
    #expect(lines.blockCount == 0 && lines.freeCount == 0 && arena.usedBytes == 0)
  }

  @Test func `that are looked at stay where they are`() throws {
    let arena = try arena()
    var lines = TagLines(arena: arena)
    let none = lines.beginTurn()
    #expect(none == 0)
    let most = TagLines.most
    reserve(2 * most, of: &lines)
    for index in 0..<2 * most { _ = lines.take(line(UInt32(index))) }
    lines.endReserve()
    var seen = Set<UInt32>()
    for _ in 0..<2 {
      let block = lines.beginTurn()
      for index in TagLines.places {
        guard let ref = lines.line(block, index) else {
          Issue.record("a line that is not there")
          continue
        }
        seen.insert(lines[ref].pointee.hash)
        lines.giveBack(ref)
        let isFree = lines.line(block, index) == nil
        #expect(isFree)
      }
      #expect(lines.freeCount == most)
      lines.endTurn()
      #expect(lines.freeCount == 0)
    }
    #expect(seen.count == 2 * most && lines.blockCount == 0 && arena.usedBytes == 0)
  }

  @Test func `that are not to be had are not reserved`() throws {
    let arena = try arena()
    let order = TagLines.order
    var others: [UInt32] = []
    while case let block = arena.allocate(order), block != 0 { others.append(block) }
    var lines = TagLines(arena: arena)
    reserve(1, of: &lines, false)
    #expect(lines.freeCount == 0)
    arena.free(others.removeLast(), order)
    reserve(TagLines.most + 1, of: &lines, false)
    reserve(TagLines.most, of: &lines)
    let ref = lines.take(line(9))
    expect(lines[ref], 9)
    lines.endReserve()
    lines.giveBack(ref)
    #expect(lines.blockCount == 0)
  }

  /// Every line has the content it was taken with as long as it is taken, and blocks add up.
  @Test(arguments: 0..<4)
  func `agree with a list`(seed: UInt64) throws {
    let arena = try arena()
    var lines = TagLines(arena: arena)
    var random = SeededRandom(seed: seed)
    var taken: [(ref: TagRef, hash: UInt32)] = []
    var next: UInt32 = 1
    for turn in 0..<4000 {
      let grows = turn / 500 % 2 == 0
      switch random.below(8) {
      case 0..<4:
        let count = random.below(grows ? 40 : 6)
        guard lines.reserve(count) else { continue }
        var left = random.below(count + 1)
        while left > 0 {
          #expect(lines.freeCount >= left)
          taken.append((lines.take(line(next)), next))
          next += 1
          left -= 1
          // Given back in between, as entering does.
          if !taken.isEmpty, random.below(2) == 0 {
            let gone = taken.remove(at: random.below(taken.count))
            expect(lines[gone.ref], gone.hash)
            lines.giveBack(gone.ref)
          }
        }
        lines.endReserve()
      case 4:
        let block = lines.beginTurn()
        for index in TagLines.places where block != 0 {
          guard let ref = lines.line(block, index), random.below(2) == 0 else { continue }
          let place = try #require(taken.firstIndex { $0.ref == ref })
          expect(lines[ref], taken[place].hash)
          taken.remove(at: place)
          lines.giveBack(ref)
        }
        lines.endTurn()
      default:
        for _ in 0..<(grows ? 4 : 20) where !taken.isEmpty {
          let gone = taken.remove(at: random.below(taken.count))
          expect(lines[gone.ref], gone.hash)
          lines.giveBack(gone.ref)
        }
      }
      #expect(taken.count + lines.freeCount == lines.blockCount * TagLines.most)
      #expect(arena.usedBytes == lines.bytes)
    }
    // A whole round of turns comes by at every line.
    var seen = 0
    for _ in 0..<lines.blockCount {
      let block = lines.beginTurn()
      for index in TagLines.places where lines.line(block, index) != nil { seen += 1 }
      lines.endTurn()
    }
    #expect(seen == taken.count)
    for (ref, _) in taken { lines.giveBack(ref) }
    for _ in 0..<lines.blockCount {
      _ = lines.beginTurn()
      lines.endTurn()
    }
    #expect(lines.blockCount == 0 && arena.usedBytes == 0)
    arena.checkInvariants()
  }

  @Test func `names name nobody once their response has gone`() {
    var numbers = RecordNumbers()
    let first = numbers.give(to: 10)
    let second = numbers.give(to: 20)
    #expect(numbers.unit(first) == 10 && numbers.unit(second) == 20)
    numbers.takeBack(first.slot)
    #expect(numbers.unit(first) == nil && numbers.unit(second) == 20)
    let third = numbers.give(to: 30)
    #expect(third.slot == first.slot && third != first)
    #expect(numbers.unit(first) == nil && numbers.unit(third) == 30)
    #expect(numbers.unit(Int(third.slot)) == 30)
  }

  /// Two tags with one hash share their lines, and are two tags none the less.
  @Test func `of two tags with one hash are told apart`() throws {
    // As the first part of a `StoreDriver`'s store hashes them.
    var seen: [UInt32: Int] = [:]
    var pair: (Int, Int)?
    for number in 0..<600_000 where pair == nil {
      let hash = HeldText("tag-\(number)").read { text in
        UInt32(truncatingIfNeeded: StableHash.of(text, seed: 7) >> 16)
      }
      if let other = seen.updateValue(number, forKey: hash) { pair = (other, number) }
    }
    let (one, other) = try #require(pair)
    let driver = StoreDriver()
    for index in 0..<1200 {
      driver.put("/\(index)", "x", tags: ["tag-\(index % 3 == 0 ? one : other)"])
    }
    #expect(driver.purge(tags: ["tag-\(one)"], dryRun: true).matched == 400)
    #expect(driver.purge(tags: ["tag-\(other)"], soft: true).matched == 800)
    #expect(driver.purge(tags: ["tag-\(one)"]).matched == 400)
    driver.store.checkInvariants()
    #expect(driver.purge(tags: ["tag-\(other)"]).matched == 800)
    driver.store.checkInvariants()
  }
}
