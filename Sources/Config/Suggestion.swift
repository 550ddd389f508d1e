/// What somebody may have meant.
enum Suggestion {
  /// The known word closest to `typed`, or `nil` where none is close.
  ///
  /// Case, and `_` for `-`, do not count. A word that goes on where `typed` stops is close too:
  /// abbreviations are as common as slips.
  static func closest(to typed: String, among words: [String]) -> String? {
    let wanted = plain(typed)
    guard (1...64).contains(wanted.count) else { return nil }
    var best: (word: String, distance: Int)?
    for word in words {
      let candidate = plain(word)
      let isAbbreviated = wanted.count >= 3 && candidate.starts(with: wanted)
      let distance = isAbbreviated ? 1 : distance(wanted, candidate)
      let allowed = max(1, min(wanted.count, candidate.count) / 3)
      if distance <= allowed, distance < (best?.distance ?? .max) { best = (word, distance) }
    }
    return best?.word
  }

  static func note(for typed: String, among words: [String]) -> [String] {
    closest(to: typed, among: words).map { ["did you mean '\($0)'?"] } ?? []
  }

  private static func plain(_ word: String) -> [UInt8] {
    word.utf8.map { byte in
      if byte == UInt8(ascii: "_") { return UInt8(ascii: "-") }
      return byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
    }
  }

  /// Insertions, removals, replacements and swaps of neighbours that turn `a` into `b` (optimal
  /// string alignment: Damerau 1964, no piece edited twice). O(|a|·|b|).
  static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var before: [Int] = []
    var previous = Array(0...b.count)
    for i in a.indices {
      var current = [i + 1]
      for j in b.indices {
        var cost = previous[j] + (a[i] == b[j] ? 0 : 1)
        cost = min(cost, previous[j + 1] + 1, current[j] + 1)
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, before[j - 1] + 1) }
        current.append(cost)
      }
      before = previous
      previous = current
    }
    return previous[b.count]
  }
}
