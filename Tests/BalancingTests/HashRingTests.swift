import Balancing
import Primitives
import Testing

private let plain = BalancePolicy.hash(HashOptions(key: .path))

private func specs(_ count: Int) -> [BackendSpec] {
  (0..<count).map { BackendSpec(name: "10.0.0.\($0 + 1):8080") }
}

private let keyHashes: [UInt64] = (0..<100_000).map { StableHash.of("/object/\($0)") }

/// The name of the backend that each key belongs to.
private func owners(
  _ backends: [BackendSpec], policy: BalancePolicy = plain, unavailable: Set<String> = []
) -> [String] {
  var balancer = Balancer(policy: policy, backends: [], seed: 1)
  let slots = balancer.update(policy: policy, backends: backends)
  var names: [Int: String] = [:]
  for (slot, spec) in zip(slots, backends) {
    names[slot] = spec.name
    if unavailable.contains(spec.name) { balancer.setAvailable(slot, false) }
  }
  return keyHashes.map { hash in
    guard let slot = balancer.reserve(hash: hash)?.slot else { return "" }
    balancer.release(slot)
    return names[slot] ?? ""
  }
}

@Suite struct HashRingTests {
  @Test func `keys belong where they belonged in every version: golden vectors`() {
    let names = ["alpha", "beta", "gamma", "10.0.0.1:8080", "[2001:db8::1]:80"]
    var balancer = Balancer(policy: plain, backends: names.map { BackendSpec(name: $0) }, seed: 1)
    var found: [String] = []
    for key in ["/", "/index.html", "/a/b?c=d", "client-17", "é", "192.0.2.7"] {
      guard let slot = balancer.reserve(hash: StableHash.of(key))?.slot else { continue }
      found.append(names[slot])
    }
    // Computed by another implementation of XXH64 and a sorted list.
    #expect(
      found == ["[2001:db8::1]:80", "gamma", "10.0.0.1:8080", "gamma", "10.0.0.1:8080", "alpha"])
    let seed: UInt64 = 0x7765_6972_2D72_696E
    #expect(StableHash.of("alpha#0", seed: seed) == 0x700B_4F08_FD7E_CD97)
    #expect(StableHash.of("alpha#255", seed: seed) == 0xA849_8687_D957_EE8A)
  }

  @Test func `removing one of 20 moves only its keys, at most 1.2 / 20 of all`() {
    let all = specs(20)
    let before = owners(all)
    for removed in [0, 7, 19] {
      let after = owners(all.filter { $0 != all[removed] })
      var moved = 0
      for (old, new) in zip(before, after) where old != new {
        #expect(old == all[removed].name)
        moved += 1
      }
      #expect(moved == before.filter { $0 == all[removed].name }.count)
      #expect(Double(moved) <= 1.2 / 20 * Double(keyHashes.count), "\(moved)")
      // Unavailable is stepped over in place: the same keys move, to the same backends.
      #expect(owners(all, unavailable: [all[removed].name]) == after)
    }
  }

  @Test func `reordering the file moves nothing`() {
    let all = specs(20)
    var random = SeededRandom(seed: 7)
    #expect(owners(all.shuffled(using: &random)) == owners(all))
  }

  @Test func `a change of weight moves keys only to or from that backend`() {
    let all = specs(20)
    let before = owners(all)
    for weight in [0, 2, 5] {
      var changed = all
      changed[4].weight = weight
      let after = owners(changed)
      for (old, new) in zip(before, after) where old != new {
        #expect((weight == 0 ? old : new) == all[4].name)
      }
      let share = Double(after.filter { $0 == all[4].name }.count) / Double(keyHashes.count)
      #expect(abs(share - Double(weight) / Double(19 + weight)) < 0.02)
    }
  }

  @Test func `a backup does not own keys, and takes them all while no primary can`() {
    let all = specs(4) + [BackendSpec(name: "spare", isBackup: true)]
    #expect(owners(all) == owners(specs(4)))
    #expect(
      Set(owners(all, unavailable: Set(specs(4).map(\.name)))) == ["spare"])
  }

  @Test func `load is spread within the figure of 256 points`() {
    let before = owners(specs(20))
    let mean = Double(keyHashes.count) / 20
    let loads = specs(20).map { spec in Double(before.filter { $0 == spec.name }.count) }
    let variance = loads.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 20
    let deviation = variance.squareRoot() / mean
    #expect(deviation < 0.08)
    #expect((loads.max() ?? 0) < 1.2 * mean)
  }

  @Test func `failover follows the ring: the next distinct backends, each once`() throws {
    let all = specs(5)
    let balancer = HeldBalancer(policy: plain, backends: all, seed: 1)
    for hash in keyHashes.prefix(100) {
      var order: [Int] = []
      var tried = TriedBackends()
      while let found = balancer.reserve(hash: hash, tried: tried) {
        balancer.release(found.slot)
        order.append(found.slot)
        tried.insert(found.slot)
      }
      #expect(Set(order) == Set(0..<5))
      // The second choice is who takes over when the first is gone.
      balancer.setAvailable(order[0], false)
      #expect(balancer.reserve(hash: hash)?.slot == order[1])
      balancer.release(order[1])
      balancer.setAvailable(order[0], true)
    }
  }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `agrees with a search over all points, under random availability`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let count = 1 + random.below(9)
    let options = {
      var options = HashOptions(key: .path)
      options.pointsPerWeight = 1 + random.below(6)
      return options
    }()
    let all = (0..<count).map { BackendSpec(name: "n\($0)", weight: random.below(4)) }
    let balancer = HeldBalancer(policy: .hash(options), backends: all, seed: seed)
    var points: [(position: UInt64, slot: Int)] = []
    for (slot, spec) in all.enumerated() {
      for index in 0..<(spec.weight * options.pointsPerWeight) {
        let hash = StableHash.of("\(spec.name)#\(index)", seed: 0x7765_6972_2D72_696E)
        points.append((hash & ~0xF_FFFF, slot))
      }
    }
    points.sort { $0.position < $1.position }
    var available = [Bool](repeating: true, count: count)
    for _ in 0..<2000 {
      if random.below(4) == 0 {
        let slot = random.below(count)
        available[slot].toggle()
        balancer.setAvailable(slot, available[slot])
      }
      let hash =
        random.below(3) == 0 && !points.isEmpty
        ? points[random.below(points.count)].position &+ UInt64(random.below(2)) << 20
        : random.next()
      let able = points.filter { available[$0.slot] }
      let expected = able.first { $0.position >= hash & ~0xF_FFFF } ?? able.first
      #expect(balancer.reserve(hash: hash)?.slot == expected?.slot)
    }
  }
}

