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

  /// True once all of them rest: the kernel's word for the memory of the blocks that can, which are
  /// what is accessible of the one reservation of that size. (Sanitizers have large ones too.)
  private func rest(_ daemon: DaemonProcess) throws -> Bool {
    try Poll.until(.patient) {
      var (previous, resident, found) = ((start: UInt64(0), end: UInt64(0)), 0, [Int]())
      let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/\(daemon.pid)/smaps"))
      defer { try? file.close() }
      let smaps = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
      for line in smaps.split(separator: "\n") {
        let words = line.split(separator: " ", omittingEmptySubsequences: true)
        if words.count > 4, words[1].count == 4 {
          let ends = words[0].split(separator: "-").map { UInt64($0, radix: 16) ?? 0 }
          let isRest = words[1] == "---p" && ends[0] == previous.end
          if isRest, ends[1] - previous.start == Self.reservation { found.append(resident) }
          previous = (ends[0], ends[1])
        } else if words.first == "Rss:" {
          resident = Int(words[1]) ?? 0
        }
      }
      try #require(found.count == 1, "\(found)")
      // In KiB. A few other blocks of OpenSSL's have the same size.
      return found[0] < 8 * Self.count / 4
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
