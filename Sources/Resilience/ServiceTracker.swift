import Primitives

/// The addresses of one service (SRV, RFC 2782): its records name hosts, and each host has
/// addresses of its own, with TTLs of their own.
///
/// Records of an answer take the place of those before once something can be said of each of their
/// hosts, and some of them has an address, so that a service that moves as a whole has addresses
/// all the time. What fails keeps what it had, as with hosts (`NameTracker`); that none of the
/// hosts has an address is believed once that has been said for a while.
public struct ServiceTracker: Sendable {
  /// An address of the service.
  public struct Found: Sendable, Hashable {
    public var address: IPAddress
    public var port: UInt16
    /// 1 to 256.
    public var weight: Int
    /// Its priority is not the first of those that have addresses.
    public var isBackup: Bool
    /// The host that it is an address of.
    public var host: String

    public init(address: IPAddress, port: UInt16, weight: Int, isBackup: Bool, host: String) {
      self.address = address
      self.port = port
      self.weight = weight
      self.isBackup = isBackup
      self.host = host
    }
  }

  public enum Question: Sendable, Hashable {
    case records
    case host(String, NameTracker.Family)
  }

  /// The largest weight of a backend; larger ones are scaled down.
  private static let maxWeight = 256

  /// What DNS said last.
  private var record = KeptAnswer<ServiceRecord>()
  /// What serves: `record.items`, once their hosts are known.
  private var serving: [ServiceRecord] = []
  /// Of `record.items` and of `serving`.
  private var hosts: [String: NameTracker] = [:]
  /// What a process before this one knew.
  private var remembered: [Found] = []
  private var policy: NamePolicy
  private var hasMoreRecords = false
  /// At most `policy.maxAddresses`, in an order that does not change by itself.
  public private(set) var addresses: [Found] = []
  /// DNS names more than are kept.
  public private(set) var isCut = false

  public init(_ policy: NamePolicy) { self.policy = policy }

  public mutating func remember(_ addresses: [Found]) {
    remembered = Array(
      addresses.filter { ServiceTracker.isHost($0.host) }.prefix(policy.maxAddresses))
    self.addresses = remembered
  }

  public mutating func update(_ policy: NamePolicy) {
    self.policy = policy
    for host in hosts.keys { hosts[host]?.update(policy) }
  }

  // MARK: What is known

  public var isHeard: Bool {
    !addresses.isEmpty || (record.state != .pending && hosts.values.allSatisfy(\.isHeard))
  }

  /// Of the records; where they are known, of the host that is worst off.
  public var state: NameState {
    guard record.state == .resolved else { return record.state }
    var worst: (host: String, state: NameState)?
    for (host, tracker) in hosts where worst.map({ host < $0.host }) ?? true {
      let state = tracker.state
      if state != .resolved, state != .pending { worst = (host, state) }
    }
    return worst?.state ?? .resolved
  }

  public var nextDue: MonotonicTime { hosts.values.reduce(record.nextDue) { min($0, $1.nextDue) } }

  // MARK: Asking

  public mutating func questions(now: MonotonicTime) -> [Question] {
    var wanted: [Question] = record.ask(now: now) ? [.records] : []
    for host in hosts.keys.sorted() {
      wanted += (hosts[host]?.questions(now: now) ?? []).map { .host(host, $0) }
    }
    return wanted
  }

  public mutating func questionsLost() {
    record.lost()
    for host in hosts.keys { hosts[host]?.questionsLost() }
  }

  /// This address of the service turned out not to answer (`NameTracker.doubted`): the records are
  /// asked for again, and the hosts that have it; not all the others.
  public mutating func doubted(_ address: IPAddress) {
    record.doubted(policy)
    for host in hosts.keys where hosts[host]?.addresses.contains(address) == true {
      hosts[host]?.doubted()
    }
  }

  /// Takes an answer. True where the addresses are others now.
  public mutating func answered(
    _ question: Question, _ answer: NameAnswer, now: MonotonicTime
  ) -> Bool {
    switch question {
    case .records: answered(answer, now)
    case .host(let host, let family):
      // Most answers say what is known: a service of a thousand hosts has two thousand of them in
      // each TTL.
      guard hosts[host]?.learned(family, answer, now: now) == true else { return false }
    }
    let before = addresses
    serveWhatIsKnown()
    return addresses != before
  }

