import Balancing
import Primitives
import Testing

/// Every change of a balancer in any order, with the extremes of weights and shares: it keeps its
/// invariants, never overflows, and serves whenever somebody can.
@Suite struct `Any order of changes` {
  private static let policies: [BalancePolicy] = [
    .roundRobin, .leastConnections, .twoChoices, .hash(HashOptions(key: .path)),
    .hash(HashOptions(key: .path, bound: 1.1)),
  ]

  private static func specs(_ random: inout SeededRandom) -> [BackendSpec] {
    (0..<(1 + random.below(9))).compactMap { index in
      guard random.below(5) > 0 || index == 0 else { return nil }
      return BackendSpec(
        name: "b\(index)", weight: [1, 2, 255, 256, 0, 7][random.below(6)],
        isBackup: random.below(6) == 0,
        maxRequests: random.below(4) == 0 ? 1 + random.below(3) : nil)
    }
  }

  @Test(arguments: 0..<UInt64(policies.count))
  func `keeps the balancer whole`(number: UInt64) {
    let policy = Self.policies[Int(number)]
    var random = SeededRandom(seed: number)
    let balancer = HeldBalancer(policy: policy, backends: Self.specs(&random), seed: number)
    var open: [Int] = []
    for _ in 0..<1000 {
      guard let slot = balancer.slot(named: "b\(random.below(9))") else { continue }
      switch random.below(20) {
      case 0: balancer.update(policy: policy, backends: Self.specs(&random))
      case 1, 2: balancer.setAvailable(slot, random.below(3) > 0)
      case 3..<7: balancer.setShare(slot, [1, 2, 64, 127, 128][random.below(5)])
      case 7: if let found = balancer.reserve(at: slot) { open.append(found.slot) }
      case 8..<13 where !open.isEmpty: balancer.release(open.remove(at: random.below(open.count)))
      default:
        let canServe = balancer.canServe
        let found = balancer.reserve(hash: random.next())
        if found == nil { #expect(!canServe || !open.isEmpty) }
        if let found { open.append(found.slot) }
      }
    }
    while let slot = open.popLast() { balancer.release(slot) }
  }
}
