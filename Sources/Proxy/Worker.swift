import CLinux
import Caching
import Glibc
import HTTP
import HTTP2
import Primitives
import Routing
import Telemetry
import Transport

/// Which slab or table a handle belongs to.
enum HandleKind {
  static let listener: UInt8 = 1
  static let downstream: UInt8 = 2
  static let upstream: UInt8 = 3
  static let exchange: UInt8 = 4
  static let mailbox: UInt8 = 5
  /// A timer that resumes accepting.
  static let acceptPause: UInt8 = 6
  static let reading: UInt8 = 7
}

/// What the control thread tells a worker.
public enum WorkerMessage: Sendable {
  /// Use this configuration and these listening sockets from now on, and say so.
  case adopt(Snapshot, [WorkerListener], Arrivals)
  /// Say that the loop still turns.
  case answer(Arrivals)
  /// Serve what is in flight, accept nothing new, end when nothing is left or the time has come.
  case drain(until: MonotonicTime)
  /// There is news for these connections, from the cache.
  case wake([UInt64])
  /// Nobody wants what this fetch brings.
  case cancelFetch(UInt64)
  /// A place at a backend, for an exchange that has waited for one.
  case granted(PlaceGrant)
}

/// One event loop on one thread: everything here belongs to that thread, is made inside it, and is
/// never shared; what is shared is in `Snapshot` (immutable) and `SharedState` (locked).
///
/// A turn: wait, read the clock once, harvest the whole batch of events, dispatch them, fire
/// timers, run what was put off, hand the log on.
public final class Worker: StreamSource {
  /// Connections accepted from one listener in one turn.
  static let acceptsPerTurn = 64
  static let scratchBytes = 64 * 1024

  /// Among the workers, from 0.
  let number: Int
  let shared: SharedState
  let mailbox: Mailbox<WorkerMessage>
  let metrics: WorkerMetrics
  let log: AccessLogBuffer
  let intake = Intake()
  var poller: Poller
  var wheel: TimerWheel
  var pool: BufferPool
  var relay: Relay
  var matcher = RouteMatcher()
  var random: SeededRandom
  var listeners: [WorkerListener]
  var downstreams: Slab<DownstreamConnection>
  var upstreams: Slab<UpstreamConnection>
  var exchanges: Slab<Exchange>
  var readings: Slab<CacheReading>
  var backends = GrowingTable<WorkerBackend>()
  var snapshots = GrowingTable<AdoptedSnapshot>()
  /// The one for new requests, and where its parts are.
  var current = 0
  private(set) var plans: SnapshotPlans
  var idleDownstreams = HandleList()

  /// Read once a turn.
  var now: MonotonicTime
  var wallSeconds: Int64 = 0
  var wallMilliseconds = 0
  private var coolingDue = MonotonicTime.zero
  var dateText: ByteSink
  private let dateSpace: UnsafeMutablePointer<UInt8>
  private var dateSecond: Int64 = -1
  let scratch: UnsafeMutablePointer<UInt8>
  /// Room for the pieces of one call.
  let parts: UnsafeMutablePointer<iovec>
  /// What each exchange is before it is filled in.
  let blankExchange: UnsafeMutablePointer<Exchange>
  /// The same of streams, on either side.
  let blankDownstream: UnsafeMutablePointer<DownstreamConnection>
  let blankUpstream: UnsafeMutablePointer<UpstreamConnection>
  /// Of the request parsed last; `headOwner` says whose it is.
  var requestHead: RequestHead {
    @inline(__always) unsafeAddress { UnsafePointer(requestPlace) }
    @inline(__always) unsafeMutableAddress { requestPlace }
  }
  var headOwner = Handle.none
  var responseHead: ResponseHead {
    @inline(__always) unsafeAddress { UnsafePointer(responsePlace) }
    @inline(__always) unsafeMutableAddress { responsePlace }
  }
  /// Of the two heads: behind an address they are lent, not copied.
  private let requestPlace: UnsafeMutablePointer<RequestHead>
  private let responsePlace: UnsafeMutablePointer<ResponseHead>
  /// Connections that must be looked at again without a new event.
  var ready: [Handle] = []
  var isDraining = false
  /// Records of `downstreams` that stand for fetches, and for streams of clients.
  var fetches = 0
  var streams = 0
  var drainDeadline = MonotonicTime.never
  var acceptPauseTimer = TimerWheel.Timer.none
  var isAcceptPaused = false

