import CLinux
import Glibc
import Primitives

/// A client connection as it comes out of `accept4`.
public struct AcceptedConnection: BitwiseCopyable, Sendable {
  public let descriptor: Int32
  /// The loopback address for unix sockets.
  public let address: IPAddress
  public let port: UInt16
}

public enum AcceptResult: BitwiseCopyable {
  case connection(AcceptedConnection)
  case wouldBlock
  /// EMFILE, ENFILE, ENOBUFS or ENOMEM: accepting must pause, or the loop would spin.
  case exhausted
  /// This one connection was gone already; the next may be fine.
  case aborted
}

/// Why an address could not be listened on.
public struct ListenError: Error, Sendable {
  public let address: SocketAddress
  public let call: StaticString
  public let code: Int32

  init(address: SocketAddress, call: StaticString, code: Int32) {
    self.address = address
    self.call = call
    self.code = code
  }

  /// Not even the event loop that would listen could be made.
  public init(outOfDescriptorsFor address: SocketAddress) {
    self.init(address: address, call: "epoll_create", code: EMFILE)
  }

  public var message: String {
    "cannot listen on \(address): \(call): \(String(cString: strerror(code)))"
  }
}

/// One listening socket.
public struct Listener: Sendable {
  public let descriptor: Int32
  public let address: SocketAddress
  /// Other event loops of this process wait for the same socket, by descriptors of their own.
  public let isShared: Bool

  /// Who may connect to the file of a unix socket, unless said otherwise: owner and group.
  public static let fileMode: mode_t = 0o660

  /// Binds and listens. With `sharesPort` several sockets, one for each worker, can be bound to
  /// the address, and the kernel spreads connections over them (SO_REUSEPORT).
  public init(
    _ endpoint: Endpoint, backlog: Int, sharesPort: Bool, fileMode: mode_t = Listener.fileMode,
    v6Only: Bool = false, fastOpen: Int = 0
  ) throws(ListenError) {
    address = endpoint.address
    isShared = false
    descriptor = endpoint.makeSocket()
    guard descriptor >= 0 else {
      throw ListenError(address: address, call: "socket", code: -descriptor)
    }
    Listener.set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
    if sharesPort { Listener.set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
    if case .unix(let path) = address, let fault = Listener.clearPath(path, endpoint) {
      SocketCalls.close(descriptor)
      throw fault
    }
    if endpoint.family == AF_INET6 {
      Listener.set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, v6Only ? 1 : 0)
    }
    // The file must never be open to more than it should, not between two calls either: the mode
    // limits what bind makes of the process's mask, and is set in full afterwards.
    if endpoint.family == AF_UNIX { fchmod(descriptor, fileMode) }
    let bound = endpoint.octets.withUnsafeBytes { bytes in
      bind(
        descriptor, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
        socklen_t(bytes.count))
    }
    guard bound == 0 else { throw fail("bind") }
    if case .unix(let path) = address { chmod(path, fileMode) }
    // Options of the listener are inherited by what it accepts: one call fewer for each.
    if endpoint.family != AF_UNIX { Endpoint.setNoDelay(descriptor) }
    if fastOpen > 0 {
      Listener.set(descriptor, Int32(IPPROTO_TCP), TCP_FASTOPEN, Int32(fastOpen))
    }
    guard listen(descriptor, Int32(backlog)) == 0 else { throw fail("listen") }
  }

  /// One that is listening already, from systemd or from the weir before this one; `nil` where
  /// `descriptor` is no listening stream socket. It is not closed then.
  public init?(inherited descriptor: Int32) {
    guard Listener.option(descriptor, SO_ACCEPTCONN) == 1,
      Listener.option(descriptor, SO_TYPE) == Int32(SOCK_STREAM.rawValue),
      let address = Listener.name(of: descriptor)
    else { return nil }
    self.descriptor = descriptor
    self.address = address
    isShared = false
    _ = weir_fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    _ = weir_fcntl(descriptor, F_SETFL, weir_fcntl(descriptor, F_GETFL, 0) | O_NONBLOCK)
    if case .ip = address { Endpoint.setNoDelay(descriptor) }
  }

  private init(_ descriptor: Int32, sharing other: Listener) {
    self.descriptor = descriptor
    address = other.address
    isShared = true
  }

  /// The same socket for another event loop, by a descriptor of its own. Once a socket is shared,
  /// every loop must know: `shared()` is what the first of them uses.
  public func duplicate() throws(ListenError) -> Listener {
    let copy = weir_fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { throw ListenError(address: address, call: "dup", code: weir_errno()) }
    return Listener(copy, sharing: self)
  }