@Suite struct BoundedLoadTests {
  private let bounded = BalancePolicy.hash(HashOptions(key: .path, bound: 1.25))

  @Test func `nobody gets more than the bound allows, and what is above spills and says so`() throws
  {
    let balancer = HeldBalancer(policy: bounded, backends: specs(10), seed: 1)
    // One key only: without the bound everything would go to its owner.
    var spills = 0
    for total in 0..<400 {
      let found = try #require(balancer.reserve(hash: keyHashes[0]))
      let capacity = (Double(total + 1) * 1.25 / 10).rounded(.up)
      #expect(Double(balancer.inFlight(found.slot)) <= capacity)
      if found.isSpill { spills += 1 }
    }
    #expect(spills == 350)
    let inFlight = (0..<10).map { balancer.inFlight($0) }.sorted()
    #expect(inFlight == [0, 0] + [Int](repeating: 50, count: 8))
  }

  @Test func `capacity follows the weight and is never 0`() throws {
    let all = [BackendSpec(name: "light"), BackendSpec(name: "heavy", weight: 200)]
    let balancer = HeldBalancer(policy: bounded, backends: all, seed: 1)
    let light = try #require(
      keyHashes.first { hash in
        guard let slot = balancer.reserve(hash: hash)?.slot else { return false }
        balancer.release(slot)
        return slot == 0
      })
    #expect(balancer.reserve(hash: light) == Reservation(slot: 0))
    #expect(balancer.reserve(hash: light) == Reservation(slot: 1, isSpill: true))
    balancer.release(0)
    #expect(balancer.reserve(hash: light) == Reservation(slot: 0))
  }

  @Test func `a second attempt goes to the next backend even where that is full`() throws {
    let balancer = HeldBalancer(policy: bounded, backends: specs(2), seed: 1)
    for hash in keyHashes.prefix(30) { _ = balancer.reserve(hash: hash) }
    var tried = TriedBackends()
    tried.insert(0)
    for _ in 0..<20 {
      #expect(balancer.reserve(hash: keyHashes[5], tried: tried) == Reservation(slot: 1))
    }
  }

  @Test func `keys come back when the load is gone`() {
    #expect(owners(specs(10), policy: bounded) == owners(specs(10)))
  }
}
