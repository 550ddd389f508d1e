/// What a change of an upstream's backends does to the keys of consistent hashing.
extension BalancerPlan {
  /// The share of the key space, 0 to 1, whose backend is another one under `next`, while all
  /// backends can serve. Exact: the lengths of the arcs between the points of both rings. `nil`
  /// unless both hash, by the same key, and have points.
  public func movedShare(to next: BalancerPlan) -> Double? {
    guard case .hash(let old) = policy, case .hash(let new) = next.policy, old.key == new.key,
      let before = primaryRing, let after = next.primaryRing, before.count > 0, after.count > 0
    else { return nil }
    var moved: UInt128 = 0
    var last = max(before.points[before.count - 1].position, after.points[after.count - 1].position)
    var (i, j) = (0, 0)
    while i < before.count || j < after.count {
      let end: UInt64
      switch (i < before.count, j < after.count) {
      case (true, true): end = min(before.points[i].position, after.points[j].position)
      case (true, false): end = before.points[i].position
      default: end = after.points[j].position
      }
      // Both rings give the whole arc up to `end` to their next point, round the circle.
      let owner = backends[Int(before.points[i < before.count ? i : 0].owner)].name
      let heir = next.backends[Int(after.points[j < after.count ? j : 0].owner)].name
      if owner != heir { moved += UInt128(end &- last) }
      last = end
      while i < before.count, before.points[i].position == end { i += 1 }
      while j < after.count, after.points[j].position == end { j += 1 }
    }
    return Double(moved) / 0x1p64
  }
}
