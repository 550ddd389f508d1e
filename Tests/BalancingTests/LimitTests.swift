import Primitives
import Testing

@testable import Balancing

@Suite struct LimitTests {
  static let policies: [BalancePolicy] = [
    .roundRobin, .leastConnections, .twoChoices, .hash(HashOptions(key: .path)),
  ]

  @Test(arguments: policies)
  func `no backend has more in flight than its limit, and every place is used`(
    policy: BalancePolicy
  ) {
    let specs = [1, 3, 6].map { (limit: Int) in BackendSpec(name: "b\(limit)", maxRequests: limit) }
    var balancer = Balancer(policy: policy, backends: specs, seed: 1)
    var taken: [Int] = []
    while let found = balancer.reserve(hash: UInt64(taken.count) << 55) { taken.append(found.slot) }
    #expect(taken.count == 10)
    for (slot, spec) in specs.enumerated() {
      #expect(balancer.inFlight(slot) == spec.maxRequests)
    }
    #expect(balancer.isBusy && !balancer.canServe)
    balancer.release(1)
    #expect(balancer.reserve()?.slot == 1)
    for slot in taken { balancer.release(slot) }
    #expect(!balancer.isBusy && balancer.candidateCount == 3)
    balancer.checkInvariants()
  }

  @Test func `backups are for when primaries are away, not for when they are full`() {
    var balancer = Balancer(
      policy: .leastConnections,
      backends: [
        BackendSpec(name: "a", maxRequests: 1), BackendSpec(name: "spare", isBackup: true),
      ], seed: 1)
    #expect(balancer.reserve()?.slot == 0)
    #expect(balancer.reserve() == nil)
    balancer.setAvailable(0, false)
    #expect(balancer.reserve()?.slot == 1)
    balancer.setAvailable(0, true)
    #expect(balancer.reserve() == nil)
    balancer.release(0)
    #expect(balancer.reserve()?.slot == 0)
  }

  @Test func `a new limit holds for what is in flight already`() {
    var balancer = Balancer(
      policy: .roundRobin, backends: [BackendSpec(name: "a")], seed: 1)
    for _ in 0..<5 { _ = balancer.reserve() }
    balancer.update(policy: .roundRobin, backends: [BackendSpec(name: "a", maxRequests: 3)])
    #expect(balancer.reserve() == nil)
    for _ in 0..<3 { balancer.release(0) }
    #expect(balancer.reserve()?.slot == 0)
    #expect(balancer.reserve() == nil)
    balancer.update(policy: .roundRobin, backends: [BackendSpec(name: "a")])
    #expect(balancer.reserve()?.slot == 0)
  }

  @Test(arguments: 0..<4)
  func `any order of calls keeps to the limits`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let policy = LimitTests.policies[Int(seed) % 4]
    let specs = (0..<6).map {
      BackendSpec(
        name: "b\($0)", weight: 1 + $0, isBackup: $0 == 5,
        maxRequests: $0 == 2 ? nil : 1 + random.below(4))
    }
    var balancer = Balancer(policy: policy, backends: specs, seed: seed)
    var held: [Int] = []
    for _ in 0..<3000 {
      switch random.below(8) {
      case 0: balancer.setAvailable(random.below(6), random.below(3) > 0)
      case 1...4:
        if let found = balancer.reserve(hash: random.next()) { held.append(found.slot) }
      default:
        guard !held.isEmpty else { continue }
        balancer.release(held.remove(at: random.below(held.count)))
      }
      for (slot, spec) in specs.enumerated() {
        #expect(balancer.inFlight(slot) <= spec.maxRequests ?? .max)
      }
    }
    balancer.checkInvariants()
  }
}
