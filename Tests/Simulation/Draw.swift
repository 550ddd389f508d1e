/// Everything random in a scenario, from its seed. A generator of its own, not the one under test.
struct Draw {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0xD134_2543_DE82_EF95 | 1 }

  /// xorshift64* (Vigna 2016).
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_F491_4F6C_DD1D
  }

  /// In `0 ..< bound`.
  mutating func below(_ bound: Int) -> Int { Int((next() >> 33) % UInt64(bound)) }

  mutating func from(_ low: Int, to high: Int) -> Int { low + below(high - low + 1) }

  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

  mutating func one<Element>(of list: [Element]) -> Element { list[below(list.count)] }

  /// Mostly small, seldom large: as sizes are where mistakes hide.
  mutating func size(upTo limit: Int) -> Int {
    switch below(10) {
    case 0: 0
    case 1...5: from(1, to: min(limit, 200))
    case 6...8: from(1, to: min(limit, 20_000))
    default: from(1, to: limit)
    }
  }

  static let largestPiece = 1 << 16

  /// How much is read or written at once: all there is, or little, though never so little that a
  /// body of `most` octets took thousands of steps.
  mutating func piece(_ percent: Int, upTo limit: Int, of most: Int) -> Int {
    chance(percent) ? max(from(1, to: limit), most / 200) : Draw.largestPiece
  }

  /// A generator whose numbers have nothing to do with this one's.
  mutating func split() -> Draw { Draw(seed: next()) }
}