  private mutating func answered(_ answer: NameAnswer, _ now: MonotonicTime) {
    switch answer {
    case .services(let all, let ttl):
      // A service that is not offered at all says so with the root as its host (RFC 2782).
      let offered = all.filter { $0.host != "." && $0.port != 0 }
      guard !offered.isEmpty else { return absent(.noRecord, now) }
      let usable = Set(offered.filter { ServiceTracker.isHost($0.host) })
      guard !usable.isEmpty else { return record.failed(.badAnswer, policy, now: now) }
      let ordered = usable.sorted {
        ($0.priority, $0.host, $0.port, $1.weight) < ($1.priority, $1.host, $1.port, $0.weight)
      }
      hasMoreRecords = ordered.count > policy.maxAddresses
      record.resolved(
        Array(ordered.prefix(policy.maxAddresses)), ttl: ttl, policy, now: now)
      // Names that were never known go, or a server could think of others without end.
      let wanted = Set((record.items + serving).map(\.host))
      hosts = hosts.filter { wanted.contains($0.key) }
      for item in record.items where hosts[item.host] == nil {
        hosts[item.host] = NameTracker(policy)
      }
    case .absent(let absence): absent(absence, now)
    case .failed(let failure): record.failed(failure, policy, now: now)
    case .addresses: record.failed(.badAnswer, policy, now: now)
    }
  }

  /// A name in DNS may have any octets; one that becomes a Host field may not.
  private static func isHost(_ name: String) -> Bool {
    HostName.isValid(name.hasSuffix(".") ? name.dropLast() : name[...])
  }

  private mutating func absent(_ absence: NameAbsence, _ now: MonotonicTime) {
    guard record.absent(absence, policy, now: now) else { return }
    serving = []
    remembered = []
  }

  // MARK: What serves

  /// Enough is known of the records' hosts for them to take the place of what serves.
  private var isReady: Bool {
    let wanted = record.items.map { hosts[$0.host] }
    guard wanted.allSatisfy({ $0?.isHeard ?? false }) else { return false }
    return addresses.isEmpty || wanted.contains { $0?.addresses.isEmpty == false }
      || wanted.allSatisfy { $0?.isGone ?? false }
  }

  private mutating func serveWhatIsKnown() {
    if isReady {
      if !record.items.isEmpty { remembered = [] }
      serving = record.items
      let wanted = Set(serving.map(\.host))
      hosts = hosts.filter { wanted.contains($0.key) }
    }
    guard remembered.isEmpty else { return }
    var seen: Set<SocketAddress> = []
    var found: [(item: ServiceRecord, address: IPAddress)] = []
    for item in serving {
      for address in hosts[item.host]?.addresses ?? []
      where seen.insert(.ip(address, port: item.port)).inserted {
        found.append((item, address))
      }
    }
    isCut =
      hasMoreRecords || found.count > policy.maxAddresses
      || hosts.values.contains { $0.isCut }
    let first = found.first?.item.priority ?? 0
    let heaviest = max(1, found.reduce(0) { max($0, Int($1.item.weight)) })
    addresses = found.prefix(policy.maxAddresses).map { item, address in
      Found(
        address: address, port: item.port,
        weight: ServiceTracker.weight(Int(item.weight), heaviest: heaviest),
        isBackup: item.priority != first, host: item.host)
    }
  }

  /// Weight 0 means a very small chance beside others (RFC 2782), not none: 1.
  private static func weight(_ weight: Int, heaviest: Int) -> Int {
    max(1, heaviest <= maxWeight ? weight : weight * maxWeight / heaviest)
  }
}

extension NameTracker {
  /// `answered`; true where its service may have other addresses now.
  fileprivate mutating func learned(
    _ family: Family, _ answer: NameAnswer, now: MonotonicTime
  ) -> Bool {
    let (wasHeard, wasGone, wasCut) = (isHeard, isGone, isCut)
    let hasOthers = answered(family, answer, now: now)
    return hasOthers || isHeard != wasHeard || isGone != wasGone || isCut != wasCut
  }
}
