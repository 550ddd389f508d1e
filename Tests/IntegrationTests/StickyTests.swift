import Foundation
import TestSupport
import Testing

/// `sticky cookie`, through the daemon.
@Suite(.blocking) struct `Sticky clients` {
  private struct Site {
    let origins: [HTTPOrigin]
    var configuration: DaemonConfiguration

    init(_ options: String = "") throws {
      origins = try ["a", "b", "c"].map { try HTTPOrigin($0) }
      configuration = DaemonConfiguration(origins.map { "\($0.address) name=\($0.name)" })
      configuration.upstream = "balance round-robin\n  sticky cookie srv \(options)"
      configuration.workers = 2
    }
  }

  /// A client's cookie, as `name=value`, and the backend it was given.
  private func enter(_ daemon: DaemonProcess) throws -> (cookie: String, origin: String) {
    let response = try daemon.get("/")
    let line = try #require(response["set-cookie"])
    let pair = try #require(line.split(separator: ";").first)
    return (String(pair), try #require(response["x-origin"]))
  }

  private func command(_ daemon: DaemonProcess, _ word: String, _ backend: String) throws {
    let done = try daemon.command(word, "app/\(backend)", "--admin", "unix:\(daemon.adminPath)")
    #expect(done.ending == .exit(0), "\(done.output)")
  }

  @Test func `come back to their backend; a drain keeps them, maintenance does not`() throws {
    let site = try Site()
    try withDaemon(site.configuration) { daemon in
      let line = try #require(try daemon.get("/")["set-cookie"])
      #expect(line.hasSuffix("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "\(line)")
      #expect(!line.contains("127.0.0.1"))
      let (cookie, origin) = try enter(daemon)
      func again() throws -> WireResponse {
        try daemon.get("/", fields: "Cookie: theme=dark; \(cookie); x=y\r\n")
      }
      for _ in 0..<8 {
        let response = try again()
        #expect(response["x-origin"] == origin && response["set-cookie"] == nil)
      }
      try command(daemon, "drain", origin)
      #expect(try again()["x-origin"] == origin)
      for _ in 0..<6 { #expect(try daemon.get("/")["x-origin"] != origin) }
      #expect(try daemon.reload(site.configuration).ending == .exit(0))
      #expect(try again()["x-origin"] == origin, "the key and the drain outlive a reload")
      try command(daemon, "maint", origin)
      let moved = try again()
      #expect(moved["x-origin"] != origin && moved["set-cookie"] != nil)
      #expect(try daemon.counts("weir_sticky_requests_total{result=\"broken\"} 1\n"))
      #expect(try daemon.counts("weir_sticky_requests_total{result=\"kept\"} 10\n"))
    }
  }

  @Test func `cannot choose: what weir has not signed, or what is over, is no cookie`() throws {
    let site = try Site("ttl=2s")
    try withDaemon(site.configuration) { daemon in
      let (cookie, origin) = try enter(daemon)
      let last = try #require(cookie.last)
      let forged = String(cookie.dropLast()) + (last == "0" ? "1" : "0")
      for value in [forged, "srv=", "srv=\(origin)", "srv=\(String(repeating: "0", count: 58))"] {
        let origins = try (0..<3).map { _ -> String? in
          let response = try daemon.get("/", fields: "Cookie: \(value)\r\n")
          #expect(response["set-cookie"] != nil)
          return response["x-origin"]
        }
        #expect(Set(origins).count == 3, "\(value)")
      }
      // From half of its life on it is renewed, and then it is over.
      let isRenewed = try Poll.until(.patient) { () throws -> Bool in
        let response = try daemon.get("/", fields: "Cookie: \(cookie)\r\n")
        return response["set-cookie"] != nil
      }
      let isOver = try Poll.until(.patient) { () throws -> Bool in
        try daemon.get("/", fields: "Cookie: \(cookie)\r\n")["x-origin"] != origin
      }
      #expect(isRenewed && isOver)
    }
  }

  @Test func `are known to another weir with the same key, and to no other`() throws {
    var site = try Site()
    let folder = try TemporaryDirectory.make()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try "0123456789abcdef-shared".write(
      toFile: "\(folder)/key", atomically: true, encoding: .utf8)
    site.configuration.upstream =
      "balance round-robin\n  sticky cookie srv key-file=\(folder)/key"
    let (cookie, origin) = try withDaemon(site.configuration) { try enter($0) }
    try withDaemon(site.configuration) { daemon in
      for _ in 0..<4 {
        let response = try daemon.get("/", fields: "Cookie: \(cookie)\r\n")
        #expect(response["x-origin"] == origin)
      }
    }
    site.configuration.upstream = "balance round-robin\n  sticky cookie srv"
    try withDaemon(site.configuration) { daemon in
      let response = try daemon.get("/", fields: "Cookie: \(cookie)\r\n")
      #expect(response["set-cookie"] != nil)
    }
  }

  @Test func `are asked elsewhere when their backend fails, and keep their cookie`() throws {
    let site = try Site()
    try withDaemon(site.configuration) { daemon in
      let (cookie, origin) = try enter(daemon)
      site.origins.first { $0.name == origin }?.stop()
      let isElsewhere = try Poll.until(.patient) { () throws -> Bool in
        let response = try daemon.get("/", fields: "Cookie: \(cookie)\r\n")
        #expect(response.status == 200 && response["set-cookie"] == nil)
        return response["x-origin"] != origin
      }
      #expect(isElsewhere)
    }
  }

  @Test func `keep their backend where a cache asks for them first`() throws {
    let origins = try ["a", "b", "c"].map { name in
      try CacheOrigin { _, _ in
        .text(CacheOrigin.answer(200, ["Cache-Control: private", "X-Origin: \(name)"], name))
      }
    }
    var configuration = DaemonConfiguration.cached(origins.map(\.address))
    configuration.upstream = "balance round-robin\n  sticky cookie srv"
    try withDaemon(configuration) { daemon in
      // A cookie that is set with what a fetch brought names the backend that it came from.
      let (cookie, origin) = try enter(daemon)
      // Each path is fetched for whoever asks first, before weir knows that it cannot be shared.
      for path in 0..<12 {
        let response = try daemon.get("/\(path)", fields: "Cookie: \(cookie)\r\n")
        #expect(response["x-origin"] == origin && response["set-cookie"] == nil, "/\(path)")
      }
    }
  }
}
