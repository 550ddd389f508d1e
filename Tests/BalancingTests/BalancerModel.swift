@testable import Balancing

/// A balancer that looks at every backend at every choice: slow, and plainly right.
///
/// It predicts round robin's and least connections' exact choices from the definitions, and says
/// which choices of the random policies are legal.
struct BalancerModel {
  struct Backend {
    var name: String
    var weight: Int
    var isBackup: Bool
    var isAvailable = true
    var inFlight = 0
    var slot: Int
    /// Virtual deadline of least connections' ties, a turn of weight 1 being 2^40.
    var deadline: UInt64 = 0
  }

  var backends: [Backend] = []
  var now: [Bool: UInt64] = [false: 0, true: 0]

  func canServe(_ backend: Backend, tried: [Int]) -> Bool {
    backend.isAvailable && backend.weight > 0 && !tried.contains(backend.slot)
  }

  /// Indices of the backends to choose from: primaries, or backups where none is left.
  func choices(tried: [Int]) -> [Int] {
    let able = backends.indices.filter { canServe(backends[$0], tried: tried) }
    let primaries = able.filter { !backends[$0].isBackup }
    return primaries.isEmpty ? able : primaries
  }

  /// The backend that least connections must choose.
  mutating func reserveLeastLoaded(tried: [Int]) -> Int? {
    let able = choices(tried: tried)
    let best = able.min { a, b in
      let x = backends[a]
      let y = backends[b]
      let left = (x.inFlight + 1) * y.weight
      let right = (y.inFlight + 1) * x.weight
      if left != right { return left < right }
      let distance = Int64(bitPattern: x.deadline &- y.deadline)
      return distance != 0 ? distance < 0 : x.slot < y.slot
    }
    guard let best else { return nil }
    let isBackup = backends[best].isBackup
    let tierWeight = backends.reduce(0) {
      $0 + ($1.isBackup == isBackup && $1.isAvailable ? $1.weight : 0)
    }
    let time = now[isBackup] ?? 0
    let turn: UInt64 = 1 << 40
    let unit: UInt64 = 1 << 16
    let lag = Int64(bitPattern: time &- backends[best].deadline)
    backends[best].deadline =
      (lag > 0 ? time : backends[best].deadline)
      &+ (turn / UInt64(backends[best].weight) + unit - 1) / unit * unit
    now[isBackup] = time &+ turn / UInt64(tierWeight) / unit * unit
    backends[best].inFlight += 1
    return backends[best].slot
  }

  mutating func setAvailable(_ index: Int, _ available: Bool) {
    if available, !backends[index].isAvailable {
      backends[index].deadline = now[backends[index].isBackup] ?? 0
    }
    backends[index].isAvailable = available
  }
}
