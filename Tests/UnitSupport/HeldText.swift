import Primitives

/// Bytes with a lifetime of their own, for tests that need views.
public final class HeldText {
  private let base: UnsafeMutablePointer<UInt8>
  public let view: ByteView

  public init(_ bytes: some Collection<UInt8>) {
    // Exactly as long as the text, so that address sanitizer sees a read beyond it.
    base = .allocate(capacity: max(bytes.count, 1))
    for (index, byte) in bytes.enumerated() { base[index] = byte }
    view = ByteView(base: base, count: bytes.count)
  }

  public convenience init(_ text: String) { self.init(Array(text.utf8)) }

  /// Keeps the bytes alive as long as `body` looks at them.
  public func read<Result>(_ body: (ByteView) throws -> Result) rethrows -> Result {
    try withExtendedLifetime(self) { try body(view) }
  }

  deinit { base.deallocate() }
}
