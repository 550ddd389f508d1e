import Primitives

/// The ring of consistent hashing (Karger et al. 1997): each backend owns points on a circle of
/// 2^64 positions, and a key belongs to the owner of the first point at or after its hash.
///
/// The position of point `i` of a backend is XXH64 of `"<name>#<i>"` with a fixed seed, so two
/// weirs, or two versions of weir, or two orders of the same file, agree on every key. Points are
/// a sorted flat array; a table of their leading bits finds the place in it, in the same few steps
/// for any number of backends. An immutable value: availability never changes it.
public struct HashRing: Sendable {
  /// Points of all backends of an upstream; above it a configuration is refused. 16 MiB of
  /// points, and some 50 ms to build.
  public static let pointLimit = 1 << 20
  /// Published, never changed: every stored key mapping in the world depends on it.
  static let pointSeed: UInt64 = 0x7765_6972_2D72_696E  // "weir-rin"

  struct Point {
    let position: UInt64
    /// Index into the backends the ring was made from.
    let owner: UInt32
  }

  /// Ascending; equal positions in the order of their owners' names. Position and owner lie side by
  /// side: with many backends each is a cache miss of its own.
  let points: [Point]
  /// `starts[p]` is the first point whose leading bits are at least `p`.
  private let starts: [UInt32]
  private let prefixShift: UInt64

  /// A ring of the backends at `members` in `backends`; those of weight 0 get no points.
  /// `members` must own at most `pointLimit` points. O(points).
  init(backends: [BackendSpec], members: [Int], pointsPerWeight: Int) {
    let ordered = members.sorted { backends[$0].name < backends[$1].name }
    let count = members.reduce(0) { $0 + backends[$1].weight * pointsPerWeight }
    precondition(count <= HashRing.pointLimit, "the configuration check limits ring points")
    var points: [Point] = []
    points.reserveCapacity(count)
    var name: [UInt8] = []
    for member in ordered {
      name.removeAll(keepingCapacity: true)
      name.append(contentsOf: backends[member].name.utf8)
      name.append(UInt8(ascii: "#"))
      let prefix = name.count
      for index in 0..<(backends[member].weight * pointsPerWeight) {
        name.removeLast(name.count - prefix)
        name.append(contentsOf: String(index).utf8)
        let position = name.withByteView { StableHash.of($0, seed: HashRing.pointSeed) }
        points.append(Point(position: position, owner: UInt32(member)))
      }
    }
    // As many prefixes as points, so that about one point has each of them.
    let bits = max(1, count <= 1 ? 1 : Int.bitWidth - (count - 1).leadingZeroBitCount)
    prefixShift = UInt64(64 - bits)
    (self.points, starts) = HashRing.sort(points, prefixShift: prefixShift, prefixes: 1 << bits)
  }

  var count: Int { points.count }

  /// Where the walk for `hash` begins: the first point at or after it, clockwise.
  @inline(__always)
  func firstPoint(for hash: UInt64) -> Int {
    var point = Int(starts[Int(truncatingIfNeeded: hash >> prefixShift)])
    while point < points.count, points[point].position < hash { point += 1 }
    return point < points.count ? point : 0
  }

  /// Counting sort by leading bits, then insertion sort within each: positions are spread evenly,
  /// so this is linear, and it is stable.
  private static func sort(
    _ points: [Point], prefixShift: UInt64, prefixes: Int
  ) -> (points: [Point], starts: [UInt32]) {
    var starts = [UInt32](repeating: 0, count: prefixes + 1)
    for point in points { starts[Int(point.position >> prefixShift) + 1] += 1 }
    for prefix in 0..<prefixes { starts[prefix + 1] += starts[prefix] }
    var next = starts
    var sorted = points
    for point in points {
      let prefix = Int(point.position >> prefixShift)
      sorted[Int(next[prefix])] = point
      next[prefix] += 1
    }
    for index in sorted.indices.dropFirst() {
      let point = sorted[index]
      var place = index
      while place > 0, sorted[place - 1].position > point.position {
        sorted[place] = sorted[place - 1]
        place -= 1
      }
      sorted[place] = point
    }
    return (sorted, starts)
  }

  func checkInvariants() {
    for index in points.indices.dropFirst() {
      precondition(
        points[index - 1].position <= points[index].position, "ring points are out of order")
    }
  }
}
