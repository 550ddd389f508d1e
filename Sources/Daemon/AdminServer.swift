import Admin
import Glibc
import HTTP
import Primitives
import Proxy
import Telemetry
import Transport

/// The admin endpoint: sockets of its own, served by the control thread between its other duties,
/// so that no request of the data path ever waits for it.
final class AdminServer {
  private struct Door {
    let listener: Listener
    let token: String?
    let file: SocketFile?
  }

  private static let maxConnections = 64
  private static let backlog = 256
  private static let acceptsPerTurn = 16
  /// While the process has no descriptor left.
  private static let acceptPause = TimeAmount.milliseconds(100)
  private static let listenerKind: UInt8 = 1
  private static let connectionKind: UInt8 = 2

  private let poller: Poller
  private var doors: [Door] = []
  /// Those of a free seat are `nil`; its generation tells stale events from its next holder's.
  private var seats: [AdminConnection?]
  private var generations: [UInt32]
  /// Seats with more to do than fitted into their turn.
  private var unfinished: [Int] = []
  private var acceptPauseEnd = MonotonicTime.never
  private var head = RequestHead()
  private let log: EventLog

  /// Listens on every address, or on none; what is in `inherited` is taken from there.
  init(
    _ options: [AdminListenerOptions], inherited: inout [Listener], log: EventLog
  ) throws(ListenError) {
    guard let poller = Poller() else {
      throw ListenError(
        outOfDescriptorsFor: options.first?.address ?? .unix(path: "/dev/null"))
    }
    self.poller = poller
    self.log = log
    seats = Array(repeating: nil, count: AdminServer.maxConnections)
    generations = Array(repeating: 0, count: AdminServer.maxConnections)
    do throws(ListenError) {
      for listener in options { doors.append(try AdminServer.open(listener, &inherited)) }
    } catch {
      close()
      throw error
    }
  }

  /// Begins to accept.
  func open() { setAccepting(true) }

  var sockets: [Listener] { doors.map(\.listener) }

  /// Accepts no more: another process does, on the same sockets. Who is connected is still served.
  func handOver() {
    setAccepting(false)
    for door in doors { door.listener.close() }
    doors = []
  }

  /// Owner and group may connect to a socket file; who they are is the unit's business.
  private static func open(
    _ options: AdminListenerOptions, _ inherited: inout [Listener]
  ) throws(ListenError) -> Door {
    let listener: Listener
    if let index = inherited.firstIndex(where: { $0.address == options.address }) {
      listener = inherited.remove(at: index)
    } else {
      listener = try Listener(Endpoint(options.address), backlog: backlog, sharesPort: false)
    }
    return Door(
      listener: listener, token: options.token, file: SocketFile(options.address))
  }

  private static func listenerHandle(_ index: Int) -> Handle {
    Handle(kind: listenerKind, generation: 0, index: UInt32(index))
  }

  /// Closes everything, and removes the socket files that are still this process's.
  func close() {
    for seat in seats.indices { leave(seat) }
    for door in doors {
      door.listener.close()
      door.file?.remove()
    }
    doors = []
  }

  // MARK: The control loop's side

  /// Readable while `turn` has something to do.
  var descriptor: Int32 { poller.descriptor }

  /// Until `turn` must be called though nothing is ready; -1: no need.
  var timeoutMs: Int32 {
    if !unfinished.isEmpty { return 0 }
    var due = acceptPauseEnd
    for connection in seats { due = min(due, connection?.deadline ?? .never) }
    if due == .never { return -1 }
    let wait = due - MonotonicTime.now()
    return Int32(clamping: max(0, (wait.nanoseconds + 999_999) / 1_000_000))
  }

