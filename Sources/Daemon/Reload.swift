import Admin
import Config
import Glibc
import Primitives
import Proxy
import Telemetry
import Transport

/// Reload: within one process, so that whatever did not change stays (connections, health,
/// breakers, caches, counters).
extension Daemon {
  /// For all workers to come round to a new configuration; a turn takes microseconds.
  private static let adoptionTime = TimeAmount.seconds(1)

  /// Parses, checks, builds and swaps one snapshot. On any fault nothing changes, and the
  /// diagnostics say why.
  func reload() -> ReloadRecord {
    notifier.reloading()
    defer { notifier.ready(serving) }
    var record = ReloadRecord()
    record.at = WallClock.now().seconds
    let result = ConfigurationLoader.load(
      path: path, environment: environment, files: DiskFiles())
    record.diagnostics = result.diagnostics.map { $0.rendered() }
    if var loaded = result.options {
      DescriptorLimit.fit(&loaded, limit: descriptorLimit, log: log)
      if isDraining {
        record.diagnostics.append("\(path): error: weir is stopping")
      } else if upgrade.isRunning {
        record.diagnostics.append("\(path): error: an upgrade is under way")
      } else if let fault = unchangeable(in: loaded) {
        record.diagnostics.append(fault)
      } else {
        adopt(&loaded, &record)
      }
    }
    finish(&record, what: "configuration")
    if record.succeeded { warnOfUnverified(options) }
    return record
  }

  /// Reads certificates, keys and authorities again, and nothing else: connections stay, and new
  /// handshakes get what is new. On any fault nothing changes.
  func reloadCertificates() -> ReloadRecord {
    var record = ReloadRecord()
    record.at = WallClock.now().seconds
    var loaded = options
    record.diagnostics = CertificateReading.reread(&loaded, files: DiskFiles())
    if record.diagnostics.isEmpty { adopt(&loaded, &record) }
    finish(&record, what: "certificates")
    return record
  }

  private func finish(_ record: inout ReloadRecord, what: String) {
    record.generation = snapshot.generation
    lastReload = record
    if record.succeeded {
      log.info("\(what) reloaded: generation \(snapshot.generation)")
      for change in record.changes { log.info("changed: \(change)") }
    } else {
      // A line each: the event log lets no message make lines of its own.
      for diagnostic in record.diagnostics {
        for line in diagnostic.split(separator: "\n") { log.error(String(line)) }
      }
      log.error("reload refused, generation \(snapshot.generation) keeps running")
    }
  }

  /// Loud on purpose: it is meant to be a passing state.
  func warnOfUnverified(_ options: ProxyOptions) {
    for upstream in options.upstreams where upstream.tls?.verifies == false {
      log.warning(
        "upstream \(upstream.name): backends are NOT verified ('verify off'): whoever answers at "
          + "their address gets the requests")
    }
  }

  private func adopt(_ loaded: inout ProxyOptions, _ record: inout ReloadRecord) {
    let changes = ConfigurationChanges(from: options, to: loaded).lines
    loaded.listeners = Daemon.places(of: loaded.listeners, after: options.listeners)
    let before = sockets
    let adjusted: ListeningSockets
    var inherited: [Listener] = []
    do throws(ListenError) {
      adjusted = try before.adjusted(to: loaded.listeners, inherited: &inherited)
    } catch {
      record.diagnostics.append("\(path): error: \(error.message)")
      return
    }
    // Or an upstream whose address becomes a name would have no backend for a moment.
    watch.resolve(loaded, and: options, within: Daemon.firstNamesTime)
    // Last of what can fail: a snapshot that is made has told the upstreams of their backends.
    let next: Snapshot
    do {
      next = try Snapshot(
        loaded.resolved(shared.names.addresses), generation: snapshot.generation + 1,
        name: instance, shared: shared)
    } catch {
      adjusted.giveUp(keeping: before)
      watch.forgetOtherNames(than: options)
      record.diagnostics.append("configuration: \(error.text)")
      return
    }
    sockets = adjusted
    snapshot = next
    options = loaded
    log.setLevel(loaded.logLevel)
    let listeners = sockets.assignments(options.listeners)
    if !workers.adopt(snapshot, listeners, within: Daemon.adoptionTime) {
      log.warning("generation \(snapshot.generation): a worker has not taken it over yet")
    }
    before.removeFiles(but: sockets)
    if before.all.map(\.descriptor) != sockets.all.map(\.descriptor) {
      notifier.forgetStored()
      notifier.store(sockets.all.map(\.descriptor))
    }
    watch.adopt(snapshot)
    watch.forgetOtherNames(than: options)
    record.succeeded = true
    record.changes = changes
  }

  /// The workers know listeners by their places, and connections remember them: a listener keeps
  /// its place for ever, also one that is removed; new ones come behind.
  private static func places(
    of loaded: [ListenerOptions], after known: [ListenerOptions]
  ) -> [ListenerOptions] {
    var places = known.map { listener in
      if let same = loaded.first(where: { $0.name == listener.name }) { return same }
      var removed = listener
      removed.isRemoved = true
      removed.bind = []
      return removed
    }
    for listener in loaded where !known.contains(where: { $0.name == listener.name }) {
      places.append(listener)
    }
    return places
  }

  /// A socket is made with its options; one that is kept keeps them.
  private func listenerWithOtherSockets(_ loaded: ProxyOptions) -> String? {
    loaded.listeners.first { listener in
      guard let known = options.listeners.first(where: { $0.name == listener.name }),
        !known.isRemoved
      else { return false }
      return known.bind.contains { address in
        guard listener.bind.contains(address) else { return false }
        if case .unix = address { return known.fileMode != listener.fileMode }
        return known.v6Only != listener.v6Only || known.sharesPort != listener.sharesPort
          || known.fastOpen != listener.fastOpen
      }
    }?.name
  }

  /// What this version sets up once, at the start: a change of it is refused rather than ignored.
  private func unchangeable(in loaded: ProxyOptions) -> String? {
    func refusal(_ what: String) -> String {
      "\(path): error: \(what) cannot be changed by a reload; restart weir to change it"
    }
    if let name = listenerWithOtherSockets(loaded) {
      return refusal("mode, v6only, reuseport and fastopen of listener \(name)")
    }
    if loaded.workers != options.workers { return refusal("workers") }
    if loaded.admin != options.admin { return refusal("admin") }
    if loaded.accessLog != options.accessLog { return refusal("access-log") }
    if (loaded.name ?? instance) != instance { return refusal("name") }
    return nil
  }
}
