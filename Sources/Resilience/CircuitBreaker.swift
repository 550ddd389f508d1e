import Primitives

/// Circuit breaker of one backend, over all workers: a value behind their upstream's lock.
///
///             failures in a row, failure rate, slow rate
///     closed ───────────────────────────────────────────► open ◄────────────┐
///        ▲                                                  │               │
///        │                       cool-down over, or a health│check recovered│
///        │                                                  ▼               │
///        └───────── enough probes succeeded ─────────── halfOpen ─ a probe failed
///
/// A `Ticket` carries the epoch of the state that admitted it: an outcome of an older epoch judges
/// nothing. Each ticket is recorded exactly once. Open time: `open` · 2^n with ±25 % of jitter, at
/// most `maxOpen`; n loses one for every five quiet minutes. While a health check says that the
/// backend is down the breaker is *frozen*: it does not become half open. A passing check alone
/// never closes it (linkerd's rule): only live requests do.
public struct CircuitBreaker: Sendable, BitwiseCopyable {
  public enum State: UInt8, Sendable, BitwiseCopyable { case closed, halfOpen, open }

  /// What an attempt says about its backend.
  public enum Outcome: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case succeeded
    /// A success that took longer than `slowCall`.
    case slow
    /// Connect error, reset, timeout, malformed or truncated response, 502, 503 or 504.
    case gatewayFailed
    /// Another 5xx; a success unless `countsServerErrors`.
    case serverError
    /// The client left, or weir ended it: frees a probe's place and judges nothing.
    case abandoned
  }

  public enum Reason: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case failuresInARow, failureRate, slowRate, probeFailed
  }

  public enum Transition: Sendable, Equatable, BitwiseCopyable {
    case opened(Reason, until: MonotonicTime)
    case halfOpened
    case closed
  }

  public struct Ticket: Sendable, Equatable, BitwiseCopyable {
    var epoch: UInt32 = 0
    public internal(set) var isProbe = false

    public init() {}
  }

  public enum Admission: Sendable, Equatable, BitwiseCopyable {
    case allow(Ticket)
    case probe(Ticket)
    /// `never` where only the end of a probe can change it.
    case reject(until: MonotonicTime)
  }

  private struct Bucket: BitwiseCopyable {
    var total: UInt32 = 0
    var failed: UInt32 = 0
    var slow: UInt32 = 0
  }

  /// Quiet time that takes one doubling back.
  public static let decayTime = TimeAmount.seconds(300)
  private static let bucketCount = 10
  /// Doublings beyond this change nothing: any `open` of a millisecond is over a day by then.
  private static let maxLevel: Int32 = 30

  // What each request looks at lies together: with many backends every line of it is a cache miss.
  public private(set) var state = State.closed
  private var isFrozen = false
  private var epoch: UInt32 = 0
  private var streak: Int32 = 0
  private var bucket: Int32 = 0
  /// When the current bucket ends.
  private var bucketEnd = MonotonicTime.zero
  private var buckets = InlineArray<10, Bucket>(repeating: Bucket())
  private var level: Int32 = 0
  private var probesInFlight: Int32 = 0
  private var probesSucceeded: Int32 = 0
  /// Why it opened last; meaningful unless closed.
  public private(set) var reason = Reason.failuresInARow
  /// Of an open one.
  public private(set) var openUntil = MonotonicTime.never
  /// When the present state began; zero at first.
  public private(set) var changedAt = MonotonicTime.zero
  public private(set) var options: BreakerOptions

  public init(_ options: BreakerOptions) { self.options = options }

  /// New thresholds; what was learnt stays. One that is switched off lets everything through at
  /// once: whoever does that wants the backend back.
  public mutating func update(_ options: BreakerOptions) {
    if !options.isOn, state != .closed {
      let wasFrozen = isFrozen
      reset(options)
      isFrozen = wasFrozen
      return
    }
    if options.window != self.options.window { clearWindow() }
    self.options = options
  }

  /// Forgets everything, as for another backend; outcomes still under way judge nothing.
  public mutating func reset(_ options: BreakerOptions) {
    let next = epoch &+ 1
    self = CircuitBreaker(options)
    epoch = next
  }

  // MARK: Admission

  /// Whether `admit` would let a request through, at the time of the last event.
  @inlinable
  public var mayAdmit: Bool { state == .closed || hasProbePlace }

  /// Not open, whether a place for a probe is free just now or not.
  public var mayServe: Bool { state != .open }

  @usableFromInline
  var hasProbePlace: Bool {
    state == .halfOpen && !isFrozen && probesInFlight < Int32(options.probes)
  }

  /// Asks for a request. An open one whose cool-down is over becomes half open first; to learn of
  /// that transition, call `coolDownEnded` before.
  @inline(__always)
  public mutating func admit(now: MonotonicTime) -> Admission {
    if state == .closed { return .allow(ticket(isProbe: false)) }
    return admitProbe(now: now)
  }

  @inline(never)
  private mutating func admitProbe(now: MonotonicTime) -> Admission {
    _ = coolDownEnded(now: now)
    guard hasProbePlace else { return .reject(until: state == .open ? openUntil : .never) }
    probesInFlight += 1
    return .probe(ticket(isProbe: true))
  }

  @inline(__always)
  private func ticket(isProbe: Bool) -> Ticket {
    var ticket = Ticket()
    ticket.epoch = epoch
    ticket.isProbe = isProbe
    return ticket
  }

  // MARK: Outcomes

  /// The hot case, a success of a healthy backend, in a few instructions; false where `record` has
  /// to look at it.
  @inline(__always)
  public mutating func recordHealthy(
    _ ticket: Ticket, _ outcome: Outcome, now: MonotonicTime
  ) -> Bool {
    guard outcome == .succeeded, state == .closed, streak == 0, now < bucketEnd,
      ticket.epoch == epoch
    else { return false }
    buckets[Int(bucket)].total &+= 1
    return true
  }

  /// The admitted request has ended. `mayOpenByRate`: enough other backends are in, so that a rate
  /// may take this one out; failures in a row always may.
  public mutating func record(
    _ ticket: Ticket, _ outcome: Outcome, now: MonotonicTime, mayOpenByRate: Bool,
    random: inout SeededRandom
  ) -> Transition? {
    guard ticket.epoch == epoch else { return nil }
    let failed =
      outcome == .gatewayFailed || (outcome == .serverError && options.countsServerErrors)
    switch state {
    case .closed:
      guard outcome != .abandoned else { return nil }
      return recordClosed(failed, outcome, now, mayOpenByRate, &random)
    case .halfOpen:
      probesInFlight -= 1
      guard outcome != .abandoned else { return nil }
      if failed { return trip(.probeFailed, now, &random) }
      probesSucceeded += 1
      guard probesSucceeded >= Int32(options.successes) else { return nil }
      enter(.closed, now)
      clearWindow()
      return .closed
    // Opening began a new epoch, so no ticket of this one exists.
    case .open: return nil
    }
  }

  private mutating func recordClosed(
    _ failed: Bool, _ outcome: Outcome, _ now: MonotonicTime, _ mayOpenByRate: Bool,
    _ random: inout SeededRandom
  ) -> Transition? {
    advance(to: now)
    let index = Int(bucket)
    buckets[index].total &+= 1
    if outcome == .slow { buckets[index].slow &+= 1 }
    if failed {
      buckets[index].failed &+= 1
      streak += 1
      if options.failures > 0, streak >= Int32(clamping: options.failures) {
        return trip(.failuresInARow, now, &random)
      }
    } else {
      streak = 0
    }
    guard mayOpenByRate, failed || outcome == .slow, let reason = rateExceeded() else {
      return nil
    }
    return trip(reason, now, &random)
  }

  private func rateExceeded() -> Reason? {
    var total = 0
    var failed = 0
    var slow = 0
    for index in 0..<CircuitBreaker.bucketCount {
      total += Int(buckets[index].total)
      failed += Int(buckets[index].failed)
      slow += Int(buckets[index].slow)
    }
    guard total >= max(1, options.minRequests) else { return nil }
    if options.errorRate > 0, failed * 100 >= options.errorRate * total { return .failureRate }
    if options.slowCall != nil, slow * 100 >= options.slowRate * total { return .slowRate }
    return nil
  }

  // MARK: Time and health

  /// To be called when `openUntil` has come: open → half open.
  public mutating func coolDownEnded(now: MonotonicTime) -> Transition? {
    guard state == .open, !isFrozen, openUntil <= now else { return nil }
    return beginProbing(now)
  }

  /// The backend's health check failed often enough: the breaker is frozen until it recovers.
  public mutating func healthFailed() { isFrozen = true }

  /// The backend's health check passes again: an open breaker's cool-down is over. Live requests
  /// decide what comes next.
  public mutating func healthRecovered(now: MonotonicTime) -> Transition? {
    isFrozen = false
    return state == .open ? beginProbing(now) : nil
  }

  private mutating func beginProbing(_ now: MonotonicTime) -> Transition {
    enter(.halfOpen, now)
    return .halfOpened
  }

  private mutating func trip(
    _ reason: Reason, _ now: MonotonicTime, _ random: inout SeededRandom
  ) -> Transition {
    if state == .closed {
      let quiet = (now - changedAt).nanoseconds / CircuitBreaker.decayTime.nanoseconds
      level = Int32(max(0, Int64(level) - quiet))
    }
    self.reason = reason
    openUntil = now + openTime(&random)
    level = min(level + 1, CircuitBreaker.maxLevel)
    enter(.open, now)
    return .opened(reason, until: openUntil)
  }

  /// `open` · 2^level ±25 %, never above `maxOpen`: backends that failed together must not be
  /// probed together.
  private func openTime(_ random: inout SeededRandom) -> TimeAmount {
    let base = UInt64(max(0, options.open.nanoseconds))
    let limit = UInt64(max(0, options.maxOpen.nanoseconds))
    let (product, overflow) = base.multipliedReportingOverflow(by: 1 << UInt64(level))
    let time = Int(clamping: overflow ? limit : min(product, limit))
    let least = time - time / 4
    let most = min(time.addingReportingOverflow(time / 4).partialValue, Int(clamping: limit))
    return TimeAmount(nanoseconds: Int64(least + random.below(max(1, most - least + 1))))
  }

  private mutating func enter(_ new: State, _ now: MonotonicTime) {
    state = new
    changedAt = now
    epoch &+= 1
    streak = 0
    probesInFlight = 0
    probesSucceeded = 0
  }

  // MARK: The window

  /// Makes the bucket current that `now` falls into.
  private mutating func advance(to now: MonotonicTime) {
    guard now >= bucketEnd else { return }
    let length = bucketLength
    let steps = (now - bucketEnd).nanoseconds / length + 1
    if steps >= Int64(CircuitBreaker.bucketCount) {
      clearWindow()
      bucketEnd = now + TimeAmount(nanoseconds: length)
      return
    }
    for _ in 0..<steps {
      bucket = bucket == Int32(CircuitBreaker.bucketCount - 1) ? 0 : bucket + 1
      buckets[Int(bucket)] = Bucket()
    }
    bucketEnd = bucketEnd + TimeAmount(nanoseconds: length * steps)
  }

  private var bucketLength: Int64 {
    max(1, options.window.nanoseconds / Int64(CircuitBreaker.bucketCount))
  }

  private mutating func clearWindow() {
    for index in 0..<CircuitBreaker.bucketCount { buckets[index] = Bucket() }
    bucketEnd = .zero
  }

  /// No request holds a place of it.
  public var isIdle: Bool { probesInFlight == 0 }

  /// Traps where the state contradicts itself.
  public func checkInvariants() {
    precondition(probesInFlight >= 0, "more probes ended than began")
    precondition(state == .halfOpen || probesInFlight == 0, "a probe outside of half open")
    precondition(state == .closed || streak == 0, "a streak outside of closed")
  }
}