  /// Made on the thread that will call `run`, or take its turns. `nil` where the process has no
  /// descriptor left.
  public init?(
    number: Int, snapshot: Snapshot, shared: SharedState, mailbox: Mailbox<WorkerMessage>,
    listeners: [WorkerListener], metrics: WorkerMetrics, log: AccessLogBuffer, seed: UInt64,
    now: MonotonicTime = .now()
  ) {
    guard let poller = Poller() else { return nil }
    self.poller = poller
    self.number = number
    self.shared = shared
    self.mailbox = mailbox
    self.metrics = metrics
    self.log = log
    self.listeners = listeners
    self.now = now
    wheel = TimerWheel(now: now)
    random = SeededRandom(seed: seed)
    relay = Relay(pipes: PipePool(workers: shared.workerCount))
    downstreams = Slab(kind: HandleKind.downstream, limit: Worker.slabLimit)
    upstreams = Slab(kind: HandleKind.upstream, limit: Worker.slabLimit)
    exchanges = Slab(kind: HandleKind.exchange, limit: Worker.slabLimit)
    readings = Slab(kind: HandleKind.reading, limit: Worker.slabLimit)
    pool = BufferPool(limit: Worker.blockLimit(snapshot.options))
    scratch = .allocate(capacity: Worker.scratchBytes)
    parts = .allocate(capacity: Worker.partsPerCall + 1)
    dateSpace = .allocate(capacity: 32)
    dateText = ByteSink(base: dateSpace, capacity: 32)
    requestPlace = .allocate(capacity: 1)
    requestPlace.initialize(to: RequestHead())
    responsePlace = .allocate(capacity: 1)
    responsePlace.initialize(to: ResponseHead())
    blankExchange = .allocate(capacity: 1)
    blankExchange.initialize(to: Exchange())
    blankDownstream = .allocate(capacity: 1)
    blankDownstream.initialize(to: .blankStream)
    blankUpstream = .allocate(capacity: 1)
    blankUpstream.initialize(to: .blankStream)
    plans = SnapshotPlans(snapshot)
    snapshots.append(AdoptedSnapshot(snapshot: snapshot))
    _ = self.poller.add(listener: mailbox.descriptor, Worker.handle(HandleKind.mailbox, 0))
    for index in listeners.indices { setListening(true, index) }
  }

  deinit {
    blankExchange.deallocate()
    blankDownstream.deallocate()
    blankUpstream.deallocate()
    requestPlace.deinitialize(count: 1)
    requestPlace.deallocate()
    responsePlace.deinitialize(count: 1)
    responsePlace.deallocate()
    scratch.deallocate()
    parts.deallocate()
    dateSpace.deallocate()
  }

  /// What connections and streams can hold between them, each in both directions, so that none has
  /// to do without because of others.
  private static func blockLimit(_ options: ProxyOptions) -> Int {
    4 * options.maxConnections + 6 * options.maxStreams + 1024
  }

  /// The number of records is bounded by descriptors; this bounds the slabs' directories.
  private static let slabLimit = 4_000_000

  static func handle(_ kind: UInt8, _ index: Int) -> Handle {
    Handle(kind: kind, generation: 0, index: UInt32(index))
  }

  // MARK: The loop

  /// Serves until drained.
  public func run() {
    tellTime(.now(), WallClock.now())
    while !isDone {
      let count = poller.wait(timeoutMs: timeoutMs())
      _ = turn(count, .now(), WallClock.now())
    }
    closeEverything()
  }

  /// One turn for who has a clock of their own (the simulation): never waits. False where there was
  /// nothing to do. `isDone` ends the series, and `closeEverything` follows.
  public func turn(at time: MonotonicTime, wall: (seconds: Int64, nanoseconds: Int32)) -> Bool {
    turn(poller.wait(timeoutMs: 0), time, wall)
  }

  /// When there will be something to do without an event; `never` where there will not.
  public var nextDue: MonotonicTime {
    if !ready.isEmpty { return now }
    var due = min(wheel.nextDue, min(drainDeadline, log.flushDue))
    if isDraining, fetches > 0 { due = min(due, now + Worker.drainLook) }
    if pool.hasSpare { due = min(due, coolingDue) }
    return due
  }

  /// A drain has come to its end.
  public var isDone: Bool {
    isDraining && (downstreams.count == fetches || now >= drainDeadline) && !hasReadFetches
  }

  /// A fetch that nobody waits for does not hold up a drain: it would fill a cache that goes.
  private var hasReadFetches: Bool {
    guard fetches > 0, now < drainDeadline else { return false }
    return downstreams.handles().contains { handle in
      downstreams[handle].pointee.fetch.fill?._withUnsafeGuaranteedRef { $0.hasReaders } ?? false
    }
  }

  /// Readers on other workers leave without a word.
  private static let drainLook = TimeAmount.milliseconds(100)

