import Foundation
import TestSupport
import Testing

/// What a broken or hostile name server can send: weir lives, and the last good set serves.
@Suite(.blocking) struct `Hostile names` {
  private typealias Reply = ScriptedNameServer.Reply
  /// Of a message's head; the question begins behind it.
  private static let headBytes = 12
  private static let good = Reply.addresses(["127.0.0.1"], ttl: 1)

  private func configuration(
    _ server: ScriptedNameServer, _ backends: [String], _ options: String = ""
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    // Silence shall not take long; on a busy machine a good answer may then be late as well.
    configuration.top =
      "resolver \(server.address) min-ttl=100ms max-ttl=200ms timeout=300ms tries=1 "
      + "keep-absent=1h \(options)"
    return configuration
  }

  /// The answer section of a message becomes these octets, and says to be so many records.
  private static func answering(
    _ records: [UInt8], count: UInt16 = 1, of reply: Reply = .empty
  ) -> Reply {
    .changed(reply) { message in
      message[6] = UInt8(count >> 8)
      message[7] = UInt8(count & 0xFF)
      message += records
    }
  }

  /// A record with a pointer to the question as its name: type, class, TTL 1, length, content.
  private static func record(
    _ content: [UInt8], of name: [UInt8] = [0xC0, 12], type: UInt8 = 1, kind: UInt8 = 1,
    length: Int? = nil
  ) -> [UInt8] {
    let length = length ?? content.count
    let numbers: [UInt8] = [
      0, type, 0, kind, 0, 0, 0, 1, UInt8(length >> 8), UInt8(length & 0xFF),
    ]
    return name + numbers + content
  }

  private static let stranger: [UInt8] = [127, 0, 0, 9]
  private static let otherName: [UInt8] = [5] + Array("other".utf8) + [4] + Array("test".utf8) + [0]

  /// None of them names an address of `app.test`.
  private static let worthless: [(what: String, reply: Reply)] = [
    (
      "the identifier of another question",
      .changed(.addresses(["127.0.0.9"], ttl: 1)) { $0[0] ^= 0x55 }
    ),
    (
      "the answer to another question",
      .changed(.addresses(["127.0.0.9"], ttl: 1)) { $0[headBytes + 1] ^= 1 }
    ),
    ("no question", .changed(.addresses(["127.0.0.9"], ttl: 1)) { $0[5] = 0 }),
    ("65,535 questions", .changed(good) { ($0[4], $0[5]) = (0xFF, 0xFF) }),
    ("65,535 records, and none is there", answering([], count: 65_535)),
    ("more records than are there", answering(record(stranger), count: 65_535)),
    ("a name that points to itself", answering(record(stranger, of: [0xC0, 26]))),
    ("a name that points into itself", answering(record(stranger, of: [1, 0x61, 0xC0, 26]))),
    ("a name that points behind the end", answering(record(stranger, of: [0xFF, 0xFF]))),
    ("a label of a reserved kind", answering(record(stranger, of: [0x80, 0x41, 0]))),
    ("an alias that points to itself", answering(record([0xC0, 38], type: 5))),
    ("an alias of no octets", answering(record([], type: 5))),
    ("content behind the end", answering(record(stranger, length: 65_535))),
    ("an address of three octets", answering(record([127, 0, 0]))),
    ("an address of 16 octets", answering(record([UInt8](repeating: 127, count: 16)))),
    ("an address of another class", answering(record(stranger, kind: 3))),
    ("an address of another name", answering(record(stranger, of: otherName))),
    (
      "an alias in a circle",
      answering(
        record(otherName, type: 5) + record([0xC0, 12], of: otherName, type: 5), count: 2)
    ),
    ("nothing but a head", .changed(good) { $0.removeLast($0.count - headBytes) }),
    ("half a head", .changed(good) { $0.removeLast($0.count - headBytes / 2) }),
    ("cut, and cut again over TCP", .changed(.empty) { $0[2] |= 2 }),
    ("cut, and silence over TCP", .tooLong(.silence)),
    ("cut, and nonsense over TCP", .tooLong(.octets([0xFF, 0xFF]))),
    ("an error code that there is not", .error(15)),
  ]

