import Primitives

/// How long what DNS says is believed (`resolver`).
public struct NamePolicy: Sendable, Equatable {
  /// Bounds of the time after which a name is asked again, whatever its TTL.
  public var minTTL = TimeAmount.seconds(1)
  public var maxTTL = TimeAmount.seconds(300)
  /// Addresses of one name; what is more is left out.
  public var maxAddresses = 256
  /// The last addresses are kept so long where DNS says that there are none any more.
  public var keepAbsent = TimeAmount.seconds(30)

  public init() {}
}

/// The addresses of one host name: what each answer does to them, and when to ask again.
///
/// A and AAAA are asked apart, and each keeps what it has where its own question fails. Of either:
///
///     asked ──addresses──────────────► resolved: these, until the TTL is over
///       ▲ ──none, the other has some─► resolved: none
///       │ ──none, none anywhere──────► absent: the last ones for `keepAbsent`, then none
///       │ ──failure──────────────────► failing: the last ones, for as long as it takes
///       └────────── the time to ask again has come ──────────┘
///
/// That there is no address may be true, or somebody's mistake in a zone: it is believed once it
/// has been said for a while. A server that fails says nothing about the name at all.
public struct NameTracker: Sendable {
  public enum Family: UInt8, Sendable, CaseIterable { case v4, v6 }

  /// What is known, with who knows it best first.
  public enum State: Sendable, Equatable {
    /// No answer yet.
    case pending
    case resolved
    /// Questions fail; the last addresses are kept.
    case failing(NameFailure)
    /// DNS says that there are none; the last addresses are kept for a while.
    case absent(NameAbsence)
  }

  private struct Record {
    /// Sorted: answers differ in their order all the time.
    var addresses: [IPAddress] = []
    var state = State.pending
    var isAsking = false
    var askedAt = MonotonicTime.zero
    /// Asked when this has come.
    var due = MonotonicTime.zero
    /// In a row.
    var fruitless = 0
    var ttl = TimeAmount.zero
    /// Since when DNS says that there is none; `never`: it does not.
    var absentSince = MonotonicTime.never
  }

  /// The first wait after a question that brought nothing, and the longest.
  static let firstRetry = TimeAmount.seconds(1)
  static let lastRetry = TimeAmount.seconds(10)

  private var records = [Record(), Record()]
  public private(set) var policy: NamePolicy
  /// The last answers named more than may be kept.
  public private(set) var isCut = false

  public init(_ policy: NamePolicy) { self.policy = policy }

  /// What was known in a process before this one; asked at once all the same.
  public mutating func remember(_ addresses: [IPAddress]) {
    for family in Family.allCases {
      let own = addresses.filter { $0.isV4 == (family == .v4) && $0.isBackendAddress }
      records[Int(family.rawValue)].addresses = Array(Set(own)).sorted()
    }
  }

  /// Other bounds hold from the next answer on.
  public mutating func update(_ policy: NamePolicy) { self.policy = policy }

  // MARK: What is known

  /// At most `policy.maxAddresses`, those of IPv4 first.
  public var addresses: [IPAddress] {
    Array((records[0].addresses + records[1].addresses).prefix(policy.maxAddresses))
  }

  /// Something can be said: there are addresses, or every question has come back once.
  public var isHeard: Bool {
    !addresses.isEmpty || records.allSatisfy { $0.state != .pending }
  }

  /// A family that fails counts where it has something to lose, or the other one has nothing.
  public var state: State {
    let isResolved = records.contains { $0.state == .resolved && !$0.addresses.isEmpty }
    for record in records {
      if case .failing = record.state, !record.addresses.isEmpty || !isResolved {
        return record.state
      }
    }
    if isResolved { return .resolved }
    return records.first { if case .absent = $0.state { true } else { false } }?.state ?? .pending
  }

  /// When there will be something to ask; `never` while everything is being asked.
  public var nextDue: MonotonicTime {
    records.reduce(.never) { $1.isAsking ? $0 : min($0, $1.due) }
  }

