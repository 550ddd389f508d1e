/// What happened, in order: a digest always, lines where somebody wants to read them.
struct Trace {
  let isKept: Bool
  private(set) var lines: [String] = []
  /// FNV-1a over everything.
  private(set) var digest: UInt64 = 0xCBF2_9CE4_8422_2325

  init(isKept: Bool) { self.isKept = isKept }

  mutating func note(_ number: Int) {
    digest = (digest ^ UInt64(truncatingIfNeeded: number)) &* 0x100_0000_01B3
  }

  mutating func note(_ octets: ArraySlice<UInt8>) {
    note(octets.count)
    var sum = digest
    for octet in octets { sum = (sum ^ UInt64(octet)) &* 0x100_0000_01B3 }
    digest = sum
  }

  /// `line` is made only where lines are kept.
  mutating func say(_ line: @autoclosure () -> String) {
    if isKept { lines.append(line()) }
  }
}
