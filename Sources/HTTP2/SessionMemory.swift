import CNghttp2
import Glibc

/// Where a worker's sessions get their memory: what nghttp2 gives back is kept for what it asks for
/// next, without the general allocator's search. A proxied request makes it ask a dozen times, for
/// the same few sizes each time, all on one thread.
final class SessionMemory {
  /// A block's sizes are multiples of this.
  private static let step = 64
  private static let largestKept = 1024
  private static let kinds = largestKept / step + 1
  /// In front of each block, where its size stands; as wide as any alignment asks for.
  private static let headerBytes = 16
  /// Beyond this, free blocks go back to the general allocator.
  static let keptBytes = 1 << 20

  private struct Kept {
    /// Free blocks of each size in steps, the last one freed first; each holds the next.
    var first = InlineArray<17, UnsafeMutableRawPointer?>(repeating: nil)
    var bytes = 0
  }

  private let kept: UnsafeMutablePointer<Kept>
  private let functions: UnsafeMutablePointer<nghttp2_mem>

  /// For `nghttp2_session_*_new3`; valid for as long as this object lives.
  var allocator: UnsafeMutablePointer<nghttp2_mem> { functions }

  /// In free blocks.
  var keptBytesNow: Int { kept.pointee.bytes }

  init() {
    kept = .allocate(capacity: 1)
    kept.initialize(to: Kept())
    functions = .allocate(capacity: 1)
    functions.initialize(
      to: nghttp2_mem(
        mem_user_data: kept,
        malloc: { SessionMemory.allocate($0, $1) },
        free: { SessionMemory.free($0, $1) },
        calloc: { count, size, kept in
          let (bytes, overflows) = count.multipliedReportingOverflow(by: size)
          guard !overflows, let block = SessionMemory.allocate(bytes, kept) else { return nil }
          return memset(block, 0, bytes)
        },
        realloc: { SessionMemory.reallocate($0, $1, $2) }))
  }

  deinit {
    for kind in 1..<SessionMemory.kinds {
      while let block = kept.pointee.first[kind] {
        kept.pointee.first[kind] = block.load(as: UnsafeMutableRawPointer?.self)
        Glibc.free(block)
      }
    }
    kept.deallocate()
    functions.deallocate()
  }

  @inline(__always)
  private static func allocate(
    _ bytes: Int, _ context: UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    let kept = context!.assumingMemoryBound(to: Kept.self)
    guard bytes <= largestKept - headerBytes else {
      guard bytes < Int.max - headerBytes, let block = malloc(bytes + headerBytes) else {
        return nil
      }
      block.storeBytes(of: 0, as: Int.self)
      return block + headerBytes
    }
    let kind = (bytes + headerBytes + step - 1) / step
    guard let block = kept.pointee.first[kind] else {
      guard let block = malloc(kind * step) else { return nil }
      block.storeBytes(of: kind, as: Int.self)
      return block + headerBytes
    }
    kept.pointee.first[kind] = block.load(as: UnsafeMutableRawPointer?.self)
    kept.pointee.bytes -= kind * step
    block.storeBytes(of: kind, as: Int.self)
    return block + headerBytes
  }

  @inline(__always)
  private static func free(
    _ pointer: UnsafeMutableRawPointer?, _ context: UnsafeMutableRawPointer?
  ) {
    guard let pointer else { return }
    let kept = context!.assumingMemoryBound(to: Kept.self)
    let block = pointer - headerBytes
    let kind = block.load(as: Int.self)
    guard kind > 0, kept.pointee.bytes + kind * step <= keptBytes else { return Glibc.free(block) }
    block.storeBytes(of: kept.pointee.first[kind], as: UnsafeMutableRawPointer?.self)
    kept.pointee.first[kind] = block
    kept.pointee.bytes += kind * step
  }

  private static func reallocate(
    _ pointer: UnsafeMutableRawPointer?, _ bytes: Int, _ context: UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    guard let pointer else { return allocate(bytes, context) }
    let block = pointer - headerBytes
    let kind = block.load(as: Int.self)
    if kind == 0, bytes > largestKept - headerBytes, bytes < Int.max - headerBytes {
      return realloc(block, bytes + headerBytes).map { $0 + headerBytes }
    }
    let room = kind > 0 ? kind * step - headerBytes : bytes
    if kind > 0, bytes <= room { return pointer }
    guard let larger = allocate(bytes, context) else { return nil }
    memcpy(larger, pointer, min(room, bytes))
    free(pointer, context)
    return larger
  }
}
