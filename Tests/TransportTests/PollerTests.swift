import Glibc
import Primitives
import Testing
import Transport

@Suite struct `The poller` {
  private static let handle = Handle(kind: 7, generation: 3, index: 9)

  @Test func `tells each edge of a connection once, with its handle`() throws {
    let pair = try SocketPair()
    guard let poller = Poller() else { preconditionFailure("no descriptor left") }
    let isAdded = poller.add(connection: pair.near, Self.handle)
    var count = poller.wait(timeoutMs: 1000)
    var event = poller.event(0)
    #expect(isAdded && count == 1 && event.handle == Self.handle && event.readiness == .writable)
    count = poller.wait(timeoutMs: 0)
    #expect(count == 0, "edge-triggered")
    _ = SocketCalls.send(pair.far, ByteView("x"))
    count = poller.wait(timeoutMs: 1000)
    event = poller.event(0)
    #expect(count == 1 && event.readiness.contains(.readable))
    SocketCalls.closeSending(pair.far)
    count = poller.wait(timeoutMs: 1000)
    event = poller.event(0)
    #expect(count == 1 && event.readiness.contains(.peerClosed))
    poller.remove(pair.near)
    _ = SocketCalls.send(pair.far, ByteView("x"))
    count = poller.wait(timeoutMs: 0)
    #expect(count == 0)
  }

  @Test func `tells of a listener until it is accepted from, except while it pauses`() throws {
    let listener = try SocketPair.listen()
    defer { listener.close() }
    guard let poller = Poller() else { preconditionFailure("no descriptor left") }
    let isAdded = poller.add(listener: listener.descriptor, Self.handle)
    let port = try SocketPair.port(of: listener)
    let near = Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: port)).connect()
    defer { SocketCalls.close(near) }
    var counts = [poller.wait(timeoutMs: 1000), poller.wait(timeoutMs: 0)]
    #expect(isAdded && counts == [1, 1])
    poller.remove(listener.descriptor)
    counts = [poller.wait(timeoutMs: 0)]
    #expect(counts == [0])
    let isBack = poller.add(listener: listener.descriptor, Self.handle, isShared: true)
    counts = [poller.wait(timeoutMs: 1000)]
    #expect(isBack && counts == [1])
    SocketCalls.close(try SocketPair.accepted(by: listener).descriptor)
    counts = [poller.wait(timeoutMs: 0)]
    #expect(counts == [0])
  }
}