  // MARK: Asking

  /// What is to be asked now; it counts as asked.
  public mutating func questions(now: MonotonicTime) -> [Family] {
    Family.allCases.filter { family in
      let index = Int(family.rawValue)
      guard !records[index].isAsking, records[index].due <= now else { return false }
      records[index].isAsking = true
      records[index].askedAt = now
      return true
    }
  }

  /// Questions under way will not be answered: they are asked again at once.
  public mutating func questionsLost() {
    for index in records.indices where records[index].isAsking {
      records[index].isAsking = false
      records[index].due = .zero
    }
  }

  /// An address turned out not to answer: perhaps DNS knows better by now. At most one further
  /// question for each shortest TTL.
  public mutating func doubted() {
    for index in records.indices {
      records[index].due = min(records[index].due, records[index].askedAt + policy.minTTL)
    }
  }

  /// Takes an answer. True where the addresses are others now.
  public mutating func answered(
    _ family: Family, _ answer: NameAnswer, now: MonotonicTime
  ) -> Bool {
    let before = addresses
    let index = Int(family.rawValue)
    records[index].isAsking = false
    switch answer {
    case .addresses(let found, let ttl):
      let usable = found.filter { $0.isBackendAddress && $0.isV4 == (family == .v4) }
      if usable.isEmpty {
        failed(index, .badAnswer, now)
      } else {
        resolved(index, usable, ttl, now)
      }
    case .absent(let absence): absent(index, absence, now)
    case .failed(let failure): failed(index, failure, now)
    case .services: failed(index, .badAnswer, now)
    }
    return addresses != before
  }

  // MARK: What an answer does

  private mutating func resolved(
    _ index: Int, _ found: [IPAddress], _ ttl: TimeAmount, _ now: MonotonicTime
  ) {
    let distinct = Set(found)
    var kept = distinct.sorted()
    if kept.count > policy.maxAddresses {
      // Those that serve already stay, so that each answer does not bring another selection.
      let known = Set(records[index].addresses)
      let stay = kept.filter { known.contains($0) }
      let others = kept.filter { !known.contains($0) }
      kept = Array((stay + others).prefix(policy.maxAddresses)).sorted()
    }
    records[index].addresses = kept
    records[index].state = .resolved
    records[index].fruitless = 0
    records[index].absentSince = .never
    records[index].ttl = min(max(ttl, policy.minTTL), max(policy.minTTL, policy.maxTTL))
    records[index].due = now + records[index].ttl
    isCut =
      distinct.count > policy.maxAddresses
      || records[0].addresses.count + records[1].addresses.count > policy.maxAddresses
  }

  private mutating func absent(_ index: Int, _ absence: NameAbsence, _ now: MonotonicTime) {
    let other = records[1 - index]
    records[index].state = .absent(absence)
    if other.state == .resolved, !other.addresses.isEmpty {
      records[index].addresses = []
      records[index].fruitless = 0
      records[index].absentSince = .never
      records[index].due = now + other.ttl
      return
    }
    records[index].absentSince = min(records[index].absentSince, now)
    retry(index, now)
    let end = records[index].absentSince + policy.keepAbsent
    if end <= now {
      records[index].addresses = []
    } else if !records[index].addresses.isEmpty {
      records[index].due = min(records[index].due, end)
    }
  }

  private mutating func failed(_ index: Int, _ failure: NameFailure, _ now: MonotonicTime) {
    records[index].state = .failing(failure)
    records[index].absentSince = .never
    retry(index, now)
  }

  /// One second after the first question that brought nothing, then twice as long each time, and
  /// never later than a name is asked again anyway.
  private mutating func retry(_ index: Int, _ now: MonotonicTime) {
    let doublings = min(records[index].fruitless, 8)
    records[index].fruitless += 1
    let wait = TimeAmount(nanoseconds: NameTracker.firstRetry.nanoseconds << doublings)
    records[index].due = now + min(wait, NameTracker.lastRetry, policy.maxTTL)
  }
}
