import Admin
import Caching
import Glibc
import Primitives
import Proxy
import Telemetry

extension Daemon {
  /// False where there is no such backend.
  func setMode(_ change: BackendModeChange) -> Bool {
    for (upstream, state) in zip(snapshot.options.upstreams, snapshot.upstreamStates)
    where upstream.name == change.upstream {
      return state.setMode(change.backend, change.mode, now: MonotonicTime.now())
    }
    return false
  }

  /// What people had set in the process before this one: upstream, backend, mode.
  func restore(_ mode: [String]) {
    guard mode.count == 3, let wanted = BackendMode(rawValue: mode[2]) else { return }
    _ = setMode(BackendModeChange(upstream: mode[0], backend: mode[1], mode: wanted))
  }

  /// Purges the caches, and says so in the event log.
  func purge(_ order: PurgeOrder) -> Result<PurgeResult, PurgeFault> {
    do throws(PurgeFault) {
      var result = try snapshot.purge(order, now: MonotonicTime.now())
      result.sequence =
        order.dryRun
        ? shared.purges.load(ordering: .relaxed)
        : shared.purges.add(1, ordering: .relaxed).newValue
      if !order.dryRun {
        log.info(
          "purge \(instance)-\(result.sequence): \(order.summary): \(result.matched) responses, "
            + "\(result.bytes) octets")
      }
      return .success(result)
    } catch {
      log.warning("purge refused: \(error.text)")
      return .failure(error)
    }
  }

  /// What the admin endpoint may know, as of now.
  func adminState() -> AdminState {
    let now = MonotonicTime.now()
    var state = AdminState(
      version: Version.text, instance: instance, processID: Int(getpid()),
      workers: workers.seats.map(\.metrics), snapshot: snapshot, shared: shared,
      lastReload: lastReload, isDraining: isDraining, startedAt: startedAtWall,
      uptime: now - startedAt, now: now, droppedLogLines: accessLog?.droppedLines ?? 0,
      usage: { [descriptorLimit] in ProcessUsage(descriptorLimit: descriptorLimit) })
    state.isUpgrading = upgrade.isRunning
    state.upgradeFailure = upgrade.failure ?? ""
    return state
  }
}

extension PurgeOrder {
  /// For the event log: what it is about, no more than a line's worth.
  fileprivate var summary: String {
    var parts: [String] = []
    if all { parts.append("everything") }
    if let prefix { parts.append("prefix \(prefix.prefix(128))") }
    if !tags.isEmpty { parts.append("tags \(tags.prefix(8).joined(separator: ","))") }
    if tags.count > 8 { parts.append("and \(tags.count - 8) more") }
    if let url = urls.first { parts.append("\(urls.count) URLs, the first \(url.prefix(128))") }
    if soft { parts.append("soft") }
    return parts.joined(separator: ", ")
  }
}

extension ProcessUsage {
  /// Of this process; 0 where the kernel does not tell (`/proc` hidden).
  init(descriptorLimit: Int) {
    self.init(
      residentBytes: ProcessUsage.residentBytes(), openDescriptors: ProcessUsage.descriptors(),
      maxDescriptors: descriptorLimit, cpuSeconds: ProcessUsage.cpuSeconds())
  }

  /// The second number of /proc/self/statm, in pages.
  private static func residentBytes() -> Int {
    let file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return 0 }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 128)
    let count = read(file, &bytes, bytes.count)
    guard count > 0 else { return 0 }
    let words = bytes[..<count].split(separator: UInt8(ascii: " "))
    guard words.count > 1 else { return 0 }
    return (Array(words[1]).withByteView { $0.decimal } ?? 0) * sysconf(Int32(_SC_PAGESIZE))
  }

  /// Entries of /proc/self/fd but `.`, `..` and the one that reads them.
  private static func descriptors() -> Int {
    guard let folder = opendir("/proc/self/fd") else { return 0 }
    defer { closedir(folder) }
    var count = 0
    while readdir(folder) != nil { count += 1 }
    return max(0, count - 3)
  }

  private static func cpuSeconds() -> Double {
    var usage = rusage()
    guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
    let micros =
      (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000
      + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec
    return Double(micros) / 1_000_000
  }
}
