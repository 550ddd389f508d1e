import Glibc
import Primitives
import Proxy
import Transport

/// The sockets that clients come in by, as the control thread knows them; each worker owns the
/// descriptors that are assigned to it, and closes them.
///
/// One socket for each worker and address, so that the kernel spreads connections and no lock is
/// shared. Where the kernel lets only one be bound (a unix socket, or one from systemd), the
/// workers wait for the same one.
struct ListeningSockets {
  private struct Place {
    let address: SocketAddress
    var backlog: Int
    /// For each worker; of sockets that were inherited a worker may have several.
    let sockets: [[Listener]]
    /// Each socket once.
    let distinct: [Listener]
    let file: SocketFile?
  }

  private let workers: Int
  private var places: [Place] = []

  init(workers: Int) { self.workers = workers }

  /// All that is needed for `options`, what is here already and what is `inherited` included. On
  /// an error what was opened is closed again, and this value stays as good as it was.
  func adjusted(
    to options: [ListenerOptions], inherited: inout [Listener]
  ) throws(ListenError) -> ListeningSockets {
    var wanted = ListeningSockets(workers: workers)
    var opened: [Listener] = []
    do throws(ListenError) {
      for listener in options {
        for address in listener.bind.map(ListeningSockets.reachable) {
          if var known = places.first(where: { $0.address == address }) {
            known.backlog = listener.backlog
            wanted.places.append(known)
          } else {
            wanted.places.append(try open(address, listener, &inherited, &opened))
          }
        }
      }
    } catch {
      for socket in opened { socket.close() }
      throw error
    }
    for place in wanted.places {
      for socket in place.distinct { socket.setBacklog(place.backlog) }
    }
    return wanted
  }

  /// `:port` is every address of both families, or of IPv4 where the machine has no IPv6.
  private static func reachable(_ address: SocketAddress) -> SocketAddress {
    guard case .ip(IPAddress(high: 0, low: 0), let port) = address, !Endpoint.hasIPv6 else {
      return address
    }
    return .ip(IPAddress(v4: 0), port: port)
  }

  private func open(
    _ address: SocketAddress, _ listener: ListenerOptions, _ inherited: inout [Listener],
    _ opened: inout [Listener]
  ) throws(ListenError) -> Place {
    let endpoint = Endpoint(address)
    var found = inherited.filter { $0.address == address }
    inherited.removeAll { $0.address == address }
    var isUnix = false
    if case .unix = address { isUnix = true }
    let canShare = workers > 1 && !isUnix && listener.sharesPort
    let fastOpen = isUnix ? 0 : listener.fastOpen
    if found.isEmpty {
      if !isUnix { try Listener.requireFree(endpoint, v6Only: listener.v6Only) }
      let first = try Listener(
        endpoint, backlog: listener.backlog, sharesPort: canShare,
        fileMode: mode_t(listener.fileMode), v6Only: listener.v6Only, fastOpen: fastOpen)
      opened.append(first)
      found.append(first)
    }
    // One for each worker where the kernel and whoever made the first allow that.
    while found.count < workers, canShare, found[0].sharesPort,
      let next = try? Listener(
        endpoint, backlog: listener.backlog, sharesPort: true, v6Only: listener.v6Only,
        fastOpen: fastOpen)
    {
      opened.append(next)
      found.append(next)
    }
    var sockets = [[Listener]](repeating: [], count: workers)
    for (index, socket) in found.enumerated() {
      let isShared = index + found.count < workers
      sockets[index % workers].append(isShared ? socket.shared() : socket)
    }
    for worker in 0..<workers where sockets[worker].isEmpty {
      let copy = try found[worker % found.count].duplicate()
      opened.append(copy)
      sockets[worker].append(copy)
    }
    return Place(
      address: address, backlog: listener.backlog, sockets: sockets, distinct: found,
      file: SocketFile(address))
  }

  /// What each worker listens on; `options` are those that this value was made for.
  func assignments(_ options: [ListenerOptions]) -> [[WorkerListener]] {
    var found = [[WorkerListener]](repeating: [], count: workers)
    for (index, listener) in options.enumerated() {
      for address in listener.bind.map(ListeningSockets.reachable) {
        guard let place = places.first(where: { $0.address == address }) else { continue }
        for worker in 0..<workers {
          found[worker] += place.sockets[worker].map { WorkerListener(socket: $0, options: index) }
        }
      }
    }
    return found
  }

  /// Closes what it has beyond `earlier`, which goes on.
  func giveUp(keeping earlier: ListeningSockets) {
    for place in places
    where !earlier.places.contains(where: { $0.address == place.address }) {
      place.file?.remove()
      let descriptors = (place.sockets.joined() + place.distinct).map(\.descriptor)
      for descriptor in Set(descriptors) { SocketCalls.close(descriptor) }
    }
  }

  /// Removes the socket files of addresses that `later` has no more.
  func removeFiles(but later: ListeningSockets? = nil) {
    for place in places {
      if later?.places.contains(where: { $0.address == place.address }) == true { continue }
      place.file?.remove()
    }
  }

  /// Every socket there is, once.
  var all: [Listener] { places.flatMap(\.distinct) }
}
