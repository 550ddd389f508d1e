import Balancing
import Primitives
import Testing

@Suite struct SlowStartTests {
  private let options = SlowStartOptions(window: TimeAmount.seconds(10))

  @Test func `the share grows evenly from its floor to the whole`() {
    let shares = (0...10).map { SlowStart.share(TimeAmount.seconds($0), options) }
    #expect(shares == [13, 13, 26, 38, 51, 64, 77, 90, 102, 115, 128])
    #expect(SlowStart.share(TimeAmount.seconds(-1), options) == 13)
    #expect(SlowStart.share(TimeAmount.seconds(100), options) == SlowStart.whole)
  }

  @Test func `aggression above 1 grows early, below 1 late`() {
    func half(_ aggression: Double) -> Int {
      var options = options
      options.floor = 1
      options.aggression = aggression
      return SlowStart.share(TimeAmount.milliseconds(2500), options)
    }
    #expect([half(0.5), half(1), half(2)] == [8, 32, 64])
  }

  @Test func `where more than half is new nobody starts slowly`() {
    #expect(!SlowStart.isOfUse(new: 0, of: 4))
    #expect(SlowStart.isOfUse(new: 1, of: 4) && SlowStart.isOfUse(new: 2, of: 4))
    #expect(!SlowStart.isOfUse(new: 3, of: 4) && !SlowStart.isOfUse(new: 1, of: 1))
  }

  private static let weighted: [BalancePolicy] = [.roundRobin, .leastConnections, .twoChoices]

  /// Choices of each of three backends out of `count`, `inFlight` of them always open; the last
  /// backend has the share, said anew before every choice where `restless`.
  private func choices(
    _ policy: BalancePolicy, share: Int, inFlight: Int, count: Int, restless: Bool = false
  ) -> [Int] {
    let specs = ["a", "b", "c"].map { BackendSpec(name: $0) }
    let balancer = HeldBalancer(policy: policy, backends: specs, seed: 7)
    balancer.setShare(2, share)
    var open: [Int] = []
    var chosen = [0, 0, 0]
    for round in 0..<count {
      if restless { balancer.setShare(2, share + round % 2) }
      guard let slot = balancer.reserve(hash: 0)?.slot else { break }
      chosen[slot] += 1
      open.append(slot)
      if open.count > inFlight { balancer.release(open.removeFirst()) }
    }
    return chosen
  }

  @Test(arguments: weighted)
  func `a share of the weight is a share of the requests`(policy: BalancePolicy) {
    for share in [13, 64, 128] {
      let chosen = choices(policy, share: share, inFlight: 60, count: 6000)
      let expected = 6000.0 * Double(share) / Double(256 + share)
      #expect(abs(Double(chosen[2]) - expected) < 0.2 * expected + 30, "\(share): \(chosen)")
    }
  }

  @Test(arguments: [BalancePolicy.roundRobin, .leastConnections])
  func `a quiet upstream goes by turns, of which the share is`(policy: BalancePolicy) {
    let chosen = choices(policy, share: 32, inFlight: 0, count: 900)
    #expect(abs(chosen[2] - 100) <= 2, "\(chosen)")
  }

  @Test(arguments: weighted)
  func `a share that changes all the time takes and gives no turns`(policy: BalancePolicy) {
    let chosen = choices(policy, share: 32, inFlight: 30, count: 9000, restless: true)
    #expect(abs(chosen[2] - 1000) < 200, "\(chosen)")
  }

  @Test(arguments: [nil, 1.25])
  func `with hash, more and more of its keys come home, and no others move`(bound: Double?) {
    let policy = BalancePolicy.hash(HashOptions(key: .path, bound: bound))
    let specs = ["a", "b", "c", "d"].map { BackendSpec(name: $0) }
    let balancer = HeldBalancer(policy: policy, backends: specs, seed: 1)
    func owners() -> [Int?] {
      (0..<4000 as Range<UInt64>).map { key in
        let found = balancer.reserve(hash: key &* 0xD134_2543_DE82_EF95 ^ key << 17)
        if let found { balancer.release(found.slot) }
        return found?.slot
      }
    }
    let home = owners()
    var last: Set<Int> = []
    for share in [13, 32, 64, 96, 128] {
      balancer.setShare(3, share)
      let now = owners()
      let kept = Set(now.indices.filter { home[$0] == 3 && now[$0] == 3 })
      let part = Double(kept.count) / Double(home.count { $0 == 3 })
      #expect(abs(part - Double(share) / 128) < 0.05, "\(part) at \(share)")
      #expect(kept.isSuperset(of: last), "a key that had come home left again")
      #expect(now.indices.allSatisfy { home[$0] == 3 || now[$0] == home[$0] })
      last = kept
    }
    // Where nobody else is left, it serves all of its keys whatever its share.
    balancer.setShare(3, 1)
    for slot in 0..<3 { balancer.setAvailable(slot, false) }
    #expect(owners().allSatisfy { $0 == 3 })
  }
}
