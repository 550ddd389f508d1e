import Glibc
import Primitives

/// The memory of one cache: a single mapping, cut into blocks of 512 octets to 64 KiB by the buddy
/// method (Knuth, TAOCP 1, §2.5), found by number and not by address.
///
/// So everything in it could be handed to another process as one piece. Memory that was never
/// needed is never touched, and what is allocated can never exceed the mapping: the cap is hard.
///
/// What one request looks at lies anywhere in it, so that with pages of 4 KiB the processor looks
/// for most addresses in tables that are not in its caches either. Pages of 2 MiB are asked for,
/// where the system grants them (docs/decisions/0707-huge-pages.md).
///
/// Why the uses are safe, on any thread (hence `@unchecked Sendable`): the tables are touched with
/// the lock held; a block belongs to who allocated it until it is freed. The mapping lives as long
/// as the arena.
@safe
final class BlockArena: @unchecked Sendable {
  /// Octets of the smallest block; blocks are numbered in these.
  static let unitBytes = 512
  /// The largest block has `unitBytes << mostOrder` octets: 64 KiB.
  static let mostOrder = 7
  private static let unitsOfLargest = UInt32(1 << mostOrder)

  /// Of a unit that begins a free block, or'ed with the block's order.
  private static let freeMark: UInt8 = 0x80
  /// Of a unit inside a block.
  private static let inside: UInt8 = 0x7F

  /// Stands at the front of a free block. 0: none.
  private struct Link {
    var next: UInt32
    var previous: UInt32
  }

  @safe private struct Tables: ~Copyable {
    /// One octet for each unit: what begins there.
    let marks: UnsafeMutablePointer<UInt8>
    /// First free block of each order.
    var free = InlineArray<8, UInt32>(repeating: 0)
    /// Units below this have been cut at least once.
    var frontier = BlockArena.unitsOfLargest
    var usedUnits = 0

    deinit { unsafe marks.deallocate() }
  }

  private static let hugePageBytes = 2 << 20

  private let base: UnsafeMutablePointer<UInt8>
  private let mapping: UnsafeMutableRawPointer
  private let mappedBytes: Int
  private let units: UInt32
  private let tables: Lock<Tables>

