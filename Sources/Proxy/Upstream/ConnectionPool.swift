import Primitives
import Resilience
import Telemetry
import Transport

/// A backend as one worker sees it: its address and the connections waiting there.
struct WorkerBackend {
  /// Keeps what the two views show.
  let state: BackendState
  let authority: ByteView
  let logNames: ByteView
  /// Of this worker, from the first attempt on.
  var cells: BackendCells?
  var idle = HandleList()
  /// No snapshot in use names it any more: its idle connections are closed.
  var isConfigured = true
  /// It closes connections soon after they become idle: until then a request that must not be sent
  /// twice gets a new one.
  var waryUntil = MonotonicTime.zero
  /// Connections that take streams, oldest first (UpstreamHTTP2.swift).
  var carriers = HandleList()
  /// To be resumed by the next connection, and the rules it was made under.
  var session: TLSSession?
  var sessionSecurity: Int32 = 0
  /// When a failing handshake is worth a line in the event log again.
  var handshakeReportDue = MonotonicTime.zero

  init(state: BackendState) {
    self.state = state
    authority = state.authority.view
    logNames = state.logNames.view
  }
}

/// The idle connections of each backend, last used first: the warmest is reused, the rest age out.
extension Worker {
  /// How long a backend that has closed a connection so soon is not trusted.
  static let waryTime = TimeAmount.seconds(10)
  /// A connection idle for longer is looked at before a request that must not be sent twice.
  private static let trustedIdleTime = TimeAmount.seconds(1)

  /// Learns of backends that appeared since the last look.
  @inline(__always)
  func learnBackends(upTo id: Int) {
    guard id >= backends.count else { return }
    for state in shared.backends(from: backends.count) {
      backends.append(WorkerBackend(state: state))
    }
  }

  /// An idle connection to the backend, or `nil`. `isRepeatable`: losing the race against the
  /// backend's closing it is no harm, because the request may be sent again.
  ///
  /// Connections made under other rules of TLS than `security` (before a reload) are closed.
  @inline(__always)
  func takeIdle(
    _ backend: Int, isRepeatable: Bool, security: Int32
  ) -> (Handle, UnsafeMutablePointer<UpstreamConnection>)? {
    if !isRepeatable, now < backends[backend].waryUntil { return nil }
    while true {
      let handle = backends[backend].idle.first
      if handle == .none { return nil }
      let connection = upstreams[handle]
      unlinkIdle(connection, from: &backends[backend].idle)
      connection.pointee.state = .busy
      guard connection.pointee.security == security else {
        closeUpstream(handle)
        continue
      }
      if !isRepeatable, now - connection.pointee.idleSince > Worker.trustedIdleTime,
        !SocketCalls.isQuiet(connection.pointee.wire.descriptor)
      {
        closeUpstream(handle)
        continue
      }
      return (handle, connection)
    }
  }

  /// The backend has closed an idle connection: noted where that came soon.
  func idleEnded(_ connection: UnsafeMutablePointer<UpstreamConnection>) {
    guard now - connection.pointee.idleSince <= Worker.trustedIdleTime else { return }
    backends[Int(connection.pointee.backend)].waryUntil = now + Worker.waryTime
  }

  /// Keeps a connection whose exchange ended cleanly, or closes it where enough are kept.
  @inline(__always)
  func keepIdle(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>, poolSize: Int,
    timeout: TimeAmount
  ) {
    let backend = Int(connection.pointee.backend)
    takeSession(connection)
    guard backends[backend].idle.count < poolSize, backends[backend].isConfigured, !isDraining,
      !connection.pointee.wire.peerClosed, connection.pointee.wire.input.isEmpty,
      connection.pointee.wire.output.isEmpty, !connection.pointee.wire.hasUnopenedInput
    else { return closeUpstream(handle) }
    if connection.pointee.wire.mayRead, !isReadToItsEnd(connection) { return closeUpstream(handle) }
    connection.pointee.wire.input.detach(&pool)
    connection.pointee.exchange = .none
    connection.pointee.state = .idle
    connection.pointee.idleSince = now
    setIdleDeadline(handle, connection, now + timeout)
    linkIdle(handle, connection, in: &backends[backend].idle)
  }

