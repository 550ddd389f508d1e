import Glibc
import Primitives

/// Bytes that end where memory ends: reading or writing one octet behind them faults.
final class GuardedBytes {
  private let region: UnsafeMutableRawPointer
  private let mapped: Int
  private let page = 4096
  let base: UnsafeMutablePointer<UInt8>
  let count: Int

  init(count: Int) {
    self.count = count
    mapped = (count + page - 1) / page * page + page
    guard
      let region = mmap(
        nil, mapped, PROT_READ | PROT_WRITE, Int32(MAP_PRIVATE | MAP_ANONYMOUS), -1, 0),
      region != MAP_FAILED, mprotect(region + mapped - page, page, PROT_NONE) == 0
    else { fatalError("no memory for a test") }
    self.region = region
    base = (region + mapped - page - count).assumingMemoryBound(to: UInt8.self)
  }

  convenience init(_ bytes: some Collection<UInt8>) {
    self.init(count: bytes.count)
    for (index, byte) in bytes.enumerated() { base[index] = byte }
  }

  convenience init(_ text: String) { self.init(Array(text.utf8)) }

  var view: ByteView { ByteView(base: base, count: count) }

  /// Keeps the bytes alive as long as `body` looks at them.
  func read<Result>(_ body: (ByteView) throws -> Result) rethrows -> Result {
    try withExtendedLifetime(self) { try body(view) }
  }

  deinit { munmap(region, mapped) }
}
