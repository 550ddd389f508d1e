import CLinux
import Glibc
import Primitives

/// A socket address in the kernel's form, made once when a configuration is compiled.
public final class Endpoint: Sendable {
  public let address: SocketAddress
  /// The octets of a `sockaddr`.
  let octets: [UInt8]
  let family: Int32

  public init(_ address: SocketAddress) {
    self.address = address
    switch address {
    case .ip(let ip, let port) where ip.isV4:
      family = AF_INET
      var native = sockaddr_in()
      native.sin_family = sa_family_t(AF_INET)
      native.sin_port = port.bigEndian
      native.sin_addr.s_addr = ip.v4.bigEndian
      octets = withUnsafeBytes(of: native) { Array($0) }
    case .ip(let ip, let port):
      family = AF_INET6
      var native = sockaddr_in6()
      native.sin6_family = sa_family_t(AF_INET6)
      native.sin6_port = port.bigEndian
      withUnsafeMutableBytes(of: &native.sin6_addr) { bytes in
        for index in 0..<16 { bytes[index] = ip.octet(index) }
      }
      octets = withUnsafeBytes(of: native) { Array($0) }
    case .unix(let path):
      family = AF_UNIX
      var native = sockaddr_un()
      native.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &native.sun_path) { bytes in
        for (index, byte) in path.utf8.enumerated() where index < bytes.count - 1 {
          bytes[index] = byte
        }
      }
      octets = withUnsafeBytes(of: native) { Array($0) }
    }
  }

  /// A new nonblocking stream socket of this family; negative errno on failure.
  func makeSocket() -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(family, type | Int32(SOCK_CLOEXEC.rawValue), 0)
    return descriptor >= 0 ? descriptor : -weir_errno()
  }

  /// What will be sent over a connection, which decides what the kernel is told of it.
  public enum Sends {
    /// Any number of times, and nothing is to be held back (RFC 896).
    case often
    /// One call, so that there is nothing to hold back.
    case once
    /// The connection is reset as soon as it stands: the third step of its handshake (RFC 9293,
    /// section 3.5) is held back for the 200 ms in which that may happen. Then the other side's
    /// kernel, which has said that it listens, neither makes a socket nor wakes the process.
    case nothing
  }

  /// Begins to connect. Returns the descriptor, whose writability tells the end; negative errno
  /// where it failed at once. `spare`: a socket to do it with, which `SocketCalls.disconnect` has
  /// freed of its last connection; -1: there is none.
  public func connect(sends: Sends = .often, spare: Int32 = -1) -> Int32 {
    let descriptor = spare >= 0 ? spare : makeSocket()
    guard descriptor >= 0 else { return descriptor }
    if family != AF_UNIX {
      switch sends {
      case .often: Endpoint.setNoDelay(descriptor)
      case .once: break
      case .nothing: Endpoint.set(descriptor, TCP_QUICKACK, 0)
      }
    }
    let result = octets.withUnsafeBytes { bytes in
      Glibc.connect(
        descriptor, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
        socklen_t(bytes.count))
    }
    if result == 0 { return descriptor }
    let error = weir_errno()
    if error == EINPROGRESS { return descriptor }
    SocketCalls.close(descriptor)
    return -error
  }

  /// The addresses without those of IPv6 to which this machine has no route: asked of the kernel,
  /// without a packet.
  public static func routable(_ addresses: [IPAddress]) -> [IPAddress] {
    guard addresses.contains(where: { !$0.isV4 }) else { return addresses }
    let probe = socket(AF_INET6, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    return routable(addresses, probe: probe >= 0 ? probe : -weir_errno())
  }

  /// `probe`: closed at the end; a negative errno where there is none.
  static func routable(_ addresses: [IPAddress], probe: Int32) -> [IPAddress] {
    // Out of descriptors nobody knows: they are not taken for unreachable.
    guard probe >= 0 else {
      return -probe == EAFNOSUPPORT ? addresses.filter(\.isV4) : addresses
    }
    defer { SocketCalls.close(probe) }
    return addresses.filter { address in
      guard !address.isV4 else { return true }
      let endpoint = Endpoint(.ip(address, port: 9))
      let result = endpoint.octets.withUnsafeBytes { bytes in
        Glibc.connect(
          probe, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
          socklen_t(bytes.count))
      }
      return result == 0 || ![ENETUNREACH, EADDRNOTAVAIL, EAFNOSUPPORT].contains(weir_errno())
    }
  }

  /// Whether the machine can make IPv6 sockets at all.
  public static var hasIPv6: Bool {
    let probe = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
    guard probe >= 0 else { return false }
    SocketCalls.close(probe)
    return true
  }

  static func setNoDelay(_ descriptor: Int32) { set(descriptor, TCP_NODELAY, 1) }

  private static func set(_ descriptor: Int32, _ option: Int32, _ value: Int32) {
    var value = value
    setsockopt(
      descriptor, Int32(IPPROTO_TCP), option, &value, socklen_t(MemoryLayout<Int32>.size))
  }
}
