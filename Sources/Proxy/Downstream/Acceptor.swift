import HTTP
import Primitives
import Telemetry
import Transport

extension Worker {
  /// How long accepting rests when descriptors have run out (rule 53).
  private static let exhaustionPause = TimeAmount.milliseconds(50)

  func accept(_ index: Int) {
    let listener = listeners[index]
    for _ in 0..<Worker.acceptsPerTurn {
      switch listener.socket.accept() {
      case .connection(let accepted): admit(accepted, listener.options)
      case .aborted: continue
      case .wouldBlock: return
      case .exhausted:
        metrics.add(.rejectedWithoutDescriptors)
        // Idle clients give way first; accepting resumes when descriptors may be free again.
        closeOldestIdle(8)
        pauseAccepting()
        return
      }
    }
  }

  private func admit(_ accepted: AcceptedConnection, _ listener: Int) {
    let options = currentSnapshot
    metrics.add(.connectionsAccepted)
    let plan = plans.listener(listener)
    // Of a proxy's connection the client is not known yet.
    let isClient = plan.pointee.proxies.isEmpty
    guard let isCounted = isClient ? countClient(accepted.address) : false else {
      SocketCalls.close(accepted.descriptor)
      return
    }
    let open = shared.connections.add(1, ordering: .relaxed).newValue
    if open > options.maxConnections {
      // The oldest idle connection of this worker gives way; without one the newcomer does.
      guard closeOldestIdle(1) else {
        metrics.add(.rejectedAtLimit)
        forget(accepted.address, isCounted: isCounted)
        SocketCalls.close(accepted.descriptor)
        return
      }
    }
    var connection = DownstreamConnection(accepted, listener: Int32(listener), now: now)
    connection.isCounted = isCounted
    guard let handle = downstreams.insert(connection),
      poller.add(connection: accepted.descriptor, handle)
    else {
      forget(accepted.address, isCounted: isCounted)
      SocketCalls.close(accepted.descriptor)
      return
    }
    let record = downstreams[handle]
    becameIdle(handle, record)
    // Its first octets are usually here already; the registration's first edge reports them.
    record.pointee.wire.mayRead = false
    if isClient {
      expectHello(handle, record)
    } else if plan.pointee.isProxy(accepted.address) {
      record.pointee.state = .awaitingProxyHeader
      setDeadline(handle, record, now + plan.pointee.headerTimeout)
    } else {
      return refuseProxy(handle)
    }
    if isDraining { queue(handle, record) }
  }

  /// What comes next is the client's: a TLS handshake, or the head of a request.
  func expectHello(_ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>) {
    let plan = listenerOptions(connection)
    if let tls = plan.pointee.tls {
      connection.pointee.state = .handshaking
      setDeadline(handle, connection, now + tls.handshakeTimeout)
    } else {
      connection.pointee.state = .readingHead
      setDeadline(handle, connection, now + plan.pointee.headerTimeout)
    }
  }

  /// Whether the client now counts in `ClientCounter`; `nil`: it has too many connections.
  func countClient(_ address: IPAddress) -> Bool? {
    let limit = currentSnapshot.maxConnectionsPerClient
    guard limit > 0 else { return false }
    let admission = shared.clients.admit(address, limit: limit)
    if admission == .clientLimit {
      metrics.add(.rejectedAtClientLimit)
      return nil
    }
    return admission == .admitted
  }

  func forget(_ address: IPAddress, isCounted: Bool) {
    shared.connections.subtract(1, ordering: .relaxed)
    if isCounted { shared.clients.leave(address) }
  }

  private func pauseAccepting() {
    guard !isAcceptPaused else { return }
    isAcceptPaused = true
    for index in listeners.indices { setListening(false, index) }
    wheel.arm(
      &acceptPauseTimer, Worker.handle(HandleKind.acceptPause, 0),
      at: now + Worker.exhaustionPause)
  }

  func resumeAccepting() {
    guard isAcceptPaused else { return }
    isAcceptPaused = false
    for index in listeners.indices { setListening(true, index) }
  }

  // MARK: Listening sockets

  func setListening(_ isListening: Bool, _ index: Int) {
    let listener = listeners[index]
    guard listener.isOpen else { return }
    poller.remove(listener.socket.descriptor)
    guard isListening else { return }
    _ = poller.add(
      listener: listener.socket.descriptor, Worker.handle(HandleKind.listener, index),
      isShared: listener.socket.isShared)
  }

