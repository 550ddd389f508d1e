import Primitives
import Resilience
import Transport

/// What is known of one name, for everybody but the thread that asks.
public struct NameStatus: Sendable, Equatable {
  /// In an order that does not change by itself.
  public var addresses: [ResolvedAddress] = []
  public var state = NameState.pending
  /// DNS names more than are used.
  public var isCut = false
  /// When it is asked next; `never` while it is being asked.
  public var nextDue = MonotonicTime.never
  /// Answers by what came of them, since the process began.
  public var counts = NameCounts()

  public init() {}

  /// What DNS says at the moment has no addresses: the last ones are kept, if there were any.
  public var isStale: Bool {
    switch state {
    case .pending, .resolved: false
    case .failing, .absent: true
    }
  }
}

public struct NameCounts: Sendable, Equatable {
  public var addresses: UInt64 = 0
  public var absent: UInt64 = 0
  public var failed: UInt64 = 0

  mutating func count(_ answer: NameAnswer) {
    switch answer {
    case .addresses, .services: addresses += 1
    case .absent: absent += 1
    case .failed: failed += 1
    }
  }
}

/// The names of the running configuration: written by the watch thread, read by the control
/// thread, which makes a snapshot of what is new.
public final class NameTable: Sendable {
  private let known = Lock<[NameQuery: NameStatus]>([:])
  /// Signalled where some name has other addresses.
  public let changed = Arrivals()

  init() {}

  public func status(_ query: NameQuery) -> NameStatus? { known.withLock { $0[query] } }

  /// For `ProxyOptions.resolved`.
  public var addresses: [NameQuery: [ResolvedAddress]] {
    known.withLock { $0.mapValues(\.addresses) }
  }

  /// What a process before this one knew, until DNS has been asked.
  public func remember(_ addresses: [NameQuery: [ResolvedAddress]]) {
    known.withLock { known in
      for (query, found) in addresses { known[query, default: NameStatus()].addresses = found }
    }
  }

  func publish(_ query: NameQuery, _ status: NameStatus) {
    let isChanged = known.withLock { known in
      let isChanged = known[query]?.addresses ?? [] != status.addresses
      known[query] = status
      return isChanged
    }
    if isChanged { changed.signal() }
  }

  func forget(_ query: NameQuery) { known.withLock { $0[query] = nil } }
}
