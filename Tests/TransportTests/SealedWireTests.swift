import Glibc
import Primitives
import TestSupport
import Testing

@testable import Transport

/// Both ends of an encrypted connection, each a wire of weir's with a pool of its own.
private final class SealedPair {
  let sockets: SocketPair
  var near: Wire
  var far: Wire
  private var pool = BufferPool(limit: 4096)

  /// Certificates cost a process each: one authority for all tests of this file.
  static let certificates = Result { try TestCertificates() }
  static let pair = Result { try certificates.get().issue(["a.example", "IP:127.0.0.1"]) }

  static func serverContext(
    _ change: (inout TLSServerOptions) -> Void = { _ in }
  ) throws -> TLSServerContext {
    var options = TLSServerOptions()
    options.credentials = [try credential(pair.get())]
    change(&options)
    return try TLSServerContext(options, name: "test", tickets: SessionTickets())
  }

  static func clientContext(
    _ change: (inout TLSClientOptions) -> Void = { _ in }
  ) throws -> TLSClientContext {
    var options = TLSClientOptions()
    options.serverName = "a.example"
    let path = try certificates.get().authority
    options.authorities = try Authorities(path: path, pem: read(path))
    change(&options)
    return try TLSClientContext(options)
  }

  static func credential(_ pair: TestCertificates.Pair) throws -> Credential {
    try Credential(
      files: .init(certificate: pair.certificate, key: pair.key, chain: nil),
      certificatePEM: read(pair.certificate), keyPEM: read(pair.key), chainPEM: nil)
  }

  static func read(_ path: String) throws -> [UInt8] {
    let file = try #require(fopen(path, "r"))
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    return Array(bytes[..<fread(&bytes, 1, bytes.count, file)])
  }

  /// `near` is the client.
  init(
    server: TLSServerContext, client: TLSClientContext, session: TLSSession? = nil,
    address: IPAddress? = nil
  ) throws {
    sockets = try SocketPair()
    near = Wire(descriptor: sockets.near)
    far = Wire(descriptor: sockets.far)
    let isReady =
      far.beginTLS(server) && near.beginTLS(client, address: address, session: session)
    try #require(isReady)
  }

  deinit {
    near.releaseBuffers(&pool)
    far.releaseBuffers(&pool)
  }

  var blocksInUse: Int { pool.inUse }

  /// What each side's handshake came to.
  func shakeHands() -> (near: HandshakeProgress, far: HandshakeProgress) {
    var client = near.handshake(&pool)
    var server = HandshakeProgress.waits
    for _ in 0..<10 where client == .waits || server == .waits {
      if server == .waits {
        _ = SocketPair.waits(for: far.descriptor, POLLIN)
        far.mayRead = true
        server = far.handshake(&pool)
      }
      if client == .waits {
        _ = SocketPair.waits(for: near.descriptor, POLLIN)
        near.mayRead = true
        client = near.handshake(&pool)
      }
    }
    return (client, server)
  }

  func send(_ first: [UInt8], _ second: [UInt8] = [], fromFar: Bool = false) -> Bool {
    first.withByteView { first in
      second.withByteView { second in
        fromFar ? far.send(first, second, &pool) : near.send(first, second, &pool)
      }
    }
  }

  /// Reads at the far end until `count` octets have come, consuming at most `step` at a time.
  func receive(_ count: Int, step: Int = .max) -> [UInt8] {
    var found: [UInt8] = []
    while found.count < count {
      if far.input.isEmpty || step < .max {
        if !far.hasUnopenedInput {
          _ = near.flush(&pool)
          guard SocketPair.waits(for: far.descriptor, POLLIN) || !far.input.isEmpty else { break }
        }
        far.mayRead = true
        near.mayWrite = true
        let result = far.receive(&pool)
        if case .failed(let code) = result, code != ENOBUFS { break }
        if result == .ended { break }
      }
      let view = far.input.view
      let part = min(step, view.count)
      found += (0..<part).map { view[$0] }
      far.input.consume(part)
    }
    return found
  }

  func receiveAtFar() -> ReceiveResult {
    far.mayRead = true
    return far.receive(&pool)
  }

  /// The client's side reads what there is: session tickets come this way.
  func readAtNear() -> ReceiveResult {
    _ = SocketPair.waits(for: near.descriptor, POLLIN)
    near.mayRead = true
    return near.receive(&pool)
  }

  func closeNear(orderly: Bool) {
    if orderly {
      near.closeSending(&pool)
    } else {
      SocketCalls.closeSending(near.descriptor)
    }
  }

