import Primitives
import Resilience

/// What is known of a query, and what to ask for it next: a host's addresses, or a service's.
enum TrackedName {
  case host(String, NameTracker)
  case service(String, ServiceTracker)

  /// `known`: from a process before this one.
  init(_ query: NameQuery, _ policy: NamePolicy, known: [ResolvedAddress]) {
    switch query {
    case .host(let name):
      var tracker = NameTracker(policy)
      tracker.remember(known.map(\.address))
      self = .host(name, tracker)
    case .service(let name):
      var tracker = ServiceTracker(policy)
      tracker.remember(known.compactMap(\.service))
      self = .service(name, tracker)
    }
  }

  var addresses: [ResolvedAddress] {
    switch self {
    case .host(_, let tracker): tracker.addresses.map { ResolvedAddress(address: $0) }
    case .service(_, let tracker): tracker.addresses.map { ResolvedAddress($0) }
    }
  }

  var state: NameState {
    switch self {
    case .host(_, let tracker): tracker.state
    case .service(_, let tracker): tracker.state
    }
  }

  var isHeard: Bool {
    switch self {
    case .host(_, let tracker): tracker.isHeard
    case .service(_, let tracker): tracker.isHeard
    }
  }

  var isCut: Bool {
    switch self {
    case .host(_, let tracker): tracker.isCut
    case .service(_, let tracker): tracker.isCut
    }
  }

  var nextDue: MonotonicTime {
    switch self {
    case .host(_, let tracker): tracker.nextDue
    case .service(_, let tracker): tracker.nextDue
    }
  }

  mutating func update(_ policy: NamePolicy) {
    change({ $0.update(policy) }, { $0.update(policy) })
  }

  mutating func questionsLost() { change({ $0.questionsLost() }, { $0.questionsLost() }) }

  mutating func doubted() { change({ $0.doubted() }, { $0.doubted() }) }

  private mutating func change(
    _ host: (inout NameTracker) -> Void, _ service: (inout ServiceTracker) -> Void
  ) {
    switch self {
    case .host(let name, var tracker):
      host(&tracker)
      self = .host(name, tracker)
    case .service(let name, var tracker):
      service(&tracker)
      self = .service(name, tracker)
    }
  }

  /// What is to be asked now; it counts as asked.
  mutating func questions(now: MonotonicTime) -> [NameQuestion] {
    switch self {
    case .host(let name, var tracker):
      let families = tracker.questions(now: now)
      self = .host(name, tracker)
      return families.map { TrackedName.question(name, $0) }
    case .service(let name, var tracker):
      let questions = tracker.questions(now: now)
      self = .service(name, tracker)
      return questions.map { question in
        switch question {
        case .records: .service(name)
        case .host(let host, let family): TrackedName.question(host, family)
        }
      }
    }
  }

  private static func question(_ host: String, _ family: NameTracker.Family) -> NameQuestion {
    family == .v4 ? .v4(host: host) : .v6(host: host)
  }

  mutating func answered(_ question: NameQuestion, _ answer: NameAnswer, now: MonotonicTime) {
    let host: (name: String, family: NameTracker.Family)? =
      switch question {
      case .v4(let name): (name, .v4)
      case .v6(let name): (name, .v6)
      case .service: nil
      }
    switch self {
    case .host(let name, var tracker):
      if let host { _ = tracker.answered(host.family, answer, now: now) }
      self = .host(name, tracker)
    case .service(let name, var tracker):
      let asked = host.map { ServiceTracker.Question.host($0.name, $0.family) } ?? .records
      _ = tracker.answered(asked, answer, now: now)
      self = .service(name, tracker)
    }
  }
}