  public func shared() -> Listener { Listener(descriptor, sharing: self) }

  /// Whether others may be bound to the same address (SO_REUSEPORT).
  public var sharesPort: Bool { Listener.option(descriptor, SO_REUSEPORT) == 1 }

  /// Takes effect for connections to come.
  public func setBacklog(_ backlog: Int) { listen(descriptor, Int32(backlog)) }

  private static func option(_ descriptor: Int32, _ option: Int32) -> Int32? {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(descriptor, SOL_SOCKET, option, &value, &length) == 0 ? value : nil
  }

  /// The address that a socket is bound to.
  static func name(of descriptor: Int32) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let known = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(descriptor, $0, &length)
      }
    }
    guard known == 0 else { return nil }
    guard Int32(storage.ss_family) == AF_UNIX else {
      let (address, port) = Listener.peer(storage)
      return .ip(address, port: port)
    }
    let path = withUnsafeBytes(of: storage) { bytes in
      bytes[2..<min(bytes.count, Int(length))].prefix { $0 != 0 }
    }
    return SocketAddress("unix:" + String(decoding: path, as: UTF8.self))
  }

  /// Removes the socket that a process which is gone left behind. One that somebody listens on is
  /// not taken away from them, and what is no socket is not ours to remove.
  private static func clearPath(_ path: String, _ endpoint: Endpoint) -> ListenError? {
    var status = stat()
    guard lstat(path, &status) == 0 else { return nil }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      return ListenError(
        address: endpoint.address, call: "what is there is no socket", code: EEXIST)
    }
    let probe = endpoint.connect()
    // A full backlog is a listener, too.
    if probe >= 0 || probe == -EAGAIN {
      if probe >= 0 { SocketCalls.close(probe) }
      return ListenError(
        address: endpoint.address, call: "another process serves there", code: EADDRINUSE)
    }
    unlink(path)
    return nil
  }

  /// Throws where somebody listens on the address already. Sockets that share a port would bind
  /// beside a stranger's without a word, and the kernel would give it a part of the connections.
  public static func requireFree(
    _ endpoint: Endpoint, v6Only: Bool = false
  ) throws(ListenError) {
    let probe = endpoint.makeSocket()
    guard probe >= 0 else {
      throw ListenError(address: endpoint.address, call: "socket", code: -probe)
    }
    defer { SocketCalls.close(probe) }
    set(probe, SOL_SOCKET, SO_REUSEADDR, 1)
    if endpoint.family == AF_INET6 {
      set(probe, Int32(IPPROTO_IPV6), IPV6_V6ONLY, v6Only ? 1 : 0)
    }
    let bound = endpoint.octets.withUnsafeBytes { bytes in
      bind(
        probe, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
    }
    if bound != 0 {
      throw ListenError(address: endpoint.address, call: "bind", code: weir_errno())
    }
  }

  private func fail(_ call: StaticString) -> ListenError {
    let code = weir_errno()
    SocketCalls.close(descriptor)
    return ListenError(address: address, call: call, code: code)
  }

  public func accept() -> AcceptResult {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let accepted = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        accept4(descriptor, $0, &length, flags)
      }
    }
    if accepted < 0 {
      switch weir_errno() {
      case EAGAIN: return .wouldBlock
      case EMFILE, ENFILE, ENOBUFS, ENOMEM: return .exhausted
      default: return .aborted
      }
    }
    let (address, port) = Listener.peer(storage)
    return .connection(AcceptedConnection(descriptor: accepted, address: address, port: port))
  }

  private static func peer(_ storage: sockaddr_storage) -> (IPAddress, UInt16) {
    withUnsafeBytes(of: storage) { bytes in
      switch Int32(storage.ss_family) {
      case AF_INET:
        let native = bytes.loadUnaligned(as: sockaddr_in.self)
        return (
          IPAddress(v4: UInt32(bigEndian: native.sin_addr.s_addr)),
          UInt16(bigEndian: native.sin_port)
        )
      case AF_INET6:
        let port = bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self).bigEndian
        let high = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self).bigEndian
        let low = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self).bigEndian
        return (IPAddress(high: high, low: low), port)
      default: return (IPAddress(v4: 0x7F00_0001), 0)
      }
    }
  }

  private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
    var value = value
    setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  public func close() { SocketCalls.close(descriptor) }
}
