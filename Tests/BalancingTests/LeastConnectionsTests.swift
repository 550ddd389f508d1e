import Balancing
import Primitives
import Testing

@Suite struct LeastConnectionsTests {
  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `chooses exactly what a look at every backend would choose`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let count = 1 + random.below(12)
    let specs = (0..<count).map {
      BackendSpec(
        name: "b\($0)", weight: random.below(4) == 0 ? random.below(257) : random.below(4),
        isBackup: random.below(5) == 0)
    }
    let balancer = HeldBalancer(policy: .leastConnections, backends: specs, seed: seed)
    var model = BalancerModel()
    model.backends = specs.indices.map {
      .init(name: specs[$0].name, weight: specs[$0].weight, isBackup: specs[$0].isBackup, slot: $0)
    }
    var held: [Int] = []
    for _ in 0..<3000 {
      switch random.below(10) {
      case 0:
        let index = random.below(count)
        let available = random.below(3) > 0
        balancer.setAvailable(index, available)
        model.setAvailable(index, available)
      case 1...4 where !held.isEmpty:
        let slot = held.remove(at: random.below(held.count))
        balancer.release(slot)
        model.backends[slot].inFlight -= 1
      default:
        var tried = TriedBackends()
        var triedSlots: [Int] = []
        if random.below(4) == 0 {
          for _ in 0..<(1 + random.below(4)) {
            triedSlots.append(random.below(count))
            tried.insert(triedSlots[triedSlots.count - 1])
          }
        }
        let found = balancer.reserve(tried: tried)?.slot
        #expect(found == model.reserveLeastLoaded(tried: triedSlots))
        if let found { held.append(found) }
      }
      for index in 0..<count { #expect(balancer.inFlight(index) == model.backends[index].inFlight) }
    }
  }

  @Test func `equals take turns, so serial requests visit every backend`() {
    let specs = (0..<5).map { BackendSpec(name: "b\($0)") }
    let balancer = HeldBalancer(policy: .leastConnections, backends: specs, seed: 1)
    var visits: [Int] = []
    for _ in 0..<15 {
      guard let slot = balancer.reserve()?.slot else { break }
      visits.append(slot)
      balancer.release(slot)
    }
    #expect(visits == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
  }

  @Test func `requests held in flight settle in proportion to the weights`() {
    let weights = [1, 2, 3, 10]
    let specs = weights.map { BackendSpec(name: "w\($0)", weight: $0) }
    let balancer = HeldBalancer(policy: .leastConnections, backends: specs, seed: 1)
    for _ in 0..<160 { _ = balancer.reserve() }
    #expect(weights.indices.map { balancer.inFlight($0) } == [10, 20, 30, 100])
  }

  @Test func `a slow backend gets at most 1.5 % of a closed loop's requests`() {
    // Safety rule 49: 64 clients, four backends, three answer in 5 ms and one in 305 ms.
    let balancer = HeldBalancer(
      policy: .leastConnections, backends: (0..<4).map { BackendSpec(name: "b\($0)") }, seed: 1)
    var finishing: [(time: Int, slot: Int)] = []
    var served = [0, 0, 0, 0]
    func start(at time: Int) {
      guard let slot = balancer.reserve()?.slot else { return }
      finishing.append((time + (slot == 3 ? 305 : 5), slot))
    }
    for _ in 0..<64 { start(at: 0) }
    for time in 1...6000 {
      for done in finishing.filter({ $0.time == time }) {
        balancer.release(done.slot)
        served[done.slot] += 1
      }
      let ended = finishing.filter { $0.time == time }.count
      finishing.removeAll { $0.time == time }
      for _ in 0..<ended { start(at: time) }
    }
    #expect(Double(served[3]) < 0.015 * Double(served.reduce(0, +)), "\(served)")
    #expect(served[3] > 0)
  }
}
