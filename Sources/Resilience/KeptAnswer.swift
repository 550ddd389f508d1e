import Primitives

/// The last good answer to one question to DNS, kept through those that bring nothing, and the time
/// to ask again.
struct KeptAnswer<Item: Sendable & Equatable>: Sendable {
  /// The first wait after a question that brought nothing, and the longest.
  static var firstRetry: TimeAmount { .seconds(1) }
  static var lastRetry: TimeAmount { .seconds(10) }

  var items: [Item] = []
  private(set) var state = NameState.pending
  private(set) var isAsking = false
  private var askedAt = MonotonicTime.zero
  /// Asked when this has come.
  private var due = MonotonicTime.zero
  /// In a row.
  private var fruitless = 0
  private(set) var ttl = TimeAmount.zero
  /// Since when DNS says that there is none; `never`: it does not.
  private var absentSince = MonotonicTime.never
  /// It has been said for so long that it is believed.
  private(set) var isGone = false

  /// `never` while it is being asked.
  var nextDue: MonotonicTime { isAsking ? .never : due }

  var isAbsent: Bool { if case .absent = state { true } else { false } }

  /// True where it is time to; it counts as asked then.
  mutating func ask(now: MonotonicTime) -> Bool {
    guard !isAsking, due <= now else { return false }
    isAsking = true
    askedAt = now
    return true
  }

  /// What is being asked will not be answered: asked again at once.
  mutating func lost() {
    guard isAsking else { return }
    isAsking = false
    due = .zero
  }

  /// There is reason to ask sooner, but not within the shortest TTL.
  mutating func doubted(_ policy: NamePolicy) { due = min(due, askedAt + policy.minTTL) }

  // MARK: Answers

  mutating func resolved(
    _ found: [Item], ttl: TimeAmount, _ policy: NamePolicy, now: MonotonicTime
  ) {
    isAsking = false
    items = found
    state = .resolved
    fruitless = 0
    absentSince = .never
    isGone = false
    self.ttl = min(max(ttl, policy.minTTL), max(policy.minTTL, policy.maxTTL))
    due = now + self.ttl
  }

  /// There is none: believed once it has been said for a while, from when on this is true.
  mutating func absent(
    _ absence: NameAbsence, _ policy: NamePolicy, now: MonotonicTime
  ) -> Bool {
    isAsking = false
    state = .absent(absence)
    absentSince = min(absentSince, now)
    retry(policy, now)
    let end = absentSince + policy.keepAbsent
    isGone = end <= now
    if isGone { items = [] }
    if !items.isEmpty { due = min(due, end) }
    return isGone
  }

  /// There is none of this kind, and another question says enough: believed at once.
  mutating func givenUp(askAgainAt time: MonotonicTime) {
    items = []
    fruitless = 0
    absentSince = .never
    due = time
  }

  mutating func failed(_ failure: NameFailure, _ policy: NamePolicy, now: MonotonicTime) {
    isAsking = false
    state = .failing(failure)
    absentSince = .never
    isGone = false
    retry(policy, now)
  }

  /// One second after the first question that brought nothing, then twice as long each time, and
  /// never later than a name is asked again anyway.
  private mutating func retry(_ policy: NamePolicy, _ now: MonotonicTime) {
    let doublings = min(fruitless, 8)
    fruitless += 1
    let wait = TimeAmount(nanoseconds: Self.firstRetry.nanoseconds << doublings)
    due = now + min(wait, Self.lastRetry, policy.maxTTL)
  }
}
