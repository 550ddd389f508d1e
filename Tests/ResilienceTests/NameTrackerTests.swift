import Primitives
import Testing

@testable import Resilience

/// What each answer of DNS does to the addresses of a name.
@Suite struct NameTrackerTests {
  /// A tracker in a place, so that expectations can call what changes it.
  @dynamicMemberLookup
  private final class Subject {
    private var tracker: NameTracker
    init(_ policy: NamePolicy) { tracker = NameTracker(policy) }

    subscript<Value>(dynamicMember path: KeyPath<NameTracker, Value>) -> Value {
      tracker[keyPath: path]
    }
    func questions(now: MonotonicTime) -> [NameTracker.Family] { tracker.questions(now: now) }
    func answered(
      _ family: NameTracker.Family, _ answer: NameAnswer, now: MonotonicTime
    ) -> Bool {
      tracker.answered(family, answer, now: now)
    }
    func doubted() { tracker.doubted() }
    func questionsLost() { tracker.questionsLost() }
    func remember(_ addresses: [IPAddress]) { tracker.remember(addresses) }
  }

  private static let start = MonotonicTime(nanoseconds: 1_000_000_000_000)

  private func seconds(_ count: Int64) -> MonotonicTime {
    NameTrackerTests.start + .seconds(count)
  }

  private func addresses(_ texts: String...) -> [IPAddress] { texts.compactMap { IPAddress($0) } }

  private func answer(_ texts: [String], ttl: Int64 = 30) -> NameAnswer {
    .addresses(texts.compactMap { IPAddress($0) }, ttl: .seconds(ttl))
  }

  /// One that has asked both questions and has had these answers at second 0.
  private func tracker(
    _ v4: NameAnswer, _ v6: NameAnswer = .absent(.noRecord),
    _ change: (inout NamePolicy) -> Void = { _ in }
  ) -> Subject {
    var policy = NamePolicy()
    change(&policy)
    let tracker = Subject(policy)
    #expect(tracker.questions(now: seconds(0)) == [.v4, .v6])
    _ = tracker.answered(.v4, v4, now: seconds(0))
    _ = tracker.answered(.v6, v6, now: seconds(0))
    return tracker
  }

  @Test func `both families are asked at once, and no question twice`() {
    let tracker = Subject(NamePolicy())
    #expect(!tracker.isHeard && tracker.state == .pending && tracker.addresses.isEmpty)
    #expect(tracker.questions(now: seconds(0)) == [.v4, .v6])
    #expect(tracker.questions(now: seconds(9)).isEmpty)
    #expect(tracker.nextDue == .never)
    #expect(tracker.answered(.v4, answer(["10.0.0.2", "10.0.0.1"]), now: seconds(0)))
    #expect(tracker.isHeard, "one family is enough to serve")
    #expect(tracker.answered(.v6, answer(["2001:db8::1"]), now: seconds(0)))
    #expect(tracker.addresses == addresses("10.0.0.1", "10.0.0.2", "2001:db8::1"))
    #expect(tracker.state == .resolved)
  }

  @Test(arguments: [(0, 1), (1, 1), (30, 30), (300, 300), (86_400, 300)])
  func `the TTL is kept within its bounds`(ttl: Int64, wanted: Int64) {
    let tracker = tracker(answer(["10.0.0.1"], ttl: ttl))
    #expect(tracker.nextDue == seconds(wanted))
  }

