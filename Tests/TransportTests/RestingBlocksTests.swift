import CLinux
import Glibc
import Testing

@Suite struct `Resting blocks` {
  /// Room for a connection of OpenSSL's.
  private static let bytes = 7608

  init() throws { try #require(weir_blocks_prepare() == 1) }

  private func allocate(_ bytes: Int = bytes) throws -> UnsafeMutableRawPointer {
    try #require(weir_block_allocate(bytes, "", 0))
  }

  /// Octets of which most are zero, in runs of different lengths.
  private func fill(_ block: UnsafeMutableRawPointer, seed: Int) {
    for index in 0..<Self.bytes {
      let isSet = (index / (seed + 7)) % 5 == 0
      block.storeBytes(
        of: isSet ? UInt8(truncatingIfNeeded: index &* 31 &+ seed) : 0, toByteOffset: index,
        as: UInt8.self)
    }
  }

  private func octets(_ block: UnsafeMutableRawPointer) -> [UInt8] {
    (0..<Self.bytes).map { block.load(fromByteOffset: $0, as: UInt8.self) }
  }

  /// Pages of the block that have memory.
  private func residentPages(_ block: UnsafeMutableRawPointer) -> Int {
    var pages: [UInt8] = [0, 0]
    return mincore(block, 8192, &pages) == 0 ? pages.count { $0 & 1 == 1 } : -1
  }

  @Test func `give their pages back, and have their content again where it was`() throws {
    let blocks = try (0..<40).map { _ in try allocate() }
    for (seed, block) in blocks.enumerated() { fill(block, seed: seed) }
    let before = blocks.map(octets)
    let contents = try blocks.map { try #require(weir_block_rest($0)) }
    #expect(blocks.allSatisfy { residentPages($0) == 0 })
    for (block, content) in zip(blocks, contents) { weir_block_wake(block, content) }
    #expect(blocks.map(octets) == before)
    #expect(blocks.allSatisfy { residentPages($0) == 2 })
    for block in blocks { weir_block_free(block, "", 0) }
  }

  @Test func `are taken again, and a few of the free ones keep their pages`() throws {
    let blocks = try (0..<200).map { _ in try allocate() }
    for block in blocks { fill(block, seed: 1) }
    for block in blocks { weir_block_free(block, "", 0) }
    // Other tests of this process may take some of them at the same time.
    #expect(blocks.count { residentPages($0) > 0 } <= 64 + 40)
    let again = try (0..<200).map { _ in try allocate() }
    #expect(Set(again).count == 200)
    for block in again { weir_block_free(block, "", 0) }
  }

  @Test func `are as large as asked for, and keep what they held when they grow`() throws {
    #expect(weir_block_allocate(0, "", 0) == nil)
    var block = try #require(weir_block_reallocate(nil, 100, "", 0))
    for index in 0..<100 { block.storeBytes(of: UInt8(index), toByteOffset: index, as: UInt8.self) }
    // Through all kinds of blocks: small, with pages of its own, and larger than those.
    for length in [5000, 8192, 8193, 70_000] {
      block = try #require(weir_block_reallocate(block, length, "", 0))
      #expect(
        (0..<100).allSatisfy { block.load(fromByteOffset: $0, as: UInt8.self) == UInt8($0) })
      memset(block + 100, 0xAB, length - 100)
    }
    #expect(weir_block_reallocate(block, 0, "", 0) == nil)
  }

  /// The copy of a connection has its keys. Memory that is freed is looked at as a debugger would:
  /// it may be gone, or somebody else's by then, but nobody else has this pattern.
  @Test func `leave nothing of their content in the copy`() throws {
    let secret: UInt64 = 0x5EC2_E75E_C2E7_0001
    let block = try allocate()
    for index in 0..<(Self.bytes / 8) {
      block.storeBytes(of: secret &+ UInt64(index) << 32, toByteOffset: index * 8, as: UInt64.self)
    }
    let content = try #require(weir_block_rest(block))
    let memory = open("/proc/self/mem", O_RDONLY)
    try #require(memory >= 0)
    defer { close(memory) }
    // Made before the copy is freed, or it would get the copy's place, and clear it.
    var words = [UInt64](repeating: 0, count: Self.bytes / 8)
    func secrets() -> Int {
      let place = off_t(Int(bitPattern: content))
      let count = words.withUnsafeMutableBytes { pread(memory, $0.baseAddress, $0.count, place) }
      return words[..<(max(0, count) / 8)].count { UInt32(truncatingIfNeeded: $0) == 0xC2E7_0001 }
    }
    let before = secrets()
    #expect(before > 900, "this is where the copy is")
    weir_block_wake(block, content)
    let left = secrets()
    #expect(left == 0)
    weir_block_free(block, "", 0)
  }

  @Test func `whose pages are locked into memory do not rest, and keep their content`() throws {
    let block = try allocate()
    fill(block, seed: 3)
    let before = octets(block)
    // Without the right to lock two pages there is nothing to see.
    guard mlock(block, 8192) == 0 else { return weir_block_free(block, "", 0) }
    #expect(weir_block_rest(block) == nil)
    #expect(octets(block) == before)
    munlock(block, 8192)
    let content = try #require(weir_block_rest(block))
    weir_block_wake(block, content)
    #expect(octets(block) == before)
    weir_block_free(block, "", 0)
  }

  @Test func `of other sizes do not rest`() throws {
    for bytes in [1, 4096, 8193, 20_000] {
      let block = try allocate(bytes)
      #expect(weir_block_rest(block) == nil)
      weir_block_free(block, "", 0)
    }
  }
}
