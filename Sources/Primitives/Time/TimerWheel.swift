/// Timers of one event loop: a hashed wheel (Varghese and Lauck 1987, scheme 6) of doubly linked
/// lists in one array.
///
/// Arming and cancelling are O(1). Resolution is `tick`; a timer never fires early. Timers further
/// away than one turn of the wheel stay in their slot and are passed over once a turn.
@safe
public struct TimerWheel: ~Copyable {
  /// Names an armed timer; `none` is not armed.
  public struct Timer: BitwiseCopyable, Sendable, Equatable {
    var node: UInt32
    public static let none = Timer(node: 0)
    public var isArmed: Bool { node != 0 }
  }

  private struct Node {
    var next: UInt32
    var previous: UInt32
    var tick: UInt64
    var handle: Handle
  }

  /// Nanoseconds are shifted by this: a tick of about 8.4 ms.
  private static let tickShift: UInt64 = 23
  /// One turn of the wheel is about 34 s.
  private static let slotCount = 4096
  private static let expired = UInt32(slotCount)
  private static let firstTimer = UInt32(slotCount) + 1

  /// Nodes 0 ..< slotCount and `expired` are the heads of circular lists.
  private var nodes: UnsafeMutablePointer<Node>
  private var capacity: Int
  private var used: UInt32
  private var firstFree: UInt32 = 0
  private var currentTick: UInt64
  /// No timer is due before this tick.
  private var earliestTick = UInt64.max
  public private(set) var count = 0

  public init(now: MonotonicTime) {
    capacity = Self.slotCount * 2
    unsafe nodes = .allocate(capacity: capacity)
    for head in 0...Self.expired {
      unsafe nodes[Int(head)] = Node(next: head, previous: head, tick: 0, handle: .none)
    }
    used = Self.firstTimer
    currentTick = now.nanoseconds >> Self.tickShift
  }

  deinit { unsafe nodes.deallocate() }

  /// Arms a timer, or moves one that is armed.
  public mutating func arm(_ timer: inout Timer, _ handle: Handle, at time: MonotonicTime) {
    if timer.isArmed { unlink(timer.node) } else { timer.node = newNode() }
    // Rounded up, so that it never fires early; an instant already past fires at the next tick.
    let tick = max((time.nanoseconds >> Self.tickShift) &+ 1, currentTick + 1)
    let node = timer.node
    let head = UInt32(truncatingIfNeeded: tick) & UInt32(Self.slotCount - 1)
    unsafe nodes[Int(node)].tick = tick
    unsafe nodes[Int(node)].handle = handle
    link(node, before: head)
    earliestTick = min(earliestTick, tick)
  }

  /// When an armed timer is due, rounded up to its tick.
  public func dueTime(_ timer: Timer) -> MonotonicTime {
    guard timer.isArmed else { return .never }
    return unsafe MonotonicTime(nanoseconds: nodes[Int(timer.node)].tick << Self.tickShift)
  }

  public mutating func cancel(_ timer: inout Timer) {
    guard timer.isArmed else { return }
    unlink(timer.node)
    free(timer.node)
    timer = .none
  }

  /// The next due timer's handle, or `nil`. The timer is gone then: its owner must forget it.
  public mutating func popExpired(now: MonotonicTime) -> Handle? {
    let nowTick = now.nanoseconds >> Self.tickShift
    if nowTick >= earliestTick { collect(until: nowTick) }
    if nowTick > currentTick, earliestTick > nowTick { currentTick = nowTick }
    let node = unsafe nodes[Int(Self.expired)].next
    guard node != Self.expired else { return nil }
    unlink(node)
    let handle = unsafe nodes[Int(node)].handle
    free(node)
    return handle
  }

  /// No timer is due before this instant; `never` without timers.
  public var nextDue: MonotonicTime {
    if unsafe nodes[Int(Self.expired)].next != Self.expired { return .zero }
    if earliestTick == .max { return .never }
    return MonotonicTime(nanoseconds: earliestTick << Self.tickShift)
  }

  /// Moves what is due to the expired list and finds a new lower bound for the rest. O(slots
  /// passed + timers in them), and the search for the bound stops at the first timer of this turn.
  private mutating func collect(until nowTick: UInt64) {
    let from = max(currentTick + 1, earliestTick)
    let slots = min(nowTick - from + 1, UInt64(Self.slotCount))
    for offset in 0..<slots {
      let head = Int((from + offset) & UInt64(Self.slotCount - 1))
      var node = unsafe nodes[head].next
      while node != UInt32(head) {
        let next = unsafe nodes[Int(node)].next
        if unsafe nodes[Int(node)].tick <= nowTick {
          unlink(node)
          link(node, before: Self.expired)
        }
        node = next
      }
    }
    currentTick = nowTick
    earliestTick = lowerBound()
  }

  private func lowerBound() -> UInt64 {
    guard count > 0 else { return .max }
    for offset in 1...UInt64(Self.slotCount) {
      let tick = currentTick + offset
      let head = Int(tick & UInt64(Self.slotCount - 1))
      // The slot may hold only later turns' timers: then this is early, which costs one wake-up.
      if unsafe nodes[head].next != UInt32(head) { return tick }
    }
    return .max
  }

  private mutating func link(_ node: UInt32, before head: UInt32) {
    let previous = unsafe nodes[Int(head)].previous
    unsafe nodes[Int(node)].next = head
    unsafe nodes[Int(node)].previous = previous
    unsafe nodes[Int(previous)].next = node
    unsafe nodes[Int(head)].previous = node
  }

  private mutating func unlink(_ node: UInt32) {
    let next = unsafe nodes[Int(node)].next
    let previous = unsafe nodes[Int(node)].previous
    unsafe nodes[Int(previous)].next = next
    unsafe nodes[Int(next)].previous = previous
  }

  private mutating func newNode() -> UInt32 {
    count += 1
    if firstFree != 0 {
      let node = firstFree
      firstFree = unsafe nodes[Int(node)].next
      return node
    }
    if Int(used) == capacity { grow() }
    used += 1
    return used - 1
  }

  private mutating func free(_ node: UInt32) {
    count -= 1
    unsafe nodes[Int(node)].next = firstFree
    firstFree = node
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Node>.allocate(capacity: capacity * 2)
    unsafe larger.moveInitialize(from: nodes, count: capacity)
    unsafe nodes.deallocate()
    unsafe nodes = larger
    capacity *= 2
  }
}