  /// Buffers that nobody has needed for so long give their memory back.
  private static let coolingTime = TimeAmount.milliseconds(250)

  @inline(__always)
  private func turn(
    _ count: Int, _ time: MonotonicTime, _ wall: (seconds: Int64, nanoseconds: Int32)
  ) -> Bool {
    var hadWork = count > 0 || !ready.isEmpty
    tellTime(time, wall)
    harvestIdle(count)
    for index in 0..<count {
      let (handle, readiness) = poller.event(index)
      dispatch(handle, readiness)
    }
    while let handle = wheel.popExpired(now: now) {
      fire(handle)
      hadWork = true
    }
    runReady()
    log.turnEnded(now: now)
    if pool.hasSpare, now >= coolingDue {
      pool.coolDown()
      coolingDue = now + Worker.coolingTime
    }
    return hadWork
  }

  private func timeoutMs() -> Int32 {
    let due = nextDue
    if due == .never { return -1 }
    let wait = due - now
    return Int32(clamping: max(0, (wait.nanoseconds + 999_999) / 1_000_000))
  }

  private func tellTime(_ time: MonotonicTime, _ wall: (seconds: Int64, nanoseconds: Int32)) {
    now = time
    wallSeconds = wall.seconds
    wallMilliseconds = Int(wall.nanoseconds / 1_000_000)
    guard wallSeconds != dateSecond else { return }
    dateSecond = wallSeconds
    dateText.removeAll()
    HTTPDate.append(max(0, wallSeconds), to: &dateText)
  }

  /// Idle backend connections with news are closed before anything in this batch can use them.
  @inline(__always)
  private func harvestIdle(_ count: Int) {
    for index in 0..<count {
      let (handle, readiness) = poller.event(index)
      guard handle.kind == HandleKind.upstream, let connection = upstreams.resolve(handle),
        connection.pointee.state.rawValue >= UpstreamConnection.State.idle.rawValue
      else { continue }
      if connection.pointee.state == .multiplexing {
        harvestCarrier(handle, connection, readiness)
        continue
      }
      if !readiness.isDisjoint(with: [.readable, .peerClosed, .failed, .hungUp]) {
        idleEnded(connection)
        closeUpstream(handle)
      }
    }
  }

  @inline(__always)
  private func dispatch(_ handle: Handle, _ readiness: Readiness) {
    switch handle.kind {
    case HandleKind.downstream:
      guard let connection = downstreams.resolve(handle) else { return }
      connection.pointee.wire.note(readiness)
      downstreamReady(handle, connection)
    case HandleKind.upstream:
      guard let connection = upstreams.resolve(handle) else { return }
      connection.pointee.wire.note(readiness)
      upstreamReady(handle, connection)
    case HandleKind.listener: accept(Int(handle.index))
    case HandleKind.mailbox: for message in mailbox.take() { obey(message) }
    default: break
    }
  }

  private func fire(_ handle: Handle) {
    switch handle.kind {
    case HandleKind.downstream:
      guard let connection = downstreams.resolve(handle) else { return }
      connection.pointee.timer = .none
      downstreamTimedOut(handle, connection)
    case HandleKind.upstream:
      guard let connection = upstreams.resolve(handle) else { return }
      connection.pointee.timer = .none
      upstreamTimedOut(handle, connection)
    case HandleKind.exchange: waitEnded(handle)
    case HandleKind.acceptPause:
      acceptPauseTimer = .none
      resumeAccepting()
    default: break
    }
  }

  /// What yielded its turn, or has input that no event will announce.
  private func runReady() {
    guard !ready.isEmpty else { return }
    let batch = ready
    ready.removeAll(keepingCapacity: true)
    for handle in batch {
      if handle.kind == HandleKind.downstream, let connection = downstreams.resolve(handle) {
        connection.pointee.isQueued = false
        downstreamReady(handle, connection)
      } else if handle.kind == HandleKind.upstream, let connection = upstreams.resolve(handle) {
        connection.pointee.isQueued = false
        upstreamReady(handle, connection)
      }
    }
  }

  func queue(_ handle: Handle, _ connection: UnsafeMutablePointer<DownstreamConnection>) {
    guard !connection.pointee.isQueued else { return }
    connection.pointee.isQueued = true
    ready.append(handle)
  }

  func queue(_ handle: Handle, _ connection: UnsafeMutablePointer<UpstreamConnection>) {
    guard !connection.pointee.isQueued else { return }
    connection.pointee.isQueued = true
    ready.append(handle)
  }

  // MARK: Configuration

