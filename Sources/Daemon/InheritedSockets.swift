import CLinux
import Glibc
import Telemetry
import Transport

/// Listening sockets that were there before this process: from systemd (socket activation, or kept
/// over a crash) or from the weir that this one replaces.
enum InheritedSockets {
  /// sd_listen_fds(3)
  private static let firstDescriptor: Int32 = 3
  private static let most = 4096

  /// What systemd has handed over; each descriptor is taken or closed.
  static func fromManager(_ environment: [String: String], log: EventLog) -> [Listener] {
    guard environment["LISTEN_PID"] == "\(getpid())",
      let count = environment["LISTEN_FDS"].flatMap(Int32.init), count > 0, count <= most
    else { return [] }
    var found: [Listener] = []
    for descriptor in firstDescriptor..<(firstDescriptor + count) {
      if let listener = Listener(inherited: descriptor) {
        found.append(listener)
      } else {
        log.warning(
          "descriptor \(descriptor) from the service manager is no listening socket: closed")
        SocketCalls.close(descriptor)
      }
    }
    return found
  }

  /// Those that no listener of the configuration wants any more.
  static func closeUnwanted(_ sockets: [Listener], log: EventLog) {
    for address in Set(sockets.map(\.address)) {
      log.warning("\(address) was handed over, but is not in the configuration: closed")
    }
    for socket in sockets { socket.close() }
  }
}
