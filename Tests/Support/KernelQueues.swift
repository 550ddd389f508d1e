import Foundation

/// What the kernel holds of a loopback connection whose other end belongs to another process: the
/// only way to see that a daemon has read everything, or that it has more than the kernel takes.
public struct KernelQueues: Equatable, Sendable {
  /// Octets that the other end has handed to its kernel and that are not acknowledged.
  public var peerUnacknowledged: Int
  /// Octets that the other end's kernel has and its process has not read.
  public var peerUnread: Int
  /// Octets that have arrived here and were not read.
  public var unread: Int

  /// Octets that the other end has got rid of, and this end has not read.
  public var sentToUs: Int { peerUnacknowledged + unread }

  /// The most octets that the two sockets of one loopback connection hold for one direction. The
  /// kernel chooses within this machine's limits by what it has seen, so a fixed number is no
  /// bound: `tcp(7)`, tcp_rmem and tcp_wmem.
  public static func mostPerDirection() throws -> Int {
    try ["tcp_rmem", "tcp_wmem"].reduce(0) { sum, name in
      let text = try String(contentsOfFile: "/proc/sys/net/ipv4/\(name)", encoding: .utf8)
      guard let most = text.split(whereSeparator: \.isWhitespace).last.flatMap({ Int($0) }) else {
        throw TestFailure("\(name) is \(text)")
      }
      return sum + most
    }
  }
}

extension WireConnection {
  /// The kernel's queues of this connection; `nil` once the other end has closed it, or where the
  /// table changed while it was read and this row was skipped.
  public var kernelQueues: KernelQueues? {
    guard let own = address(getsockname), let other = address(getpeername),
      let handle = FileHandle(forReadingAtPath: "/proc/net/tcp"),
      let table = try? handle.readToEnd(),
      // The other end's row: its address, ours, a state of two digits, then its queues.
      let row = table.firstRange(of: Data("\(other) \(own) ".utf8)),
      let queues = String(data: table[row.upperBound...].prefix(20), encoding: .utf8)
    else { return nil }
    let numbers = queues.dropFirst(3).split(separator: ":").compactMap { Int($0, radix: 16) }
    var unread: Int32 = 0
    guard numbers.count == 2, ioctl(descriptor, UInt(FIONREAD), &unread) == 0 else { return nil }
    return KernelQueues(
      peerUnacknowledged: numbers[0], peerUnread: numbers[1], unread: Int(unread))
  }

  /// Waits until the other end's process has read everything that was sent here.
  public func waitUntilRead() -> Bool {
    Poll.until(.after(stepSeconds)) {
      var queued: Int32 = 0
      return ioctl(descriptor, UInt(TIOCOUTQ), &queued) == 0 && queued == 0
        && kernelQueues?.peerUnread == 0
    }
  }

  /// As /proc/net/tcp writes it: the address as the machine's number, the port as the network's.
  private func address(
    _ ask: (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32
  ) -> String? {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(descriptor, $0, &length) }
    }
    guard result == 0 else { return nil }
    return String(
      format: "%08X:%04X", address.sin_addr.s_addr, UInt16(bigEndian: address.sin_port))
  }
}
