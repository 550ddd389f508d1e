import Balancing
import Primitives
import Testing

private let policies: [BalancePolicy] = [
  .roundRobin, .leastConnections, .twoChoices, .hash(HashOptions(key: .path)),
  .hash(HashOptions(key: .path, bound: 1.25)),
]

@Suite struct BalancerTests {
  @Test(arguments: policies)
  func `no backend, none available, or only weight 0: nothing to reserve`(policy: BalancePolicy) {
    let balancer = HeldBalancer(policy: policy, backends: [], seed: 1)
    #expect(balancer.reserve(hash: 5) == nil)
    #expect(!balancer.canServe)
    let slots = balancer.update(
      policy: policy, backends: [BackendSpec(name: "a"), BackendSpec(name: "b", weight: 0)])
    balancer.setAvailable(slots[0], false)
    #expect(balancer.reserve(hash: 5) == nil)
    balancer.setAvailable(slots[0], true)
    #expect(balancer.reserve(hash: 5)?.slot == slots[0])
    #expect(balancer.inFlight(slots[0]) == 1)
  }

  @Test(arguments: policies)
  func `backups serve only while no primary can`(policy: BalancePolicy) throws {
    let balancer = HeldBalancer(
      policy: policy,
      backends: [
        BackendSpec(name: "a"), BackendSpec(name: "spare", isBackup: true),
        BackendSpec(name: "b"),
      ], seed: 2)
    let primaries = [balancer.slot(named: "a"), balancer.slot(named: "b")]
    let spare = try #require(balancer.slot(named: "spare"))
    for hash in 0..<200 as Range<UInt64> {
      let found = try #require(balancer.reserve(hash: hash &* 0x9E37_79B9_7F4A_7C15))
      #expect(found.slot != spare)
      balancer.release(found.slot)
    }
    var tried = TriedBackends()
    for slot in primaries { tried.insert(try #require(slot)) }
    #expect(balancer.reserve(hash: 7, tried: tried)?.slot == spare)
    tried.insert(spare)
    #expect(balancer.reserve(hash: 7, tried: tried) == nil)
    for slot in primaries { balancer.setAvailable(try #require(slot), false) }
    #expect(balancer.reserve(hash: 7)?.slot == spare)
  }

  @Test(arguments: policies)
  func `a second attempt goes to another backend, and tells when there is none`(
    policy: BalancePolicy
  ) throws {
    let names = ["a", "b", "c", "d"]
    let balancer = HeldBalancer(
      policy: policy, backends: names.map { BackendSpec(name: $0) }, seed: 3)
    for hash in 0..<100 as Range<UInt64> {
      var tried = TriedBackends()
      var seen: Set<Int> = []
      for _ in names {
        let found = try #require(
          balancer.reserve(hash: hash &* 0xD134_2543_DE82_EF95, tried: tried))
        #expect(seen.insert(found.slot).inserted)
        tried.insert(found.slot)
      }
      #expect(balancer.reserve(hash: hash, tried: tried) == nil)
      for slot in seen { balancer.release(slot) }
    }
  }

  @Test(arguments: policies)
  func `an update keeps slots, requests in flight and availability by name`(
    policy: BalancePolicy
  ) throws {
    let specs = ["a", "b", "c"].map { BackendSpec(name: $0) }
    let balancer = HeldBalancer(policy: policy, backends: specs, seed: 4)
    let before = balancer.update(policy: policy, backends: specs)
    #expect(before == [0, 1, 2])
    var held: [Int] = []
    for hash in 0..<30 as Range<UInt64> {
      held.append(try #require(balancer.reserve(hash: hash &* 0x9E37_79B9_7F4A_7C15)).slot)
    }
    let inFlight = before.map { balancer.inFlight($0) }
    #expect(inFlight.reduce(0, +) == 30)
    balancer.setAvailable(before[1], false)
    let after = balancer.update(
      policy: policy,
      backends: [
        BackendSpec(name: "c", weight: 5), BackendSpec(name: "new"), BackendSpec(name: "b"),
        BackendSpec(name: "a"),
      ])
    #expect([after[3], after[2], after[0]] == before)
    #expect(after[1] == 3)
    #expect(before.map { balancer.inFlight($0) } == inFlight)
    #expect(!balancer.isAvailable(before[1]))
    #expect(balancer.isAvailable(after[1]))
    for slot in held { balancer.release(slot) }
    #expect((0..<4).allSatisfy { balancer.inFlight($0) == 0 })
  }

  @Test(arguments: policies)
  func `a removed backend drains, and its slot is reused only then`(policy: BalancePolicy) throws {
    let balancer = HeldBalancer(policy: policy, backends: [BackendSpec(name: "old")], seed: 5)
    let old = try #require(balancer.reserve(hash: 1)).slot
    let replaced = balancer.update(policy: policy, backends: [BackendSpec(name: "new")])
    #expect(replaced != [old])
    #expect(balancer.inFlight(old) == 1)
    for hash in 0..<50 as Range<UInt64> {
      let found = try #require(balancer.reserve(hash: hash << 57))
      #expect(found.slot == replaced[0])
      balancer.release(found.slot)
    }
    #expect(balancer.slot(named: "old") == old)
    balancer.release(old)
    #expect(balancer.slot(named: "old") == nil)
    let third = balancer.update(
      policy: policy, backends: [BackendSpec(name: "new"), BackendSpec(name: "third")])
    #expect(third == [replaced[0], old])
    #expect(balancer.slotCount == 2)
  }

  @Test func `a backend that comes back while it drains is the same backend`() throws {
    let balancer = HeldBalancer(
      policy: .leastConnections, backends: [BackendSpec(name: "a")], seed: 6)
    let slot = try #require(balancer.reserve()).slot
    balancer.update(policy: .leastConnections, backends: [])
    #expect(balancer.reserve() == nil)
    #expect(balancer.update(policy: .leastConnections, backends: [BackendSpec(name: "a")]) == [0])
    #expect(balancer.inFlight(slot) == 1)
    balancer.release(slot)
    #expect(balancer.slot(named: "a") == 0)
  }

  @Test func `the same seed and calls choose the same backends`() {
    let specs = (0..<9).map { BackendSpec(name: "b\($0)", weight: 1 + $0) }
    func choices(seed: UInt64) -> [Int] {
      let balancer = HeldBalancer(policy: .twoChoices, backends: specs, seed: seed)
      return (0..<200).compactMap { _ in balancer.reserve()?.slot }
    }
    #expect(choices(seed: 1) == choices(seed: 1))
    #expect(choices(seed: 1) != choices(seed: 2))
  }

  @Test func `tried backends: eight are remembered, then the oldest is forgotten`() {
    var tried = TriedBackends()
    #expect(tried.isEmpty)
    for slot in 10..<18 { tried.insert(slot) }
    tried.insert(12)
    #expect(tried.count == 8)
    #expect((10..<18).allSatisfy { tried.contains($0) })
    tried.insert(99)
    #expect(tried.contains(99) && !tried.contains(10) && tried.contains(11))
  }
}
