import Balancing
import Primitives
import Resilience
import Transport

/// A request that waits for a place at a backend, by its exchange.
struct QueuedRequest: BitwiseCopyable {
  var worker: Int32
  var exchange: Handle
  var hash: UInt64
  var isIdempotent: Bool
  /// It had a place, and lost it with an attempt that failed.
  var isRetry: Bool
}

/// The requests of one upstream that wait because every backend is full: first come, first served.
/// One whose attempt failed has waited for its turn already, and goes before those who have not.
/// A place is one that a request gives back, or one at a backend that may serve again.
///
/// Behind the upstream's lock, so that a place that becomes free and a request that gives up
/// waiting for one cannot miss each other.
struct RequestQueue {
  /// How many may wait; 0: none does.
  var limit = 0
  private var waiting: [QueuedRequest] = []
  /// Index of the first in `waiting`: those before it have left.
  private var head = 0

  var count: Int { waiting.count - head }
  @inline(__always)
  var isEmpty: Bool { waiting.isEmpty }
  var first: QueuedRequest? { head < waiting.count ? waiting[head] : nil }

  /// False where the queue is full.
  mutating func add(_ request: QueuedRequest) -> Bool {
    guard count < limit else { return false }
    if !request.isRetry {
      waiting.append(request)
    } else if head > 0 {
      head -= 1
      waiting[head] = request
    } else {
      waiting.insert(request, at: 0)
    }
    return true
  }

  mutating func removeFirst() {
    head += 1
    if head == waiting.count {
      waiting.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 256, head > waiting.count / 2 {
      waiting.removeFirst(head)
      head = 0
    }
  }

  /// The exchange waits no more. O(queue).
  mutating func remove(worker: Int32, _ exchange: Handle) {
    let place = waiting[head...].firstIndex { $0.worker == worker && $0.exchange == exchange }
    guard let place else { return }
    if place == head { return removeFirst() }
    waiting.remove(at: place)
  }
}

/// What an exchange that has waited for a place gets: one, which whoever receives it uses or gives
/// back, or the word that there will be none.
public struct PlaceGrant: Sendable {
  let worker: Int32
  let exchange: Handle
  let upstream: UpstreamState
  /// `nil`: no backend is left that one could come from.
  let reserved: ReservedBackend?
}

extension UpstreamState {
  /// What became of a request that found no backend.
  enum Waiting {
    /// One has become free since.
    case reserved(ReservedBackend)
    /// It will be told, by a `PlaceGrant` or its own clock.
    case queued
    /// No place to wait.
    case full
    /// No backend is away for being full alone: waiting is of no use.
    case useless
  }

  /// Waits for a place, in one step with looking for one once more.
  func queue(_ request: QueuedRequest, now: MonotonicTime) -> Waiting {
    live.withLock { live in
      if let found = live.balancer.reserve(hash: request.hash, tried: TriedBackends()) {
        return .reserved(live.placed(found, request, now))
      }
      guard live.balancer.isBusy else { return .useless }
      guard live.queue.add(request) else { return .full }
      setAlarm(&live)
      return .queued
    }
  }

  /// Whether a request that has a place there may go on with it.
  func mayStay(_ slot: Int32) -> Bool {
    live.withLock { live in
      live.mayComeToServe(Int(slot)) && live.conditions[Int(slot)].breaker.state != .open
    }
  }

  /// The exchange has given up waiting.
  func leaveQueue(worker: Int, _ exchange: Handle) {
    live.withLock { $0.queue.remove(worker: Int32(worker), exchange) }
  }

  /// Requests that wait now.
  public var queuedCount: Int { live.withLock { $0.queue.count } }

  /// No request waits, is in flight, or holds a probe's place at a breaker.
  package var isIdle: Bool {
    live.withLock { live in
      live.queue.count == 0
        && live.conditions.indices.allSatisfy {
          live.balancer.inFlight($0) == 0 && live.conditions[$0].breaker.isIdle
        }
    }
  }

  /// After a change of backends' conditions: those who wait get the places that it made available.
  func offerPlaces(_ now: MonotonicTime) {
    let grants = live.withLock { $0.queue.isEmpty ? [] : grantPlaces(&$0, now) }
    if !grants.isEmpty { post(grants) }
  }

  /// Gives what places there are, also those that time has brought back.
  func grantPlaces(_ live: inout Live, _ now: MonotonicTime) -> [Live.Grant] {
    if live.wakeAt <= now { wake(&live, now) }
    let grants = live.grantPlaces(now: now)
    setAlarm(&live)
    return grants
  }

  /// A new request finds what time has changed by itself; those that wait have to be told of it,
  /// and no request may come.
  func setAlarm(_ live: inout Live) {
    guard !live.queue.isEmpty, live.wakeAt < live.alarmAt else { return }
    live.alarmAt = live.wakeAt
    watch.post(.wake(self, at: live.wakeAt))
  }

  /// The time has come that `WatchMessage.wake` named.
  func alarmRang(now: MonotonicTime) {
    live.withLock { $0.alarmAt = .never }
    offerPlaces(now)
  }

  func post(_ grants: [Live.Grant]) {
    for grant in grants {
      workers.post(
        .granted(
          PlaceGrant(
            worker: grant.request.worker, exchange: grant.request.exchange, upstream: self,
            reserved: grant.reserved)),
        to: Int(grant.request.worker))
    }
  }
}

extension UpstreamState.Live {
  struct Grant: BitwiseCopyable {
    var request: QueuedRequest
    var reserved: ReservedBackend?
  }

  /// Whether it may serve now, or without checks or people saying so first: one that is full, or
  /// whose breaker has yet to try it out.
  fileprivate func mayComeToServe(_ slot: Int) -> Bool {
    let condition = conditions[slot]
    return balancer.isConfigured(slot) && balancer.weight(slot) > 0 && condition.mode == .ready
      && (!condition.isDown || condition.mayServeDown)
  }

  private var someMayComeToServe: Bool { conditions.indices.contains { mayComeToServe($0) } }

  /// Gives what places there are to those who have waited longest. Where none can come any more,
  /// nobody is left to wait.
  fileprivate mutating func grantPlaces(now: MonotonicTime) -> [Grant] {
    var grants: [Grant] = []
    while let request = queue.first {
      guard let found = balancer.reserve(hash: request.hash, tried: TriedBackends()) else { break }
      queue.removeFirst()
      grants.append(Grant(request: request, reserved: placed(found, request, now)))
    }
    guard !queue.isEmpty, !someMayComeToServe else { return grants }
    while let request = queue.first {
      queue.removeFirst()
      grants.append(Grant(request: request, reserved: nil))
    }
    return grants
  }

  fileprivate mutating func placed(
    _ found: Reservation, _ request: QueuedRequest, _ now: MonotonicTime
  ) -> ReservedBackend {
    if conditions[found.slot].breaker.state == .closed { return admitted(found, now) }
    return probing(
      found, hash: request.hash, tried: TriedBackends(), isIdempotent: request.isIdempotent, now)
  }
}

/// How workers are reached by each other: told once, before the first of them runs.
final class WorkerMailboxes: Sendable {
  let list = Lock<[Mailbox<WorkerMessage>]>([])

  func post(_ message: WorkerMessage, to worker: Int) {
    list.withLock { $0[worker] }.post(message)
  }
}