  /// The near side hears that the far one ended in order.
  func closesOrderlyFromFar() -> Bool {
    far.closeSending(&pool)
    return readAtNear() == .ended
  }

  func detachInputs() {
    far.input.detach(&pool)
    near.input.detach(&pool)
  }
}

@Suite(.blocking) struct `A sealed wire` {
  private static func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  }

  private func connected() throws -> SealedPair {
    let pair = try SealedPair(
      server: SealedPair.serverContext(), client: SealedPair.clientContext())
    let progress = pair.shakeHands()
    try #require(progress.near == .complete && progress.far == .complete)
    return pair
  }

  @Test func `agrees with its peer, on the protocol too`() throws {
    let pair = try connected()
    #expect(pair.near.tls?.negotiatedProtocol == .http11)
    #expect(pair.far.tls?.negotiatedProtocol == .http11)
    #expect(pair.far.tls?.isComplete == true && pair.far.tls?.wasResumed == false)
  }

  @Test func `carries what was sent, two parts as one record`() throws {
    let pair = try connected()
    let before = pair.near.sentOctets
    #expect(pair.send(Self.pattern(300), Self.pattern(1000)))
    // One record: 5 octets before it, and 17 behind the content.
    #expect(pair.near.sentOctets - before == 1300 + 22)
    #expect(pair.receive(1300) == Self.pattern(300) + Self.pattern(1000))
  }

  @Test(arguments: [1, 16_383, 16_384, 16_385, 52_000, 1_000_000])
  func `carries any length in order, however it is taken`(_ count: Int) throws {
    for step in [Int.max, 7001] {
      let pair = try connected()
      let octets = Self.pattern(count)
      #expect(pair.send(Array(octets[..<(count / 3)]), Array(octets[(count / 3)...])))
      #expect(pair.receive(count, step: step) == octets)
    }
  }

  @Test func `holds no block when everything has been taken`() throws {
    let pair = try connected()
    #expect(pair.send(Self.pattern(100)))
    #expect(pair.receive(100).count == 100)
    pair.detachInputs()
    #expect(pair.blocksInUse == 0)
  }

  @Test(.enabled(if: TLSLibrary.connectionsCanRest, "OpenSSL was used before it was started"))
  func `rests when nobody has used it for a while, and wakes for whatever is asked of it`() throws {
    let uses: [(SealedPair) -> Bool] = [
      { $0.send(Self.pattern(500)) && $0.receive(500) == Self.pattern(500) },
      { $0.send([7], fromFar: true) && $0.readAtNear() == .octets(1) },
      { $0.far.tls?.negotiatedProtocol == .http11 && $0.far.tls?.wasResumed == false },
      { $0.closesOrderlyFromFar() },
    ]
    for (number, use) in uses.enumerated() {
      let pair = try connected()
      #expect(pair.send([1], fromFar: true) && pair.readAtNear() == .octets(1))
      pair.detachInputs()
      // It was used since: that is a look, and from then on the while is counted.
      #expect(!pair.far.rest() && pair.far.tls?.isResting == false)
      #expect(pair.far.rest() && pair.far.tls?.isResting == true)
      #expect(pair.far.rest() && !pair.far.hasUnopenedInput)
      #expect(pair.far.tls?.isResting == true, "asking whether there is input wakes nobody")
      // The client's side, as towards backends.
      #expect(!pair.near.rest() && pair.near.rest() && pair.near.tls?.isResting == true)
      #expect(use(pair), "\(number)")
      #expect(pair.far.tls?.isResting == false)
    }
  }

  /// Asked whether there is input, one that rests says no: what it holds would never be heard of.
  @Test(.enabled(if: TLSLibrary.connectionsCanRest, "OpenSSL was used before it was started"))
  func `does not rest while it holds input`() throws {
    let pair = try connected()
    let octets = Self.pattern(52_000)
    #expect(pair.send(octets))
    // Nothing is taken: the input becomes full, and the rest stays where it is.
    for _ in 0..<5 where !pair.far.hasUnopenedInput {
      _ = SocketPair.waits(for: pair.far.descriptor, POLLIN)
      _ = pair.receiveAtFar()
    }
    try #require(pair.far.hasUnopenedInput)
    for _ in 0..<3 { _ = pair.far.rest() }
    #expect(pair.far.tls?.isResting == false)
    #expect(pair.receive(52_000) == octets)
  }

  @Test func `does not rest before its handshake is complete`() throws {
    let pair = try SealedPair(
      server: SealedPair.serverContext(), client: SealedPair.clientContext())
    for _ in 0..<3 { _ = pair.far.rest() }
    #expect(pair.far.tls?.isResting == false)
    #expect(pair.shakeHands().far == .complete)
  }

  @Test func `tells an end from a cut`() throws {
    let orderly = try connected()
    #expect(orderly.send(Self.pattern(10)))
    orderly.closeNear(orderly: true)
    #expect(orderly.receive(10).count == 10)
    _ = SocketPair.waits(for: orderly.far.descriptor, POLLIN)
    #expect(orderly.receiveAtFar() == .ended && orderly.far.peerClosed)

    let cut = try connected()
    #expect(cut.send(Self.pattern(10)))
    cut.closeNear(orderly: false)
    #expect(cut.receive(10).count == 10)
    _ = SocketPair.waits(for: cut.far.descriptor, POLLIN)
    #expect(cut.receiveAtFar() == .failed(ECONNRESET) && cut.far.hasFailed)
  }

  @Test func `a changed octet ends it`() throws {
    let pair = try connected()
    // A record of 32 octets that nobody sealed.
    let forged: [UInt8] = [0x17, 3, 3, 0, 32] + [UInt8](repeating: 7, count: 32)
    #expect(write(pair.near.descriptor, forged, forged.count) == forged.count)
    _ = SocketPair.waits(for: pair.far.descriptor, POLLIN)
    #expect(pair.receiveAtFar() == .failed(EPROTO) && pair.far.hasFailed)
    #expect(!pair.send([1], fromFar: true))
  }

  @Test func `resumes with the session it was given, and no certificate is needed for it`() throws {
    let server = try SealedPair.serverContext()
    let client = try SealedPair.clientContext()
    let first = try SealedPair(server: server, client: client)
    #expect(first.shakeHands().near == .complete)
    #expect(first.readAtNear() == .wouldBlock)
    let session = try #require(first.near.tls?.takeSession())
    #expect(session.isUsable(wallSeconds: WallClock.now().seconds))
    #expect(!session.isUsable(wallSeconds: WallClock.now().seconds + 3600))
    let second = try SealedPair(server: server, client: client, session: session)
    let progress = second.shakeHands()
    #expect(progress.near == .complete && progress.far == .complete)
    #expect(second.far.tls?.wasResumed == true)
  }

  @Test func `does not resume where tickets are off`() throws {
    let server = try SealedPair.serverContext { $0.sessionTickets = false }
    let first = try SealedPair(server: server, client: SealedPair.clientContext())
    #expect(first.shakeHands().far == .complete)
    #expect(first.send([1], fromFar: true))
    #expect(first.readAtNear() == .octets(1))
    #expect(first.near.tls?.takeSession() == nil)
  }

  @Test func `refuses a certificate for another name, another address, another authority`() throws {
    let server = try SealedPair.serverContext()
    func failure(_ change: (inout TLSClientOptions) -> Void, _ address: String? = nil) throws
      -> HandshakeProgress
    {
      try SealedPair(
        server: server, client: SealedPair.clientContext(change),
        address: address.flatMap { IPAddress($0) }
      ).shakeHands().near
    }
    #expect(try failure { $0.serverName = "b.example" } == .failed(.certificate(62)))
    #expect(try failure({ $0.serverName = nil }, "127.0.0.2") == .failed(.certificate(64)))
    #expect(try failure({ $0.serverName = nil }, "127.0.0.1") == .complete)
    #expect(try failure { $0.authorities = nil } == .failed(.certificate(20)))
    #expect(
      try failure {
        $0.serverName = "b.example"
        $0.verifies = false
      } == .complete)
    #expect(HandshakeFailure.certificate(62).text == "hostname mismatch")
  }

  @Test func `ends where there is no version in common`() throws {
    let server = try SealedPair.serverContext { $0.parameters.minVersion = .tls13 }
    let pair = try SealedPair(server: server, client: SealedPair.clientContext())
    #expect(pair.shakeHands().far == .complete)
    let old = try SocketPair()
    var wire = Wire(descriptor: old.far)
    var pool = BufferPool(limit: 64)
    let isReady = wire.beginTLS(server)
    try #require(isReady)
    let request = Array("GET / HTTP/1.1\r\n\r\n".utf8)
    #expect(write(old.near, request, request.count) == request.count)
    _ = SocketPair.waits(for: old.far, POLLIN)
    #expect(wire.handshake(&pool) == .failed(.plainHTTP))
    wire.releaseBuffers(&pool)
    #expect(pool.inUse == 0)
  }
}
