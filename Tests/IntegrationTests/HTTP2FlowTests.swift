import Foundation
import TestSupport
import Testing

/// Flow control (RFC 9113 §5.2, §6.9), and clients that do not read (safety rules 32, 36 and 40).
@Suite(.blocking) struct `HTTP/2 flow control` {
  /// An origin that sends without end, and says how much it got rid of.
  private func endless(_ sent: Monitor<[Int]>) throws -> ScriptedOrigin {
    try ScriptedOrigin { connection, number in
      connection.stepSeconds = 120
      let head = try connection.readHead()
      if head.target == "/small" {
        return try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
      let piece = [UInt8](repeating: 0x61, count: 8192)
      while (try? connection.send(piece)) != nil {
        sent.update {
          while $0.count <= number { $0.append(0) }
          $0[number] += piece.count
        }
      }
    }
  }

  /// DATA frames until `count` octets of the stream have come.
  private func read(_ count: Int, of stream: UInt32, _ client: HTTP2Connection) throws {
    var rest = count
    while rest > 0 {
      let frame = try client.next()
      guard frame.type == FrameType.content, frame.stream == stream else {
        client.keep(frame)
        continue
      }
      rest -= frame.payload.count
    }
    #expect(rest == 0)
  }

  @Test func `no octet goes beyond the window, not even where settings make it negative`() throws {
    let sent = Monitor<[Int]>([])
    let origin = try endless(sent)
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2(settings: [(4, 30_000)])
      client.givesWindow = false
      try client.request(1, "GET", "/large")
      try read(30_000, of: 1, client)
      // 30,000 octets in flight, and a window of 1000: −29,000 (§6.9.2).
      try client.send(FrameType.settings, payload: HTTP2Connection.settings([(4, 1000)]))
      try client.window(1, 29_000)
      try client.synchronize()
      #expect(client.wire.staysSilent(for: 0.2))
      try client.window(1, 1)
      try read(1, of: 1, client)
      #expect(client.wire.staysSilent(for: 0.2))
      // Raised again: what was owed comes, and the connection's window ends it at 65,535.
      try client.send(FrameType.settings, payload: HTTP2Connection.settings([(4, 1 << 20)]))
      try read(65_535 - 30_001, of: 1, client)
      try client.synchronize()
      #expect(client.wire.staysSilent(for: 0.2))
      try client.window(0, 10)
      try read(10, of: 1, client)
      // Overflow by settings is an error of the connection (§6.9.2).
      try client.window(1, 0x7FFF_FFFF - (1 << 20))
      try client.send(
        FrameType.settings, payload: HTTP2Connection.settings([(4, 0x7FFF_FFFF)]))
      #expect(try client.untilEnd() == 3)
      #expect(try daemon.comesToRest())
    }
  }

