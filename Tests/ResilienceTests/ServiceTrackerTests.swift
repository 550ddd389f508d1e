import Primitives
import Testing

@testable import Resilience

/// What answers about a service and its hosts do to its addresses.
@Suite struct ServiceTrackerTests {
  /// A tracker in a place, asked and answered at second 0 unless said otherwise.
  @dynamicMemberLookup
  private final class Subject {
    private var tracker: ServiceTracker
    init(_ change: (inout NamePolicy) -> Void = { _ in }) {
      var policy = NamePolicy()
      change(&policy)
      tracker = ServiceTracker(policy)
    }

    subscript<Value>(dynamicMember path: KeyPath<ServiceTracker, Value>) -> Value {
      tracker[keyPath: path]
    }
    func questions(at time: Int64 = 0) -> [ServiceTracker.Question] {
      tracker.questions(now: Subject.second(time))
    }
    @discardableResult
    func records(_ answer: NameAnswer, at time: Int64 = 0) -> Bool {
      tracker.answered(.records, answer, now: Subject.second(time))
    }
    /// Both families: this, and none.
    @discardableResult
    func host(_ host: String, _ addresses: [String], ttl: Int64 = 30, at time: Int64 = 0) -> Bool {
      let found = NameAnswer.addresses(
        addresses.compactMap { IPAddress($0) }, ttl: .seconds(ttl))
      let now = Subject.second(time)
      let first = tracker.answered(.host(host, .v4), found, now: now)
      return tracker.answered(.host(host, .v6), .absent(.noRecord), now: now) || first
    }
    @discardableResult
    func hostFails(_ host: String, at time: Int64 = 0) -> Bool {
      let now = Subject.second(time)
      let first = tracker.answered(.host(host, .v4), .failed(.timedOut), now: now)
      return tracker.answered(.host(host, .v6), .failed(.timedOut), now: now) || first
    }
    @discardableResult
    func hostIsGone(_ host: String, at time: Int64 = 0) -> Bool {
      let now = Subject.second(time)
      let first = tracker.answered(.host(host, .v4), .absent(.noSuchName), now: now)
      return tracker.answered(.host(host, .v6), .absent(.noSuchName), now: now) || first
    }
    func doubted(_ address: String) { IPAddress(address).map { tracker.doubted($0) } }
    var hosts: [String] { tracker.addresses.map(\.host) }
    func remember(_ found: [ServiceTracker.Found]) { tracker.remember(found) }
    static func second(_ count: Int64) -> MonotonicTime {
      MonotonicTime(nanoseconds: 1_000_000_000_000) + .seconds(count)
    }
    /// `address:port*weight`, `b` where it is a backup.
    var text: [String] {
      tracker.addresses.map { "\($0.address):\($0.port)*\($0.weight)\($0.isBackup ? "b" : "")" }
    }
  }

  private func services(
    _ records: [(String, UInt16, UInt16, UInt16)], ttl: Int64 = 30
  ) -> NameAnswer {
    .services(
      records.map { ServiceRecord(host: $0.0, port: $0.1, priority: $0.2, weight: $0.3) },
      ttl: .seconds(ttl))
  }