  /// A response that was long, or went through a pipe, may not have been the last that came: what
  /// is behind it is nobody's, and no edge will tell of it before the next request goes out.
  @inline(never)
  private func isReadToItsEnd(_ connection: UnsafeMutablePointer<UpstreamConnection>) -> Bool {
    SocketCalls.isQuiet(connection.pointee.wire.descriptor)
  }

  @inline(__always)
  private func linkIdle(
    _ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>,
    in list: inout HandleList
  ) {
    let next = list.first
    connection.pointee.idlePrevious = .none
    connection.pointee.idleNext = next
    if next == .none {
      list.last = handle
    } else {
      upstreams[next].pointee.idlePrevious = handle
    }
    list.first = handle
    list.count += 1
  }

  @inline(__always)
  private func unlinkIdle(
    _ connection: UnsafeMutablePointer<UpstreamConnection>, from list: inout HandleList
  ) {
    let (previous, next) = (connection.pointee.idlePrevious, connection.pointee.idleNext)
    if previous == .none {
      list.first = next
    } else {
      upstreams[previous].pointee.idleNext = next
    }
    if next == .none {
      list.last = previous
    } else {
      upstreams[next].pointee.idlePrevious = previous
    }
    list.count -= 1
  }

  /// Begins a connection. Where descriptors have run out, the longest idle client gives way.
  func connect(_ backend: Int, security: Int32) -> Result<Handle, ConnectFailure> {
    var descriptor = backends[backend].state.endpoint.connect()
    if SocketCalls.isExhausted(-descriptor), closeOldestIdle(1) {
      descriptor = backends[backend].state.endpoint.connect()
    }
    guard descriptor >= 0 else { return .failure(ConnectFailure(code: -descriptor)) }
    let record = UpstreamConnection(
      descriptor: descriptor, backend: Int32(backend), security: security)
    guard let handle = upstreams.insert(record), poller.add(connection: descriptor, handle) else {
      SocketCalls.close(descriptor)
      return .failure(ConnectFailure(code: 0))
    }
    metrics.backend(backend).add(.connectionsOpened)
    return .success(handle)
  }

  func closeUpstream(_ handle: Handle) {
    let connection = upstreams[handle]
    if connection.pointee.wire.isStream { return endStream(handle, connection, isComplete: false) }
    if connection.pointee.isCarrier { return closeCarrier(handle, connection) }
    if connection.pointee.state == .idle {
      unlinkIdle(connection, from: &backends[Int(connection.pointee.backend)].idle)
    }
    wheel.cancel(&connection.pointee.timer)
    takeSession(connection)
    connection.pointee.wire.close(&pool)
    upstreams.remove(handle)
  }

  /// After a reload: connections to backends that the new configuration no longer names.
  func closeRemovedBackends() {
    let configured = currentSnapshot.backendIDs
    for index in backends.indices {
      backends[index].isConfigured = configured.contains(index)
      while !backends[index].isConfigured, backends[index].idle.first != .none {
        closeUpstream(backends[index].idle.first)
      }
      while !backends[index].isConfigured, backends[index].carriers.first != .none {
        retire(backends[index].carriers.first)
      }
    }
  }
}

/// Why a connection could not even begin: an errno, or 0 where our own tables are full. What has
/// run out on our side is not the backend's failure.
struct ConnectFailure: Error, BitwiseCopyable {
  let code: Int32

  var termination: Termination {
    if code == 0 || SocketCalls.isExhausted(code) { return .exhausted }
    return code == SocketCalls.refused ? .connectRefused : .connectFailed
  }
}
