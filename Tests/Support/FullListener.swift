import CLinux
import Foundation

/// A backend whose accept queue is full: to the kernel's answer to a SYN nothing ever comes, which
/// is what a machine that vanished looks like.
public final class FullListener: Sendable {
  public let address: String
  private let listener: Int32
  private let fillers: [Int32]

  public init() throws {
    let (descriptor, port) = try Ports.listen(host: "127.0.0.1", port: 0)
    // A second listen call shrinks the queue; a queue of 0 holds one connection.
    listen(descriptor, 0)
    listener = descriptor
    address = "127.0.0.1:\(port)"
    fillers = (0..<4).map { _ in
      let filler = socket(
        AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
      _ = WireConnection.withAddress(port: port, host: "127.0.0.1") { connect(filler, $0, $1) }
      return filler
    }
  }

  deinit {
    for descriptor in fillers + [listener] { close(descriptor) }
  }
}
