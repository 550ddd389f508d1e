import Primitives
import Proxy
import Telemetry
import Transport
import CLinux
import Glibc

final class AdminServer {
  let descriptor: Int32
  init(_ options: [AdminListenerOptions], log: EventLog) throws(ListenError) { descriptor = epoll_create1(0) }
  var timeoutMs: Int32 { -1 }
  func turn(_ daemon: Daemon) {}
  func close() {}
}
