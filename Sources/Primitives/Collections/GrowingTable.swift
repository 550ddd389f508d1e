/// Elements that are only ever added, at addresses that never move; owned by one thread.
///
/// An array of structs that hold references checks at every write that it is not shared, and counts
/// references at every look; this table has one owner by type and lends its elements where they
/// stand. Every access is bounds checked, in release builds too.
///
/// Why the uses are safe: each place is initialized once, by `append`, before `count` covers it;
/// chunks are never moved, and freed with their elements by the only owner. An address is used only
/// while the element is accessed.
@safe
public struct GrowingTable<Element>: ~Copyable {
  private typealias Chunk = UnsafeMutablePointer<Element>

  private static var chunkBits: Int { 6 }
  private static var chunkSize: Int { 1 << chunkBits }

  public private(set) var count = 0
  private var chunks: UnsafeMutablePointer<Chunk>
  private var chunkCount = 0
  private var capacity = 16

  public init() { unsafe chunks = .allocate(capacity: capacity) }

  deinit {
    for index in 0..<count { unsafe address(index).deinitialize(count: 1) }
    for index in 0..<chunkCount { unsafe chunks[index].deallocate() }
    unsafe chunks.deallocate()
  }

  public var indices: Range<Int> { 0..<count }

  public mutating func append(_ element: Element) {
    if count >> Self.chunkBits == chunkCount { addChunk() }
    unsafe address(count).initialize(to: element)
    count += 1
  }

  @inline(__always)
  public subscript(_ index: Int) -> Element {
    unsafeAddress {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index out of bounds")
      return unsafe UnsafePointer(address(index))
    }
    unsafeMutableAddress {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index out of bounds")
      return unsafe address(index)
    }
  }

  @inline(__always)
  private func address(_ index: Int) -> Chunk {
    unsafe chunks[index >> Self.chunkBits] + index & (Self.chunkSize - 1)
  }

  private mutating func addChunk() {
    if chunkCount == capacity {
      let larger = UnsafeMutablePointer<Chunk>.allocate(capacity: capacity * 2)
      unsafe larger.update(from: chunks, count: chunkCount)
      unsafe chunks.deallocate()
      unsafe chunks = larger
      capacity *= 2
    }
    unsafe chunks[chunkCount] = .allocate(capacity: Self.chunkSize)
    chunkCount += 1
  }
}
