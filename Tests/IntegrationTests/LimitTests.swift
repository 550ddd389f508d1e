import Foundation
import TestSupport
import Testing

/// Sizes and counts that a client may not pass (rules 20, 22, 23, 42).
@Suite(.blocking) struct `Limits` {
  @Test func `heads over a limit are refused as soon as it is passed, not at their end`() throws {
    let origin = try HTTPOrigin()
    let rows: [(name: String, unfinished: String, status: Int)] = [
      ("target", "GET /" + String(repeating: "a", count: 8200), 414),
      ("field line", "GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "b", count: 8400), 431),
      (
        "field name", "GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "n", count: 8400), 431
      ),
      (
        "fields",
        "GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "A: b\r\n", count: 101), 431
      ),
      (
        "head",
        "GET / HTTP/1.1\r\nHost: a\r\n"
          + String(repeating: "A: \(String(repeating: "c", count: 1000))\r\n", count: 17), 431
      ),
    ]
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for (name, unfinished, status) in rows {
        let client = try daemon.connect()
        try? client.send(unfinished)
        let response = try client.readResponse()
        #expect(response.status == status, "\(name): \(response.head.text)")
        #expect(response["connection"] == "close", "\(name)")
        #expect(try client.readToEnd().octets.isEmpty, "\(name)")
      }
      #expect(origin.receivedCount == 0)
      // Just below each limit all is well.
      let target = "/" + String(repeating: "a", count: 8100)
      #expect(try daemon.get(target).status == 200)
      #expect(
        try daemon.get("/", fields: "X: \(String(repeating: "b", count: 8000))\r\n").status == 200)
      #expect(try daemon.get("/", fields: String(repeating: "A: b\r\n", count: 97)).status == 200)
    }
  }

  @Test func `configured head limits hold`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = """
      max-header-size 2KiB
      max-header-field 512B
      max-header-fields 10
      max-target 128B
      """
    try withDaemon(configuration) { daemon in
      let rows: [(String, String, Int)] = [
        ("/" + String(repeating: "a", count: 90), "", 200),
        ("/" + String(repeating: "a", count: 130), "", 414),
        ("/", "X: \(String(repeating: "b", count: 600))\r\n", 431),
        ("/", String(repeating: "A: b\r\n", count: 11), 431),
        ("/", String(repeating: "A: \(String(repeating: "c", count: 400))\r\n", count: 6), 431),
      ]
      for (target, fields, status) in rows {
        let response = try daemon.get(target, fields: fields)
        #expect(response.status == status, "\(target.count) \(fields.count)")
      }
    }
  }

  @Test func `content over max-body-size is 413, before it is read where its length is told`()
    throws
  {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = "max-body-size 10KiB"
    try withDaemon(configuration) { daemon in
      for (count, status) in [(10240, 200), (10241, 413)] {
        let known = try daemon.connect()
        try known.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \(count)\r\n\r\n")
        if status == 200 { try Pattern.send(count, on: known) }
        #expect(try known.readResponse().status == status, "length \(count)")
        if status == 413 { #expect(try known.readToEnd().octets.isEmpty) }
        let chunked = try daemon.connect()
        try chunked.send("POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try? Pattern.sendChunked(count, on: chunked)
        #expect(try chunked.readResponse().status == status, "chunked \(count)")
      }
      // A body without end is cut at the limit as well.
      let endless = try daemon.connect()
      try endless.send("POST /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
      for _ in 0..<1000 {
        guard (try? endless.send("400\r\n" + String(repeating: "x", count: 1024) + "\r\n")) != nil
        else { break }
      }
      #expect(try endless.readResponse().status == 413)
    }
    #expect(origin.requests.allSatisfy { $0.contentCount <= 10240 })
    #expect(origin.requests.count == 2, "a refused body never becomes a request")
  }

  @Test func `a connection ends after keep-alive-requests, with notice`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "keep-alive-requests 3"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      for number in 1...3 {
        try client.send("GET /bytes/9 HTTP/1.1\r\nHost: a\r\n\r\n")
        let response = try client.readResponse()
        #expect(response.body.count == 9)
        #expect((response["connection"] == "close") == (number == 3), "request \(number)")
      }
      #expect(try client.readToEnd() == ([], .fin))
    }
  }

  @Test func `a connection ends after keep-alive-time, with notice`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "keep-alive-time 1s"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      let deadline = Deadline.patient
      var isLast = false
      while !isLast && deadline.secondsLeft > 0 {
        try client.send("GET /delay/50 HTTP/1.1\r\nHost: a\r\n\r\n")
        isLast = try client.readResponse()["connection"] == "close"
      }
      #expect(isLast)
      #expect(try client.readToEnd() == ([], .fin))
    }
  }

  /// Rule 42: at the limit the oldest idle connection goes first; a busy one never does.
  @Test func `over max-connections idle ones make room, busy ones stay`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "max-connections 8"
    try withDaemon(configuration) { daemon in
      let busy = try daemon.connect()
      try busy.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(origin.wait { $0.count == 1 })
      var idle: [WireConnection] = []
      for _ in 0..<7 {
        let client = try daemon.connect()
        try client.send("GET /bytes/5 HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readResponse().body.count == 5)
        idle.append(client)
      }
      for number in 0..<5 {
        let client = try daemon.connect()
        try client.send("GET /bytes/6 HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(try client.readResponse().body.count == 6, "newcomer \(number)")
        idle.append(client)
        #expect(try idle[number].readToEnd().octets.isEmpty, "the oldest idle one ends")
      }
      origin.release()
      #expect(try busy.readResponse().status == 200)
      let last = try #require(idle.last)
      try last.send("GET /bytes/7 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try last.readResponse().body.count == 7)
    }
  }

  @Test func `one client's address cannot take all connections`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "max-connections-per-client 3"
    try withDaemon(configuration) { daemon in
      var held: [WireConnection] = []
      for _ in 0..<3 {
        let client = try daemon.connect(source: "127.0.0.9")
        try client.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
        held.append(client)
      }
      #expect(origin.wait { $0.count == 3 })
      let fourth = try daemon.connect(source: "127.0.0.9")
      try? fourth.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      let end = try fourth.readToEnd()
      let text = String(decoding: end.octets, as: UTF8.self)
      #expect(
        end.octets.isEmpty || text.hasPrefix("HTTP/1.1 429") || text.hasPrefix("HTTP/1.1 503"))
      let other = try daemon.connect(source: "127.0.0.10")
      try other.send("GET /bytes/3 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try other.readResponse().body.count == 3)
      origin.release()
      for client in held { #expect(try client.readResponse().status == 200) }
    }
  }

  /// Rule 53: without descriptors weir stays up, does not spin, and serves again at once.
  @Test func `descriptors that run out are waited for, not spun on`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "max-connections 40"
    let daemon = try DaemonProcess(configuration, descriptorLimit: 90)
    var held: [WireConnection] = []
    for _ in 0..<120 {
      guard let client = try? daemon.connect() else { break }
      client.stepSeconds = 0.2
      try? client.send("GET /hold/0 HTTP/1.1\r\nHost: a\r\n\r\n")
      held.append(client)
    }
    let before = try processorSeconds(daemon.pid)
    _ = try #require(held.last).staysSilent(for: 1)
    #expect(try processorSeconds(daemon.pid) - before < 0.1, "spins while it waits")
    for client in held { client.close() }
    held = []
    origin.release()
    let isServing = Poll.until(.patient) { (try? daemon.get("/bytes/4").body.count) == 4 }
    #expect(isServing)
    try daemon.stop()
  }
}

/// User and system time of a process.
func processorSeconds(_ pid: pid_t) throws -> Double {
  let stat = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
  let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
  guard fields.count > 12, let user = Int(fields[11]), let system = Int(fields[12]) else {
    throw TestFailure("no times in \(stat)")
  }
  return Double(user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
}
