import Balancing
import Primitives
import Resilience

/// What health checks and people say of an upstream's backends.
extension UpstreamState {
  /// Whether any backend may get new requests.
  var canServe: Bool { live.withLock { $0.balancer.canServe } }

  /// Whether checks are all that is missing: nobody serves, or only because of panic.
  var needsChecks: Bool { live.withLock { $0.isPanicking || !$0.balancer.canServe } }

  /// Whether too little of the upstream can serve for its health checks to be believed.
  public var isPanicking: Bool { live.withLock { $0.isPanicking } }

  /// Brings panic up to date with backends' conditions (semantics.md 9). O(backends) where it is
  /// configured.
  func judgePanic(_ live: inout Live, _ now: MonotonicTime) {
    let isPanicking = live.shouldPanic
    guard isPanicking != live.isPanicking else { return }
    live.isPanicking = isPanicking
    live.settle()
    report(.panic(isPanicking), -1, now)
  }

  /// Whether the backend's health check has nothing against it.
  func isUp(_ backend: Int) -> Bool {
    live.withLock { live in live.slot(of: backend).map { !live.conditions[$0].isDown } ?? true }
  }

  /// Whether people want the backend's health looked at.
  /// `guess`: the backend's slot, if nothing has changed; the slot afterwards.
  func isWatched(_ backend: Int, near guess: inout Int) -> Bool {
    live.withLock { live in
      if !live.conditions.indices.contains(guess)
        || live.conditions[guess].backend != Int32(backend)
      {
        guard let slot = live.slot(of: backend) else { return false }
        guess = slot
      }
      return live.conditions[guess].mode != .maint
    }
  }

  /// Takes the backend out for people, or back in. False where it is not configured.
  public func setMode(_ name: String, _ mode: BackendMode, now: MonotonicTime) -> Bool {
    defer { offerPlaces(now) }
    return live.withLock { live in
      guard let slot = live.names.firstIndex(of: name), !name.isEmpty else { return false }
      guard live.conditions[slot].mode != mode else { return true }
      live.conditions[slot].mode = mode
      live.settle(slot)
      judgePanic(&live, now)
      if mode == .ready { live.startSlowly(slot, now) }
      report(.mode(mode), live.conditions[slot].backend, now)
      return true
    }
  }

  /// What people have set, of backends that they have not left as they are: name and mode.
  func modes() -> [(backend: String, mode: BackendMode)] {
    live.withLock { live in
      live.conditions.indices.compactMap { slot in
        let mode = live.conditions[slot].mode
        return mode == .ready || live.names[slot].isEmpty ? nil : (live.names[slot], mode)
      }
    }
  }

  /// A check that was asked for by `WatchMessage.checkSoon` begins; the next failure may ask again.
  func checkBegins(_ backend: Int) {
    live.withLock { live in
      if let slot = live.slot(of: backend) { live.conditions[slot].isCheckAsked = false }
    }
  }

  /// Checks have come to a new verdict. `failure`: of the last check, if that failed.
  func healthChanged(
    _ backend: Int, _ verdict: HealthTracker.Change, _ failure: CheckFailure, now: MonotonicTime
  ) {
    defer { offerPlaces(now) }
    live.withLock { live in
      guard let slot = live.slot(of: backend) else { return }
      switch verdict {
      case .wentDown: setDown(&live, slot, failure, now)
      case .cameUp: setUp(&live, slot, now)
      case .recovered: tellRecovered(&live, slot, now)
      }
      live.settle(slot)
      judgePanic(&live, now)
      if verdict == .cameUp { live.startSlowly(slot, now) }
    }
  }

  /// The backend has joined a check that knows already.
  func adoptHealth(
    _ backend: Int, isUp: Bool, _ failure: CheckFailure, now: MonotonicTime
  ) {
    defer { offerPlaces(now) }
    live.withLock { live in
      guard let slot = live.slot(of: backend), live.conditions[slot].isDown == isUp else { return }
      if isUp { setUp(&live, slot, now) } else { setDown(&live, slot, failure, now) }
      live.settle(slot)
      judgePanic(&live, now)
      if isUp { live.startSlowly(slot, now) }
    }
  }

  private func setDown(
    _ live: inout Live, _ slot: Int, _ failure: CheckFailure, _ now: MonotonicTime
  ) {
    live.conditions[slot].isDown = true
    live.conditions[slot].breaker.healthFailed()
    report(.wentDown(failure), live.conditions[slot].backend, now)
  }

  private func setUp(_ live: inout Live, _ slot: Int, _ now: MonotonicTime) {
    live.conditions[slot].isDown = false
    live.conditions[slot].heldUntil = .zero
    report(.cameUp, live.conditions[slot].backend, now)
    tellRecovered(&live, slot, now)
  }

  private func tellRecovered(_ live: inout Live, _ slot: Int, _ now: MonotonicTime) {
    if let transition = live.conditions[slot].breaker.healthRecovered(now: now) {
      report(.breaker(transition), live.conditions[slot].backend, now)
    }
  }
}

extension UpstreamState.Live {
  /// Whether less of the weight that people have left in may serve than `panic` says, while health
  /// checks keep some of it out.
  fileprivate var shouldPanic: Bool {
    guard panicBelow > 0 else { return false }
    var whole = 0
    var serving = 0
    var isAnyDown = false
    for slot in conditions.indices where conditions[slot].mode == .ready {
      let weight = balancer.weight(slot)
      whole += weight
      isAnyDown = isAnyDown || (conditions[slot].isDown && weight > 0)
      if !conditions[slot].isDown, conditions[slot].breaker.mayServe { serving += weight }
    }
    return isAnyDown && serving * 100 < panicBelow * whole
  }

  /// Of a backend that is configured or still has requests in flight. O(backends).
  func slot(of backend: Int) -> Int? {
    conditions.indices.first { conditions[$0].backend == Int32(backend) }
  }
}

extension Snapshot {
  /// Upstream, backend and mode of each backend that people have taken out.
  public var modesOfPeople: [[String]] {
    zip(options.upstreams, upstreamStates).flatMap { upstream, state in
      state.modes().map { [upstream.name, $0.backend, $0.mode.rawValue] }
    }
  }

  /// Every check that this configuration asks for, with who asks.
  func healthChecks(
    _ shared: SharedState
  ) -> [(key: HealthProbe.Key, subscribers: [HealthProbe.Subscriber])] {
    zip(options.upstreams, upstreamStates).enumerated().flatMap { index, entry in
      let (upstream, state) = entry
      guard var check = upstream.healthCheck else {
        return [(key: HealthProbe.Key, subscribers: [HealthProbe.Subscriber])]()
      }
      // Whose connections are never kept keeps none for checks either.
      if upstream.poolSize == 0 { check.reusesConnections = false }
      return upstream.backends.enumerated().map { [check] place, backend in
        var authority = backend.authority
        if case .literal(let name) = upstream.host { authority = name }
        let known = shared.backendState(backend, of: upstream.name)
        return (
          HealthProbe.Key(
            address: backend.address, options: check, authority: authority,
            tls: upstreams[index].pointee.tls, serverName: backend.serverName,
            http2: upstream.http2,
            proxyProtocol: upstream.proxyProtocol),
          [
            HealthProbe.Subscriber(
              state: state, backend: known.id, tally: known.tally, slot: place)
          ]
        )
      }
    }
  }
}