  /// Takes on what is new in `wanted` and leaves what is not in it. Those that stay may belong to
  /// another listener now.
  func listen(on wanted: [WorkerListener]) {
    guard !isDraining else { return }
    for index in listeners.indices where listeners[index].isOpen {
      let descriptor = listeners[index].socket.descriptor
      if let same = wanted.first(where: { $0.socket.descriptor == descriptor }) {
        listeners[index].serve(same.options)
      } else {
        leave(index)
      }
    }
    for listener in wanted {
      let descriptor = listener.socket.descriptor
      if listeners.contains(where: { $0.isOpen && $0.socket.descriptor == descriptor }) { continue }
      let free = listeners.firstIndex { !$0.isOpen } ?? listeners.count
      if free == listeners.count { listeners.append(listener) } else { listeners[free] = listener }
      if !isAcceptPaused { setListening(true, free) }
    }
    for handle in downstreams.handles() {
      let connection = downstreams[handle]
      if listenerOptions(connection).pointee.isRemoved { end(handle, connection) }
    }
  }

  /// Serves what waits in the accept queue, and closes the socket. It is never shut down: another
  /// process may hold it too.
  private func leave(_ index: Int) {
    poller.remove(listeners[index].socket.descriptor)
    while case .connection(let accepted) = listeners[index].socket.accept() {
      admit(accepted, listeners[index].options)
    }
    listeners[index].socket.close()
    listeners[index].isOpen = false
  }

  // MARK: Idle clients

  @inline(__always)
  func becameIdle(_ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>) {
    guard !connection.pointee.isIdle else { return }
    connection.pointee.isIdle = true
    connection.pointee.idleSince = now
    connection.pointee.idlePrevious = idleDownstreams.last
    connection.pointee.idleNext = .none
    if idleDownstreams.last == .none {
      idleDownstreams.first = handle
    } else {
      downstreams[idleDownstreams.last].pointee.idleNext = handle
    }
    idleDownstreams.last = handle
    idleDownstreams.count += 1
  }

  /// A request was answered where it was read. The list's order is good to a second: a move writes
  /// to four neighbours, with which the request has nothing to do.
  @inline(__always)
  func stayedIdle(_ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>) {
    guard now - connection.pointee.idleSince > Worker.idleGrain else { return }
    becameBusy(connection)
    becameIdle(handle, connection)
  }

  private static let idleGrain = TimeAmount.seconds(1)

  func becameBusy(_ connection: UnsafeMutablePointer<DownstreamConnection>) {
    guard connection.pointee.isIdle else { return }
    connection.pointee.isIdle = false
    let (previous, next) = (connection.pointee.idlePrevious, connection.pointee.idleNext)
    if previous == .none {
      idleDownstreams.first = next
    } else {
      downstreams[previous].pointee.idleNext = next
    }
    if next == .none {
      idleDownstreams.last = previous
    } else {
      downstreams[next].pointee.idlePrevious = previous
    }
    idleDownstreams.count -= 1
  }

  /// Closes up to `count` idle clients, the longest idle first, to a second (rule 42).
  @discardableResult
  func closeOldestIdle(_ count: Int) -> Bool {
    var closed = 0
    while closed < count, idleDownstreams.first != .none {
      closeDownstream(idleDownstreams.first)
      closed += 1
    }
    return closed > 0
  }

  // MARK: Drain

  /// Serves what has been accepted or waits in the accept queue, then closes the listeners.
  func drain(until deadline: MonotonicTime) {
    guard !isDraining else { return }
    isDraining = true
    drainDeadline = deadline
    for index in listeners.indices where listeners[index].isOpen { leave(index) }
    for handle in downstreams.handles() { end(handle, downstreams[handle]) }
  }

  private static let drainGrace = TimeAmount.seconds(1)

  /// How long a client may be without a request.
  @inline(__always)
  func idleTime(_ options: UnsafePointer<ListenerPlan>) -> TimeAmount {
    isDraining || options.pointee.isRemoved
      ? Worker.drainGrace : options.pointee.keepAliveTimeout
  }

  /// Lets the connection end in order. A request may be under way on one that looks idle: it gets
  /// a moment to arrive and is then answered with `Connection: close` (rule 50).
  private func end(_ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>) {
    if connection.pointee.state == .multiplexing { queue(handle, connection) }
    guard connection.pointee.isIdle else { return }
    setDeadline(handle, connection, min(connection.pointee.deadline, now + Worker.drainGrace))
  }

  /// What is left when the drain's time is over is cut.
  public func closeEverything() {
    for handle in downstreams.handles() where downstreams.resolve(handle) != nil {
      let connection = downstreams[handle]
      if connection.pointee.exchange != .none {
        abandon(connection.pointee.exchange, .drained)
      } else {
        closeDownstream(handle)
      }
    }
    for handle in upstreams.handles() where upstreams.resolve(handle) != nil {
      closeUpstream(handle)
    }
    log.flush()
  }

  @inline(__always)
  func listenerOptions(
    _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> UnsafePointer<ListenerPlan> {
    plans.listener(Int(connection.pointee.listener))
  }
}
