import Foundation
import TestSupport
import Testing

/// Bodies far larger than memory pass with constant memory, in both directions and codings, and
/// every octet is compared. Serialized: these are the tests that move gigabytes.
@Suite(.blocking, .serialized) struct BigBodyTests {
  /// 1 GiB in `make test`, 10 GiB in `make soak`.
  static let size = (ProcessInfo.processInfo.environment["WEIR_SOAK"] == nil ? 1 : 10) << 30
  static let allowedGrowth = 4 << 20

  enum Way: String, CaseIterable, Sendable {
    case responseLength, responseChunked, responseUntilClose, requestLength, requestChunked
  }

  @Test(.timeLimit(.minutes(20)), arguments: Way.allCases)
  func `peak memory grows by less than 4 MiB`(way: Way) throws {
    let origin = try HTTPOrigin()
    let size = Self.size
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      // Buffers, pipes and the first page of everything are there after a first, small round.
      try transfer(way, 8 << 20, daemon)
      let before = try daemon.memoryBytes("VmHWM")
      try transfer(way, size, daemon)
      let growth = try daemon.memoryBytes("VmHWM") - before
      #expect(growth < Self.allowedGrowth, "\(way): peak memory grew by \(growth >> 10) KiB")
    }
  }

  private func transfer(_ way: Way, _ size: Int, _ daemon: DaemonProcess) throws {
    let client = try daemon.connect()
    client.stepSeconds = 60
    var check = PatternCheck()
    switch way {
    case .responseLength, .responseChunked, .responseUntilClose:
      let verb = [Way.responseLength: "bytes", .responseChunked: "chunked"][way] ?? "close"
      try client.send("GET /\(verb)/\(size) HTTP/1.1\r\nHost: a\r\n\r\n")
      _ = try client.readResponse { check.add($0) }
      #expect(check.count == size && check.isIntact, "\(way)")
    case .requestLength:
      try client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n")
      try Pattern.send(size, on: client)
    case .requestChunked:
      try client.send("PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
      try Pattern.sendChunked(size, on: client)
    }
    if way == .requestLength || way == .requestChunked {
      let response = try client.readResponse()
      #expect(response["x-content-count"] == "\(size)", "\(way)")
      #expect(response["x-content-intact"] == "yes", "\(way)")
    }
  }

  @Test func `a slow reader holds its sender back instead of filling memory`() throws {
    let sent = Monitor(0)
    let origin = try ScriptedOrigin(keepLimit: 1000) { connection, _ in
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
      connection.stepSeconds = 60
      let block = [UInt8](repeating: 7, count: 65536)
      while true {
        try connection.send(block)
        sent.update { $0 += block.count }
      }
    }
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 65536)
      try client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
      _ = try client.readHead()
      // The origin stands still when the kernel's buffers and weir's are full.
      var last = -1
      while last != sent.current {
        last = sent.current
        _ = sent.wait(until: .after(0.5)) { $0 > last + (1 << 20) }
      }
      try expectHeldBack(last, daemon, "left the origin for a client that reads nothing")
    }
  }

  @Test func `a slow backend holds an upload back`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      _ = connection.staysSilent(for: 0)
      _ = Poll.until(.after(3)) { false }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "idle-timeout 2s"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      client.stepSeconds = 0.5
      try client.send("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
      var sent = 0
      let block = [UInt8](repeating: 7, count: 65536)
      while (try? client.send(block)) != nil && sent < 1 << 30 { sent += block.count }
      try expectHeldBack(sent, daemon, "were taken for a backend that reads nothing")
    }
  }

  /// Of a gigabyte, no more is under way than the kernel may hold for the two connections and
  /// weir's pipe or buffer; and the daemon's own memory is that of a few buffers.
  private func expectHeldBack(_ sent: Int, _ daemon: DaemonProcess, _ what: String) throws {
    let most = try 2 * KernelQueues.mostPerDirection() + (4 << 20)
    #expect(sent < min(most, 900 << 20), "\(sent >> 20) MiB \(what)")
    let memory = try daemon.memoryBytes("RssAnon")
    #expect(memory < 48 << 20, "\(memory >> 20) MiB")
  }
}
