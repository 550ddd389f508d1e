/// A block of plain elements whose length is set once: what the balancer's structures are made of.
///
/// An `Array` checks at every write that it is not shared; these tables have one owner by type,
/// so they do not have to. Every access is bounds checked, in release builds too.
///
/// The pointer is safe to hold: the table alone owns the block, never hands it out, gives every
/// element a value in `init`, and frees it once, because it cannot be copied. Elements are
/// `BitwiseCopyable`, so nothing has to be destroyed before.
@safe
struct FixedTable<Element: BitwiseCopyable>: ~Copyable {
  private let elements: UnsafeMutablePointer<Element>
  let count: Int

  init(repeating element: Element, count: Int) {
    precondition(count >= 0)
    self.count = count
    unsafe elements = UnsafeMutablePointer<Element>.allocate(capacity: max(count, 1))
    unsafe elements.initialize(repeating: element, count: count)
  }

  /// The first elements of `other`, then `element` up to `count`.
  init(extending other: borrowing FixedTable, with element: Element, count: Int) {
    precondition(count >= other.count)
    self.init(repeating: element, count: count)
    unsafe elements.update(from: other.elements, count: other.count)
  }

  deinit { unsafe elements.deallocate() }

  @inline(__always)
  subscript(_ index: Int) -> Element {
    get {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index out of bounds")
      return unsafe elements[index]
    }
    set {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index out of bounds")
      unsafe elements[index] = newValue
    }
    _modify {
      precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "index out of bounds")
      yield unsafe &elements[index]
    }
  }

  /// Without the check in release builds. `index` must be in `0 ..< count`.
  @unsafe @inline(__always)
  subscript(unchecked index: Int) -> Element {
    get {
      assert(index >= 0 && index < count, "index out of bounds")
      return unsafe elements[index]
    }
    nonmutating set {
      assert(index >= 0 && index < count, "index out of bounds")
      unsafe elements[index] = newValue
    }
  }
}
