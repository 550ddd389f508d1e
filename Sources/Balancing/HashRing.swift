import Primitives

/// The ring of consistent hashing (Karger et al. 1997): each backend owns points on a circle of
/// 2^44 positions, and a key belongs to the owner of the first point at or after its hash.
///
/// The position of point `i` of a backend is the leading 44 bits of XXH64 of `"<name>#<i>"` with a
/// fixed seed, so two weirs, or two versions of weir, or two orders of the same file, agree on
/// every key. An immutable value: availability never changes it.
///
/// Points stand in a flat array of twice their number, each at the place that its position has on
/// the circle, or behind it where that is taken; a gap has a copy of the point behind it. So the
/// search for a hash begins at its own place and nearly always ends in the same cache line: with
/// many backends every line is a miss.
public struct HashRing: Sendable {
  /// Points of all backends of an upstream; above it a configuration is refused. 16 MiB of
  /// memory, and some 50 ms to build.
  public static let pointLimit = 1 << 20
  /// Published, never changed: every stored key mapping in the world depends on it.
  static let pointSeed: UInt64 = 0x7765_6972_2D72_696E  // "weir-rin"
  private static let ownerMask = UInt64(pointLimit - 1)

  /// A position with the owner below it: an index into the backends the ring was made from.
  struct Mark: Equatable, Sendable {
    let bits: UInt64

    /// On the circle of 2^64.
    var position: UInt64 { bits & ~HashRing.ownerMask }
    @inline(__always)
    var owner: Int { Int(truncatingIfNeeded: bits & HashRing.ownerMask) }
  }

  private let places: [Mark]
  private let count: UInt64

  /// A ring of the backends at `members` in `backends`; those of weight 0 get no points.
  /// `members` must own at most `pointLimit` points. O(points · log points).
  init(backends: [BackendSpec], members: [Int], pointsPerWeight: Int) {
    let ordered = members.sorted { backends[$0].name < backends[$1].name }
    let count = members.reduce(0) { $0 + backends[$1].weight * pointsPerWeight }
    precondition(count <= HashRing.pointLimit, "the configuration check limits ring points")
    // Sorted with the rank of the owner's name below the position: the order of the file is none.
    var points: [UInt64] = []
    points.reserveCapacity(count)
    var name: [UInt8] = []
    for (rank, member) in ordered.enumerated() {
      name.removeAll(keepingCapacity: true)
      name.append(contentsOf: backends[member].name.utf8)
      name.append(UInt8(ascii: "#"))
      let prefix = name.count
      for index in 0..<(backends[member].weight * pointsPerWeight) {
        name.removeLast(name.count - prefix)
        name.append(contentsOf: String(index).utf8)
        let position = name.withByteView { StableHash.of($0, seed: HashRing.pointSeed) }
        points.append(position & ~HashRing.ownerMask | UInt64(rank))
      }
    }
    points.sort()
    self.count = UInt64(count)
    places = HashRing.spread(
      points.map { point in
        let owner = UInt64(ordered[Int(point & HashRing.ownerMask)])
        return Mark(bits: point & ~HashRing.ownerMask | owner)
      })
  }

  var isEmpty: Bool { places.isEmpty }

  /// Places to walk over, in a circle; neighbours may have the same point.
  var placeCount: Int { places.count }

  @inline(__always)
  func owner(at place: Int) -> Int { places[place].owner }

  /// Where the walk for `hash` begins: the first point at or after it, clockwise.
  @inline(__always)
  func firstPlace(for hash: UInt64) -> Int {
    var place = HashRing.home(of: hash, count)
    while place < places.count, places[place].bits < hash & ~HashRing.ownerMask { place += 1 }
    return place < places.count ? place : 0
  }

  /// Each point once, in the order of the circle.
  var points: [Mark] {
    var points: [Mark] = []
    for mark in places where mark != points.last { points.append(mark) }
    // Behind the last one the first comes again.
    if points.count > 1, points.first == points.last { points.removeLast() }
    return points
  }

  /// In front of nothing that is at or after `hash`.
  @inline(__always)
  private static func home(of hash: UInt64, _ count: UInt64) -> Int {
    Int(truncatingIfNeeded: (2 &* count).multipliedFullWidth(by: hash & ~ownerMask).high)
  }

  private static func spread(_ points: [Mark]) -> [Mark] {
    guard let first = points.first else { return [] }
    var places: [Mark] = []
    places.reserveCapacity(2 * points.count + 64)
    for point in points {
      let home = home(of: point.position, UInt64(points.count))
      while places.count < home { places.append(point) }
      places.append(point)
    }
    while places.count < 2 * points.count { places.append(first) }
    return places
  }

  func checkInvariants() {
    let points = points
    for index in points.indices.dropFirst() {
      precondition(points[index - 1].bits <= points[index].bits, "ring points are out of order")
    }
  }
}
