import Caching
import Primitives
import Testing

@Suite struct `The eviction order` {
  /// The same rules over plain lists, oldest first.
  struct Model {
    var small: [Int] = []
    var main: [Int] = []
    var bytes: [Int: Int] = [:]
    var visits: [Int: Int] = [:]
    var fingerprints: [Int: UInt32] = [:]
    /// Newest last.
    var ghosts: [UInt32?] = []

    func sum(_ list: [Int]) -> Int { list.reduce(0) { $0 + bytes[$1]! } }

    mutating func insert(_ slot: Int, _ fingerprint: UInt32, _ size: Int) {
      bytes[slot] = size
      visits[slot] = 0
      fingerprints[slot] = fingerprint
      let window = small.count + main.count
      if let place = ghosts.lastIndex(of: fingerprint) {
        ghosts[place] = nil
        if ghosts.count - 1 - place < window {
          main.append(slot)
          return
        }
      }
      small.append(slot)
    }

    mutating func victim() -> Int? {
      while !small.isEmpty || !main.isEmpty {
        let isSmall = main.isEmpty || !small.isEmpty && sum(small) * 10 >= sum(small) + sum(main)
        let slot = isSmall ? small.removeFirst() : main.removeFirst()
        if visits[slot]! > 0 {
          visits[slot]! = isSmall ? 0 : visits[slot]! - 1
          main.append(slot)
          continue
        }
        if isSmall {
          if let place = ghosts.lastIndex(of: fingerprints[slot]!) { ghosts[place] = nil }
          ghosts.append(fingerprints[slot]!)
        }
        return slot
      }
      return nil
    }
  }

  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `does what its model does, over random operations`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var order = EvictionOrder(mostSlots: 64)
    var model = Model()
    var used: [Int] = []
    for step in 0..<4000 {
      switch random.below(8) {
      case 0...2 where used.count < 24:
        let slot = (0..<64).first { !used.contains($0) && random.below(3) > 0 } ?? -1
        guard slot >= 0 else { continue }
        let fingerprint = UInt32(random.below(60)) &* 0x9E37_79B9
        let bytes = 1 + random.below(50)
        order.insert(slot, fingerprint: fingerprint, bytes: bytes)
        model.insert(slot, fingerprint, bytes)
        used.append(slot)
      case 3...5 where !used.isEmpty:
        let slot = used[random.below(used.count)]
        order.touch(slot)
        model.visits[slot]! = min(3, model.visits[slot]! + 1)
      case 6 where !used.isEmpty && random.below(4) == 0:
        let slot = used.remove(at: random.below(used.count))
        order.remove(slot)
        model.small.removeAll { $0 == slot }
        model.main.removeAll { $0 == slot }
      case 6 where !used.isEmpty:
        let slot = used[random.below(used.count)]
        order.resize(slot, bytes: 5)
        model.bytes[slot] = 5
      default:
        let victim = order.victim()
        let expected = model.victim()
        if victim != expected {
          Issue.record("step \(step): \(String(describing: victim)), not \(expected ?? -1)")
          return
        }
        used.removeAll { $0 == victim }
      }
      let sum = model.sum(model.small) + model.sum(model.main)
      let isRight =
        order.checkInvariants() && order.count == used.count && order.bytes == sum
        && (0..<70).allSatisfy { order.contains($0) == used.contains($0) }
      if !isRight {
        Issue.record("step \(step)")
        return
      }
    }
  }

  @Test func `lets a run over new objects pass without losing what is in use`() {
    var order = EvictionOrder(mostSlots: 1000)
    for slot in 0..<90 {
      order.insert(slot, fingerprint: UInt32(slot), bytes: 1)
      order.touch(slot)
    }
    for slot in 90..<900 {
      while order.bytes >= 100 {
        let victim = order.victim()
        #expect(victim.map { $0 >= 90 } ?? false, "\(victim ?? -1)")
      }
      order.insert(slot, fingerprint: UInt32(slot), bytes: 1)
    }
    let isKept = (0..<90).allSatisfy { order.contains($0) }
    #expect(isKept)
  }

  @Test func `an object that comes back soon goes where the used ones are`() {
    var order = EvictionOrder(mostSlots: 1000)
    for slot in 0..<100 { order.insert(slot, fingerprint: UInt32(slot) + 7, bytes: 10) }
    let first = order.victim()
    #expect(first == 0)
    // Again, under another slot: from now on everything that is new goes before it.
    order.insert(500, fingerprint: 7, bytes: 10)
    let left = (0..<99).map { _ in order.victim() }
    #expect(left == (1..<100).map { $0 })
    let last = order.victim()
    let none = order.victim()
    let isEmpty = order.count == 0 && order.bytes == 0
    #expect(last == 500 && none == nil && isEmpty)
  }

  @Test func `evicts within a bounded number of steps whatever is in use`() {
    var order = EvictionOrder(mostSlots: 10_000)
    for slot in 0..<10_000 {
      order.insert(slot, fingerprint: UInt32(slot), bytes: 1)
      for _ in 0..<5 { order.touch(slot) }
    }
    // The first 128 are spared, and the next is taken although it was used.
    let victim = order.victim()
    let isSound = order.checkInvariants()
    #expect(victim == 128 && isSound)
  }

  @Test func `takes its memory in steps and knows how much`() {
    var order = EvictionOrder(mostSlots: 20_000)
    let before = order.memoryBytes
    order.insert(0, fingerprint: 1, bytes: 1)
    let one = order.memoryBytes
    for slot in 1..<4096 { order.insert(slot, fingerprint: UInt32(slot), bytes: 1) }
    let full = order.memoryBytes
    #expect(before < one && full == one)
    order.insert(4096, fingerprint: 1, bytes: 1)
    let isSound = order.memoryBytes > one && order.checkInvariants()
    #expect(isSound)
    // What an object costs here: a part of the 1 KiB that it may cost in all.
    #expect(one / 4096 <= 64, "\(one / 4096)")
  }

  @Test func `a slot that is in use twice, or not at all, ends the process`() async {
    await #expect(processExitsWith: .failure) {
      var order = EvictionOrder(mostSlots: 8)
      order.insert(1, fingerprint: 1, bytes: 1)
      order.insert(1, fingerprint: 1, bytes: 1)
    }
    await #expect(processExitsWith: .failure) {
      var order = EvictionOrder(mostSlots: 8)
      order.remove(1)
    }
  }
}
