import Primitives
import Synchronization

/// What the eviction order knows of each slot of a store, at addresses that never move.
///
/// Memory comes in chunks that stay until the end, so that `visit` may run on any thread while
/// another one, under the store's lock, adds a chunk: whoever knows a slot learned it under that
/// lock, after its chunk was there.
///
/// Why the uses are safe: a slot's chunk is checked at each access, chunks are made under the
/// owner's exclusive access and freed with the only owner; what several threads touch is atomic.
@safe
struct SlotRecords: ~Copyable {
  static let none = UInt32.max
  /// Slots of one chunk: 96 KiB at a time.
  static let chunkSlots = 4096

  enum Queue: UInt8 { case none, small, main }

  /// 24 octets.
  struct Record: ~Copyable {
    /// Towards the end that is evicted next.
    var older = SlotRecords.none
    var newer = SlotRecords.none
    var bytes = 0
    var fingerprint: UInt32 = 0
    var queue = Queue.none
    /// 0–3: uses since the order last looked.
    let visits = Atomic<UInt8>(0)
  }

  private let chunks: UnsafeMutablePointer<UnsafeMutablePointer<Record>?>
  private let mostChunks: Int
  private var chunkCount = 0

  init(mostSlots: Int) {
    mostChunks = (mostSlots + SlotRecords.chunkSlots - 1) / SlotRecords.chunkSlots
    unsafe chunks = .allocate(capacity: max(mostChunks, 1))
    unsafe chunks.initialize(repeating: nil, count: mostChunks)
  }

  deinit {
    for index in 0..<mostChunks {
      guard let chunk = unsafe chunks[index] else { continue }
      unsafe chunk.deinitialize(count: SlotRecords.chunkSlots)
      unsafe chunk.deallocate()
    }
    unsafe chunks.deallocate()
  }

  /// Slots that there is memory for.
  var capacity: Int { chunkCount * SlotRecords.chunkSlots }

  var memoryBytes: Int {
    mostChunks * MemoryLayout<UInt>.stride + capacity * MemoryLayout<Record>.stride
  }

  /// Makes memory for the slots up to this one. Traps above `mostSlots`.
  mutating func makeRoom(for slot: Int) {
    while slot >= capacity {
      precondition(chunkCount < mostChunks, "slot beyond the store's limit")
      let chunk = UnsafeMutablePointer<Record>.allocate(capacity: SlotRecords.chunkSlots)
      for index in 0..<SlotRecords.chunkSlots {
        unsafe (chunk + index).initialize(to: Record())
      }
      unsafe chunks[chunkCount] = chunk
      chunkCount += 1
    }
  }

  subscript(_ slot: UInt32) -> Record {
    @inline(__always) unsafeAddress { unsafe UnsafePointer(record(slot)) }
    @inline(__always) unsafeMutableAddress { unsafe record(slot) }
  }

  @inline(__always)
  private func record(_ slot: UInt32) -> UnsafeMutablePointer<Record> {
    let (chunk, index) = Int(slot).quotientAndRemainder(dividingBy: SlotRecords.chunkSlots)
    precondition(chunk < mostChunks, "slot beyond the store's limit")
    guard let base = unsafe chunks[chunk] else { preconditionFailure("slot without a record") }
    return unsafe base + index
  }
}
