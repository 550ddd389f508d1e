import CLinux
import Glibc
import HTTP
import HTTP1
import Primitives
import Transport

/// A connected stream socket for code that may wait: the commands that ask a daemon, and the
/// sample backends of the demo. Every wait has an end.
final class BlockingSocket {
  private static let room = [UInt8](repeating: 0, count: 16 * 1024)

  private static let queuePauseMicroseconds: UInt32 = 5000

  private let descriptor: Int32

  /// Takes over a nonblocking descriptor.
  init(descriptor: Int32) { self.descriptor = descriptor }

  /// Connects, or throws the reason as a person would say it.
  init(to address: SocketAddress, within time: TimeAmount) throws(ConnectFault) {
    let deadline = MonotonicTime.now() + time
    let endpoint = Endpoint(address)
    var made = endpoint.connect()
    // A unix socket whose queue is full says so at once, instead of letting the caller wait.
    while made == -EAGAIN, MonotonicTime.now() < deadline {
      usleep(BlockingSocket.queuePauseMicroseconds)
      made = endpoint.connect()
    }
    guard made >= 0 else { throw ConnectFault(code: -made) }
    descriptor = made
    guard wait(POLLOUT, until: deadline) else { throw ConnectFault(code: ETIMEDOUT) }
    let error = SocketCalls.pendingError(descriptor)
    guard error == 0 else { throw ConnectFault(code: error) }
  }

  deinit { SocketCalls.close(descriptor) }

  /// False where the peer is gone or takes nothing until the deadline.
  func send(_ bytes: [UInt8], until deadline: MonotonicTime) -> Bool {
    var sent = 0
    while sent < bytes.count {
      let result = bytes.withByteView { SocketCalls.send(descriptor, $0.slice(from: sent)) }
      switch result {
      case .octets(let count): sent += count
      case .wouldBlock: if !wait(POLLOUT, until: deadline) { return false }
      case .failed: return false
      }
    }
    return true
  }

  /// Appends what arrives. False at the end, on an error, and where nothing came in time.
  func receive(into bytes: inout [UInt8], until deadline: MonotonicTime) -> Bool {
    let size = BlockingSocket.room.count
    let known = bytes.count
    bytes += BlockingSocket.room
    while true {
      let result = bytes.withUnsafeMutableBytes {
        SocketCalls.receive(descriptor, $0.baseAddress! + known, size)
      }
      switch result {
      case .octets(let count):
        bytes.removeLast(size - count)
        return true
      case .wouldBlock where wait(POLLIN, until: deadline): continue
      case .wouldBlock, .ended, .failed:
        bytes.removeLast(size)
        return false
      }
    }
  }

  private func wait(_ event: Int32, until deadline: MonotonicTime) -> Bool {
    while true {
      let left = (deadline - MonotonicTime.now()).milliseconds
      guard left > 0 else { return false }
      var wanted = pollfd(fd: descriptor, events: Int16(event), revents: 0)
      let count = poll(&wanted, 1, Int32(clamping: left))
      if count > 0 { return true }
      if count < 0, weir_errno() != EINTR { return false }
    }
  }
}

struct ConnectFault: Error {
  let code: Int32
  var reason: String { String(cString: strerror(code)).lowercased() }
}
