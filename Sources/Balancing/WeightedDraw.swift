/// Random draws of backends in proportion to their weights, over a set that changes: a binary
/// indexed tree of weights (Fenwick 1994). Drawing, adding and removing are O(log n), so a
/// backend that becomes unavailable costs no rebuilding.
struct WeightedDraw: ~Copyable {
  /// A drawn slot and the sum of the weights of all slots below it.
  struct Drawn: BitwiseCopyable {
    var slot: Int
    var below: Int
  }

  /// `sums[i]` is the weight of the slots `i - (i & -i) ..< i`; element 0 is not used.
  private var sums: FixedTable<Int32>
  private let topStep: Int
  private(set) var total = 0

  init(capacity: Int) {
    var size = 1
    while size < capacity { size *= 2 }
    sums = FixedTable(repeating: 0, count: size + 1)
    topStep = size
  }

  /// Adds to a slot's weight; a negative amount takes away.
  mutating func add(_ amount: Int, to slot: Int) {
    total += amount
    var index = slot + 1
    while index < sums.count {
      sums[index] += Int32(truncatingIfNeeded: amount)
      index += index & -index
    }
  }

  /// The slot in whose stretch of weight `point` falls; `point` is in `0 ..< total`.
  func slot(at point: Int) -> Drawn {
    precondition(point >= 0 && point < total, "a point outside the weights")
    var index = 0
    var rest = point
    var step = topStep
    while step > 0 {
      let next = index + step
      if next < sums.count {
        let sum = Int(sums[next])
        if sum <= rest {
          index = next
          rest -= sum
        }
      }
      step >>= 1
    }
    return Drawn(slot: index, below: point - rest)
  }

  /// A slot's own weight. O(log n).
  func weight(of slot: Int) -> Int {
    var index = slot + 1
    var weight = Int(sums[index])
    let stop = index - (index & -index)
    index -= 1
    while index > stop {
      weight -= Int(sums[index])
      index -= index & -index
    }
    return weight
  }
}