  /// Serves what is ready, without waiting.
  func turn(_ daemon: Daemon) {
    let now = MonotonicTime.now()
    let postponed = unfinished
    unfinished = []
    for index in 0..<poller.wait(timeoutMs: 0) {
      let handle = poller.event(index).handle
      let seat = Int(handle.index)
      if handle.kind == AdminServer.listenerKind {
        accept(doors[seat], now)
      } else if handle.generation == generations[seat] & 0xFF_FFFF {
        serve(seat, daemon, now)
      }
    }
    for seat in postponed { serve(seat, daemon, now) }
    for (seat, connection) in seats.enumerated() {
      guard let connection, connection.deadline <= now else { continue }
      if connection.timedOut(now: now) { serve(seat, daemon, now) } else { leave(seat) }
    }
    if acceptPauseEnd <= now, !doors.isEmpty {
      acceptPauseEnd = .never
      setAccepting(true)
    }
  }

  // MARK: Connections

  private func accept(_ door: Door, _ now: MonotonicTime) {
    for _ in 0..<AdminServer.acceptsPerTurn {
      switch door.listener.accept() {
      case .connection(let accepted): admit(accepted.descriptor, door.token, now)
      case .wouldBlock: return
      case .aborted: continue
      case .exhausted:
        setAccepting(false)
        acceptPauseEnd = now + AdminServer.acceptPause
        return
      }
    }
  }

  private func setAccepting(_ isAccepting: Bool) {
    for (index, door) in doors.enumerated() {
      poller.remove(door.listener.descriptor)
      guard isAccepting else { continue }
      _ = poller.add(listener: door.listener.descriptor, AdminServer.listenerHandle(index))
    }
  }

  /// Where all seats are taken, the one idle for longest makes room: who asks comes before who is
  /// silent (rule 42).
  private func admit(_ descriptor: Int32, _ token: String?, _ now: MonotonicTime) {
    guard let seat = seats.firstIndex(where: { $0 == nil }) ?? longestIdle() else {
      SocketCalls.close(descriptor)
      return
    }
    leave(seat)
    let handle = Handle(
      kind: AdminServer.connectionKind, generation: generations[seat], index: UInt32(seat))
    guard poller.add(connection: descriptor, handle) else {
      SocketCalls.close(descriptor)
      return
    }
    seats[seat] = AdminConnection(descriptor: descriptor, token: token, now: now)
  }

  private func longestIdle() -> Int? {
    seats.indices.filter { seats[$0]?.isIdle == true }
      .min { (seats[$0]?.deadline ?? .never) < (seats[$1]?.deadline ?? .never) }
  }

  private func leave(_ seat: Int) {
    guard let connection = seats[seat] else { return }
    SocketCalls.close(connection.descriptor)
    seats[seat] = nil
    generations[seat] &+= 1
  }

  private func serve(_ seat: Int, _ daemon: Daemon, _ now: MonotonicTime) {
    guard let connection = seats[seat] else { return }
    while true {
      switch connection.advance(&head, now: now) {
      case .request(let request): connection.answer(answer(request, daemon), now)
      case .wait: return
      case .yield:
        if !unfinished.contains(seat) { unfinished.append(seat) }
        return
      case .close: return leave(seat)
      }
    }
  }

  private func answer(_ request: AdminRequest, _ daemon: Daemon) -> AdminResponse {
    switch AdminRoutes.answer(request, daemon.adminState()) {
    case .response(let response): return response
    case .reload:
      log.info("reload asked for on the admin endpoint")
      return AdminRoutes.reloaded(daemon.reload())
    case .reloadCertificates:
      log.info("certificates asked for on the admin endpoint")
      return AdminRoutes.reloaded(daemon.reloadCertificates())
    case .upgrade:
      log.info("upgrade asked for on the admin endpoint")
      return AdminRoutes.upgradeBegun(refusal: daemon.beginUpgrade())
    case .setMode(let change):
      return AdminRoutes.modeSet(change, isKnown: daemon.setMode(change))
    case .purge(let order):
      return AdminRoutes.purged(order, daemon.purge(order), instance: daemon.instance)
    }
  }
}
