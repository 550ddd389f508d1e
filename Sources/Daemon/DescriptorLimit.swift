import Glibc
import Proxy
import Telemetry

/// The process's descriptor limit, and what of the configured limits it can hold (rule 53).
enum DescriptorLimit {
  /// Descriptors that are neither client nor backend connections: listeners, epoll, pipes, logs,
  /// the admin endpoint.
  private static let reserved = 256

  /// Raises the limit to what the options want, as far as the process may: always up to the hard
  /// limit, beyond it only with CAP_SYS_RESOURCE. Returns the limit in force.
  static func raise(for options: ProxyOptions) -> Int {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard getrlimit(resource, &limit) == 0 else { return 1024 }
    let wanted = rlim_t(clamping: options.maxConnections / 2 * 3 + reserved)
    var raised = rlimit(rlim_cur: wanted, rlim_max: wanted)
    if limit.rlim_max >= wanted || setrlimit(resource, &raised) != 0 {
      limit.rlim_cur = limit.rlim_max
      setrlimit(resource, &limit)
    }
    getrlimit(resource, &limit)
    return Int(clamping: limit.rlim_cur)
  }

  /// `max-connections` lowered to what the limit holds, and says so. A third is kept for backends:
  /// most clients of a keep-alive front are idle, and when descriptors do run out the longest idle
  /// ones give way.
  static func fit(_ options: inout ProxyOptions, limit: Int, log: EventLog) {
    let room = max(16, (limit - reserved) / 3 * 2)
    guard options.maxConnections > room else { return }
    log.warning(
      "max-connections \(options.maxConnections) lowered to \(room): the descriptor limit is "
        + "\(limit) (raise LimitNOFILE)")
    options.maxConnections = room
  }
}