  /// `nil` where the address space is not to be had. Rounded down to whole largest blocks.
  init?(bytes: Int, usesHugePages: Bool = true) {
    let largest = BlockArena.unitBytes << BlockArena.mostOrder
    // Number 0 means "none", so the first largest block is never given out.
    let blocks = max(2, bytes / largest + 1)
    units = UInt32(clamping: blocks << BlockArena.mostOrder)
    let length = Int(units) * BlockArena.unitBytes
    // Address space for a beginning on a border of huge pages, whatever the kernel chose.
    mappedBytes = length + BlockArena.hugePageBytes
    let flags = Int32(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
    let mapping = unsafe mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, flags, -1, 0)
    guard let mapping = unsafe mapping, unsafe mapping != MAP_FAILED else { return nil }
    unsafe self.mapping = mapping
    let start = unsafe mapping.alignedUp(toMultipleOf: BlockArena.hugePageBytes)
    // Where the system has none it says so, and everything is as it would be without.
    unsafe madvise(start, length, usesHugePages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)
    unsafe base = start.assumingMemoryBound(to: UInt8.self)
    let marks = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(units))
    tables = unsafe Lock(Tables(marks: marks))
  }

  deinit { unsafe munmap(mapping, mappedBytes) }

  /// What can be allocated at most.
  var capacityBytes: Int { Int(units - BlockArena.unitsOfLargest) * BlockArena.unitBytes }

  var usedBytes: Int { tables.withLock { $0.usedUnits } * BlockArena.unitBytes }

  /// The smallest order whose blocks have at least this many octets; above `mostOrder`: none has.
  static func order(holding bytes: Int) -> Int {
    var order = 0
    while unitBytes << order < bytes { order += 1 }
    return order
  }

  static func bytes(_ order: Int) -> Int { unitBytes << order }

  @unsafe
  @inline(__always)
  func address(_ unit: UInt32) -> UnsafeMutablePointer<UInt8> {
    precondition(unit < units, "no such block")
    return unsafe base + Int(unit) * BlockArena.unitBytes
  }

  /// Number of the unit at this address, which is one of the arena.
  @unsafe
  @inline(__always)
  func unit(_ address: UnsafeMutableRawPointer) -> UInt32 {
    let offset = unsafe address - UnsafeMutableRawPointer(base)
    return UInt32(offset / BlockArena.unitBytes)
  }

  /// A block of exactly this order; 0 where there is none. Not cleared.
  func allocate(_ order: Int) -> UInt32 {
    tables.withLock { tables in
      var found = order
      while found <= BlockArena.mostOrder, tables.free[found] == 0 { found += 1 }
      let block: UInt32
      if found <= BlockArena.mostOrder {
        block = tables.free[found]
        unlink(block, found, &tables)
      } else {
        guard tables.frontier < units else { return 0 }
        block = tables.frontier
        tables.frontier += BlockArena.unitsOfLargest
        for unit in block..<tables.frontier {
          unsafe tables.marks[Int(unit)] = BlockArena.inside
        }
        found = BlockArena.mostOrder
      }
      while found > order {
        found -= 1
        link(block + UInt32(1 << found), found, &tables)
      }
      unsafe tables.marks[Int(block)] = UInt8(order)
      tables.usedUnits += 1 << order
      return block
    }
  }

  func free(_ block: UInt32, _ order: Int) {
    tables.withLock { tables in
      unsafe precondition(tables.marks[Int(block)] == UInt8(order), "not a block of this order")
      tables.usedUnits -= 1 << order
      join(block, order, &tables)
    }
  }

  /// Gives back what is behind the first `to` order's worth of a block of order `from`.
  func shrink(_ block: UInt32, from: Int, to order: Int) {
    tables.withLock { tables in
      unsafe precondition(tables.marks[Int(block)] == UInt8(from), "not a block of this order")
      var current = from
      while current > order {
        current -= 1
        join(block + UInt32(1 << current), current, &tables)
        tables.usedUnits -= 1 << current
      }
      unsafe tables.marks[Int(block)] = UInt8(order)
    }
  }

  /// Makes a block free, together with its buddy and theirs as long as those are.
  private func join(_ block: UInt32, _ order: Int, _ tables: inout Tables) {
    var block = block
    var order = order
    unsafe tables.marks[Int(block)] = BlockArena.inside
    while order < BlockArena.mostOrder {
      let buddy = block ^ UInt32(1 << order)
      guard unsafe tables.marks[Int(buddy)] == BlockArena.freeMark | UInt8(order) else { break }
      unlink(buddy, order, &tables)
      block = min(block, buddy)
      order += 1
    }
    link(block, order, &tables)
  }

  private func link(_ block: UInt32, _ order: Int, _ tables: inout Tables) {
    let first = tables.free[order]
    unsafe links(block).pointee = Link(next: first, previous: 0)
    if first != 0 { unsafe links(first).pointee.previous = block }
    tables.free[order] = block
    unsafe tables.marks[Int(block)] = BlockArena.freeMark | UInt8(order)
  }

  private func unlink(_ block: UInt32, _ order: Int, _ tables: inout Tables) {
    let link = unsafe links(block).pointee
    if link.previous == 0 {
      tables.free[order] = link.next
    } else {
      unsafe links(link.previous).pointee.next = link.next
    }
    if link.next != 0 { unsafe links(link.next).pointee.previous = link.previous }
    unsafe tables.marks[Int(block)] = BlockArena.inside
  }

  private func links(_ block: UInt32) -> UnsafeMutablePointer<Link> {
    unsafe UnsafeMutableRawPointer(address(block)).assumingMemoryBound(to: Link.self)
  }

  /// Every unit is in exactly one block, free lists and marks agree; O(units), for tests.
  func checkInvariants() {
    tables.withLock { tables in
      var unit = BlockArena.unitsOfLargest
      var free = 0
      var used = 0
      while unit < tables.frontier {
        let mark = unsafe tables.marks[Int(unit)]
        precondition(mark != BlockArena.inside, "a block's inside without a block")
        let order = Int(mark & ~BlockArena.freeMark)
        precondition(unit % UInt32(1 << order) == 0, "a block that is not aligned")
        for inner in 1..<max(1, 1 << order) {
          unsafe precondition(tables.marks[Int(unit) + inner] == BlockArena.inside)
        }
        if mark & BlockArena.freeMark != 0 { free += 1 } else { used += 1 << order }
        unit += UInt32(1 << order)
      }
      precondition(used == tables.usedUnits, "used units do not add up")
      for order in 0...BlockArena.mostOrder {
        var block = tables.free[order]
        var previous: UInt32 = 0
        while block != 0 {
          let link = unsafe links(block).pointee
          precondition(link.previous == previous, "a free list is torn")
          free -= 1
          previous = block
          block = link.next
        }
      }
      precondition(free == 0, "free blocks that are in no list")
    }
  }
}
