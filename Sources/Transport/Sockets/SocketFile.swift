import Glibc
import Primitives

/// The file of a unix socket that this process listens on, to be removed when it listens no more,
/// and only then: another process may have put its own there meanwhile.
public struct SocketFile: Sendable {
  private let path: String
  private let device: dev_t
  private let inode: ino_t

  /// `nil` where the address has no file.
  public init?(_ address: SocketAddress) {
    guard case .unix(let path) = address else { return nil }
    var status = stat()
    guard lstat(path, &status) == 0 else { return nil }
    self.path = path
    device = status.st_dev
    inode = status.st_ino
  }

  public func remove() {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_dev == device, status.st_ino == inode else { return }
    unlink(path)
  }
}
