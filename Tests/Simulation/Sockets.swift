import Glibc

/// The simulator's ends of the connections: unix stream sockets, which the kernel serves at once
/// and in order, so that a run depends on nothing but its seed.
enum Sockets {
  enum Outcome {
    case octets(Int)
    case wouldBlock, ended
    case failed(Int32)
  }

  private static func address(_ path: String) -> sockaddr_un {
    var native = sockaddr_un()
    native.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &native.sun_path) { room in
      for (index, octet) in path.utf8.enumerated() where index < room.count - 1 {
        room[index] = octet
      }
    }
    return native
  }

  private static func make() -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(AF_UNIX, type | Int32(SOCK_CLOEXEC.rawValue), 0)
    precondition(descriptor >= 0, "no descriptor left: \(errno)")
    return descriptor
  }

  private static func call(
    _ descriptor: Int32, _ path: String,
    _ function: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var native = address(path)
    return withUnsafePointer(to: &native) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        function(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }

  /// -1 where nobody listens, or too many wait.
  static func connect(_ path: String) -> Int32 {
    let descriptor = make()
    if call(descriptor, path, { Glibc.connect($0, $1, $2) }) == 0 { return descriptor }
    close(descriptor)
    return -1
  }

  static func listen(_ path: String, backlog: Int32) -> Int32 {
    unlink(path)
    let descriptor = make()
    let bound = call(descriptor, path) { Glibc.bind($0, $1, $2) }
    precondition(bound == 0 && Glibc.listen(descriptor, backlog) == 0, "cannot listen at \(path)")
    return descriptor
  }

  /// -1 where nobody waits.
  static func accept(_ listener: Int32) -> Int32 {
    let descriptor = Glibc.accept(listener, nil, nil)
    if descriptor >= 0 { setNonblocking(descriptor) }
    return descriptor
  }

  private static func setNonblocking(_ descriptor: Int32) {
    var on: Int32 = 1
    _ = ioctl(descriptor, UInt(FIONBIO), &on)
  }

  static func read(_ descriptor: Int32, atMost count: Int, into octets: inout [UInt8]) -> Outcome {
    let before = octets.count
    var taken = 0
    var code: Int32 = 0
    withUnsafeTemporaryAllocation(byteCount: count, alignment: 1) { room in
      taken = Glibc.recv(descriptor, room.baseAddress, count, 0)
      code = errno
      if taken > 0 { octets += room[..<taken] }
    }
    if taken > 0 { return .octets(octets.count - before) }
    if taken == 0 { return .ended }
    return code == EAGAIN ? .wouldBlock : .failed(code)
  }

  static func write(_ descriptor: Int32, _ octets: ArraySlice<UInt8>) -> Outcome {
    let sent = octets.withUnsafeBytes {
      Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    }
    if sent >= 0 { return .octets(sent) }
    return errno == EAGAIN ? .wouldBlock : .failed(errno)
  }

  /// What waits unread, which stays there.
  static func peek(_ descriptor: Int32) -> [UInt8] {
    var room = [UInt8](repeating: 0, count: 1 << 16)
    let count = recv(
      descriptor, &room, room.count, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
    return Array(room[..<max(0, count)])
  }

  static func isHungUp(_ descriptor: Int32) -> Bool {
    var wanted = pollfd(fd: descriptor, events: 0, revents: 0)
    poll(&wanted, 1, 0)
    return wanted.revents & Int16(POLLHUP) != 0
  }

  /// Room for a few hundred octets only, so that every write is a partial one: of any stream socket
  /// below `limit`, the workers' own included, which belong to this very process.
  static func makeTight(below limit: Int32) {
    for descriptor in 3..<limit {
      var value: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      guard getsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &value, &length) == 0,
        value > Sockets.tight
      else { continue }
      value = Sockets.tight / 2
      setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &value, length)
    }
  }

  /// The least that the kernel grants (SOCK_MIN_SNDBUF).
  private static let tight: Int32 = 4608

  static func highest() -> Int32 {
    let probe = dup(0)
    if probe >= 0 { close(probe) }
    return probe
  }
}
