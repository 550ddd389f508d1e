import Foundation
import Primitives
import Testing

@testable import Caching

@Suite struct `The arena of a cache` {
  private struct Held {
    var unit: UInt32
    var order: Int
  }

  private func overlaps(_ a: Held, _ b: Held) -> Bool {
    a.unit < b.unit + UInt32(1 << b.order) && b.unit < a.unit + UInt32(1 << a.order)
  }

  @Test func `orders are powers of two of 512 octets`() {
    let cases = [
      (1, 0), (512, 0), (513, 1), (1024, 1), (4096, 3), (65_536, 7), (65_537, 8),
    ]
    for (bytes, order) in cases { #expect(BlockArena.order(holding: bytes) == order) }
    #expect(BlockArena.bytes(BlockArena.mostOrder) == 64 << 10)
  }

  @Test func `no more is given out than the mapping has, and all of it comes back`() throws {
    let arena = try #require(BlockArena(bytes: 1 << 20))
    for order in [0, 7, 3] {
      var blocks: [UInt32] = []
      while case let block = arena.allocate(order), block != 0 { blocks.append(block) }
      #expect(blocks.count * BlockArena.bytes(order) == arena.capacityBytes)
      #expect(arena.usedBytes == arena.capacityBytes)
      for block in blocks { arena.free(block, order) }
      #expect(arena.usedBytes == 0)
      arena.checkInvariants()
    }
  }

  /// What the kernel was told about the memory (proc(5), VmFlags of smaps).
  @Test(
    .enabled(if: access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) == 0),
    arguments: [(true, "hg"), (false, "nh")])
  func `pages are of the size that was asked for`(isHuge: Bool, flag: String) throws {
    let arena = try #require(BlockArena(bytes: 16 << 20, usesHugePages: isHuge))
    let block = arena.allocate(0)
    let address = unsafe UInt(bitPattern: arena.address(block))
    let start = unsafe UInt(bitPattern: arena.address(0))
    #expect(start % (2 << 20) == 0)
    let file = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
    let maps = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
    var isHere = false
    var flags: [Substring] = []
    for line in maps.split(separator: "\n") {
      let words = line.split(separator: " ")
      let range = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      if range.count == 2 { isHere = (range[0]..<range[1]).contains(address) }
      if isHere, words[0] == "VmFlags:" { flags = Array(words.dropFirst()) }
    }
    #expect(flags.contains { $0 == flag }, "\(flags)")
    arena.free(block, 0)
  }

  @Test(arguments: 0..<6)
  func `any order of calls leaves blocks apart and the tables whole`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let arena = try #require(BlockArena(bytes: 512 << 10))
    var held: [Held] = []
    for _ in 0..<4000 {
      if held.isEmpty || random.below(5) < 3 {
        let order = random.below(BlockArena.mostOrder + 1)
        let unit = arena.allocate(order)
        guard unit != 0 else { continue }
        let block = Held(unit: unit, order: order)
        #expect(!held.contains { overlaps($0, block) })
        held.append(block)
      } else {
        let index = random.below(held.count)
        let block = held[index]
        if block.order > 0, random.below(3) == 0 {
          let order = random.below(block.order)
          arena.shrink(block.unit, from: block.order, to: order)
          held[index].order = order
        } else {
          arena.free(block.unit, block.order)
          held.remove(at: index)
        }
      }
    }
    #expect(arena.usedBytes == held.reduce(0) { $0 + BlockArena.bytes($1.order) })
    arena.checkInvariants()
    for block in held { arena.free(block.unit, block.order) }
    #expect(arena.usedBytes == 0)
    // Everything has been joined again: the largest blocks are there in full number.
    var largest = 0
    while arena.allocate(BlockArena.mostOrder) != 0 { largest += 1 }
    #expect(largest * BlockArena.bytes(BlockArena.mostOrder) == arena.capacityBytes)
  }
}
