import CLinux
import Glibc
import Primitives
import Testing
import Transport

/// Two connected nonblocking sockets: over TCP on the loopback interface, where resets exist.
final class SocketPair {
  /// POLLRDHUP, which the C library hides without _GNU_SOURCE.
  static let peerClosed: Int32 = 0x2000

  let near: Int32
  let far: Int32

  init() throws {
    let listener = try SocketPair.listen()
    defer { listener.close() }
    near = Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: try SocketPair.port(of: listener)))
      .connect()
    try #require(near >= 0)
    far = try SocketPair.accepted(by: listener).descriptor
    // A small buffer, so that a test fills it soon.
    var octets: Int32 = 32 * 1024
    setsockopt(near, SOL_SOCKET, SO_SNDBUF, &octets, 4)
  }

  deinit {
    SocketCalls.close(near)
    SocketCalls.close(far)
  }

  /// On a port that the kernel chooses.
  static func listen() throws -> Listener {
    try Listener(
      Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: 0)), backlog: 8, sharesPort: false)
  }

  static func port(of listener: Listener) throws -> UInt16 {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(listener.descriptor, $0, &length)
      }
    }
    try #require(result == 0)
    return UInt16(bigEndian: address.sin_port)
  }

  static func accepted(by listener: Listener) throws -> AcceptedConnection {
    #expect(waits(for: listener.descriptor, POLLIN))
    guard case .connection(let connection) = listener.accept() else {
      throw ListenError(outOfDescriptorsFor: listener.address)
    }
    return connection
  }

  /// Whether the descriptor becomes ready within two seconds.
  static func waits(for descriptor: Int32, _ events: Int32) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    return poll(&wanted, 1, 2000) == 1
  }

  /// What one call reads, as soon as there is anything.
  static func readSome(_ descriptor: Int32) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    guard waits(for: descriptor, POLLIN),
      case .octets(let read) = SocketCalls.receive(descriptor, &buffer, buffer.count)
    else { return [] }
    return Array(buffer[..<read])
  }

  /// Reads what is there until `count` octets have come, or the end.
  static func read(_ descriptor: Int32, count: Int) -> [UInt8] {
    var found: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    while found.count < count, waits(for: descriptor, POLLIN) {
      let wanted = min(buffer.count, count - found.count)
      guard case .octets(let read) = SocketCalls.receive(descriptor, &buffer, wanted) else { break }
      found += buffer[..<read]
    }
    return found
  }
}
