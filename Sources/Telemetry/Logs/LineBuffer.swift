import Primitives

/// Where log lines are put together.
///
/// Room is checked once for a line (`AccessLogBatch` computes an upper bound of its length), so
/// that the dozens of small appends that make it need no check of their own. The buffer owns its
/// memory and never lends more of it than the lines it holds, or the room for the next one.
@safe
struct LineBuffer: ~Copyable {
  /// Twice the longest line of a request within the default limits: a head of 16 KiB, each octet
  /// escaped with six. Memory that no line has reached is never touched.
  static var capacity: Int { 256 * 1024 }
  /// Whole vectors are written, of which only a part may count.
  private static var slack: Int { 64 }

  private let base: UnsafeMutablePointer<UInt8>
  private(set) var count = 0

  init() {
    unsafe base = .allocate(capacity: LineBuffer.capacity + LineBuffer.slack)
  }

  deinit { unsafe base.deallocate() }

  var view: ByteView { unsafe ByteView(base: base, count: count) }

  @inline(__always)
  mutating func removeAll() { count = 0 }

  @inline(__always)
  mutating func truncate(to length: Int) {
    precondition(length >= 0 && length <= count)
    count = length
  }

  /// Appends what `body` writes, at most `bound` octets; there must be room for them.
  @inline(__always)
  mutating func write(within bound: Int, _ body: (inout ByteWriter) -> Void) {
    var sink = unsafe ByteSink(
      base: base + count, capacity: LineBuffer.capacity + LineBuffer.slack - count)
    sink.write(within: bound, body)
    precondition(!sink.overflowed, "a line was begun without room for it")
    count &+= sink.count
  }
}
