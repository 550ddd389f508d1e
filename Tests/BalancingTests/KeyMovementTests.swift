import Balancing
import Primitives
import Testing

@Suite struct `Key movement` {
  private func plan(
    _ names: [String], key: HashKey = .path, weight: Int = 1
  ) -> BalancerPlan {
    BalancerPlan(
      policy: .hash(HashOptions(key: key)),
      backends: names.map { BackendSpec(name: $0, weight: weight) })
  }

  /// The share of keys that a balancer gives to another backend, by trying.
  private func measured(_ before: BalancerPlan, _ after: BalancerPlan, keys: UInt64) -> Double {
    var old = Balancer(before, seed: 1)
    var new = Balancer(after, seed: 1)
    func names(_ balancer: borrowing Balancer, _ plan: [String]) -> [Int: String] {
      var found: [Int: String] = [:]
      for name in plan { if let slot = balancer.slot(named: name) { found[slot] = name } }
      return found
    }
    let all = (0..<40).map { "b\($0)" }
    let (oldNames, newNames) = (names(old, all), names(new, all))
    var moved = 0
    for key in 0..<keys {
      let hash = StableHash.of("key \(key)")
      let tried = TriedBackends()
      guard let first = old.reserve(hash: hash, tried: tried),
        let second = new.reserve(hash: hash, tried: tried)
      else { continue }
      if oldNames[first.slot] != newNames[second.slot] { moved += 1 }
      old.release(first.slot)
      new.release(second.slot)
    }
    return Double(moved) / Double(keys)
  }

  private static let twenty = (0..<20).map { "b\($0)" }

  @Test func `nothing moves where nothing changes, in whatever order it is written`() {
    let before = plan(Self.twenty)
    #expect(before.movedShare(to: before) == 0)
    #expect(before.movedShare(to: plan(Self.twenty.reversed())) == 0)
  }

  @Test func `it is the share of keys that really move`() throws {
    let before = plan(Self.twenty)
    let less = Self.twenty.filter { $0 != "b7" }
    for after in [
      plan(less), plan(Self.twenty + ["b20"]), plan(less + ["b21", "b22"]),
      plan(Self.twenty, weight: 3),
    ] {
      let share = try #require(before.movedShare(to: after))
      let tried = measured(before, after, keys: 40_000)
      #expect(abs(share - tried) < 0.01, "\(share), tried \(tried)")
    }
    let one = try #require(before.movedShare(to: plan(less)))
    #expect(one > 0.8 / 20 && one < 1.2 / 20)
    let back = try #require(plan(less).movedShare(to: before))
    #expect(abs(one - back) < 1e-12, "there and back is the same way")
  }

  @Test func `another key is another space`() {
    #expect(plan(["a"]).movedShare(to: plan(["a"], key: .clientAddress)) == nil)
    let other = BalancerPlan(policy: .leastConnections, backends: [BackendSpec(name: "a")])
    #expect(plan(["a"]).movedShare(to: other) == nil && other.movedShare(to: plan(["a"])) == nil)
    #expect(plan(["a"]).movedShare(to: plan(["b"])) == 1)
  }
}
