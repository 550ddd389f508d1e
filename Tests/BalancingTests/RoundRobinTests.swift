import Balancing
import Primitives
import Testing

/// The order in which round robin visits backends of these weights.
private func turns(_ weights: [Int], count: Int) -> [Int] {
  let specs = weights.indices.map { BackendSpec(name: "b\($0)", weight: weights[$0]) }
  var balancer = Balancer(policy: .roundRobin, backends: specs, seed: 1)
  return (0..<count).compactMap { _ in
    guard let slot = balancer.reserve()?.slot else { return nil }
    balancer.release(slot)
    return slot
  }
}

/// What smooth weighted round robin by current weights gives (raise each by its weight, take the
/// highest, lower it by the sum): the yardstick.
private func yardstick(_ weights: [Int], count: Int) -> [Int] {
  var current = weights.map { _ in 0 }
  let sum = weights.reduce(0, +)
  return (0..<count).map { _ in
    for index in weights.indices { current[index] += weights[index] }
    let best = weights.indices.max { current[$0] < current[$1] } ?? 0
    current[best] -= sum
    return best
  }
}

/// The furthest that any backend is from its share of the turns in any stretch of `sequence`.
private func worstDeviation(_ sequence: [Int], weights: [Int]) -> Double {
  let sum = Double(weights.reduce(0, +))
  var worst = 0.0
  for backend in weights.indices {
    let share = Double(weights[backend]) / sum
    // In a running difference from the share, the worst stretch is from a minimum to a maximum.
    var difference = 0.0
    var least = 0.0
    var most = 0.0
    for choice in sequence {
      difference += (choice == backend ? 1 : 0) - share
      worst = max(worst, difference - least, most - difference)
      least = min(least, difference)
      most = max(most, difference)
    }
  }
  return worst
}

@Suite struct RoundRobinTests {
  @Test func `weights 5, 1, 1 are interleaved, every stretch within one turn of its share`() {
    let weights = [5, 1, 1]
    let sequence = turns(weights, count: 700)
    #expect(sequence.filter { $0 == 0 }.count == 500)
    #expect(worstDeviation(sequence, weights: weights) < 1)
    #expect(worstDeviation(yardstick(weights, count: 700), weights: weights) > 1)
    #expect(Array(sequence[7..<14]) == Array(sequence[14..<21]))
  }

  @Test(arguments: [
    [1], [1, 1], [1, 1, 1], [2, 1], [3, 2], [1, 2, 3], [256, 1], [10, 10, 1], [7, 5, 3, 1],
  ])
  func `whole cycles give every backend exactly its weight`(weights: [Int]) {
    let sum = weights.reduce(0, +)
    let sequence = turns(weights, count: sum * 20)
    for cycle in 1..<20 {
      let stretch = sequence[(cycle * sum)..<((cycle + 1) * sum)]
      for backend in weights.indices {
        let count = stretch.filter { $0 == backend }.count
        #expect(abs(count - weights[backend]) <= 1)
      }
    }
    for backend in weights.indices {
      let count = sequence.filter { $0 == backend }.count
      #expect(abs(count - weights[backend] * 20) <= 1)
    }
    #expect(worstDeviation(sequence, weights: weights) < 2)
  }

  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func `no stretch is two turns from its share, and none is much worse than the yardstick's`(
    seed: UInt64
  ) {
    var random = SeededRandom(seed: seed)
    let weights = (0..<(2 + random.below(30))).map { _ in
      1 + (random.below(2) == 0 ? random.below(5) : random.below(256))
    }
    let worst = worstDeviation(turns(weights, count: 6000), weights: weights)
    #expect(worst < 2, "\(weights): \(worst)")
    let reference = worstDeviation(yardstick(weights, count: 6000), weights: weights)
    #expect(worst < reference + 0.5)
  }

  @Test func `one heavy among a thousand light ones is not served in bursts`() {
    let light = [Int](repeating: 1, count: 500)
    let weights = light + [256] + light
    let sequence = turns(weights, count: 5024)
    #expect(worstDeviation(sequence, weights: weights) < 2)
  }

  @Test func `a backend that comes and goes gets its share while it is there, and no more`() throws
  {
    let specs = [BackendSpec(name: "a", weight: 2), BackendSpec(name: "b")]
    let balancer = HeldBalancer(policy: .roundRobin, backends: specs, seed: 1)
    func visits(_ count: Int) throws -> [Int] {
      var visits = [0, 0]
      for _ in 0..<count {
        let slot = try #require(balancer.reserve()).slot
        visits[slot] += 1
        balancer.release(slot)
      }
      return visits
    }
    balancer.setAvailable(1, false)
    #expect(try visits(500) == [500, 0])
    balancer.setAvailable(1, true)
    let back = try visits(300)
    #expect(abs(back[1] - 100) <= 1, "\(back)")
  }

  @Test(arguments: [2, 3, 7], [1, 2])
  func `backends that one request fills take turns all the same`(count: Int, held: Int) {
    let specs = (0..<count).map { BackendSpec(name: "b\($0)", maxRequests: 1) }
    var balancer = Balancer(policy: .roundRobin, backends: specs, seed: 1)
    var served = [Int](repeating: 0, count: count)
    var present: [Int] = []
    for _ in 0..<(100 * count) {
      if present.count == held { balancer.release(present.removeFirst()) }
      guard let slot = balancer.reserve()?.slot else { continue }
      served[slot] += 1
      present.append(slot)
    }
    #expect(served.allSatisfy { abs($0 - 100) <= 2 }, "\(served)")
  }

  @Test func `a turn that was avoided is taken next`() throws {
    let specs = (0..<4).map { BackendSpec(name: "b\($0)") }
    let balancer = HeldBalancer(policy: .roundRobin, backends: specs, seed: 1)
    var visits = [0, 0, 0, 0]
    for round in 0..<400 {
      var tried = TriedBackends()
      if round % 3 == 0 { tried.insert(round % 4) }
      let slot = try #require(balancer.reserve(tried: tried)).slot
      #expect(!tried.contains(slot))
      visits[slot] += 1
      balancer.release(slot)
    }
    #expect(visits.allSatisfy { abs($0 - 100) <= 2 }, "\(visits)")
  }
}
