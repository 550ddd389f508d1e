import Primitives
import Testing

@Suite struct `An output queue` {
  private func append(
    _ bytes: [UInt8], _ queue: inout OutputQueue, _ pool: inout BufferPool
  ) -> Bool {
    var isTaken = false
    bytes.withByteView { isTaken = queue.append($0, &pool) }
    return isTaken
  }

  @Test(arguments: 1...4)
  func `gives back the bytes it was given, in order, over any number of blocks`(seed: UInt64) {
    var pool = BufferPool(limit: 64)
    var queue = OutputQueue()
    var random = SeededRandom(seed: seed)
    var next: UInt8 = 0
    var expected: UInt8 = 0
    var queued = 0
    for _ in 0..<400 {
      if random.below(2) == 0, queued < 20 * BufferPool.blockBytes {
        let length = random.below(random.below(3) == 0 ? 90_000 : 500)
        let bytes = (0..<length).map { _ in
          next = next &* 5 &+ 1
          return next
        }
        let isTaken = append(bytes, &queue, &pool)
        #expect(isTaken)
        queued += bytes.count
      } else if queued > 0 {
        let front = queue.front
        let count = random.below(front.count) + 1
        var isInOrder = true
        for byte in front.slice(0, count).array {
          expected = expected &* 5 &+ 1
          if byte != expected { isInOrder = false }
        }
        #expect(isInOrder)
        queue.consume(count, &pool)
        queued -= count
      }
      #expect(queue.count == queued && queue.isEmpty == (queued == 0))
      #expect(queue.front.isEmpty == (queued == 0))
    }
    while !queue.isEmpty { queue.consume(queue.front.count, &pool) }
    #expect(pool.inUse == 0)
  }

  @Test func `says so when no block is left, and gives back what it holds`() {
    var pool = BufferPool(limit: 2)
    var queue = OutputQueue()
    let bytes = [UInt8](repeating: 1, count: 3 * BufferPool.blockBytes)
    let isTaken = append(bytes, &queue, &pool)
    #expect(!isTaken && pool.inUse == 2)
    queue.removeAll(&pool)
    #expect(pool.inUse == 0 && queue.isEmpty && queue.front.isEmpty)
    let isTakenAgain = queue.append(ByteView("again"), &pool)
    #expect(isTakenAgain && queue.front.string == "again")
    queue.removeAll(&pool)
  }

  @Test func `nothing appended takes no block`() {
    var pool = BufferPool(limit: 1)
    var queue = OutputQueue()
    let isTaken = queue.append(.empty, &pool)
    #expect(isTaken && pool.inUse == 0 && queue.isEmpty)
  }
}
