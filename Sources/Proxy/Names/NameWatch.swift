import Primitives
import Resilience
import Telemetry
import Transport

/// What is wanted of DNS by a configuration.
public struct NameWishes: Sendable {
  public var queries: [NameQuery]
  public var resolver: ResolverOptions
  public var policy: NamePolicy
  /// /etc/resolv.conf is read again, and all questions under way are asked anew.
  public var isFresh = true

  /// `old`: its names are still in use.
  public init(_ options: ProxyOptions, and old: ProxyOptions? = nil) {
    queries = options.nameQueries + (old?.nameQueries ?? [])
    resolver = options.resolver
    policy = options.namePolicy
  }
}

/// Keeps the names of a configuration resolved, on the watch thread: asks when it is time, tells
/// `NameTable` what is new and the event log what an operator wants to know.
final class NameWatch {
  private struct Entry {
    var tracker: TrackedName
    /// As last told to the log.
    var told = NameState.pending
    var isCutTold = false
    var isUnroutableTold = false
    var counts = NameCounts()
    /// Its backends: of the tracker's addresses, those that were admitted.
    var serving: [ResolvedAddress] = []
    /// None of the tracker's addresses was: the last ones serve.
    var isRefused = false

    var state: NameState { isRefused ? .failing(.exhausted) : tracker.state }
  }

  private let table: NameTable
  private let log: EventLog
  private var resolver: Resolver?
  private var entries: [NameQuery: Entry] = [:]
  /// What each question under way asks, by its number.
  private var asked: [Int: (query: NameQuery, question: NameQuestion)] = [:]
  private var questions = 0
  private var admission = NameAdmission()
  private var isFullTold = false
  /// Names that somebody waits for, and whom to tell once something can be said of all.
  private var awaited: (names: Set<NameQuery>, arrivals: Arrivals)?
  /// No entry has anything to ask before.
  private var due = MonotonicTime.never

  init(_ table: NameTable, log: EventLog) {
    self.table = table
    self.log = log
  }

  /// To be polled; -1 while there are no names.
  var descriptor: Int32 { resolver?.descriptor ?? -1 }

  func nextDue(now: MonotonicTime) -> MonotonicTime {
    guard let resolver else { return .never }
    return min(due, resolver.nextDue(now: now))
  }

  // MARK: Configuration

  /// Names that stay keep what is known of them; new ones are asked at once. `heard` is signalled
  /// once something can be said of every name.
  func adopt(_ wishes: NameWishes, heard: Arrivals, now: MonotonicTime) {
    let wanted = Set(wishes.queries)
    for query in entries.keys where !wanted.contains(query) {
      entries[query] = nil
      table.forget(query)
    }
    awaited = (wanted, heard)
    if !wanted.isEmpty, resolver == nil { resolver = Resolver() }
    if wishes.isFresh {
      asked = [:]
      for query in wanted { entries[query]?.tracker.questionsLost() }
      if resolver?.configure(wishes.resolver) == false {
        log.error("resolver: c-ares cannot be set up, names are not resolved")
      }
    }
    for query in wishes.queries {
      if entries[query] == nil {
        // Of the process before this one.
        let known = table.status(query)?.addresses ?? []
        entries[query] = Entry(tracker: TrackedName(query, wishes.policy, known: known))
        serve(query)
      }
      entries[query]?.tracker.update(wishes.policy)
    }
    turn(now, isDue: true)
  }

  /// A connect to this address of the name failed.
  func doubted(_ query: NameQuery, _ address: IPAddress) {
    entries[query]?.tracker.doubted(address)
    due = entries.values.reduce(.never) { min($0, $1.tracker.nextDue) }
  }

  func finish() { resolver = nil }

  // MARK: Turns

  /// Hears answers and asks what it is time for. `isDue`: there may be something to ask. False
  /// where there was nothing to do.
  @discardableResult
  func turn(_ now: MonotonicTime, isDue: Bool = false) -> Bool {
    guard let resolver else {
      tellHeard()
      return false
    }
    resolver.advance()
    var heard = take(resolver, now)
    if isDue || due <= now || heard {
      ask(resolver, now)
      // Answers from the hosts file are there at once.
      while take(resolver, now) {
        heard = true
        ask(resolver, now)
      }
      due = entries.values.reduce(.never) { min($0, $1.tracker.nextDue) }
      tellHeard()
    }
    return heard
  }

  private func ask(_ resolver: Resolver, _ now: MonotonicTime) {
    for query in Array(entries.keys) {
      guard entries[query].map({ $0.tracker.nextDue <= now }) == true else { continue }
      for question in entries[query]?.tracker.questions(now: now) ?? [] {
        questions += 1
        asked[questions] = (query, question)
        resolver.ask(questions, question)
      }
      publish(query)
    }
  }

