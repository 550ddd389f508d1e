/// What a change of an upstream's backends does to the keys of consistent hashing.
extension BalancerPlan {
  /// The share of the key space, 0 to 1, whose backend is another one under `next`, while all
  /// backends can serve. Exact: the lengths of the arcs between the points of both rings. `nil`
  /// unless both hash, by the same key, and have points.
  public func movedShare(to next: BalancerPlan) -> Double? {
    guard case .hash(let old) = policy, case .hash(let new) = next.policy, old.key == new.key,
      let before = primaryRing?.points, let after = next.primaryRing?.points, !before.isEmpty,
      !after.isEmpty
    else { return nil }
    var moved: UInt128 = 0
    var last = max(before[before.count - 1].position, after[after.count - 1].position)
    var (i, j) = (0, 0)
    while i < before.count || j < after.count {
      let end: UInt64
      switch (i < before.count, j < after.count) {
      case (true, true): end = min(before[i].position, after[j].position)
      case (true, false): end = before[i].position
      default: end = after[j].position
      }
      // Both rings give the whole arc up to `end` to their next point, round the circle.
      let owner = backends[before[i < before.count ? i : 0].owner].name
      let heir = next.backends[after[j < after.count ? j : 0].owner].name
      if owner != heir { moved += UInt128(end &- last) }
      last = end
      while i < before.count, before[i].position == end { i += 1 }
      while j < after.count, after[j].position == end { j += 1 }
    }
    return Double(moved) / 0x1p64
  }
}
