import Foundation
import TestSupport
import Testing

/// HTTP/2 with prior knowledge, or over TLS.
struct Speech {
  var configuration: DaemonConfiguration
  private let tls: TestTLS?

  init(isEncrypted: Bool, _ backends: [String]) throws {
    configuration = DaemonConfiguration(backends)
    guard isEncrypted else {
      tls = nil
      return
    }
    let certificates = try `TLS listeners`.certificates.get()
    configuration.listener = "tls {\n\(try certificates.issue(["example.com"]).directive)\n}"
    tls = try TestTLS(trusting: certificates.authority, offering: ["h2", "http/1.1"])
  }

  func wire(_ daemon: DaemonProcess) throws -> WireConnection {
    let wire = try daemon.connect()
    if let tls { try wire.startTLS(tls, name: "example.com") }
    return wire
  }

  func connect(
    _ daemon: DaemonProcess, settings: [(UInt16, UInt32)] = []
  ) throws -> HTTP2Connection {
    try HTTP2Connection(wire(daemon), settings: settings)
  }
}

/// What RFC 9113 wants of a server whose client does nothing wrong, or nothing that matters;
/// docs/HTTP2.md says which test stands for which of its requirements.
@Suite(.blocking) struct `HTTP/2 frames` {
  /// §3.4, §6.5.3, §6.7.
  @Test(arguments: [false, true])
  func `settings come first, and settings and pings are answered`(isEncrypted: Bool) throws {
    let origin = try HTTPOrigin()
    let speech = try Speech(isEncrypted: isEncrypted, [origin.address])
    try withDaemon(speech.configuration) { daemon in
      let wire = try speech.wire(daemon)
      try wire.send(
        HTTP2Connection.preface
          + HTTP2Connection.frame(
            FrameType.settings, payload: HTTP2Connection.settings([(1, 0), (0x77, 9), (6, 1)]))
          + HTTP2Connection.frame(
            FrameType.ping, flags: FrameFlags.acknowledgement, payload: [9, 9, 9, 9, 9, 9, 9, 9])
          + HTTP2Connection.frame(FrameType.ping, payload: [1, 2, 3, 4, 5, 6, 7, 8]))
      let client = HTTP2Connection(speaking: wire)
      let first = try client.rawNext()
      #expect(first.type == FrameType.settings && first.flags == 0 && first.stream == 0)
      let entries = stride(from: 0, to: first.payload.count, by: 6).map { first.payload[$0 + 1] }
      // No push to offer, streams and windows bounded, frames as large as by default.
      #expect(Set(entries) == [3, 4, 6, 8, 9])
      var seen: [UInt8] = []
      while !seen.contains(FrameType.ping) {
        let frame = try client.rawNext()
        seen.append(frame.type)
        if frame.type == FrameType.ping || frame.type == FrameType.settings {
          #expect(frame.flags == FrameFlags.acknowledgement)
        }
        if frame.type == FrameType.ping { #expect(frame.payload == [1, 2, 3, 4, 5, 6, 7, 8]) }
      }
      #expect(seen.count { $0 == FrameType.settings } == 1)
    }
  }

  /// §3.4: what follows the preface is SETTINGS; over TLS, where h2 was agreed on, the preface is.
  @Test func `a connection that does not begin as it should is ended`() throws {
    let origin = try HTTPOrigin()
    for isEncrypted in [false, true] {
      let speech = try Speech(isEncrypted: isEncrypted, [origin.address])
      try withDaemon(speech.configuration) { daemon in
        let ping = HTTP2Connection.frame(FrameType.ping, payload: .init(repeating: 0, count: 8))
        var beginnings = [HTTP2Connection.preface + ping]
        if isEncrypted { beginnings.append(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)) }
        for octets in beginnings {
          let wire = try speech.wire(daemon)
          try wire.send(octets)
          #expect(try HTTP2Connection(speaking: wire).untilEnd() == 1)
        }
      }
    }
    #expect(origin.requests.isEmpty)
  }

