import Balancing

/// A balancer behind a reference: the macros of Testing cannot hold a value that is not copyable.
final class HeldBalancer {
  private var balancer: Balancer

  init(policy: BalancePolicy, backends: [BackendSpec], seed: UInt64) {
    balancer = Balancer(policy: policy, backends: backends, seed: seed)
  }

  @discardableResult
  func update(policy: BalancePolicy, backends: [BackendSpec]) -> [Int] {
    let slots = balancer.update(policy: policy, backends: backends)
    balancer.checkInvariants()
    return slots
  }

  func reserve(hash: UInt64 = 0, tried: TriedBackends = TriedBackends()) -> Reservation? {
    let found = balancer.reserve(hash: hash, tried: tried)
    balancer.checkInvariants()
    return found
  }

  func reserve(at slot: Int) -> Reservation? {
    let found = balancer.reserve(at: slot)
    balancer.checkInvariants()
    return found
  }

  func release(_ slot: Int) {
    balancer.release(slot)
    balancer.checkInvariants()
  }

  func setAvailable(_ slot: Int, _ isAvailable: Bool) {
    balancer.setAvailable(slot, isAvailable)
    balancer.checkInvariants()
  }

  func setShare(_ slot: Int, _ share: Int) {
    balancer.setShare(slot, share)
    balancer.checkInvariants()
  }

  func inFlight(_ slot: Int) -> Int { balancer.inFlight(slot) }
  func isAvailable(_ slot: Int) -> Bool { balancer.isAvailable(slot) }
  func slot(named name: String) -> Int? { balancer.slot(named: name) }
  var slotCount: Int { balancer.slotCount }
  var canServe: Bool { balancer.canServe }
}
