import Glibc
import Primitives
import Testing

@Suite struct `The buffer pool` {
  @Test(arguments: [1, 5, 64, 65, 200])
  func `gives exactly as many blocks as its limit, all different, and again after return`(
    limit: Int
  ) {
    var pool = BufferPool(limit: limit)
    for _ in 0..<3 {
      var blocks: [UnsafeMutablePointer<UInt8>] = []
      while let block = pool.take() {
        // Overlapping blocks would show each other's mark.
        memset(block, Int32(blocks.count & 0x7F), BufferPool.blockBytes)
        blocks.append(block)
        #expect(pool.inUse == blocks.count)
      }
      #expect(blocks.count == limit && Set(blocks).count == limit)
      for (index, block) in blocks.enumerated() {
        #expect(block[0] == UInt8(index & 0x7F))
        #expect(block[BufferPool.blockBytes - 1] == UInt8(index & 0x7F))
      }
      for block in blocks { pool.give(block) }
      #expect(pool.inUse == 0)
    }
  }

  @Test func `holds its limit in any order of take and give`() {
    var pool = BufferPool(limit: 150)
    var held: [UnsafeMutablePointer<UInt8>] = []
    var random = SeededRandom(seed: 3)
    for step in 0..<5000 {
      if random.below(step / 500 % 2 == 0 ? 3 : 5) > 1, !held.isEmpty {
        pool.give(held.remove(at: random.below(held.count)))
      } else if let block = pool.take() {
        #expect(!held.contains(block))
        held.append(block)
      } else {
        #expect(held.count == 150)
      }
      #expect(pool.inUse == held.count && held.count <= 150)
    }
    for block in held { pool.give(block) }
  }

  @Test func `gives back the pages of blocks that were not needed for a while, and no others`() {
    var pool = BufferPool(limit: 1000)
    func use(_ count: Int) -> [UnsafeMutablePointer<UInt8>] {
      let blocks = (0..<count).compactMap { _ in pool.take() }
      for block in blocks { block[0] = 1 }
      for block in blocks.reversed() { pool.give(block) }
      return blocks
    }
    let blocks = use(1000)
    // A page that went back is zero when it is looked at again.
    func cooled() -> Int { blocks.count { $0[0] == 0 } }
    #expect(blocks.count == 1000 && pool.hasSpare)
    pool.coolDown()
    #expect(cooled() == 0, "the burst was a moment ago")
    for _ in 0..<10 {
      _ = use(500)
      pool.coolDown()
    }
    #expect(cooled() == 1000 - 500 - 128 && pool.hasSpare)
    for _ in 0..<10 { pool.coolDown() }
    #expect(cooled() == 1000 - 128 && !pool.hasSpare && pool.inUse == 0)
  }
}

@Suite struct `An input buffer` {
  private func receive(_ bytes: [UInt8], _ buffer: inout InputBuffer) {
    _ = bytes.withUnsafeBytes { memcpy(buffer.writePointer, $0.baseAddress!, bytes.count) }
    buffer.didReceive(bytes.count)
  }

  /// Random operations against two plain arrays.
  @Test(arguments: 1...8)
  func `behaves like an array with a pinned front`(seed: UInt64) {
    var pool = BufferPool(limit: 1)
    var buffer = InputBuffer()
    var random = SeededRandom(seed: seed)
    var pinned: [UInt8]?
    var waiting: [UInt8] = []
    for _ in 0..<2000 {
      guard buffer.attach(&pool) else { preconditionFailure("no block") }
      switch random.below(7) {
      case 0, 1, 2:
        let most = min(buffer.room, random.below(2) == 0 ? 40 : 9000)
        let length = random.below(most + 1)
        let bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        if !bytes.isEmpty { receive(bytes, &buffer) }
        waiting += bytes
      case 3:
        let count = random.below(waiting.count + 1)
        buffer.consume(count)
        waiting.removeFirst(count)
      case 4:
        guard pinned == nil else { continue }
        let count = random.below(waiting.count + 1)
        guard count > 0 else { continue }
        buffer.pin(count)
        pinned = Array(waiting.prefix(count))
        waiting.removeFirst(count)
      case 5:
        buffer.moveToFront()
        let held = (pinned?.count ?? 0) + waiting.count
        #expect(buffer.room == BufferPool.blockBytes - held)
      default:
        buffer.unpin()
        pinned = nil
      }
      #expect(buffer.view.array == waiting && buffer.count == waiting.count)
      #expect(buffer.isEmpty == waiting.isEmpty)
      if let pinned { #expect(buffer.pinnedView.array == pinned) }
    }
    buffer.detach(&pool)
    #expect(!buffer.isAttached && buffer.isEmpty && buffer.room == 0 && pool.inUse == 0)
    #expect(buffer.view.isEmpty && buffer.pinnedView.isEmpty)
  }

  @Test func `takes one block however often it is attached, and none from an empty pool`() {
    var pool = BufferPool(limit: 1)
    var first = InputBuffer()
    var second = InputBuffer()
    let results = [first.attach(&pool), first.attach(&pool), second.attach(&pool)]
    #expect(results == [true, true, false] && pool.inUse == 1 && !second.isAttached)
    second.detach(&pool)
    #expect(pool.inUse == 1)
    first.detach(&pool)
    let isFree = second.attach(&pool)
    #expect(isFree)
    second.detach(&pool)
  }

  @Test func `more consumed or received than there is ends the process`() async {
    await #expect(processExitsWith: .failure) {
      var buffer = InputBuffer()
      buffer.consume(1)
    }
    await #expect(processExitsWith: .failure) {
      var pool = BufferPool(limit: 1)
      var buffer = InputBuffer()
      _ = buffer.attach(&pool)
      buffer.didReceive(BufferPool.blockBytes + 1)
    }
  }
}