  @Test func `answers that name no address keep the last good set`() throws {
    let origin = try HTTPOrigin("127.0.0.1", host: "127.0.0.1")
    let server = try ScriptedNameServer()
    server.set("app.test", Self.good)
    try withDaemon(configuration(server, ["app.test:\(origin.port)"])) { daemon in
      let isServing = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isServing)
      for (what, reply) in Self.worthless {
        server.answerEverything(reply)
        #expect(server.waitForMore(2, of: "app.test"), "\(what)")
        #expect(try daemon.get("/")["x-origin"] == "127.0.0.1", "\(what)")
      }
      server.answerEverything(nil)
      #expect(Poll.until(.patient) { daemon.process.output.contains("resolved again") })
      #expect(!daemon.process.output.contains("127.0.0.9"), "\(daemon.process.output)")
    }
  }

  @Test func `an address behind a long way of aliases is found, and asked for again in time`()
    throws
  {
    let origin = try HTTPOrigin("127.0.0.1", host: "127.0.0.1")
    let server = try ScriptedNameServer()
    let label = { (number: Int) -> [UInt8] in
      let text = Array("alias-\(number)".utf8)
      return [UInt8(text.count)] + text + [0]
    }
    // The last one has the address.
    let count = 200
    let way = (0..<count).flatMap { number in
      Self.record(label(number + 1), of: number == 0 ? [0xC0, 12] : label(number), type: 5)
    }
    let whole = Self.answering(
      way + Self.record([127, 0, 0, 1], of: label(count)), count: UInt16(count + 1))
    server.set("app.test", .tooLong(whole))
    try withDaemon(configuration(server, ["app.test:\(origin.port)"])) { daemon in
      let isServing = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isServing)
      // 68 years.
      server.set("app.test", .addresses(["127.0.0.1"], ttl: UInt32(Int32.max)))
      #expect(server.waitForMore(3, of: "app.test"), "max-ttl is 200 ms")
      #expect(try daemon.get("/").status == 200)
    }
  }

  @Test func `a message as large as there is fills nothing`() throws {
    let origin = try HTTPOrigin("127.0.0.1", host: "127.0.0.1")
    let server = try ScriptedNameServer()
    // 65,535 octets over TCP: all addresses that fit, over and over, and ours.
    let record = Self.record([127, 0, 0, 1])
    let count = (65_535 - Self.headBytes - 14) / record.count
    let records = (1..<count).flatMap { number in
      Self.record([127, 1, UInt8(number >> 8), UInt8(number & 0xFF)])
    }
    let whole = Self.answering(record + records, count: UInt16(count))
    server.set("app.test", .tooLong(whole))
    try withDaemon(configuration(server, ["app.test:\(origin.port)"], "max-addresses=1")) {
      daemon in
      let isServing = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isServing)
      #expect(daemon.process.waitForOutput { $0.contains("more than 1 addresses") })
      #expect(server.questions.contains { $0.isTCP })
    }
  }

  @Test func `hosts of a service that are no host names get nowhere`() throws {
    let origin = try HTTPOrigin("127.0.0.1", host: "127.0.0.1")
    let server = try ScriptedNameServer()
    let service = "_http._tcp.test"
    let evil = ["evil\r\nX-Evil: 1.test", "evil host.test", "evil/path?.test", "evil:1,x.test"]
    let records = { (hosts: [String]) in
      Reply.services(hosts.map { (1, 1, origin.port, $0) }, ttl: 0)
    }
    server.set(service, .service, records(evil + ["good.test"]))
    server.set("good.test", Self.good)
    for host in evil { server.set(host.lowercased(), Self.good) }
    var configuration = configuration(server, ["srv:\(service)"])
    configuration.upstream = "host backend"
    try withDaemon(configuration) { daemon in
      let isServing = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isServing)
      for _ in 0..<8 {
        let seen = try daemon.get("/echo").text
        #expect(seen.contains("\r\nHost: good.test:\(origin.port)\r\n"), "\(seen)")
      }
      server.set(service, .service, records(evil))
      #expect(daemon.process.waitForOutput { $0.contains("addresses are kept reason=bad_answer") })
      #expect(try daemon.get("/").status == 200)
      #expect(!server.questions.contains { $0.name.contains("evil") }, "nobody asks for them")
      #expect(!daemon.process.output.contains("vil"), "\(daemon.process.output)")
    }
  }

  @Test func `a service that moves to hosts whose names fail stays where it was`() throws {
    let origin = try HTTPOrigin("127.0.0.1", host: "127.0.0.1")
    let server = try ScriptedNameServer()
    let service = "_http._tcp.test"
    server.set(service, .service, .services([(1, 1, origin.port, "old.test")], ttl: 0))
    server.set("old.test", Self.good)
    try withDaemon(configuration(server, ["srv:\(service)"])) { daemon in
      let isServing = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isServing)
      for kind in [ScriptedNameServer.Kind.v4, .v6] { server.set("new.test", kind, .failure) }
      server.set(service, .service, .services([(1, 1, origin.port, "new.test")], ttl: 0))
      #expect(server.waitForMore(2, of: "new.test"))
      #expect(try daemon.get("/").status == 200)
      #expect(daemon.process.waitForOutput { $0.contains("its 1 last addresses are kept") })
      server.set("new.test", Self.good)
      server.set("new.test", .v6, .empty)
      #expect(daemon.process.waitForOutput { $0.contains("name srv:\(service): resolved again") })
      #expect(try daemon.get("/").status == 200)
    }
  }

  /// Octets of good answers changed at random, for many names at once.
  @Test func `no changed octet ends the process`() throws {
    let origin = try HTTPOrigin("127.0.0.1", host: "127.0.0.1")
    let server = try ScriptedNameServer()
    let hosts = (0..<20).map { "host-\($0).test" }
    let services = (0..<10).map { "_s-\($0)._tcp.test" }
    for host in hosts {
      server.set(host, Self.changing(.alias("real.test", ["127.0.0.1"], ttl: 0, aliasTTL: 0)))
      server.set(host, .v6, Self.changing(.alias("real.test", ["::1"], ttl: 0, aliasTTL: 0)))
    }
    for service in services {
      server.set(
        service, .service,
        Self.changing(
          .services([(1, 1, origin.port, "host-1.test"), (2, 9, 1, "host-2.test")], ttl: 0)))
    }
    server.set("app.test", Self.good)
    var configuration = configuration(server, ["app.test:\(origin.port)"])
    configuration.blocks = """
      upstream other {
      \(hosts.map { "backend \($0):\(origin.port)" }.joined(separator: "\n"))
      \(services.map { "backend srv:\($0)" }.joined(separator: "\n"))
      }
      route /other/* {
        upstream other
      }
      """
    try withDaemon(configuration) { daemon in
      #expect(server.wait(60) { $0.count > 3000 })
      let isServing = try Poll.until(.patient) { try daemon.get("/").status == 200 }
      #expect(isServing)
    }
  }

  private static func changing(_ reply: Reply) -> Reply {
    .changed(reply) { message in
      for _ in 0..<Int.random(in: 0...3) {
        message[Int.random(in: 2..<message.count)] = UInt8.random(in: 0...255)
      }
    }
  }
}
