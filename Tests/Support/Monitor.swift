import Foundation

/// A value, its lock and a condition variable: how threads of a test tell each other that
/// something happened, so that nobody has to sleep and look again.
///
/// `@unchecked Sendable`: `value` is only touched between `lock()` and `unlock()` of `condition`,
/// by the two methods below.
public final class Monitor<Value>: @unchecked Sendable {
  private let condition = NSCondition()
  private var value: Value

  public init(_ value: sending Value) { self.value = value }

  /// Runs `body` under the lock, then wakes every waiter.
  @discardableResult
  public func update<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
    condition.lock()
    defer {
      condition.broadcast()
      condition.unlock()
    }
    return try body(&value)
  }

  /// Waits until `predicate` holds; false when the deadline came first.
  public func wait(until deadline: Deadline, for predicate: (Value) -> Bool) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    while !predicate(value) {
      let left = deadline.secondsLeft
      if left <= 0 { return false }
      _ = condition.wait(until: Date(timeIntervalSinceNow: left))
    }
    return true
  }
}

extension Monitor where Value: Sendable {
  public var current: Value { update { $0 } }
}

/// A point in monotonic time that bounds a wait.
public struct Deadline: Sendable {
  private let endNs: UInt64

  public static func after(_ seconds: Double) -> Deadline {
    Deadline(endNs: Deadline.nowNs() + UInt64(seconds * 1e9))
  }

  /// For what happens at once on a machine that is free: only a failure waits that long. Below the
  /// 30 s after which the daemon ends a drain and idle connections to backends by itself, which
  /// would make what it should have done before look done.
  public static var patient: Deadline { .after(patienceSeconds) }
  public static let patienceSeconds = 20.0

  public var secondsLeft: Double {
    let now = Deadline.nowNs()
    return now >= endNs ? 0 : Double(endNs - now) / 1e9
  }

  /// For poll(2): rounded up, so that a wait never ends early.
  var millisecondsLeft: Int32 { Int32((secondsLeft * 1000).rounded(.up)) }

  public static func nowNs() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Seconds that `body` takes.
  public static func measure(_ body: () throws -> Void) rethrows -> Double {
    let start = nowNs()
    try body()
    return Double(nowNs() - start) / 1e9
  }
}

public enum Poll {
  /// For facts that no event tells of (files, `/proc`, another process's tables): looks again
  /// every 5 ms until `condition` holds; false when the deadline came first.
  public static func until(_ deadline: Deadline, _ condition: () throws -> Bool) rethrows -> Bool {
    while try !condition() {
      if deadline.secondsLeft <= 0 { return false }
      var pause = timespec(tv_sec: 0, tv_nsec: 5_000_000)
      nanosleep(&pause, nil)
    }
    return true
  }
}

/// What a test could not do; carries everything needed to see why.
public struct TestFailure: Error, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