  /// §4.1, §5.1, §5.5, §6.3, §6.4, §6.9: none of these is an error.
  @Test(arguments: [false, true])
  func `frames and bits that mean nothing are ignored`(isEncrypted: Bool) throws {
    let origin = try HTTPOrigin()
    let speech = try Speech(isEncrypted: isEncrypted, [origin.address])
    let block = HTTP2Connection.block(HTTP2Connection.requestFields("GET", "/bytes/3"))
    let rows: [(String, [UInt8])] = [
      ("an unknown type", HTTP2Connection.frame(0xB0, flags: 0xFF, stream: 1, payload: [1, 2])),
      (
        "undefined flags and the reserved bit",
        HTTP2Connection.frame(
          FrameType.headers, flags: 0x5 | 0xC2, stream: 0x8000_0003, payload: block)
      ),
      (
        "PRIORITY of an idle stream",
        HTTP2Connection.frame(FrameType.priority, stream: 99, payload: [0, 0, 0, 3, 1])
      ),
      (
        "PRIORITY of a closed stream",
        HTTP2Connection.frame(FrameType.priority, stream: 1, payload: [0, 0, 0, 3, 1])
      ),
      (
        "RST_STREAM of a closed stream",
        HTTP2Connection.frame(FrameType.reset, stream: 1, payload: [0, 0, 0, 8])
      ),
      (
        "WINDOW_UPDATE of a closed stream",
        HTTP2Connection.frame(FrameType.windowUpdate, stream: 1, payload: [0, 0, 0, 8])
      ),
      (
        "an unknown error code",
        HTTP2Connection.frame(FrameType.reset, stream: 1, payload: [9, 9, 9, 9])
      ),
      (
        "padding of HEADERS",
        HTTP2Connection.frame(
          FrameType.headers, flags: 0x5 | FrameFlags.padded, stream: 5,
          payload: [3] + block + [0, 0, 0])
      ),
    ]
    try withDaemon(speech.configuration) { daemon in
      let client = try speech.connect(daemon)
      try client.request(1, "GET", "/bytes/3")
      #expect(try client.answer(1).status == 200)
      for (name, octets) in rows {
        try client.wire.send(octets)
        do { try client.synchronize() } catch { throw TestFailure("\(name): \(error)") }
      }
      #expect(try client.answer(3).content.count == 3)
      #expect(try client.answer(5).content.count == 3)
    }
  }

  /// §4.2: a frame of 16,384 octets is allowed, in both directions none is larger.
  @Test func `frames are as large as they may be, and no larger`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2(settings: [(5, 16_777_215), (4, 1 << 20)])
      try client.request(1, "POST", "/echo", ends: false)
      try client.content(1, Pattern.prefix(16_384))
      #expect(try client.answer(1)["x-content-count"] == "16384")
      try client.request(3, "GET", "/bytes/300000")
      var count = 0
      while count < 300_000 {
        let frame = try client.next()
        guard frame.type == FrameType.content else { continue }
        #expect(frame.payload.count <= 16_384)
        count += frame.payload.count
      }
    }
  }

  /// §5.1.2: beyond the limit that the client has acknowledged. nghttp2 ends the connection, as
  /// §5.4 lets it; before the acknowledgement each is refused (`HTTP/2 abuse`).
  @Test func `the limit of streams holds for a client that knows it`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      let client = try daemon.connect2()
      try client.synchronize()
      try client.synchronize()
      for index in 0..<100 { try client.request(UInt32(index * 2 + 1), "GET", "/hold/0") }
      let hasAll = origin.wait { $0.count == 100 }
      #expect(hasAll)
      try client.request(201, "GET", "/bytes/3")
      #expect(try client.untilEnd() == 1)
      #expect(try daemon.comesToRest())
      origin.release()
    }
    #expect(origin.requests.count == 100)
  }
}
