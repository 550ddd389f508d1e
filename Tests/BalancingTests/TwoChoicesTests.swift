import Balancing
import Primitives
import Testing

@testable import struct Balancing.WeightedDraw

@Suite struct TwoChoicesTests {
  @Test func `idle backends are visited by weight`() throws {
    // Of two distinct draws from weights 1, 1, 2, 4 the heavier is the less loaded.
    let specs = [1, 1, 2, 4].map { BackendSpec(name: "w\($0)", weight: $0) }.enumerated().map {
      BackendSpec(name: "\($0.element.name)-\($0.offset)", weight: $0.element.weight)
    }
    let balancer = HeldBalancer(policy: .twoChoices, backends: specs, seed: 9)
    var held: [Int] = []
    for _ in 0..<800 { held.append(try #require(balancer.reserve()).slot) }
    let inFlight = (0..<4).map { balancer.inFlight($0) }
    #expect(abs(inFlight[3] - 400) < 15 && abs(inFlight[2] - 200) < 15, "\(inFlight)")
  }

  @Test func `the less loaded of two wins, so the spread stays small`() throws {
    let balancer = HeldBalancer(
      policy: .twoChoices, backends: (0..<20).map { BackendSpec(name: "b\($0)") }, seed: 4)
    var random = SeededRandom(seed: 3)
    var held: [Int] = []
    for _ in 0..<4000 {
      held.append(try #require(balancer.reserve()).slot)
      if held.count > 200 { balancer.release(held.remove(at: random.below(held.count))) }
    }
    let inFlight = (0..<20).map { balancer.inFlight($0) }
    #expect((inFlight.max() ?? 0) - (inFlight.min() ?? 0) <= 6, "\(inFlight)")
  }

  @Test func `with two backends both are looked at, so the choice is exact`() throws {
    let balancer = HeldBalancer(
      policy: .twoChoices, backends: [BackendSpec(name: "a"), BackendSpec(name: "b")], seed: 4)
    for step in 1...50 {
      _ = balancer.reserve()
      #expect(abs(balancer.inFlight(0) - balancer.inFlight(1)) <= step % 2)
    }
  }

  @Test(arguments: 1...5 as ClosedRange<UInt64>)
  func `unavailable and tried backends are never drawn`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let specs = (0..<11).map { BackendSpec(name: "b\($0)", weight: random.below(5)) }
    let balancer = HeldBalancer(policy: .twoChoices, backends: specs, seed: seed)
    var available = [Bool](repeating: true, count: 11)
    for _ in 0..<3000 {
      if random.below(5) == 0 {
        let slot = random.below(11)
        available[slot].toggle()
        balancer.setAvailable(slot, available[slot])
      }
      var tried = TriedBackends()
      for _ in 0..<random.below(3) { tried.insert(random.below(11)) }
      let able = (0..<11).filter {
        available[$0] && specs[$0].weight > 0 && !tried.contains($0)
      }
      let found = balancer.reserve(tried: tried)?.slot
      #expect((found == nil) == able.isEmpty)
      if let found {
        #expect(able.contains(found))
        if random.below(20) > 0 { balancer.release(found) }
      }
    }
  }

  @Test func `every point of the weights belongs to the slot whose stretch it is in`() {
    var random = SeededRandom(seed: 8)
    for capacity in [1, 2, 3, 7, 8, 9, 100] {
      var draw = WeightedDraw(capacity: capacity)
      var weights = [Int](repeating: 0, count: capacity)
      for _ in 0..<50 {
        let slot = random.below(capacity)
        let weight = random.below(4)
        draw.add(weight - weights[slot], to: slot)
        weights[slot] = weight
        var below = 0
        for slot in 0..<capacity {
          let own = draw.weight(of: slot)
          #expect(own == weights[slot])
          for point in below..<(below + weights[slot]) {
            let drawn = draw.slot(at: point)
            #expect(drawn.slot == slot)
            #expect(drawn.below == below)
          }
          below += weights[slot]
        }
        let total = draw.total
        #expect(total == below)
      }
    }
  }
}
