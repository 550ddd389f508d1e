import Foundation
import TestSupport
import Testing

/// What the cache costs (rule 64), and what becomes of what it cannot hold.
@Suite(.blocking) struct `Cache memory` {
  private static let fresh = "Cache-Control: max-age=600"

  /// The content of `/SIZE/NAME`: the pattern from a place that the name decides.
  private static func start(_ name: String) -> Int { (Int(name) ?? 0) * 7919 % 60_000 }

  private static func octets(_ target: String) -> [UInt8] {
    let parts = target.split(separator: "/").map(String.init)
    guard parts.count == 2, let size = Int(parts[0]) else { return [] }
    return Array(longPattern[start(parts[1])..<(start(parts[1]) + size)])
  }

  private static let longPattern = Pattern.prefix(1_200_000)

  private func origin() throws -> CacheOrigin {
    try CacheOrigin { head, _ in
      let body = Self.octets(head.target)
      let text = "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nContent-Length: \(body.count)\r\n\r\n"
      return .octets(Array(text.utf8) + body)
    }
  }

  private func gauge(_ daemon: DaemonProcess, _ name: String) throws -> Int {
    let text = try daemon.admin("/metrics").text
    return text.split(separator: "\n").filter {
      $0.hasPrefix(name + "{") || $0.hasPrefix(name + " ")
    }
    .compactMap { $0.split(separator: " ").last.flatMap { Double($0) }.map { Int($0) } }
    .reduce(0, +)
  }

  @Test func `filled to twice its size it stays within its bound, and every body is whole`() throws
  {
    let origin = try origin()
    var configuration = DaemonConfiguration.cached([origin.address], memory: "64MiB", workers: 2)
    configuration.listener = "keep-alive-requests 1000000"
    try withDaemon(configuration) { daemon in
      // Pools and code have grown to what they need before anything is measured.
      for name in 0..<50 { _ = try daemon.get("/70000/\(name)") }
      let before = try daemon.memoryBytes()
      let sizes = [300, 1500, 4096, 9000, 16_384, 40_000, 70_000, 150_000, 400_000, 1_000_000]
      let rounds = 2 * (64 << 20) / sizes.reduce(0, +) + 1
      let port = daemon.port
      let failures = try together(4) { part in
        let client = try WireConnection.connect(port: port)
        client.stepSeconds = 30
        var failures = 0
        for round in 0..<rounds where round % 4 == part {
          for size in sizes {
            // The second time from the cache, unless it went meanwhile.
            for _ in 0..<2 {
              let target = "/\(size)/\(1000 + round)"
              try client.send("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")
              let response = try client.readResponse()
              if response.status != 200 || response.body != Self.octets(target) { failures += 1 }
            }
          }
        }
        return failures
      }
      #expect(failures.reduce(0, +) == 0)
      let grown = try daemon.memoryBytes() - before
      #expect(grown <= 80 << 20, "\(grown >> 20) MiB")
      #expect(try gauge(daemon, "weir_cache_bytes") <= 64 << 20)
      #expect(try gauge(daemon, "weir_cache_evictions_total") > 0)
      // It is used, not just bounded.
      #expect(try gauge(daemon, "weir_cache_bytes") > 40 << 20)
    }
  }

  @Test func `a tiny object costs at most a KiB`() throws {
    let origin = try origin()
    // The others to `make soak`: each is a fetch of a debug build.
    let count = ProcessInfo.processInfo.environment["WEIR_SOAK"] != nil ? 100_000 : 10_000
    var configuration = DaemonConfiguration.cached([origin.address], memory: "128MiB")
    configuration.listener = "keep-alive-requests 1000000"
    try withDaemon(configuration) { daemon in
      func fill(_ names: Range<Int>) throws {
        let client = try daemon.connect()
        for name in names {
          try client.send("GET /8/\(name) HTTP/1.1\r\nHost: a\r\n\r\n")
          guard try client.readResponse().status == 200 else { throw TestFailure("\(name)") }
        }
      }
      try fill(0..<2000)
      let before = (try daemon.memoryBytes(), try gauge(daemon, "weir_cache_bytes"))
      try fill(2000..<(2000 + count))
      let areAll = try Poll.until(.patient) {
        try gauge(daemon, "weir_cache_objects") == 2000 + count
      }
      #expect(areAll)
      #expect(try gauge(daemon, "weir_cache_bytes") - before.1 <= count << 10)
      let grown = try daemon.memoryBytes() - before.0
      #expect(grown <= count << 10, "\(grown / count) octets each")
    }
  }

  @Test func `an object above the limit is delivered whole, whatever is said of its length`() throws
  {
    let length = 3_000_000
    let origin = try CacheOrigin { head, _ in
      .byHand { connection in
        let head =
          "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\n"
          + (head.target == "/known"
            ? "Content-Length: \(length)\r\n\r\n"
            : head.target == "/chunked" ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n")
        try connection.send(head)
        if head.contains("chunked") {
          try Pattern.sendChunked(length, on: connection)
        } else {
          try Pattern.send(length, on: connection)
        }
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "cache main memory=16MiB max-object=1MiB"
    configuration.route = "cache main"
    try withDaemon(configuration) { daemon in
      for path in ["/known", "/chunked", "/close"] {
        for _ in 0..<2 {
          let response = try daemon.get(path)
          #expect(response.status == 200 && Pattern.isPrefix(response.body, length), "\(path)")
          #expect(!CacheWord(response).isHit, "\(path)")
        }
        #expect(origin.asked(path).count == 2)
      }
      let isEmpty = try Poll.until(.patient) { try gauge(daemon, "weir_cache_objects") == 0 }
      #expect(isEmpty)
    }
  }

  @Test func `a reader that stands still holds up no memory, and not for ever the others`() throws {
    let length = 64 << 20
    let gate = Gate()
    let origin = try CacheOrigin { _, _ in
      .byHand { connection in
        try connection.send(
          "HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nTransfer-Encoding: chunked\r\n\r\n")
        try gate.pass()
        try Pattern.sendChunked(length, on: connection)
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "cache main memory=16MiB max-object=1MiB"
    configuration.route = "cache main"
    configuration.listener = "send-timeout 3s"
    try withDaemon(configuration) { daemon in
      let request = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
      let stalled = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 16 << 10)
      try stalled.send(request)
      let fast = try daemon.connect()
      fast.stepSeconds = 30
      #expect(origin.wait { $0.count == 1 })
      try fast.send(request)
      let head = try fast.readHead()
      let before = try daemon.memoryBytes()
      gate.open()
      var check = PatternCheck()
      var most = 0
      var seen = 0
      _ = try fast.readRequestBody(head) { octets in
        check.add(octets)
        if check.count - seen > 4 << 20 {
          seen = check.count
          most = max(most, try daemon.memoryBytes())
        }
      }
      #expect(check.isIntact && check.count == length)
      #expect(origin.requests.count == 1, "both read one fetch")
      #expect(most - before < 24 << 20, "\((most - before) >> 20) MiB")
      // The one that stood still was given up, and knows that it has not got everything.
      #expect(throws: WireError.self) { try stalled.readResponse() }
    }
  }
}
