import CNghttp2
import Primitives
import Testing

@testable import HTTP2

/// The allocator that nghttp2 gets, called as nghttp2 calls it.
@Suite struct `The memory of sessions` {
  private let memory = SessionMemory()
  private var functions: nghttp2_mem { memory.allocator.pointee }

  private func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
    functions.malloc(bytes, functions.mem_user_data)
  }

  private func free(_ block: UnsafeMutableRawPointer?) {
    functions.free(block, functions.mem_user_data)
  }

  private func reallocate(
    _ block: UnsafeMutableRawPointer?, _ bytes: Int
  ) -> UnsafeMutableRawPointer? {
    functions.realloc(block, bytes, functions.mem_user_data)
  }

  private func fill(_ block: UnsafeMutableRawPointer, _ bytes: Int, with mark: UInt8) {
    block.initializeMemory(as: UInt8.self, repeating: mark, count: bytes)
  }

  private func holds(_ block: UnsafeMutableRawPointer, _ bytes: Int, _ mark: UInt8) -> Bool {
    UnsafeRawBufferPointer(start: block, count: bytes).allSatisfy { $0 == mark }
  }

  @Test(arguments: 1...4)
  func `blocks of all sizes keep what is written to them, in any order`(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var held: [(block: UnsafeMutableRawPointer, bytes: Int, mark: UInt8)] = []
    for step in 0..<4000 {
      switch random.below(4) {
      case 0 where !held.isEmpty:
        let gone = held.remove(at: random.below(held.count))
        #expect(holds(gone.block, gone.bytes, gone.mark))
        free(gone.block)
      case 1 where !held.isEmpty:
        let index = random.below(held.count)
        let old = held[index]
        let bytes = random.below(random.below(5) == 0 ? 20_000 : 1100) + 1
        let block = try #require(reallocate(old.block, bytes))
        #expect(holds(block, min(bytes, old.bytes), old.mark))
        fill(block, bytes, with: old.mark)
        held[index] = (block, bytes, old.mark)
      default:
        let bytes = random.below(random.below(5) == 0 ? 20_000 : 1100)
        let block = try #require(allocate(bytes))
        #expect(Int(bitPattern: block) % 16 == 0)
        let mark = UInt8(truncatingIfNeeded: step)
        fill(block, bytes, with: mark)
        held.append((block, bytes, mark))
      }
    }
    for (block, bytes, mark) in held {
      #expect(holds(block, bytes, mark))
      free(block)
    }
  }

  @Test func `what was given back comes again, and cleared where that is asked for`() throws {
    let block = try #require(allocate(200))
    fill(block, 200, with: 7)
    free(block)
    let again = try #require(functions.calloc(20, 10, functions.mem_user_data))
    #expect(again == block && holds(again, 200, 0))
    free(again)
  }

  @Test func `sizes that cannot be are refused`() {
    #expect(allocate(.max) == nil && allocate(.max - 20) == nil)
    #expect(functions.calloc(.max / 2, 3, functions.mem_user_data) == nil)
    free(nil)
  }

  @Test func `a burst leaves no more than its bound behind`() throws {
    let blocks = try (0..<3000).map { _ in try #require(allocate(1000)) }
    for block in blocks { free(block) }
    #expect(memory.keptBytesNow <= SessionMemory.keptBytes)
    #expect(memory.keptBytesNow > SessionMemory.keptBytes - 2048)
  }
}
