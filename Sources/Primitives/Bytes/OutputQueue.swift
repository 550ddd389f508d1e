import Glibc

/// Bytes that the socket did not take, in order, in a chain of pooled blocks.
///
/// Empty on the fast path: what is sent at once never comes here. While it holds anything, its
/// connection is not given more to send (back-pressure), so it stays as small as the one message
/// part that met a full socket.
@safe
public struct OutputQueue: BitwiseCopyable {
  /// Stands at the front of each block.
  @safe private struct Link {
    var next: UnsafeMutablePointer<UInt8>?
    var start: UInt32
    var end: UInt32
  }

  private static let headerBytes = 16
  private var first: UnsafeMutablePointer<UInt8>?
  private var last: UnsafeMutablePointer<UInt8>?
  /// Octets queued.
  public private(set) var count = 0

  public init() {
    unsafe first = nil
    unsafe last = nil
  }

  public var isEmpty: Bool { count == 0 }

  /// The octets to send next; not all of them if they span blocks.
  public var front: ByteView {
    guard let first = unsafe first else { return .empty }
    let link = unsafe OutputQueue.link(first).pointee
    return unsafe ByteView(base: first + Int(link.start), count: Int(link.end - link.start))
  }

  /// False where the pool is exhausted: the connection cannot go on and must be aborted.
  public mutating func append(_ bytes: ByteView, _ pool: inout BufferPool) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
      if unsafe last == nil || room == 0, !addBlock(&pool) { return false }
      guard let last = unsafe last else { return false }
      let link = unsafe OutputQueue.link(last)
      let length = min(rest.count, room)
      unsafe memcpy(last + Int(link.pointee.end), rest.pointer, length)
      unsafe link.pointee.end += UInt32(length)
      count += length
      rest = rest.slice(from: length)
    }
    return true
  }

  /// Shows everything in order, block by block, and removes nothing; ends early, with false, where
  /// the body says false.
  public func visit(_ body: (ByteView) -> Bool) -> Bool {
    var block = unsafe first
    while let shown = unsafe block {
      let link = unsafe OutputQueue.link(shown).pointee
      let octets = unsafe ByteView(
        base: shown + Int(link.start), count: Int(link.end - link.start))
      guard body(octets) else { return false }
      unsafe block = link.next
    }
    return true
  }

  /// Removes `octets` that were sent; at most `front.count`.
  public mutating func consume(_ octets: Int, _ pool: inout BufferPool) {
    guard let block = unsafe first else { return }
    let link = unsafe OutputQueue.link(block)
    unsafe link.pointee.start += UInt32(octets)
    count -= octets
    unsafe precondition(link.pointee.start <= link.pointee.end)
    guard unsafe link.pointee.start == link.pointee.end else { return }
    unsafe first = link.pointee.next
    if unsafe first == nil { unsafe last = nil }
    unsafe pool.give(block)
  }

  public mutating func removeAll(_ pool: inout BufferPool) {
    while let block = unsafe first {
      unsafe first = OutputQueue.link(block).pointee.next
      unsafe pool.give(block)
    }
    unsafe last = nil
    count = 0
  }

  private var room: Int {
    guard let last = unsafe last else { return 0 }
    return unsafe BufferPool.blockBytes - Int(OutputQueue.link(last).pointee.end)
  }

  private mutating func addBlock(_ pool: inout BufferPool) -> Bool {
    guard let block = unsafe pool.take() else { return false }
    let header = UInt32(OutputQueue.headerBytes)
    unsafe OutputQueue.link(block).pointee = unsafe Link(next: nil, start: header, end: header)
    if let last = unsafe last {
      unsafe OutputQueue.link(last).pointee.next = block
    } else {
      unsafe first = block
    }
    unsafe last = block
    return true
  }

  private static func link(_ block: UnsafeMutablePointer<UInt8>) -> UnsafeMutablePointer<Link> {
    unsafe UnsafeMutableRawPointer(block).assumingMemoryBound(to: Link.self)
  }
}