  @Test func `hosts are asked when the records are known`() {
    let subject = Subject()
    #expect(subject.questions() == [.records])
    #expect(!subject.isHeard && subject.state == .pending)
    subject.records(services([("a.", 80, 1, 10), ("b.", 81, 1, 20)]))
    #expect(
      subject.questions()
        == [.host("a.", .v4), .host("a.", .v6), .host("b.", .v4), .host("b.", .v6)])
    #expect(!subject.isHeard, "nothing can be said of the hosts")
    #expect(!subject.host("a.", ["10.0.0.1"]), "they come together")
    #expect(subject.host("b.", ["10.0.0.2", "10.0.0.3"]))
    #expect(subject.text == ["10.0.0.1:80*10", "10.0.0.2:81*20", "10.0.0.3:81*20"])
    #expect(subject.isHeard && subject.state == .resolved)
  }

  @Test func `priorities behind the first are backups, and take its place where it has none`() {
    let subject = Subject()
    subject.records(services([("spare.", 80, 20, 5), ("main.", 80, 10, 5), ("last.", 80, 30, 5)]))
    subject.host("main.", ["10.0.0.1"])
    subject.host("spare.", ["10.0.0.2"])
    subject.host("last.", ["10.0.0.3"])
    #expect(subject.text == ["10.0.0.1:80*5", "10.0.0.2:80*5b", "10.0.0.3:80*5b"])
    subject.records(services([("spare.", 80, 20, 5), ("gone.", 80, 10, 5)]), at: 30)
    subject.hostFails("gone.", at: 30)
    #expect(subject.text == ["10.0.0.2:80*5"])
    #expect(subject.state == .failing(.timedOut))
  }

  @Test(arguments: [
    ([0, 0], ["1", "1"]), ([0, 10], ["1", "10"]), ([256, 1], ["256", "1"]),
    ([65_535, 6_553], ["256", "25"]), ([65_535, 1], ["256", "1"]),
  ])
  func `weights are 1 to 256`(given: [UInt16], wanted: [String]) {
    let subject = Subject()
    subject.records(services([("a.", 80, 1, given[0]), ("b.", 80, 1, given[1])]))
    subject.host("a.", ["10.0.0.1"])
    subject.host("b.", ["10.0.0.2"])
    #expect(subject.text == ["10.0.0.1:80*\(wanted[0])", "10.0.0.2:80*\(wanted[1])"])
  }

  @Test func `an address and port is one backend, however often it is named`() {
    let subject = Subject()
    subject.records(
      services([("a.", 80, 2, 9), ("a.", 80, 1, 3), ("b.", 80, 1, 7), ("a.", 81, 1, 1)]))
    subject.host("a.", ["10.0.0.1"])
    subject.host("b.", ["10.0.0.1"])
    #expect(subject.text == ["10.0.0.1:80*3", "10.0.0.1:81*1"])
  }

  @Test func `a service that moves as a whole has addresses all the time`() {
    let subject = Subject()
    subject.records(services([("a.", 80, 1, 1)]))
    subject.host("a.", ["10.0.0.1"])
    subject.records(services([("b.", 80, 1, 1), ("c.", 80, 1, 1)]), at: 30)
    #expect(subject.text == ["10.0.0.1:80*1"])
    subject.host("b.", ["10.0.0.2"], at: 30)
    #expect(subject.text == ["10.0.0.1:80*1"])
    subject.hostFails("c.", at: 36)
    #expect(subject.text == ["10.0.0.2:80*1"])
    #expect(!subject.questions(at: 400).contains(.host("a.", .v4)), "nobody needs it any more")
  }

  /// One dead backend of a thousand must not have a thousand names asked for all the time.
  @Test func `a doubted address has its own host asked about, and no other one`() {
    let subject = Subject()
    _ = subject.questions()
    subject.records(services([("a.", 80, 1, 1), ("b.", 80, 1, 1)]))
    _ = subject.questions()
    subject.host("a.", ["10.0.0.1"])
    subject.host("b.", ["10.0.0.2"])
    subject.doubted("10.0.0.2")
    #expect(subject.questions(at: 1) == [.records, .host("b.", .v4), .host("b.", .v6)])
    subject.doubted("10.0.0.3")
    #expect(subject.questions(at: 2) == [], "those are being asked")
  }

  @Test func `names of hosts that change with each answer are not collected`() {
    let subject = Subject()
    for round in 0..<50 {
      let time = Int64(round) * 30
      let hosts = (0..<20).map { ("host\(round)-\($0).", UInt16(80), UInt16(1), UInt16(1)) }
      subject.records(services(hosts), at: time)
      #expect(subject.questions(at: time).count <= 41)
    }
  }

  @Test func `failures keep what there is`() {
    let subject = Subject()
    subject.records(services([("a.", 80, 1, 1)]))
    subject.host("a.", ["10.0.0.1"])
    for time in stride(from: Int64(30), to: 3000, by: 10) {
      #expect(!subject.records(.failed(.serverFailed), at: time))
      #expect(!subject.hostFails("a.", at: time))
    }
    #expect(subject.text == ["10.0.0.1:80*1"] && subject.state == .failing(.serverFailed))
  }

  @Test func `no record, or one that says that there is no service, is believed after a while`() {
    let nobody: [NameAnswer] = [
      .absent(.noSuchName), services([(".", 0, 0, 0)]), services([("a.", 0, 0, 0)]),
    ]
    for answer in nobody {
      let subject = Subject()
      subject.records(services([("a.", 80, 1, 1)]))
      subject.host("a.", ["10.0.0.1"])
      #expect(!subject.records(answer, at: 30))
      #expect(subject.text == ["10.0.0.1:80*1"])
      #expect(subject.records(answer, at: 60))
      #expect(subject.text.isEmpty)
    }
  }

  @Test func `more than may be are cut, the first priority stays`() {
    let subject = Subject { $0.maxAddresses = 3 }
    subject.records(
      services([("z.", 80, 1, 1), ("a.", 80, 2, 1), ("b.", 80, 2, 1), ("c.", 80, 2, 1)]))
    for host in ["z.", "a.", "b."] { subject.host(host, ["10.0.0.\(host.utf8.first ?? 0)"]) }
    #expect(subject.text.count == 3 && subject.isCut)
    #expect(subject.text.first == "10.0.0.122:80*1")
    subject.host("z.", ["10.0.0.1", "10.0.0.2", "10.0.0.3"], at: 30)
    #expect(subject.text == ["10.0.0.1:80*1", "10.0.0.2:80*1", "10.0.0.3:80*1"])
  }

  @Test func `what a process before knew serves until the records are known`() throws {
    let subject = Subject()
    let address = try #require(IPAddress("10.0.0.9"))
    subject.remember([.init(address: address, port: 80, weight: 3, isBackup: false, host: "a.")])
    #expect(subject.isHeard && subject.text == ["10.0.0.9:80*3"])
    #expect(!subject.records(.failed(.timedOut)))
    #expect(!subject.records(services([("b.", 80, 1, 1)]), at: 1))
    #expect(subject.host("b.", ["10.0.0.1"], at: 1))
    #expect(subject.text == ["10.0.0.1:80*1"])
  }

  @Test func `records whose hosts cannot be resolved take nobody's place`() throws {
    let subject = Subject()
    subject.records(services([("a.", 80, 1, 1)]))
    subject.host("a.", ["10.0.0.1"])
    subject.records(services([("b.", 80, 1, 1), ("c.", 80, 1, 1)]), at: 30)
    subject.hostFails("b.", at: 30)
    #expect(!subject.hostFails("c.", at: 30))
    #expect(subject.text == ["10.0.0.1:80*1"])
    #expect(subject.state == .failing(.timedOut))
    // That one of them has none is no reason either, while another one fails.
    for time in stride(from: Int64(31), to: 300, by: 10) {
      #expect(!subject.hostIsGone("c.", at: time))
      #expect(!subject.hostFails("b.", at: time))
    }
    #expect(subject.text == ["10.0.0.1:80*1"])
    #expect(subject.host("b.", ["10.0.0.2"], at: 300))
    #expect(subject.text == ["10.0.0.2:80*1"])
  }

  @Test func `that no host of the records has an address is believed after a while`() {
    let subject = Subject()
    subject.records(services([("a.", 80, 1, 1)]))
    subject.host("a.", ["10.0.0.1"])
    subject.records(services([("b.", 80, 1, 1), ("c.", 80, 1, 1)]), at: 30)
    for time in stride(from: Int64(30), to: 60, by: 10) {
      #expect(!subject.hostIsGone("b.", at: time) && !subject.hostIsGone("c.", at: time))
      #expect(subject.text == ["10.0.0.1:80*1"], "\(time)")
    }
    subject.hostIsGone("b.", at: 60)
    #expect(subject.hostIsGone("c.", at: 60))
    #expect(subject.text.isEmpty)
  }

  @Test func `what a process before knew serves until a host of the records is known`() throws {
    let subject = Subject()
    let address = try #require(IPAddress("10.0.0.9"))
    subject.remember([.init(address: address, port: 80, weight: 3, isBackup: false, host: "a.")])
    subject.records(services([("a.", 80, 1, 3)]))
    #expect(!subject.hostFails("a."))
    #expect(subject.text == ["10.0.0.9:80*3"])
    #expect(subject.host("a.", ["10.0.0.1"], at: 1))
    #expect(subject.text == ["10.0.0.1:80*3"])
  }

  /// They become the Host field of requests, and go into logs and documents.
  @Test(arguments: [
    "a b.", "a\\032b.", "a/b.", "a:80.", "a\\@b.", "\"a.", "a,b.", "a..", ".", "ä.", "a\r\n.",
    "[::1].", String(repeating: "a", count: 64) + ".", String(repeating: "aa.", count: 85),
  ])
  func `a record whose host is no host name is left out`(host: String) {
    let subject = Subject()
    subject.records(services([(host, 80, 1, 1), ("_fine-1.test.", 80, 2, 1)]))
    #expect(subject.questions() == [.host("_fine-1.test.", .v4), .host("_fine-1.test.", .v6)])
    subject.host("_fine-1.test.", ["10.0.0.1"])
    #expect(subject.text == ["10.0.0.1:80*1"])
    // Where there is none but these, nobody said anything that could be believed; the root says
    // that there is no service.
    subject.records(services([(host, 80, 1, 1)]), at: 30)
    let isRoot = host == "."
    #expect(subject.state == (isRoot ? .absent(.noRecord) : .failing(.badAnswer)))
    #expect(subject.text == ["10.0.0.1:80*1"])
  }

  @Test func `what a process before knew of a host that is none is left out`() throws {
    let subject = Subject()
    let address = try #require(IPAddress("10.0.0.9"))
    subject.remember(
      ["a\r\nb.", "good.test."].map {
        .init(address: address, port: 80, weight: 3, isBackup: false, host: $0)
      })
    #expect(subject.hosts == ["good.test."])
  }
}
