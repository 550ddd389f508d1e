import Foundation
import TestSupport
import Testing

/// Connections in TLS that nobody uses give most of their memory back, and nobody notices.
@Suite(.blocking) struct `TLS connections at rest` {
  private static let count = 100
  /// All addresses for blocks that can rest.
  private static let reservation: UInt64 = 8 << 30

  private func configuration(_ backends: [String], _ more: String) throws -> DaemonConfiguration {
    let pair = try `TLS listeners`.certificates.get().issue(["example.com"])
    var configuration = DaemonConfiguration(backends)
    configuration.listener = "\(more)\ntls {\n\(pair.directive)\n}"
    return configuration
  }

  private func connect(_ daemon: DaemonProcess, _ tls: TestTLS) throws -> WireConnection {
    let connection = try daemon.connect()
    try connection.startTLS(tls, name: "example.com")
    return connection
  }

  private struct Mapping {
    let start: UInt64
    let end: UInt64
    let isAccessible: Bool
    var residentKiB = 0
    var takesHugePages = true
  }

  private func mappings(of pid: pid_t) throws -> [Mapping] {
    let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/\(pid)/smaps"))
    defer { try? file.close() }
    var found: [Mapping] = []
    for line in String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self).split(
      separator: "\n")
    {
      let words = line.split(separator: " ", omittingEmptySubsequences: true)
      switch words[0] {
      case "Rss:": found[found.count - 1].residentKiB = Int(words[1]) ?? 0
      case "VmFlags:": found[found.count - 1].takesHugePages = !words.contains("nh")
      case let name where name.hasSuffix(":"): break
      default:
        let ends = words[0].split(separator: "-").map { UInt64($0, radix: 16) ?? 0 }
        found.append(Mapping(start: ends[0], end: ends[1], isAccessible: words[1] != "---p"))
      }
    }
    return found
  }

  /// True once all of them rest: the kernel's word for the memory of the blocks that can, which are
  /// what is accessible of the one reservation of that size that wants no huge pages. (The
  /// allocators of sanitizers have such ones with them.)
  private func rest(_ daemon: DaemonProcess) throws -> Bool {
    try Poll.until(.patient) {
      let all = try mappings(of: daemon.pid)
      let found = zip(all, all.dropFirst()).filter { blocks, others in
        blocks.isAccessible && !blocks.takesHugePages && !others.isAccessible
          && others.start == blocks.end && others.end - blocks.start == Self.reservation
      }
      try #require(found.count == 1, "\(found)")
      // A few other blocks of OpenSSL's have the same size.
      return found[0].0.residentKiB < 8 * Self.count / 4
    }
  }

  @Test func `answer the next request as the first one, again and again`() throws {
    let origin = try HTTPOrigin()
    let tls = try TestTLS(trusting: `TLS listeners`.certificates.get().authority)
    try withDaemon(configuration([origin.address], "keep-alive-timeout 1m")) { daemon in
      let clients = try (0..<Self.count).map { _ in try connect(daemon, tls) }
      for round in 0..<2 {
        for (number, client) in clients.enumerated() {
          try client.send("GET /bytes/\(number * 50) HTTP/1.1\r\nHost: example.com\r\n\r\n")
          #expect(Pattern.isPrefix(try client.readResponse().body, number * 50), "\(round)")
        }
        #expect(try rest(daemon), "\(round)")
      }
    }
  }

  @Test func `end in order when their time is over`() throws {
    let origin = try HTTPOrigin()
    let tls = try TestTLS(trusting: `TLS listeners`.certificates.get().authority)
    try withDaemon(configuration([origin.address], "keep-alive-timeout 6s")) { daemon in
      let clients = try (0..<Self.count).map { _ in try connect(daemon, tls) }
      for client in clients {
        try client.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n")
        #expect(try client.readResponse().text == "origin")
      }
      #expect(try rest(daemon))
      // An end without close_notify throws.
      for client in clients { #expect(try !client.hasMore()) }
    }
  }

  @Test func `in HTTP/2 they take streams again`() throws {
    let origin = try HTTPOrigin()
    let tls = try TestTLS(
      trusting: `TLS listeners`.certificates.get().authority, offering: ["h2"])
    try withDaemon(configuration([origin.address], "keep-alive-timeout 1m")) { daemon in
      let clients = try (0..<Self.count).map { _ in
        try HTTP2Connection(connect(daemon, tls))
      }
      for round in 0..<2 {
        for client in clients {
          let stream = UInt32(round * 2 + 1)
          try client.request(stream, "GET", "/a")
          #expect(try client.answer(stream).content == Array("origin".utf8))
        }
        #expect(try rest(daemon), "\(round)")
      }
    }
  }
}