  private func obey(_ message: WorkerMessage) {
    switch message {
    case .adopt(let snapshot, let sockets, let done):
      adopt(snapshot)
      listen(on: sockets)
      done.signal()
    case .answer(let arrivals): arrivals.signal()
    case .drain(let deadline): drain(until: deadline)
    case .wake(let handles): for handle in handles { wake(Handle(raw: handle)) }
    case .cancelFetch(let handle): cancelFetch(Handle(raw: handle))
    case .granted(let grant): granted(grant)
    }
  }

  /// New requests use the new snapshot at once; an old one is dropped with its last exchange.
  private func adopt(_ snapshot: Snapshot) {
    if let free = snapshots.indices.first(where: { snapshots[$0].snapshot == nil }) {
      snapshots[free] = AdoptedSnapshot(snapshot: snapshot)
      dropUnused(replacing: free)
    } else {
      snapshots.append(AdoptedSnapshot(snapshot: snapshot))
      dropUnused(replacing: snapshots.count - 1)
    }
    pool.limit = Worker.blockLimit(snapshot.options)
    closeRemovedBackends()
  }

  private func dropUnused(replacing index: Int) {
    let old = current
    current = index
    plans = snapshots[index].plans
    if snapshots[old].exchanges == 0 { snapshots[old].snapshot = nil }
  }

  func snapshot(_ exchange: UnsafeMutablePointer<Exchange>) -> Snapshot {
    guard let snapshot = snapshots[Int(exchange.pointee.snapshot)].snapshot else {
      preconditionFailure("an exchange outlived its snapshot")
    }
    return snapshot
  }

  /// The same without a reference counted: good as long as the exchange, which keeps its snapshot.
  @inline(__always)
  func borrowedSnapshot(_ exchange: UnsafeMutablePointer<Exchange>) -> Unmanaged<Snapshot> {
    snapshots[Int(exchange.pointee.snapshot)].plans.borrowed
  }

  /// Good as long as the exchange, which keeps its snapshot.
  @inline(__always)
  func route(_ exchange: UnsafeMutablePointer<Exchange>) -> UnsafePointer<RoutePlan> {
    guard let route = exchange.pointee.route else { preconditionFailure("no route yet") }
    return route
  }

  /// The counters of a backend on this worker.
  @inline(__always)
  func cells(_ backend: Int) -> BackendCells {
    if let cells = backends[backend].cells { return cells }
    let cells = metrics.backend(backend)
    backends[backend].cells = cells
    return cells
  }

  var currentSnapshot: Snapshot {
    guard let snapshot = snapshots[current].snapshot else {
      preconditionFailure("there is always a current snapshot")
    }
    return snapshot
  }
}

/// A snapshot in use by this worker, and how many of its exchanges use it.
struct AdoptedSnapshot {
  var snapshot: Snapshot?
  var exchanges = 0
  /// Of the same one, for as long as `snapshot` keeps it.
  let plans: SnapshotPlans

  init(snapshot: Snapshot) {
    self.snapshot = snapshot
    plans = SnapshotPlans(snapshot)
  }
}

/// Where the parts of a snapshot are, for as long as somebody keeps it: requests get there without
/// a reference counted.
struct SnapshotPlans: BitwiseCopyable {
  let borrowed: Unmanaged<Snapshot>
  private let firstListener: UnsafePointer<ListenerPlan>?
  private let firstRoute: UnsafePointer<RoutePlan>?
  private let listenerCount: Int
  private let routeCount: Int

  init(_ snapshot: Snapshot) {
    borrowed = .passUnretained(snapshot)
    listenerCount = snapshot.listeners.count
    routeCount = snapshot.routes.count
    firstListener = listenerCount > 0 ? snapshot.listeners[0] : nil
    firstRoute = routeCount > 0 ? snapshot.routes[0] : nil
  }

  @inline(__always)
  func listener(_ index: Int) -> UnsafePointer<ListenerPlan> {
    guard let firstListener, index >= 0, index < listenerCount else {
      preconditionFailure("no such listener")
    }
    return firstListener + index
  }

  @inline(__always)
  func route(_ index: Int) -> UnsafePointer<RoutePlan> {
    guard let firstRoute, index >= 0, index < routeCount else {
      preconditionFailure("no such route")
    }
    return firstRoute + index
  }
}

/// A listening socket of this worker.
public struct WorkerListener: Sendable {
  public let socket: Listener
  /// Index into the snapshot's listeners.
  public private(set) var options: Int
  /// False: closed, and its place may be used again.
  var isOpen = true

  public init(socket: Listener, options: Int) {
    self.socket = socket
    self.options = options
  }

  mutating func serve(_ options: Int) { self.options = options }
}

/// A doubly linked list through records of a slab: both ends and a count.
struct HandleList: BitwiseCopyable {
  var first = Handle.none
  var last = Handle.none
  var count = 0
}
