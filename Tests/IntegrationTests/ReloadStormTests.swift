import Foundation
import TestSupport
import Testing

/// Reload after reload under every kind of traffic, half of them of a broken file. `WEIR_SOAK=1`
/// has a hundred.
@Suite(.blocking) struct `A storm of reloads` {
  private static let rounds =
    ProcessInfo.processInfo.environment["WEIR_SOAK"] == nil ? 16 : 100
  private static let downloadBytes = 24_000_000

  private func echo() throws -> ScriptedOrigin {
    try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
      while try connection.hasMore() { try connection.send(connection.read(8)) }
    }
  }

  private func openTunnel(_ daemon: DaemonProcess) throws -> WireConnection {
    let tunnel = try daemon.connect()
    try tunnel.send(
      "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    guard try tunnel.readHead().status == 101 else { throw TestFailure("no tunnel") }
    return tunnel
  }

  @Test func `closes nothing, fails nothing, and keeps no memory`() throws {
    let origins = try ["a", "b"].map { try HTTPOrigin($0) }
    let chat = try echo()
    var good = DaemonConfiguration(origins.map(\.address))
    good.workers = 2
    good.blocks = """
      upstream chat { \n backend \(chat.address) \n }
      route /chat { \n upstream chat \n }
      """
    var broken = good
    broken.route = "colour blue"
    let port = Ports.take()
    try withDaemon(good) { daemon in
      let tunnels = try (0..<4).map { _ in try openTunnel(daemon) }
      let download = try daemon.connect()
      try download.send("GET /bytes/\(Self.downloadBytes) HTTP/1.1\r\nHost: a\r\n\r\n")
      let head = try download.readHead()
      let load = ClosedLoopLoad(port: daemon.port, connections: 4)
      let streams = try ChildProcess(
        "h2load", ["-c", "2", "-m", "8", "-D", "600", "http://127.0.0.1:\(daemon.port)/bytes/100"])
      var received: [UInt8] = []
      var memory = 0
      for round in 0..<Self.rounds {
        #expect(load.waitForMore(10))
        if round % 2 == 0 {
          good.top = "max-connections \(1000 + round)"
          good.listener = round % 4 == 0 ? "bind 127.0.0.1:\(port)" : ""
          #expect(try daemon.reload(good).ending == .exit(0))
        } else {
          #expect(try daemon.reload(broken).ending == .exit(1))
        }
        for tunnel in tunnels {
          try tunnel.send("\(10_000_000 + round)")
          #expect(try tunnel.read(8) == Array("\(10_000_000 + round)".utf8))
        }
        received += try download.read(Self.downloadBytes / Self.rounds / 2)
        if round == Self.rounds / 4 { memory = try daemon.memoryBytes("RssAnon") }
      }
      let after = try daemon.memoryBytes("RssAnon")
      #expect(after < memory + 8 << 20, "\(memory) octets, then \(after)")
      received += try download.read(Self.downloadBytes - received.count)
      #expect(head.status == 200 && received == Pattern.prefix(Self.downloadBytes))
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(3)) of \(outcome.completed)")
      // Two connections of HTTP/2 have lasted all the time, and nobody got an error.
      #expect(streams.ending == nil, "\(streams.output)")
      let page = try daemon.metrics { $0.contains("\nweir_http2_connections_total 2\n") }
        .split(separator: "\n")
      #expect(page.contains("weir_config_generation \(1 + Self.rounds / 2)"))
      #expect(page.contains("weir_http2_connections_total 2"))
      let errors = page.filter { $0.hasPrefix("weir_route_responses_total") && $0.contains("5xx") }
      #expect(!errors.isEmpty && errors.allSatisfy { $0.hasSuffix(" 0") }, "\(errors)")
      streams.kill(SIGKILL)
    }
  }
}
