import CLinux
import Glibc
import Primitives

/// The service manager that started weir, by the protocol of sd_notify(3). Without NOTIFY_SOCKET
/// there is none, and nothing is said.
///
/// Nothing here waits: a manager that does not read loses messages, weir no time.
struct ServiceNotifier {
  private var socket: Int32
  private let address: sockaddr_un
  private let addressLength: socklen_t
  /// Within this time it must hear that weir is alive (`WatchdogSec=`); `nil`: it does not ask.
  let watchdog: TimeAmount?

  init(_ environment: [String: String]) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var name = Array((environment["NOTIFY_SOCKET"] ?? "").utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    let isUsable =
      (name.first == UInt8(ascii: "/") || name.first == UInt8(ascii: "@"))
      && name.count < room
    // An abstract name begins with a zero octet.
    if name.first == UInt8(ascii: "@") { name[0] = 0 }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name.prefix(room)) }
    self.address = address
    addressLength = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
    let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    socket =
      isUsable ? Glibc.socket(AF_UNIX, type | Int32(SOCK_NONBLOCK.rawValue), 0) : -1
    watchdog = ServiceNotifier.watchdog(environment)
  }

  /// sd_watchdog_enabled(3): for this process, or for whoever is asked.
  private static func watchdog(_ environment: [String: String]) -> TimeAmount? {
    guard let microseconds = environment["WATCHDOG_USEC"].flatMap(Int64.init), microseconds > 0,
      microseconds < 1 << 40
    else { return nil }
    if let process = environment["WATCHDOG_PID"], process != "\(getpid())" { return nil }
    return TimeAmount(nanoseconds: microseconds * 1000)
  }

  var isThere: Bool { socket >= 0 }

  /// Says no more: another process speaks for the service now.
  mutating func resign() {
    guard isThere else { return }
    close(socket)
    socket = -1
  }

  private func tell(_ lines: [String], _ descriptors: [Int32] = []) {
    guard isThere else { return }
    let text = Array(lines.joined(separator: "\n").utf8)
    var address = address
    _ = weir_send_descriptors(
      socket, text, text.count, descriptors, descriptors.count, &address, addressLength)
  }

  func ready(_ status: String) { tell(["READY=1", "STATUS=\(status)"]) }

  func status(_ status: String) { tell(["STATUS=\(status)"]) }

  func reloading() {
    tell(["RELOADING=1", "MONOTONIC_USEC=\(MonotonicTime.now().nanoseconds / 1000)"])
  }

  func stopping(_ status: String) { tell(["STOPPING=1", "STATUS=\(status)"]) }

  func alive() { tell(["WATCHDOG=1"]) }

  /// Another process is the service from now on.
  func mainProcess(_ process: pid_t) { tell(["MAINPID=\(process)"]) }

  /// Has it hold the descriptors, and give them to the next process should this one crash.
  func store(_ descriptors: [Int32]) {
    for start in stride(from: 0, to: descriptors.count, by: Int(WEIR_DESCRIPTORS_PER_MESSAGE)) {
      let end = min(descriptors.count, start + Int(WEIR_DESCRIPTORS_PER_MESSAGE))
      tell(["FDSTORE=1", "FDNAME=\(ServiceNotifier.storeName)"], Array(descriptors[start..<end]))
    }
  }

  func forgetStored() { tell(["FDSTOREREMOVE=1", "FDNAME=\(ServiceNotifier.storeName)"]) }

  /// One name for all: which address a socket has, it knows itself.
  static let storeName = "weir-listener"
}
