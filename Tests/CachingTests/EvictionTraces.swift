import Caching
import Primitives

/// Requests for objects by number, made from a seed.
enum Traces {
  /// Popularity falls as 1 / rank^exponent; the ranks are shuffled over the numbers.
  static func zipf(
    objects: Int, count: Int, exponent: Double, seed: UInt64
  ) -> [Int] {
    var random = SeededRandom(seed: seed)
    var sums: [Double] = []
    var sum = 0.0
    for rank in 1...objects {
      sum += power(Double(rank), -exponent)
      sums.append(sum)
    }
    return (0..<count).map { _ in
      let point = Double(random.next() >> 11) / Double(1 << 53) * sum
      var low = 0
      var high = objects - 1
      while low < high {
        let middle = (low + high) / 2
        if sums[middle] < point { low = middle + 1 } else { high = middle }
      }
      return low
    }
  }

  /// Zipf, and every so often a run over objects that nobody asks for again.
  static func scans(objects: Int, count: Int, run: Int, seed: UInt64) -> [Int] {
    let popular = zipf(objects: objects, count: count, exponent: 0.9, seed: seed)
    var trace: [Int] = []
    var fresh = objects
    for (index, object) in popular.enumerated() {
      trace.append(object)
      if index % (2 * run) == 0 {
        trace += fresh..<(fresh + run)
        fresh += run
      }
    }
    return trace
  }

  /// The same objects over and over.
  static func loop(objects: Int, count: Int) -> [Int] { (0..<count).map { $0 % objects } }

  /// A Zipf whose popular objects are others after each of `shifts` parts.
  static func shifting(objects: Int, count: Int, shifts: Int, seed: UInt64) -> [Int] {
    (0..<shifts).flatMap { shift in
      zipf(objects: objects, count: count / shifts, exponent: 0.9, seed: seed + UInt64(shift))
        .map { ($0 + shift * objects / 4) % (2 * objects) }
    }
  }

  private static func power(_ base: Double, _ exponent: Double) -> Double {
    // exp(exponent * ln(base)) without Foundation: ln by halving, exp by its series.
    var mantissa = base
    var twos = 0.0
    while mantissa > 1.5 {
      mantissa /= 2
      twos += 1
    }
    let ratio = (mantissa - 1) / (mantissa + 1)
    var logarithm = 0.0
    var term = ratio
    for odd in stride(from: 1, through: 41, by: 2) {
      logarithm += 2 * term / Double(odd)
      term *= ratio * ratio
    }
    logarithm += twos * 0.693147180559945309
    var rest = exponent * logarithm
    var doublings = 0
    while rest < -0.5 {
      rest /= 2
      doublings += 1
    }
    var result = 1.0
    var summand = 1.0
    for index in 1...20 {
      summand *= rest / Double(index)
      result += summand
    }
    for _ in 0..<doublings { result *= result }
    return result
  }
}

/// How many requests of a trace find their object, in a cache of `room` octets.
enum HitCount {
  static func ofWeir(_ trace: [Int], room: Int, size: (Int) -> Int = { _ in 1 }) -> Int {
    var order = EvictionOrder(mostSlots: 1 << 20)
    var slots: [Int: Int] = [:]
    var objects: [Int: Int] = [:]
    var free: [Int] = []
    var next = 0
    var hits = 0
    for object in trace {
      if let slot = slots[object] {
        order.touch(slot)
        hits += 1
        continue
      }
      while order.bytes + size(object) > room, let victim = order.victim() {
        slots[objects.removeValue(forKey: victim)!] = nil
        free.append(victim)
      }
      let slot = free.popLast() ?? next
      if slot == next { next += 1 }
      let mixed = UInt64(object) &* 0x9E37_79B9_7F4A_7C15
      order.insert(slot, fingerprint: UInt32(truncatingIfNeeded: mixed >> 32), bytes: size(object))
      slots[object] = slot
      objects[slot] = object
    }
    return hits
  }

  /// Least recently used goes first.
  static func ofLRU(_ trace: [Int], room: Int, size: (Int) -> Int = { _ in 1 }) -> Int {
    let most = (trace.max() ?? 0) + 2
    // A ring through entry 0: the newest behind it, the oldest before it.
    var newer = Array(repeating: -1, count: most)
    var older = Array(repeating: -1, count: most)
    newer[0] = 0
    older[0] = 0
    var bytes = 0
    var hits = 0
    func unlink(_ entry: Int) {
      newer[older[entry]] = newer[entry]
      older[newer[entry]] = older[entry]
      newer[entry] = -1
    }
    for object in trace {
      let entry = object + 1
      if newer[entry] >= 0 {
        hits += 1
        unlink(entry)
      } else {
        bytes += size(object)
        while bytes > room, newer[0] != 0 {
          let oldest = newer[0]
          unlink(oldest)
          bytes -= size(oldest - 1)
        }
      }
      newer[entry] = 0
      older[entry] = older[0]
      newer[older[0]] = entry
      older[0] = entry
    }
    return hits
  }

  /// Belady's optimum for objects of one size: what is needed last goes first, the new one too.
  static func ofOptimum(_ trace: [Int], room: Int) -> Int {
    let never = Int.max
    var upcoming = Array(repeating: never, count: trace.count)
    var seen: [Int: Int] = [:]
    for (index, object) in trace.enumerated().reversed() {
      upcoming[index] = seen[object] ?? never
      seen[object] = index
    }
    // By the time of the next use; entries that are out of date are skipped.
    var heap = FarthestFirst()
    var next: [Int: Int] = [:]
    var hits = 0
    for (index, object) in trace.enumerated() {
      if next[object] != nil {
        hits += 1
      } else if upcoming[index] == never {
        continue
      }
      next[object] = upcoming[index]
      heap.push(upcoming[index], object)
      while next.count > room {
        let (time, candidate) = heap.pop()
        if next[candidate] == time { next[candidate] = nil }
      }
    }
    return hits
  }
}

/// A binary heap with the greatest time on top.
private struct FarthestFirst {
  private var entries: [(time: Int, object: Int)] = []

  mutating func push(_ time: Int, _ object: Int) {
    entries.append((time, object))
    var index = entries.count - 1
    while index > 0, entries[(index - 1) / 2].time < entries[index].time {
      entries.swapAt(index, (index - 1) / 2)
      index = (index - 1) / 2
    }
  }

  mutating func pop() -> (Int, Int) {
    let top = entries[0]
    entries[0] = entries[entries.count - 1]
    entries.removeLast()
    var index = 0
    while 2 * index + 1 < entries.count {
      var child = 2 * index + 1
      if child + 1 < entries.count, entries[child + 1].time > entries[child].time { child += 1 }
      guard entries[child].time > entries[index].time else { break }
      entries.swapAt(index, child)
      index = child
    }
    return top
  }
}
