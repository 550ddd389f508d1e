import Primitives
import Resilience

/// What is known of a query, and what to ask for it next: a host's addresses, or a service's.
///
/// Exactly one of the two is there. They are not cases of one value since those can only be changed
/// in a copy, and a service may have a thousand hosts.
struct TrackedName {
  private let name: String
  private var host: NameTracker?
  private var service: ServiceTracker?

  /// `known`: from a process before this one.
  init(_ query: NameQuery, _ policy: NamePolicy, known: [ResolvedAddress]) {
    switch query {
    case .host(let name):
      self.name = name
      var tracker = NameTracker(policy)
      tracker.remember(known.map(\.address))
      host = tracker
    case .service(let name):
      self.name = name
      var tracker = ServiceTracker(policy)
      tracker.remember(known.compactMap(\.service))
      service = tracker
    }
  }

  var addresses: [ResolvedAddress] {
    host?.addresses.map { ResolvedAddress(address: $0) }
      ?? service?.addresses.map { ResolvedAddress($0) } ?? []
  }

  var state: NameState { host?.state ?? service?.state ?? .pending }

  var isHeard: Bool { host?.isHeard ?? service?.isHeard ?? false }

  var isCut: Bool { host?.isCut ?? service?.isCut ?? false }

  var nextDue: MonotonicTime { host?.nextDue ?? service?.nextDue ?? .never }

  mutating func update(_ policy: NamePolicy) {
    host?.update(policy)
    service?.update(policy)
  }

  mutating func questionsLost() {
    host?.questionsLost()
    service?.questionsLost()
  }

  mutating func doubted(_ address: IPAddress) {
    host?.doubted()
    service?.doubted(address)
  }

  /// What is to be asked now; it counts as asked.
  mutating func questions(now: MonotonicTime) -> [NameQuestion] {
    if let families = host?.questions(now: now) {
      return families.map { TrackedName.question(name, $0) }
    }
    return service?.questions(now: now).map { question in
      switch question {
      case .records: .service(name)
      case .host(let host, let family): TrackedName.question(host, family)
      }
    } ?? []
  }

  private static func question(_ host: String, _ family: NameTracker.Family) -> NameQuestion {
    family == .v4 ? .v4(host: host) : .v6(host: host)
  }

  mutating func answered(_ question: NameQuestion, _ answer: NameAnswer, now: MonotonicTime) {
    switch question {
    case .v4(let name): answered(name, .v4, answer, now)
    case .v6(let name): answered(name, .v6, answer, now)
    case .service: _ = service?.answered(.records, answer, now: now)
    }
  }

  private mutating func answered(
    _ name: String, _ family: NameTracker.Family, _ answer: NameAnswer, _ now: MonotonicTime
  ) {
    _ = host?.answered(family, answer, now: now)
    _ = service?.answered(.host(name, family), answer, now: now)
  }
}
