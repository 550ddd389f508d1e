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

/// How it stands with what DNS says of a name.
public enum NameState: Sendable, Equatable {
  /// No answer yet.
  case pending
  case resolved
  /// Questions fail; the last addresses are kept.
  case failing(NameFailure)
  /// DNS says that there are none; the last addresses are kept for a while.
  case absent(NameAbsence)
}

/// The addresses of one host name: what each answer does to them, and when to ask again.
///
/// A and AAAA are asked apart, and each keeps what it has where its own question fails. Of either:
///
///     asked ──addresses──────────────► resolved: these, until the TTL is over
///       ▲ ──none, the other has some─► absent: none
///       │ ──none, none anywhere──────► absent: the last ones for `keepAbsent`, then none
///       │ ──no such name─────────────► the same, whatever the other has
///       │ ──failure──────────────────► failing: the last ones, for as long as it takes
///       └────────── the time to ask again has come ──────────┘
///
/// That there is no address may be true, or somebody's mistake in a zone: it is believed once it
/// has been said for a while. A server that fails says nothing about the name at all. What the
/// other family *has* it has by an answer to its last question: while that is being asked again,
/// nobody knows.
public struct NameTracker: Sendable {
  public enum Family: UInt8, Sendable, CaseIterable { case v4, v6 }

  /// Sorted: answers differ in their order all the time.
  private var records = [KeptAnswer<IPAddress>(), KeptAnswer<IPAddress>()]
  public private(set) var policy: NamePolicy
  /// The last answers named more than may be kept.
  public private(set) var isCut = false

  public init(_ policy: NamePolicy) { self.policy = policy }

  /// What was known in a process before this one; asked at once all the same.
  public mutating func remember(_ addresses: [IPAddress]) {
    for family in Family.allCases {
      let own = addresses.filter { $0.isV4 == (family == .v4) && $0.isBackendAddress }
      records[Int(family.rawValue)].items = Array(Set(own)).sorted()
    }
  }

  /// Other bounds hold from the next answer on.
  public mutating func update(_ policy: NamePolicy) { self.policy = policy }

  // MARK: What is known

  /// At most `policy.maxAddresses`, those of IPv4 first.
  public var addresses: [IPAddress] {
    Array((records[0].items + records[1].items).prefix(policy.maxAddresses))
  }

  /// Something can be said: there are addresses, or every question has come back once.
  public var isHeard: Bool {
    !addresses.isEmpty || records.allSatisfy { $0.state != .pending }
  }

  /// DNS has said for so long that there are no addresses that it is believed.
  public var isGone: Bool { records.allSatisfy(\.isGone) }

  /// A family that fails counts where it has something to lose, or the other one has nothing.
  public var state: NameState {
    let isResolved = records.contains { $0.state == .resolved && !$0.items.isEmpty }
    for record in records {
      switch record.state {
      case .failing where !record.items.isEmpty || !isResolved: return record.state
      // Not the other absence: it ends with the other family's answer, a moment later.
      case .absent(.noSuchName) where !record.items.isEmpty: return record.state
      default: continue
      }
    }
    return isResolved ? .resolved : records.first { $0.isAbsent }?.state ?? .pending
  }

  /// When there will be something to ask; `never` while everything is being asked.
  public var nextDue: MonotonicTime { min(records[0].nextDue, records[1].nextDue) }

  // MARK: Asking

  /// What is to be asked now; it counts as asked.
  public mutating func questions(now: MonotonicTime) -> [Family] {
    Family.allCases.filter { records[Int($0.rawValue)].ask(now: now) }
  }

  /// Questions under way will not be answered: they are asked again at once.
  public mutating func questionsLost() {
    for index in records.indices { records[index].lost() }
  }

  /// An address turned out not to answer: perhaps DNS knows better by now. At most one further
  /// question for each shortest TTL.
  public mutating func doubted() {
    for index in records.indices { records[index].doubted(policy) }
  }

  /// Takes an answer. True where the addresses are others now.
  public mutating func answered(
    _ family: Family, _ answer: NameAnswer, now: MonotonicTime
  ) -> Bool {
    let before = addresses
    let index = Int(family.rawValue)
    switch answer {
    case .addresses(let found, let ttl):
      let usable = found.filter { $0.isBackendAddress && $0.isV4 == (family == .v4) }
      if usable.isEmpty {
        records[index].failed(.badAnswer, policy, now: now)
      } else {
        resolved(index, usable, ttl, now)
      }
    case .absent(let absence): _ = records[index].absent(absence, policy, now: now)
    case .failed(let failure): records[index].failed(failure, policy, now: now)
    case .services: records[index].failed(.badAnswer, policy, now: now)
    }
    believeOneFamily()
    return addresses != before
  }

  /// That a family has no record is taken at its word where the other one has some. That the name
  /// does not exist contradicts them: a zone was lost, or a server is broken (RFC 4074 §4.2); only
  /// a family with nothing to lose is asked no more often for it.
  private mutating func believeOneFamily() {
    for index in records.indices {
      let other = records[1 - index]
      guard case .absent(let absence) = records[index].state, !records[index].isAsking,
        absence == .noRecord || records[index].items.isEmpty,
        other.state == .resolved, !other.isAsking, !other.items.isEmpty
      else { continue }
      records[index].givenUp(askAgainAt: other.nextDue)
    }
  }

  private mutating func resolved(
    _ index: Int, _ found: [IPAddress], _ ttl: TimeAmount, _ now: MonotonicTime
  ) {
    let distinct = Set(found)
    var kept = distinct.sorted()
    if kept.count > policy.maxAddresses {
      // Those that serve already stay, so that each answer does not bring another selection.
      let known = Set(records[index].items)
      let stay = kept.filter { known.contains($0) }
      let others = kept.filter { !known.contains($0) }
      kept = Array((stay + others).prefix(policy.maxAddresses)).sorted()
    }
    records[index].resolved(kept, ttl: ttl, policy, now: now)
    isCut =
      distinct.count > policy.maxAddresses
      || records[0].items.count + records[1].items.count > policy.maxAddresses
  }
}
