import Caching
import Primitives
import Testing

@Suite struct `The options of a cache` {
  @Test(
    arguments: [
      (64 << 20, nil, 8 << 20), (512 << 20, nil, 16 << 20), (1 << 20, nil, 128 << 10),
      (512 << 20, 32 << 20, 32 << 20), (64 << 20, 32 << 20, 8 << 20), (64 << 20, 1000, 1000),
    ] as [(Int, Int?, Int)])
  func `let one object take an eighth of the memory at most`(
    memory: Int, limit: Int?, expected: Int
  ) {
    var options = CacheOptions(name: "main")
    #expect(options.memoryBytes == 64 << 20 && options.maxVariants == 64)
    options.memoryBytes = memory
    options.maxObjectBytes = limit
    #expect(options.objectLimitBytes == expected)
  }
}
