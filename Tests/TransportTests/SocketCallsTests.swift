import CLinux
import Glibc
import Primitives
import TestSupport
import Testing
import Transport

@Suite struct `Sockets` {
  @Test func `send two parts in one call, and tell an end from a reset`() throws {
    let pair = try SocketPair()
    #expect(SocketCalls.isQuiet(pair.near) && SocketCalls.pendingError(pair.near) == 0)
    #expect(SocketCalls.send(pair.near, ByteView("ab"), ByteView("cde")) == .octets(5))
    #expect(SocketPair.read(pair.far, count: 5) == Array("abcde".utf8))
    #expect(SocketCalls.send(pair.near, ByteView("x")) == .octets(1))
    #expect(SocketPair.waits(for: pair.far, POLLIN) && !SocketCalls.isQuiet(pair.far))
    #expect(SocketPair.read(pair.far, count: 1) == [120])
    SocketCalls.closeSending(pair.near)
    #expect(SocketPair.waits(for: pair.far, POLLIN) && !SocketCalls.isQuiet(pair.far))
    var octet: UInt8 = 0
    #expect(SocketCalls.receive(pair.far, &octet, 1) == .ended)
    #expect(SocketCalls.receive(pair.near, &octet, 1) == .wouldBlock)
  }

  @Test func `a pipe's reader gone is a failure, never a signal`() throws {
    let pair = try SocketPair()
    _ = shutdown(pair.near, Int32(SHUT_WR))
    #expect(SocketCalls.send(pair.near, ByteView("x")) == .failed(EPIPE))
    #expect(SocketCalls.send(pair.near, ByteView("x"), ByteView("y")) == .failed(EPIPE))
  }

  @Test func `connecting where nobody listens is refused`() throws {
    let listener = try SocketPair.listen()
    let port = try SocketPair.port(of: listener)
    listener.close()
    let descriptor = Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: port)).connect()
    if descriptor < 0 {
      #expect(descriptor == -SocketCalls.refused)
    } else {
      #expect(SocketPair.waits(for: descriptor, POLLOUT))
      #expect(SocketCalls.pendingError(descriptor) == SocketCalls.refused)
      SocketCalls.close(descriptor)
    }
  }

  @Test func `a disconnected socket has reset its peer, and makes another connection`() throws {
    let listener = try SocketPair.listen()
    defer { listener.close() }
    let port = try SocketPair.port(of: listener)
    let endpoint = Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: port))
    let socket = endpoint.connect()
    try #require(socket >= 0)
    defer { SocketCalls.close(socket) }
    let first = try SocketPair.accepted(by: listener).descriptor
    defer { SocketCalls.close(first) }
    #expect(SocketCalls.send(first, ByteView("unread")) == .octets(6))
    #expect(SocketPair.waits(for: socket, POLLIN))
    #expect(SocketCalls.disconnect(socket))
    var octets = [UInt8](repeating: 0, count: 8)
    #expect(SocketPair.waits(for: first, POLLIN))
    #expect(SocketCalls.receive(first, &octets, 8) == .failed(ECONNRESET))
    #expect(endpoint.connect(spare: socket) == socket)
    let second = try SocketPair.accepted(by: listener).descriptor
    defer { SocketCalls.close(second) }
    #expect(SocketPair.waits(for: socket, POLLOUT) && SocketCalls.pendingError(socket) == 0)
    #expect(SocketCalls.receive(socket, &octets, 8) == .wouldBlock, "what was unread is gone")
    #expect(SocketCalls.send(socket, ByteView("again")) == .octets(5))
    #expect(SocketPair.read(second, count: 5) == Array("again".utf8))
  }

  @Test func `all are nonblocking and closed on exec`() throws {
    let pair = try SocketPair()
    for descriptor in [pair.near, pair.far] {
      #expect(weir_fcntl(descriptor, F_GETFL, 0) & O_NONBLOCK != 0)
      #expect(weir_fcntl(descriptor, F_GETFD, 0) & FD_CLOEXEC != 0)
    }
  }
}

@Suite struct `A listener` {
  @Test func `gives the peer's address and port, over IPv4 and IPv6`() throws {
    let listener = try SocketPair.listen()
    defer { listener.close() }
    guard case .wouldBlock = listener.accept() else {
      Issue.record("a connection from nobody")
      return
    }
    let port = try SocketPair.port(of: listener)
    let near = Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: port)).connect()
    defer { SocketCalls.close(near) }
    let accepted = try SocketPair.accepted(by: listener)
    #expect(accepted.address == IPAddress("127.0.0.1") && accepted.port > 0)
    SocketCalls.close(accepted.descriptor)
  }

  @Test func `of every address takes IPv4 and IPv6`() throws {
    let any = Endpoint(.ip(IPAddress(high: 0, low: 0), port: 0))
    guard let listener = try? Listener(any, backlog: 4, sharesPort: false) else {
      return  // No IPv6 on this machine.
    }
    defer { listener.close() }
    let port = try SocketPair.port(of: listener)
    for text in ["127.0.0.1", "::1"] {
      let address = try #require(IPAddress(text))
      let near = Endpoint(.ip(address, port: port)).connect()
      // A machine may have IPv6 sockets but no IPv6 loopback.
      guard near >= 0 else { continue }
      let accepted = try SocketPair.accepted(by: listener)
      #expect(accepted.address == address)
      SocketCalls.close(accepted.descriptor)
      SocketCalls.close(near)
    }
  }

  @Test func `shares its port only when asked to`() throws {
    let loopback = IPAddress(v4: 0x7F00_0001)
    let first = try Listener(
      Endpoint(.ip(loopback, port: 0)), backlog: 1, sharesPort: true)
    defer { first.close() }
    let same = Endpoint(.ip(loopback, port: try SocketPair.port(of: first)))
    try Listener(same, backlog: 1, sharesPort: true).close()
    let fault = #expect(throws: ListenError.self) {
      _ = try Listener(same, backlog: 1, sharesPort: false)
    }
    #expect(fault?.code == EADDRINUSE && fault?.message.contains("127.0.0.1") == true)
  }

  @Test func `takes over a dead socket's path, but neither a live one's nor a file's`() throws {
    let path = "/tmp/weir-units-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
    defer { unlink(path) }
    let endpoint = Endpoint(.unix(path: path))
    let first = try Listener(endpoint, backlog: 4, sharesPort: false)
    let near = endpoint.connect()
    let accepted = try SocketPair.accepted(by: first)
    #expect(near >= 0 && accepted.address == IPAddress("127.0.0.1") && accepted.port == 0)
    SocketCalls.close(near)
    SocketCalls.close(accepted.descriptor)
    let busy = #expect(throws: ListenError.self) {
      _ = try Listener(endpoint, backlog: 4, sharesPort: false)
    }
    #expect(busy?.code == EADDRINUSE)
    first.close()
    // A child that another test starts in this moment holds the socket until it runs its program.
    let isDead = Poll.until(.after(5)) {
      let probe = endpoint.connect()
      if probe >= 0 { SocketCalls.close(probe) }
      return probe < 0 && probe != -EAGAIN
    }
    #expect(isDead)
    try Listener(endpoint, backlog: 4, sharesPort: false).close()
    unlink(path)
    SocketCalls.close(open(path, O_CREAT | O_WRONLY, 0o600))
    let file = #expect(throws: ListenError.self) {
      _ = try Listener(endpoint, backlog: 4, sharesPort: false)
    }
    #expect(file?.code == EEXIST)
  }
}
