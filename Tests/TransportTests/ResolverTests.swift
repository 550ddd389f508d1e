import Primitives
import TestSupport
import Testing
import Transport

/// Questions to a name server of the test's own, as c-ares asks them.
@Suite(.blocking) struct ResolverTests {
  private func resolver(_ server: ScriptedNameServer, tries: Int = 1) throws -> Resolver {
    let resolver = try #require(Resolver())
    var options = ResolverOptions()
    let address = try #require(SocketAddress(server.address))
    options.servers = [address]
    options.timeout = .milliseconds(200)
    options.tries = tries
    #expect(resolver.configure(options))
    return resolver
  }

  /// What the question comes to.
  private func answer(_ resolver: Resolver, _ host: String, isV4: Bool = true) -> NameAnswer? {
    resolver.ask(7, isV4 ? .v4(host: host) : .v6(host: host))
    var found: [Resolver.Finished] = []
    _ = Poll.until(.patient) {
      resolver.advance()
      found += resolver.take()
      return !found.isEmpty
    }
    #expect(found.count == 1 && found.first?.number == 7)
    #expect(resolver.nextDue(now: .now()) == .never, "nothing is asked any more")
    return found.first?.answer
  }

  private func addresses(_ texts: String...) -> [IPAddress] { texts.compactMap { IPAddress($0) } }

  @Test func `addresses of either family, with the shortest TTL of the way there`() throws {
    let server = try ScriptedNameServer()
    let resolver = try resolver(server)
    server.set("a.test", .addresses(["10.0.0.2", "10.0.0.1"], ttl: 77))
    server.set("a.test", .v6, .addresses(["2001:db8::1"], ttl: 5))
    server.set("b.test", .alias("a.test", ["10.0.0.3"], ttl: 60, aliasTTL: 9))
    let both = addresses("10.0.0.2", "10.0.0.1")
    #expect(answer(resolver, "a.test") == .addresses(both, ttl: .seconds(77)))
    #expect(
      answer(resolver, "a.test", isV4: false)
        == .addresses(addresses("2001:db8::1"), ttl: .seconds(5)))
    #expect(
      answer(resolver, "b.test.") == .addresses(addresses("10.0.0.3"), ttl: .seconds(9)))
  }

  @Test func `a TTL with the highest bit set counts as 0`() throws {
    let server = try ScriptedNameServer()
    let resolver = try resolver(server)
    server.set("a.test", .addresses(["10.0.0.1"], ttl: .max))
    #expect(answer(resolver, "a.test.") == .addresses(addresses("10.0.0.1"), ttl: .zero))
  }

  @Test func `records of a service`() throws {
    let server = try ScriptedNameServer()
    let resolver = try resolver(server)
    let name = "_http._tcp.test"
    server.set(
      name, .service,
      .services([(1, 2, 80, "A.test"), (3, 4, 65_535, "b.test"), (0, 0, 0, "")], ttl: 77))
    resolver.ask(1, .service(name))
    var found: [Resolver.Finished] = []
    _ = Poll.until(.patient) {
      resolver.advance()
      found += resolver.take()
      return !found.isEmpty
    }
    guard case .services(let records, let ttl)? = found.first?.answer else {
      Issue.record("no records: \(found)")
      return
    }
    #expect(ttl == .seconds(77))
    #expect(
      Set(records) == [
        ServiceRecord(host: "a.test.", port: 80, priority: 1, weight: 2),
        ServiceRecord(host: "b.test.", port: 65_535, priority: 3, weight: 4),
        ServiceRecord(host: ".", port: 0, priority: 0, weight: 0),
      ])
  }

  @Test func `that there is none is no failure`() throws {
    let server = try ScriptedNameServer()
    let resolver = try resolver(server)
    server.set("a.test", .v6, .addresses(["2001:db8::1"], ttl: 5))
    #expect(answer(resolver, "a.test.") == .absent(.noRecord))
    #expect(answer(resolver, "none.test.") == .absent(.noSuchName))
  }

  @Test func `silence, errors and nonsense are failures`() throws {
    let server = try ScriptedNameServer()
    let resolver = try resolver(server)
    server.answerEverything(.silence)
    #expect(answer(resolver, "a.test.") == .failed(.timedOut))
    for fault in [ScriptedNameServer.Reply.failure, .error(5), .error(4)] {
      server.answerEverything(fault)
      #expect(answer(resolver, "a.test.") == .failed(.serverFailed), "\(fault)")
    }
    server.answerEverything(.octets([0x81, 0x80, 0, 1, 0xFF, 0xFF, 0, 0, 0, 0, 3]))
    guard case .failed? = answer(resolver, "a.test.") else {
      Issue.record("nonsense is taken for an answer")
      return
    }
  }

  @Test func `what does not fit a datagram comes over TCP`() throws {
    let server = try ScriptedNameServer()
    let resolver = try resolver(server)
    let many = (0..<1500).map { "10.0.\($0 / 250).\($0 % 250)" }
    server.set("a.test", .tooLong(.addresses(many, ttl: 1)))
    guard case .addresses(let found, _)? = answer(resolver, "a.test.") else {
      Issue.record("no addresses")
      return
    }
    #expect(found.count == 1500)
    #expect(server.questions.map(\.isTCP) == [false, true])
  }

  @Test func `other servers drop what is being asked, without an answer`() throws {
    let silent = try ScriptedNameServer()
    silent.answerEverything(.silence)
    let server = try ScriptedNameServer()
    server.set("a.test", .addresses(["10.0.0.1"], ttl: 1))
    let resolver = try resolver(silent, tries: 8)
    resolver.ask(1, .v4(host: "a.test."))
    #expect(silent.wait { !$0.isEmpty })
    var options = ResolverOptions()
    options.servers = [try #require(SocketAddress(server.address))]
    #expect(resolver.configure(options))
    #expect(resolver.take().isEmpty)
    #expect(answer(resolver, "a.test.") == .addresses(addresses("10.0.0.1"), ttl: .seconds(1)))
  }

  @Test func `one that could not be set up asks nobody`() throws {
    let server = try ScriptedNameServer()
    server.set("a.test", .addresses(["10.0.0.1"], ttl: 1))
    let resolver = try resolver(server)
    var options = ResolverOptions()
    options.servers = [.unix(path: "/run/no-name-server")]
    #expect(!resolver.configure(options))
    resolver.ask(7, .v4(host: "a.test."))
    #expect(resolver.take() == [.init(number: 7, answer: .failed(.exhausted))])
    #expect(server.questions.isEmpty)
  }

  @Test func `one that was never set up answers all the same`() throws {
    let resolver = try #require(Resolver())
    resolver.ask(7, .v4(host: "a.test."))
    #expect(resolver.take() == [.init(number: 7, answer: .failed(.exhausted))])
  }
}
