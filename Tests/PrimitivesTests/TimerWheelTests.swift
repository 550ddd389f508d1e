import Primitives
import Testing

@Suite struct `The timer wheel` {
  /// What rounding up may cost; a little above 8 ms.
  private static let tick: UInt64 = 1 << 23
  private static let turn = tick * 4096

  private struct Armed {
    var timer: TimerWheel.Timer
    /// The instant asked for, but not before the one of asking.
    var due: UInt64
  }

  private static func handle(_ index: Int) -> Handle {
    Handle(kind: 1, generation: 1, index: UInt32(index))
  }

  /// Distances from the next tick to many turns of the wheel.
  private static func distance(_ random: inout SeededRandom) -> UInt64 {
    switch random.below(6) {
    case 0: random.next() % (2 * tick)
    case 1: random.next() % (100 * tick)
    case 2: random.next() % turn
    case 3: turn - tick + random.next() % (3 * tick)
    case 4: random.next() % (10 * turn)
    default: random.next() % (500 * turn)
    }
  }

  @Test(arguments: 1...10)
  func `fires what a sorted list fires, never early, never a tick late`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var now = random.next() >> 8
    var wheel = TimerWheel(now: MonotonicTime(nanoseconds: now))
    var model: [Int: Armed] = [:]
    var next = 0
    for _ in 0..<3000 {
      switch random.below(8) {
      case 0, 1, 2:
        let due = random.below(20) == 0 ? now &- Self.tick * 3 : now + Self.distance(&random)
        var timer = TimerWheel.Timer.none
        wheel.arm(&timer, Self.handle(next), at: MonotonicTime(nanoseconds: due))
        model[next] = Armed(timer: timer, due: max(due, now))
        next += 1
      case 3:
        guard let key = model.keys.min() else { continue }
        let due = now + Self.distance(&random)
        wheel.arm(&model[key]!.timer, Self.handle(key), at: MonotonicTime(nanoseconds: due))
        model[key]!.due = due
      case 4:
        guard let key = model.keys.max() else { continue }
        wheel.cancel(&model[key]!.timer)
        #expect(!model[key]!.timer.isArmed)
        model[key] = nil
      default:
        now += random.below(4) == 0 ? Self.distance(&random) / 4 : random.next() % (4 * Self.tick)
        Self.fire(&wheel, &model, now)
      }
      #expect(wheel.count == model.count)
      Self.checkBound(wheel.nextDue, model, now)
    }
    Self.fire(&wheel, &model, now + 600 * Self.turn)
    #expect(model.isEmpty && wheel.count == 0 && wheel.nextDue == .never)
  }

  /// Takes all that has expired; what is left in the model must not have been due a tick ago.
  private static func fire(_ wheel: inout TimerWheel, _ model: inout [Int: Armed], _ now: UInt64) {
    while let handle = wheel.popExpired(now: MonotonicTime(nanoseconds: now)) {
      let fired = model.removeValue(forKey: Int(handle.index))
      #expect(fired != nil, "fired twice, or after it was cancelled")
      if let fired { #expect(fired.due <= now, "early by \(fired.due - min(now, fired.due))") }
    }
    let overdue = model.values.filter { $0.due &+ tick <= now && $0.due < now }
    #expect(overdue.isEmpty)
  }

  /// Sleeping until `nextDue` must not sleep through a timer.
  private static func checkBound(
    _ bound: MonotonicTime, _ model: [Int: Armed], _ now: UInt64
  ) {
    guard let soonest = model.values.map(\.due).min() else { return }
    #expect(bound.nanoseconds <= max(soonest, now) + tick)
  }

  @Test func `a loop that sleeps until the next due time meets every timer`() {
    var random = SeededRandom(seed: 34)
    var wheel = TimerWheel(now: .zero)
    var dues: [Int: UInt64] = [:]
    for index in 0..<300 {
      var timer = TimerWheel.Timer.none
      let due = random.next() % (20 * Self.turn)
      wheel.arm(&timer, Self.handle(index), at: MonotonicTime(nanoseconds: due))
      dues[index] = due
    }
    var wakeUps = 0
    while wheel.count > 0, wakeUps < 100_000 {
      let now = wheel.nextDue
      wakeUps += 1
      while let handle = wheel.popExpired(now: now) {
        let due = dues.removeValue(forKey: Int(handle.index)) ?? .max
        #expect(due <= now.nanoseconds && now.nanoseconds - due <= Self.tick)
      }
    }
    #expect(dues.isEmpty)
    // One turn costs at most one wake-up for each timer that stays in its slot.
    #expect(wakeUps < 300 * 21)
  }

  @Test func `a due time is told, rounded up to its tick`() {
    var wheel = TimerWheel(now: .zero)
    var timer = TimerWheel.Timer.none
    #expect(wheel.dueTime(timer) == .never && !timer.isArmed)
    wheel.arm(&timer, Self.handle(1), at: MonotonicTime(nanoseconds: 5 * Self.tick + 1))
    #expect(wheel.dueTime(timer).nanoseconds == 6 * Self.tick)
    #expect(wheel.nextDue.nanoseconds <= 6 * Self.tick)
    let before = wheel.popExpired(now: MonotonicTime(nanoseconds: 6 * Self.tick - 1))
    let then = wheel.popExpired(now: MonotonicTime(nanoseconds: 6 * Self.tick))
    #expect(before == nil && then == Self.handle(1))
  }

  @Test func `a timer that has expired but was not taken can still be moved or cancelled`() {
    var wheel = TimerWheel(now: .zero)
    var timers = [TimerWheel.Timer](repeating: .none, count: 3)
    for index in 0..<3 {
      wheel.arm(&timers[index], Self.handle(index), at: MonotonicTime(nanoseconds: 10))
    }
    let now = MonotonicTime(nanoseconds: 3 * Self.tick)
    let first = wheel.popExpired(now: now)
    #expect(first != nil && wheel.nextDue == .zero)
    let left = (0..<3).filter { Self.handle($0) != first }
    wheel.cancel(&timers[left[0]])
    let later = MonotonicTime(nanoseconds: 9 * Self.tick)
    wheel.arm(&timers[left[1]], Self.handle(left[1]), at: later)
    let second = wheel.popExpired(now: now)
    let third = wheel.popExpired(now: later + TimeAmount(nanoseconds: Int64(Self.tick)))
    let count = wheel.count
    #expect(second == nil && third == Self.handle(left[1]) && count == 0)
  }

  @Test func `a timer for never is held and can be cancelled`() {
    var wheel = TimerWheel(now: MonotonicTime(nanoseconds: 1 << 60))
    var timer = TimerWheel.Timer.none
    wheel.arm(&timer, Self.handle(1), at: .never)
    let fired = wheel.popExpired(now: MonotonicTime(nanoseconds: 1 << 61))
    #expect(fired == nil)
    wheel.cancel(&timer)
    wheel.cancel(&timer)
    #expect(wheel.count == 0)
  }

  @Test func `more timers than it began with are all kept`() {
    var wheel = TimerWheel(now: .zero)
    var timers = [TimerWheel.Timer](repeating: .none, count: 20_000)
    for index in timers.indices {
      wheel.arm(
        &timers[index], Self.handle(index), at: MonotonicTime(nanoseconds: UInt64(index) << 20))
    }
    var fired = Set<Handle>()
    while let handle = wheel.popExpired(now: MonotonicTime(nanoseconds: 1 << 40)) {
      fired.insert(handle)
    }
    #expect(fired.count == 20_000)
  }
}