  private func take(_ resolver: Resolver, _ now: MonotonicTime) -> Bool {
    let finished = resolver.take()
    var heard: Set<NameQuery> = []
    for item in finished {
      guard let (query, question) = asked.removeValue(forKey: item.number) else { continue }
      let answer = routable(item.answer, query)
      entries[query]?.counts.count(answer)
      entries[query]?.tracker.answered(question, answer, now: now)
      heard.insert(query)
    }
    for query in heard {
      tell(query, before: serve(query))
      publish(query)
    }
    return !finished.isEmpty
  }

  /// Leaves out what this machine cannot reach.
  private func routable(_ answer: NameAnswer, _ query: NameQuery) -> NameAnswer {
    guard case .addresses(let all, let ttl) = answer else { return answer }
    let routable = Endpoint.routable(all)
    if routable.count < all.count, entries[query]?.isUnroutableTold == false {
      entries[query]?.isUnroutableTold = true
      log.info("name \(query.text): no route to IPv6, those addresses are left out")
    }
    return routable.isEmpty ? .absent(.noRecord) : .addresses(routable, ttl: ttl)
  }

  /// The tracker's addresses serve from now on, as far as there is room for them; where there is
  /// room for none, the last ones go on. Returns those before.
  @discardableResult
  private func serve(_ query: NameQuery) -> [ResolvedAddress] {
    guard let entry = entries[query] else { return [] }
    let found = entry.tracker.addresses
    guard found != entry.serving || entry.isRefused else { return entry.serving }
    let admitted = admission.admit(found, of: query)
    if admitted.count < found.count { tellFull() }
    let isRefused = admitted.isEmpty && !found.isEmpty
    entries[query]?.isRefused = isRefused
    if !isRefused { entries[query]?.serving = admitted }
    return entry.serving
  }

  private func publish(_ query: NameQuery) {
    guard let entry = entries[query] else { return }
    var status = NameStatus()
    status.addresses = entry.serving
    status.state = entry.state
    status.isCut = entry.tracker.isCut
    status.nextDue = entry.tracker.nextDue
    status.counts = entry.counts
    table.publish(query, status)
  }

  private func tellHeard() {
    guard let (names, arrivals) = awaited,
      names.allSatisfy({ entries[$0]?.tracker.isHeard ?? true })
    else { return }
    awaited = nil
    arrivals.signal()
  }

  // MARK: Telling

  /// Each change once: an outage of DNS is two lines, however long it lasts.
  private func tell(_ query: NameQuery, before: [ResolvedAddress]) {
    guard let entry = entries[query] else { return }
    let addresses = entry.serving
    let name = "name \(query.text)"
    let kept = addresses.count
    if addresses != before {
      let (before, after) = (before.map(\.text), addresses.map(\.text))
      let (known, current) = (Set(before), Set(after))
      let added = after.filter { !known.contains($0) }
      let removed = before.filter { !current.contains($0) }
      if added.isEmpty, removed.isEmpty {
        log.info("\(name): \(kept) addresses, other weights or priorities")
      } else {
        log.info(
          "\(name): \(kept) address\(kept == 1 ? "" : "es")",
          ["added": NameWatch.list(added), "removed": NameWatch.list(removed)])
      }
    }
    if entry.tracker.isCut != entry.isCutTold {
      entries[query]?.isCutTold = entry.tracker.isCut
      if entry.tracker.isCut {
        log.warning("\(name): more than \(kept) addresses, the others are left out")
      }
    }
    let state = entry.state
    guard entry.tracker.isHeard, NameWatch.isOther(state, than: entry.told, kept) else { return }
    entries[query]?.told = state
    let consequence = kept == 0 ? "it has no backend" : "its \(kept) last addresses are kept"
    switch state {
    case .pending: break
    case .resolved:
      if entry.told != .pending { log.info("\(name): resolved again") }
    case .failing(let failure):
      log.warning("\(name): not resolved, \(consequence)", ["reason": failure.rawValue])
    case .absent(let absence):
      log.warning("\(name): DNS knows no address, \(consequence)", ["reason": absence.rawValue])
    }
  }

  /// Failures of other kinds in a row are one outage; that the last addresses go is news.
  private static func isOther(
    _ state: NameState, than told: NameState, _ kept: Int
  ) -> Bool {
    switch (state, told) {
    case (.failing, .failing): false
    case (.absent, .absent): false
    default: state != told
    }
  }

  private static func list(_ addresses: [String]) -> String {
    let shown = addresses.prefix(16).joined(separator: ",")
    return addresses.count > 16 ? "\(shown),…" : shown.isEmpty ? "none" : shown
  }

  private func tellFull() {
    guard !isFullTold else { return }
    isFullTold = true
    log.error(
      "names have brought \(NameAdmission.limit) backends since the start: new ones are left out; "
        + "'weir upgrade' begins anew")
  }
}