  @Test func `the order of an answer changes nothing, and neither do repetitions`() {
    let tracker = tracker(answer(["10.0.0.1", "10.0.0.2"]))
    #expect(tracker.questions(now: seconds(30)) == [.v4, .v6])
    #expect(
      !tracker.answered(.v4, answer(["10.0.0.2", "10.0.0.1", "10.0.0.2"]), now: seconds(30)))
    #expect(tracker.addresses == addresses("10.0.0.1", "10.0.0.2"))
  }

  @Test func `addresses that can be no backend's are left out`() {
    let junk = ["0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
    let junk6 = ["::", "ff02::1", "fe80::1", "::7f00:1", "2001:db8::1", "::1"]
    let known = tracker(answer(junk + ["127.0.0.1"]), answer(junk6))
    #expect(known.addresses == addresses("127.0.0.1", "::1", "2001:db8::1"))
  }

  @Test func `an AAAA record that means an IPv4 address is not taken for one`() {
    let tracker = tracker(answer(["10.0.0.1"]), answer(["::ffff:10.0.0.9"]))
    #expect(tracker.addresses == addresses("10.0.0.1"))
    #expect(!tracker.answered(.v4, answer(["2001:db8::1"]), now: seconds(1)))
    #expect(tracker.addresses == addresses("10.0.0.1"))
  }

  @Test(arguments: NameFailure.allCases)
  func `a failure keeps the last addresses for as long as it lasts`(failure: NameFailure) {
    let tracker = tracker(answer(["10.0.0.1"]))
    var now = seconds(30)
    for _ in 0..<1000 {
      _ = tracker.questions(now: now)
      #expect(!tracker.answered(.v4, .failed(failure), now: now))
      #expect(!tracker.answered(.v6, .failed(failure), now: now))
      now = tracker.nextDue
    }
    #expect(tracker.addresses == addresses("10.0.0.1"))
    #expect(tracker.state == .failing(failure))
    #expect(now > seconds(9000))
    #expect(tracker.answered(.v4, answer(["10.0.0.2"]), now: now))
    #expect(tracker.state == .resolved && tracker.addresses == addresses("10.0.0.2"))
  }

  @Test func `an answer of nothing but junk is a failure`() {
    let tracker = tracker(answer(["10.0.0.1"]))
    #expect(!tracker.answered(.v4, answer(["0.0.0.0"]), now: seconds(30)))
    #expect(tracker.addresses == addresses("10.0.0.1"))
    #expect(tracker.state == .failing(.badAnswer))
  }

  @Test func `questions that bring nothing are repeated after 1, 2, 4 and 8 s, then each 10 s`() {
    let tracker = Subject(NamePolicy())
    var now = seconds(0)
    var waits: [Int64] = []
    for _ in 0..<7 {
      _ = tracker.questions(now: now)
      _ = tracker.answered(.v4, .failed(.timedOut), now: now)
      _ = tracker.answered(.v6, .failed(.timedOut), now: now)
      waits.append((tracker.nextDue - now).milliseconds / 1000)
      now = tracker.nextDue
    }
    #expect(waits == [1, 2, 4, 8, 10, 10, 10])
    #expect(tracker.isHeard && tracker.state == .failing(.timedOut) && tracker.addresses.isEmpty)
  }

  @Test func `one family fails while the other one answers`() {
    // It has nothing to lose: nobody is told.
    let tracker = tracker(answer(["10.0.0.1"]), .failed(.timedOut))
    #expect(tracker.state == .resolved)
    // It has.
    _ = tracker.answered(.v6, answer(["2001:db8::1"]), now: seconds(1))
    _ = tracker.answered(.v6, .failed(.serverFailed), now: seconds(31))
    #expect(tracker.addresses == addresses("10.0.0.1", "2001:db8::1"))
    #expect(tracker.state == .failing(.serverFailed))
  }

  @Test(arguments: NameAbsence.allCases)
  func `that there is none is believed when it has been said for a while`(absence: NameAbsence) {
    let tracker = tracker(answer(["10.0.0.1"]))
    var now = seconds(30)
    while now < seconds(60) {
      _ = tracker.questions(now: now)
      #expect(!tracker.answered(.v4, .absent(absence), now: now), "\((now - seconds(0)))")
      _ = tracker.answered(.v6, .absent(absence), now: now)
      #expect(tracker.addresses == addresses("10.0.0.1"))
      #expect(tracker.state == .absent(absence))
      now = tracker.nextDue
    }
    #expect(now == seconds(60), "asked in time for the end")
    _ = tracker.questions(now: now)
    #expect(tracker.answered(.v4, .absent(absence), now: now))
    #expect(tracker.addresses.isEmpty && tracker.state == .absent(absence))
    #expect(tracker.answered(.v4, answer(["10.0.0.1"]), now: seconds(61)))
  }

  @Test func `a failure in between begins the while anew`() {
    let tracker = tracker(answer(["10.0.0.1"]))
    _ = tracker.answered(.v4, .absent(.noSuchName), now: seconds(30))
    _ = tracker.answered(.v4, .failed(.timedOut), now: seconds(45))
    #expect(!tracker.answered(.v4, .absent(.noSuchName), now: seconds(61)))
    #expect(tracker.answered(.v4, .absent(.noSuchName), now: seconds(91)))
  }

  @Test func `a family goes at once where the other one has addresses`() {
    let tracker = tracker(answer(["10.0.0.1"]), answer(["2001:db8::1"]))
    #expect(tracker.answered(.v6, .absent(.noRecord), now: seconds(30)))
    #expect(tracker.addresses == addresses("10.0.0.1"))
    #expect(tracker.state == .resolved)
  }

  /// A name of which only one family is gone does not exist for that family alone: a zone that was
  /// lost says so of both, one after the other, and a server that says it of AAAA alone is broken
  /// (RFC 4074 §4.2).
  @Test func `that the name does not exist lets no family go at once`() {
    for first in NameTracker.Family.allCases {
      let tracker = tracker(answer(["10.0.0.1"]), answer(["2001:db8::1"]))
      let second: NameTracker.Family = first == .v4 ? .v6 : .v4
      #expect(!tracker.answered(first, .absent(.noSuchName), now: seconds(30)))
      #expect(!tracker.answered(second, .absent(.noSuchName), now: seconds(30)))
      #expect(tracker.addresses == addresses("10.0.0.1", "2001:db8::1"))
      #expect(tracker.answered(first, .absent(.noSuchName), now: seconds(60)))
      #expect(tracker.answered(second, .absent(.noSuchName), now: seconds(60)))
      #expect(tracker.addresses.isEmpty)
    }
  }

  @Test func `a family that never had any is asked no more often for it`() {
    let tracker = tracker(answer(["10.0.0.1"]), .absent(.noSuchName))
    #expect(tracker.state == .resolved && tracker.nextDue == seconds(30))
  }

  /// What the other one said before is no answer to a question that is under way.
  @Test func `a family goes once the other one has answered anew`() {
    for first in NameTracker.Family.allCases {
      let tracker = tracker(answer(["10.0.0.1"]), answer(["2001:db8::1"]))
      let second: NameTracker.Family = first == .v4 ? .v6 : .v4
      #expect(tracker.questions(now: seconds(30)) == [.v4, .v6])
      #expect(!tracker.answered(first, .absent(.noRecord), now: seconds(30)))
      #expect(!tracker.answered(second, .absent(.noRecord), now: seconds(30)), "of both: kept")
      #expect(tracker.addresses == addresses("10.0.0.1", "2001:db8::1"))
      #expect(tracker.questions(now: seconds(31)) == [.v4, .v6])
      #expect(!tracker.answered(first, .absent(.noRecord), now: seconds(31)))
      let still = second == .v4 ? "10.0.0.1" : "2001:db8::1"
      #expect(tracker.answered(second, answer([still]), now: seconds(31)), "of one: gone")
      #expect(tracker.addresses == addresses(still) && tracker.state == .resolved)
      #expect(tracker.nextDue == seconds(61))
    }
  }

  @Test func `more addresses than may be are cut, and those that serve stay`() {
    let all = (1...200).map { "10.0.1.\($0)" } + (1...200).map { "10.0.0.\($0)" }
    let tracker = tracker(answer(Array(all[..<200])))
    #expect(tracker.addresses.count == 200 && !tracker.isCut)
    let before = Set(tracker.addresses)
    #expect(tracker.answered(.v4, answer(all.reversed()), now: seconds(30)))
    #expect(tracker.addresses.count == 256 && tracker.isCut)
    #expect(before.isSubset(of: tracker.addresses))
    #expect(!tracker.answered(.v4, answer(all), now: seconds(60)), "the same ones each time")
    _ = tracker.answered(.v6, answer(["2001:db8::1"]), now: seconds(60))
    #expect(tracker.addresses.count == 256, "of both families together")
    _ = tracker.answered(.v4, answer(["10.0.0.1"]), now: seconds(90))
    #expect(tracker.addresses.count == 2 && !tracker.isCut)
  }

  @Test func `a doubted address is asked about again, once for each shortest TTL`() {
    let tracker = tracker(answer(["10.0.0.1"], ttl: 300))
    #expect(tracker.nextDue == seconds(300))
    tracker.doubted()
    tracker.doubted()
    #expect(tracker.nextDue == seconds(1))
    #expect(tracker.questions(now: seconds(1)) == [.v4, .v6])
    tracker.doubted()
    #expect(tracker.questions(now: seconds(9)).isEmpty, "it is being asked")
  }

  @Test func `lost questions are asked again at once`() {
    let tracker = Subject(NamePolicy())
    _ = tracker.questions(now: seconds(0))
    _ = tracker.answered(.v4, answer(["10.0.0.1"]), now: seconds(0))
    tracker.questionsLost()
    #expect(tracker.questions(now: seconds(1)) == [.v6])
  }

  @Test func `what a process before knew serves until DNS has been asked`() {
    let tracker = Subject(NamePolicy())
    tracker.remember(addresses("10.0.0.2", "2001:db8::1", "0.0.0.0"))
    #expect(tracker.isHeard && tracker.addresses == addresses("10.0.0.2", "2001:db8::1"))
    #expect(tracker.questions(now: seconds(0)) == [.v4, .v6])
    _ = tracker.answered(.v4, .failed(.timedOut), now: seconds(1))
    #expect(tracker.addresses == addresses("10.0.0.2", "2001:db8::1"))
  }

  /// Whatever comes in whatever order: the bounds hold.
  @Test func `no sequence of answers breaks a bound`() {
    var random = SeededRandom(seed: 17)
    var policy = NamePolicy()
    policy.maxAddresses = 8
    let tracker = Subject(policy)
    var now = seconds(0)
    for _ in 0..<20_000 {
      _ = tracker.questions(now: now)
      let family: NameTracker.Family = random.next() % 2 == 0 ? .v4 : .v6
      let count = Int(random.next() % 20)
      let found = (0..<count).map { _ in
        family == .v4
          ? IPAddress(v4: UInt32(truncatingIfNeeded: random.next() % 4) << 24 | 7)
          : IPAddress(high: random.next(), low: random.next())
      }
      let answers: [NameAnswer] = [
        .addresses(found, ttl: TimeAmount(nanoseconds: Int64(random.next() % (1 << 40)))),
        .absent(.noSuchName), .absent(.noRecord), .failed(.timedOut), .services([], ttl: .zero),
      ]
      let before = tracker.addresses
      let isChanged = tracker.answered(
        family, answers[Int(random.next() % UInt64(answers.count))], now: now)
      #expect(isChanged == (tracker.addresses != before))
      #expect(tracker.addresses.count <= 8)
      #expect(Set(tracker.addresses).count == tracker.addresses.count)
      #expect(!tracker.addresses.contains { !$0.isBackendAddress })
      #expect(tracker.nextDue == .never || tracker.nextDue <= now + policy.maxTTL)
      now = now + TimeAmount(nanoseconds: Int64(random.next() % 3_000_000_000))
    }
  }
}
