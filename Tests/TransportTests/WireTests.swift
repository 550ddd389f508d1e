import Glibc
import Primitives
import Testing
import Transport

/// A wire with a pool of its own.
private final class PooledWire {
  var state: Wire
  private var pool: BufferPool

  init(_ descriptor: Int32, blocks: Int) {
    state = Wire(descriptor: descriptor)
    pool = BufferPool(limit: blocks)
  }

  var blocksInUse: Int { pool.inUse }
  func receive() -> ReceiveResult { state.receive(&pool) }
  func send(_ first: ByteView, _ second: ByteView) -> Bool { state.send(first, second, &pool) }
  func flush() -> Bool { state.flush(&pool) }
  func releaseBuffers() { state.releaseBuffers(&pool) }
}

@Suite struct `A wire` {
  private static func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  }

  /// More than any socket buffer takes: the rest is queued and comes in order, and only once.
  @Test func `queues what the socket does not take, and flushes it in order`() throws {
    let pair = try SocketPair()
    let wire = PooledWire(pair.near, blocks: 1024)
    let first = Self.pattern(10_000)
    let second = Self.pattern(1024 * 1024)
    let isSent = first.withUnsafeBufferPointer { first in
      second.withUnsafeBufferPointer { wire.send(ByteView(first), ByteView($0)) }
    }
    #expect(isSent && !wire.state.mayWrite && !wire.state.output.isEmpty)
    let queued = wire.state.output.count
    #expect(wire.state.sentOctets + queued == first.count + second.count)
    // What is sent while something is queued goes behind it.
    #expect(wire.send(ByteView("tail"), .empty) && wire.state.output.count == queued + 4)
    let expected = first + second + Array("tail".utf8)
    var found: [UInt8] = []
    while found.count < expected.count {
      let part = SocketPair.readSome(pair.far)
      if part.isEmpty { break }
      found += part
      wire.state.note(.writable)
      _ = wire.flush()
    }
    #expect(found == expected)
    #expect(wire.flush() && wire.state.sentOctets == expected.count && wire.blocksInUse == 0)
  }

  @Test func `says when no buffer is left for what the socket does not take`() throws {
    let pair = try SocketPair()
    let wire = PooledWire(pair.near, blocks: 1)
    let bytes = Self.pattern(1024 * 1024)
    let isSent = bytes.withByteView { view in wire.send(view, .empty) }
    #expect(!isSent && !wire.state.hasFailed)
    wire.releaseBuffers()
    #expect(wire.blocksInUse == 0)
  }

  @Test func `reads until the peer's orderly end`() throws {
    let pair = try SocketPair()
    let wire = PooledWire(pair.near, blocks: 1)
    #expect(wire.receive() == .wouldBlock && !wire.state.mayRead)
    #expect(SocketCalls.send(pair.far, ByteView("hello")) == .octets(5))
    SocketCalls.closeSending(pair.far)
    #expect(SocketPair.waits(for: pair.near, SocketPair.peerClosed))
    #expect(wire.receive() == .wouldBlock, "no call before the next edge")
    wire.state.note([.readable, .peerClosed])
    #expect(wire.state.peerClosed && wire.receive() == .octets(5))
    #expect(wire.state.mayRead, "the end is still due, and no edge will tell")
    #expect(wire.receive() == .ended && wire.state.hasEnded && !wire.state.hasFailed)
    #expect(wire.receive() == .ended)
    #expect(wire.state.input.view.string == "hello")
    wire.releaseBuffers()
  }

  @Test func `sees a reset as a failure, not as an end`() throws {
    let listener = try SocketPair.listen()
    defer { listener.close() }
    let port = try SocketPair.port(of: listener)
    let near = Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: port)).connect()
    defer { SocketCalls.close(near) }
    let far = try SocketPair.accepted(by: listener).descriptor
    let wire = PooledWire(near, blocks: 4)
    SocketCalls.reset(far)
    #expect(SocketPair.waits(for: near, POLLIN))
    #expect(wire.receive() == .failed(ECONNRESET) && wire.state.hasFailed && !wire.state.hasEnded)
    #expect(!wire.send(ByteView("x"), .empty))
    wire.releaseBuffers()
  }

  @Test func `reads nothing without room, and goes on when room is made`() throws {
    let pair = try SocketPair()
    let wire = PooledWire(pair.near, blocks: 1)
    let bytes = Self.pattern(BufferPool.blockBytes + 1000)
    _ = bytes.withByteView { SocketCalls.send(pair.far, $0) }
    while wire.state.input.room > 0 || !wire.state.input.isAttached {
      guard SocketPair.waits(for: pair.near, POLLIN) else { break }
      wire.state.note(.readable)
      guard case .octets = wire.receive() else { break }
    }
    wire.state.note(.readable)
    #expect(wire.state.input.count == BufferPool.blockBytes)
    #expect(wire.receive() == .failed(ENOBUFS) && !wire.state.hasFailed)
    wire.state.input.consume(10_000)
    #expect(SocketPair.waits(for: pair.near, POLLIN) && wire.receive() == .octets(1000))
    #expect(wire.state.input.view.array == Array(bytes[10_000...]))
    let starved = PooledWire(pair.far, blocks: 0)
    #expect(starved.receive() == .failed(ENOBUFS), "no block left")
    wire.releaseBuffers()
  }

  @Test(
    arguments: [
      (Readiness.readable, true, false, false, false), (.writable, false, true, false, false),
      (.peerClosed, true, false, true, false), (.failed, true, true, false, true),
      (.hungUp, true, true, true, true), ([.readable, .writable], true, true, false, false),
    ] as [(Readiness, Bool, Bool, Bool, Bool)])
  func `remembers what the kernel reported`(
    readiness: Readiness, reads: Bool, writes: Bool, closed: Bool, failed: Bool
  ) {
    let wire = PooledWire(-1, blocks: 1)
    (wire.state.mayRead, wire.state.mayWrite) = (false, false)
    wire.state.note(readiness)
    #expect(wire.state.mayRead == reads && wire.state.mayWrite == writes)
    #expect(wire.state.peerClosed == closed && wire.state.hasFailed == failed)
  }
}
