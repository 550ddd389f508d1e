import CLinux
import Foundation

/// Ports that no connection of this machine is using, each given out once.
///
/// Test processes of several work trees may run on one machine, and a daemon listens with
/// SO_REUSEPORT: two of them on one port would share its connections, and neither would be told.
/// So a process takes ports from blocks that it has reserved.
public enum Ports {
  /// Below the range that the kernel gives to outgoing connections, so that no client can take a
  /// port before the daemon does.
  private static let blocks = 0..<100
  private static let first = 10_000
  private static let size = 200

  private struct Reservation: Sendable {
    var block: Int
    var used = 0
    /// Its name is the reservation, and ends with the process.
    var descriptor: Int32
  }

  private static let reservation = Monitor<Reservation?>(nil)

  /// A free port, which nobody else is given.
  public static func take() -> UInt16 {
    while true {
      let port = reservation.update { current in
        if current.map({ $0.used == size }) ?? true { current = reserve(after: current?.block) }
        defer { current?.used += 1 }
        return current.map { UInt16(first + $0.block * size + $0.used) } ?? 0
      }
      if let (descriptor, _) = try? listen(host: "0.0.0.0", port: port) {
        close(descriptor)
        return port
      }
    }
  }

  /// The next block that nobody has; a block that is used up stays with its process.
  private static func reserve(after last: Int?) -> Reservation {
    let start = last.map { $0 + 1 } ?? Int(getpid()) * 7
    for offset in blocks {
      let block = (start + offset) % blocks.count
      let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      // An abstract name: a zero, then letters.
      let name = Array("weir-test-ports-\(block)".utf8)
      withUnsafeMutableBytes(of: &address.sun_path) { path in
        for (index, octet) in name.enumerated() { path[index + 1] = octet }
      }
      let length = MemoryLayout<sa_family_t>.size + 1 + name.count
      let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, socklen_t(length))
        }
      }
      if result == 0 { return Reservation(block: block, descriptor: descriptor) }
      close(descriptor)
    }
    fatalError("every block of ports is reserved by a test process of this machine")
  }

  static func listen(path: String) throws -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard bound == 0, Glibc.listen(descriptor, 64) == 0 else {
      throw WireError.system("listen \(path)", errno)
    }
    return descriptor
  }

  static func listen(host: String, port: UInt16) throws -> (descriptor: Int32, port: UInt16) {
    // Another process may take a port between the look and the bind.
    if port == 0 {
      for _ in 0..<20 {
        if let bound = try? listen(host: host, port: take()) { return bound }
      }
      throw TestFailure("no port to listen on at \(host)")
    }
    let descriptor = socket(
      AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw WireError.system("socket", errno) }
    var one: Int32 = 1
    setsockopt(
      descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    let result = WireConnection.withAddress(port: port, host: host) {
      bind(descriptor, $0, $1)
    }
    guard result == 0, Glibc.listen(descriptor, 1024) == 0 else {
      let reason = errno
      close(descriptor)
      throw WireError.system("bind \(host):\(port)", reason)
    }
    return (descriptor, port)
  }
}