  @Test func `padding counts, and its window comes back`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "POST", "/echo", ends: false)
      // 2000 octets of content in 2 MB of frames: more than both windows, unless they come back.
      var window = 32_768
      var connectionWindow = 1 << 20
      let content = Pattern.prefix(2000)
      for index in 0..<8000 {
        let octets = index % 4 == 0 ? [content[index / 4]] : []
        let payload = [UInt8(255)] + octets + [UInt8](repeating: 0, count: 255)
        while window < payload.count || connectionWindow < payload.count {
          let frame = try client.next()
          guard frame.type == FrameType.windowUpdate else {
            client.keep(frame)
            continue
          }
          let value = Int(frame.payload.reduce(0) { $0 << 8 | UInt32($1) })
          if frame.stream == 0 { connectionWindow += value } else { window += value }
        }
        window -= payload.count
        connectionWindow -= payload.count
        let flags = FrameFlags.padded | (index == 7999 ? FrameFlags.endStream : 0)
        try client.send(FrameType.content, flags: flags, stream: 1, payload: payload)
      }
      let answer = try client.answer(1)
      #expect(answer["x-content-count"] == "2000" && answer["x-content-intact"] == "yes")
    }
  }

  @Test func `content beyond a window is an error of its stream, or of the connection`() throws {
    // Nobody takes the content away, so no window comes back.
    let full = try FullListener()
    var configuration = DaemonConfiguration([full.address])
    configuration.route = "connect-timeout 60s"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      let other = try daemon.connect2()
      for stream: UInt32 in [1, 3] { try client.request(stream, "POST", "/", ends: false) }
      try client.content(1, .init(repeating: 1, count: 32_768), ends: false)
      try client.synchronize()
      try client.content(1, [1], ends: false)
      #expect(try client.answer(1).resetCode == 3)
      // The other stream is as it was.
      try client.content(3, .init(repeating: 1, count: 32_768), ends: false)
      try client.synchronize()
      // weir gives the connection's window back at half of it: beyond 1 MiB nothing is allowed.
      for stream in 0..<40 {
        try other.request(UInt32(stream * 2 + 1), "POST", "/", ends: false)
      }
      var octets: [UInt8] = []
      for stream in 0..<40 {
        for _ in 0..<2 {
          octets += HTTP2Connection.frame(
            FrameType.content, stream: UInt32(stream * 2 + 1),
            payload: .init(repeating: 1, count: 16_384))
        }
      }
      try other.wire.send(octets)
      // 1.25 MB, all of it within what was given back.
      try other.synchronize()
      client.wire.reset()
      other.wire.reset()
      #expect(try daemon.comesToRest())
    }
  }

  /// Issue 3, must-show 8.
  @Test func `a stream that is not read holds one block and stops its backend`() throws {
    let sent = Monitor<[Int]>([])
    let origin = try endless(sent)
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let warm = try daemon.connect2()
      try warm.request(1, "GET", "/small")
      _ = try warm.answer(1)
      let before = try daemon.memoryBytes()
      let client = try daemon.connect2(settings: [(4, 0)])
      let streams = 90
      for index in 0..<streams { try client.request(UInt32(index * 2 + 1), "GET", "/large") }
      // Every backend is stuck: nothing more gets away for a while.
      var last: [Int] = []
      let isStuck = Poll.until(.after(60)) {
        let now = sent.current
        defer { last = now }
        return now.count >= streams && now == last
          && !sent.wait(until: .after(0.3)) { $0 != now }
      }
      #expect(isStuck)
      let held = (try daemon.memoryBytes() - before) / streams
      #expect(held < 48 << 10, "\(held) octets of memory for a stream, at most 32 KiB of content")
      // Others on the connection go on, once there is window for them.
      let other = UInt32(streams * 2 + 1)
      try client.request(other, "GET", "/small")
      try client.window(other, 100)
      let answer = try client.answer(other)
      #expect(answer.status == 200 && answer.content == Array("ok".utf8))
      // What is given is delivered.
      try client.window(1, 5000)
      try read(5000, of: 1, client)
      client.wire.reset()
      #expect(try daemon.comesToRest())
    }
  }

  @Test func `an upload whose backend stops reading holds its window, and others go on`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      connection.stepSeconds = 120
      if head.target == "/small" {
        return try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
      // Reads nothing more until the end.
      _ = Poll.until(.after(60)) { connection.kernelQueues == nil }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "body-timeout 5m"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect2()
      try client.request(1, "POST", "/large", ends: false)
      var window = 32_768
      var given = 0
      let piece = [UInt8](repeating: 1, count: 8192)
      // As long as window comes back within a moment.
      while true {
        while window >= piece.count {
          try client.send(FrameType.content, stream: 1, payload: piece)
          window -= piece.count
          given += piece.count
        }
        // The backend has read what came with the head; more than that has to be under way.
        guard try client.wire.hasMoreWithin(given < 1 << 20 ? 9 : 0.5) else { break }
        let frame = try client.next()
        if frame.type == FrameType.windowUpdate, frame.stream == 1 {
          window += Int(frame.payload.reduce(0) { $0 << 8 | UInt32($1) })
        }
      }
      try client.request(3, "GET", "/small")
      #expect(try client.answer(3).status == 200)
      let unread = try #require(origin.records.first).receivedCount
      #expect(given > unread && given < 32 << 20)
      try client.reset(1)
      #expect(try daemon.comesToRest())
    }
  }

  // MARK: Time

  /// Rule 40 holds for answers of weir's own, too: nothing waits for a window for ever.
  @Test func `a refusal that the client takes no octet of is given up`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "send-timeout 300ms\n  keep-alive-timeout 300ms"
    try withDaemon(configuration) { daemon in
      for target in ["/a/../b", "/bytes/100"] {
        let client = try daemon.connect2(settings: [(4, 0)])
        try client.request(1, "GET", target)
        #expect(try client.answer(1).resetCode == 2, "\(target)")
        #expect(try client.untilEnd() == 0, "\(target)")
      }
      #expect(try daemon.comesToRest())
    }
  }

  /// What a client sends is no sign that it reads.
  @Test func `a connection that takes no octet is cut, whatever it sends`() throws {
    let sent = Monitor<[Int]>([])
    let origin = try endless(sent)
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "send-timeout 1s"
    try withDaemon(configuration) { daemon in
      let wire = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 4096)
      let client = try HTTP2Connection(wire, settings: [(4, 0x7FFF_FFFF)])
      try client.window(0, 0x7FFF_0000)
      try client.request(1, "GET", "/large")
      let hasSent = sent.wait(until: .patient) { ($0.first ?? 0) > 100_000 }
      #expect(hasSent)
      // Frames that need no answer, not so often that they are taken for a flood before the end.
      var next = Deadline.after(0)
      let isCut = Poll.until(.patient) {
        guard next.secondsLeft <= 0 else { return false }
        next = .after(0.2)
        return (try? client.window(0, 1)) == nil
      }
      #expect(isCut)
      #expect(try daemon.comesToRest())
    }
  }

  @Test func `a drain waits for clients that read slowly`() throws {
    let count = 6_000_000
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let wire = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 4096)
      let client = try HTTP2Connection(wire, settings: [(4, 0x7FFF_FFFF)])
      try client.window(0, 0x7FFF_0000)
      try client.request(1, "GET", "/bytes/\(count)")
      // The kernel is full: weir's own queue has something.
      var last: KernelQueues?
      var since = Deadline.after(0.2)
      let isFull = Poll.until(.patient) {
        let queues = wire.kernelQueues
        if queues == nil || queues != last || queues?.sentToUs == 0 { since = .after(0.2) }
        last = queues
        return since.secondsLeft <= 0
      }
      #expect(isFull)
      daemon.process.kill(SIGTERM)
      // Longer than the notice between the two GOAWAYs.
      let hasEnded = Poll.until(.after(1)) { daemon.process.ending != nil }
      #expect(!hasEnded)
      client.givesWindow = false
      let answer = try client.answer(1)
      #expect(answer.content.count == count && answer.resetCode == nil)
      var check = PatternCheck()
      answer.content.withUnsafeBytes { check.add($0) }
      #expect(check.isIntact)
      #expect(try client.untilEnd() == 0)
      #expect(daemon.process.waitForEnd() == .exit(0))
    }
  }

  // MARK: Floods by those who do not read

  /// A connection whose client has stopped reading for good, and for which weir has more than the
  /// kernel takes.
  private func stuck(_ daemon: DaemonProcess, _ sent: Monitor<[Int]>) throws -> HTTP2Connection {
    let wire = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 4096)
    let client = try HTTP2Connection(wire, settings: [(4, 0x7FFF_FFFF)])
    try client.window(0, 0x7FFF_0000)
    try client.request(1, "GET", "/large")
    let isStuck = Poll.until(.after(60)) {
      let now = sent.current
      return (now.first ?? 0) > 100_000 && !sent.wait(until: .after(0.2)) { $0 != now }
    }
    #expect(isStuck)
    return client
  }

  /// Each costs memory as long as its RST_STREAM cannot leave.
  @Test func `refused requests of a client that does not read are counted at once`() throws {
    let sent = Monitor<[Int]>([])
    let origin = try endless(sent)
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try stuck(daemon, sent)
      // The settings have not been acknowledged: nghttp2 refuses stream by stream.
      let before = try daemon.memoryBytes()
      var stream: UInt32 = 3
      let isCut = Poll.until(.patient) {
        var octets: [UInt8] = []
        for _ in 0..<500 {
          octets += HTTP2Connection.frame(
            FrameType.headers, flags: FrameFlags.endHeaders | FrameFlags.endStream,
            stream: stream, payload: HTTP2Connection.block([(":method", "x")]))
          stream += 2
        }
        client.wire.stepSeconds = 0.5
        return (try? client.wire.send(octets)) == nil
      }
      #expect(isCut)
      #expect(try daemon.memoryBytes() - before < 5 << 20)
      #expect(try daemon.comesToRest())
      #expect(try daemon.counts("\nweir_http2_floods_total 1\n"))
    }
  }

  @Test func `streams beyond the worker's limit are refused, all else goes on`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "max-streams 6"
    try withDaemon(configuration) { daemon in
      let clients = try (0..<2).map { _ in
        try HTTP2Connection(try daemon.connect(), settings: [(4, 0)])
      }
      // Three of each client: one whose answer is not taken, two that wait for the backend.
      for client in clients {
        try client.request(1, "GET", "/bytes/200000")
        for stream: UInt32 in [3, 5] { try client.request(stream, "GET", "/hold/0") }
      }
      let haveCome = origin.wait { $0.count == 6 }
      #expect(haveCome)
      for client in clients {
        try client.request(7, "POST", "/status/200")
        #expect(try client.answer(7).resetCode == 7)
      }
      for _ in 0..<5 {
        let other = try daemon.get("/bytes/100000")
        #expect(other.status == 200 && other.body.count == 100_000)
      }
      origin.release()
      for stream: UInt32 in [3, 5] { #expect(try clients[0].answer(stream).status == 200) }
      try clients[0].request(9, "HEAD", "/again")
      #expect(try clients[0].answer(9).status == 200)
      #expect(try daemon.counts("\nweir_http2_streams_refused_total 2\n"))
    }
  }
}
