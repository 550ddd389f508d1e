import Primitives
import Proxy
import Transport

/// DNS has changed what a name stands for: what a reload does, for the addresses alone.
extension Daemon {
  /// The least time between two snapshots made for DNS, whatever it says in between.
  private static let distance = TimeAmount.milliseconds(250)

  func namesChanged() {
    _ = shared.names.changed.collect()
    namesDue = min(namesDue, namesAdoptedAt + Daemon.distance)
  }

  /// Backends that stay keep everything; those that are gone finish what they have in flight.
  /// Nothing is waited for: whichever snapshot a request begins with, its backends serve it.
  func adoptNames(_ now: MonotonicTime) {
    namesDue = .never
    // A process that drains begins nothing any more.
    guard !isDraining else { return }
    let resolved = options.resolved(shared.names.addresses)
    guard resolved.upstreams != snapshot.options.upstreams else { return }
    namesAdoptedAt = now
    do {
      snapshot = try Snapshot(
        resolved, generation: snapshot.generation, name: instance, shared: shared,
        after: snapshot)
    } catch {
      return log.error("names: \(error.text)")
    }
    workers.hand(snapshot, sockets.assignments(options.listeners))
    watch.adopt(snapshot)
  }
}
