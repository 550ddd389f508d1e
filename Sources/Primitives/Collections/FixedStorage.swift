/// Octets that are written once and then only read, for as long as their owner lives.
///
/// An array in such a place costs a reference count at each use, shared by all processors; a
/// noncopyable owner lends its bytes for nothing.
///
/// Why the uses are safe: the memory is filled in `init`, never written again (so any thread may
/// read it: hence `@unchecked Sendable`), and freed with its only owner.
@safe
public struct FixedOctets: ~Copyable, @unchecked Sendable {
  private let base: UnsafeMutablePointer<UInt8>
  public let count: Int

  public init(_ octets: some Collection<UInt8>) {
    count = octets.count
    unsafe base = .allocate(capacity: max(count, 1))
    for (index, octet) in octets.enumerated() { unsafe base[index] = octet }
  }

  public init(_ text: String) { self.init(text.utf8) }

  deinit { unsafe base.deallocate() }

  public var isEmpty: Bool { count == 0 }

  /// Must not outlive the owner.
  @inline(__always)
  public var view: ByteView { unsafe ByteView(base: base, count: count) }
}

/// Elements at addresses that never move, made once and then only read: the parts of a
/// configuration, which requests reach without copying or counting references.
///
/// Why the uses are safe: nothing is written after `init`, so any thread may read it (hence
/// `@unchecked Sendable`), and it is freed with its only owner. An address must not outlive that.
@safe
public struct FixedStorage<Element: ~Copyable & Sendable>: ~Copyable, @unchecked Sendable {
  private let base: UnsafeMutablePointer<Element>
  public let count: Int

  /// `make` is called for 0, 1, … in order.
  public init(count: Int, make: (Int) -> Element) {
    self.count = count
    unsafe base = .allocate(capacity: max(count, 1))
    for index in 0..<count { unsafe (base + index).initialize(to: make(index)) }
  }

  deinit {
    unsafe base.deinitialize(count: count)
    unsafe base.deallocate()
  }

  @unsafe
  @inline(__always)
  public subscript(_ index: Int) -> UnsafePointer<Element> {
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index out of bounds")
    return unsafe UnsafePointer(base + index)
  }
}
