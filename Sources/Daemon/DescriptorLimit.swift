import Glibc
import Proxy
import Telemetry

/// The process's descriptor limit, and what of the configured limits it can hold (rule 53).
enum DescriptorLimit {
  /// Descriptors that are neither client nor backend connections: listeners, epoll, pipes, logs,
  /// the admin endpoint.
  private static let reserved = 256

  /// Raises the soft limit to the hard one and returns it.
  static func raise() -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(clamping: limit.rlim_cur)
  }

  /// `max-connections` lowered to what the limit holds, each client with a backend connection of
  /// its own; says so.
  static func fit(_ options: inout ProxyOptions, limit: Int, log: EventLog) {
    let room = max(16, (limit - reserved) / 2)
    guard options.maxConnections > room else { return }
    log.warning(
      "max-connections \(options.maxConnections) lowered to \(room): the descriptor limit is "
        + "\(limit) (raise LimitNOFILE)")
    options.maxConnections = room
  }
}
