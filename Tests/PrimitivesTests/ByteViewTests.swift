import Glibc
import Primitives
import Testing

@Suite struct `A byte view` {
  /// The classes of RFC 9110 and rule 10, written out again for comparison.
  private static let token = Set("!#$%&'*+-.^_`|~".utf8).union(alphanumeric)
  private static let alphanumeric = Set(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
  private static let host = Set("abcdefghijklmnopqrstuvwxyz0123456789-._~".utf8)

  private static func isValue(_ byte: UInt8) -> Bool { byte >= 32 && byte != 127 || byte == 9 }
  private static func isTarget(_ byte: UInt8) -> Bool {
    byte > 32 && byte < 127 && !"\"<>\\^{|}`#".utf8.contains(byte)
  }

  /// Every length and alignment, a foreign byte at every place, nothing readable behind the end.
  @Test func `scans stop where a plain loop stops, at every length and alignment`() {
    let guarded = GuardedBytes(count: 80)
    for length in 0...64 {
      for place in 0...length {
        for alignment in [0, 1, 3, 7, 8, 13, 15] {
          let end = alignment == 0 ? 80 : 80 - alignment
          let base = guarded.base + (end - length)
          memset(base, Int32(UInt8(ascii: "a")), length)
          let view = ByteView(base: base, count: length)
          if place < length { base[place] = 0x01 }
          let found = [
            view.endOfToken(from: 0), view.endOfFieldValue(from: 0), view.endOfTarget(from: 0),
            view.endOfHostName, view.firstIndex(of: 0x01) ?? length,
          ]
          if found != [place, place, place, place, place] {
            Issue.record("\(found), not \(place) of \(length) at \(alignment)")
          }
        }
      }
    }
  }

  @Test func `each of the 256 bytes is in each class or not, at the front and in a vector`() {
    for value in 0...255 {
      let byte = UInt8(value)
      for place in [0, 5, 15, 16, 31, 32] {
        var bytes = [UInt8](repeating: UInt8(ascii: "a"), count: 33)
        bytes[place] = byte
        let text = GuardedBytes(bytes)
        let view = text.view
        func stop(_ isMember: Bool) -> Int { isMember ? 33 : place }
        #expect(view.endOfToken(from: 0) == stop(Self.token.contains(byte)), "\(value)")
        #expect(view.endOfFieldValue(from: 0) == stop(Self.isValue(byte)), "\(value)")
        #expect(view.endOfTarget(from: 0) == stop(Self.isTarget(byte)), "\(value)")
        #expect(view.endOfHostName == stop(Self.host.contains(byte)), "\(value)")
      }
    }
  }

  @Test func `scans and searches may begin anywhere, also at the end`() {
    let text = GuardedBytes("ab,cd,ef")
    let found = (0...8).map { text.view.firstIndex(of: UInt8(ascii: ","), from: $0) }
    #expect(found == [2, 2, 2, 5, 5, 5, nil, nil, nil])
    #expect((0...8).map { text.view.endOfToken(from: $0) } == [2, 2, 2, 5, 5, 5, 8, 8, 8])
  }

  @Test func `case is ignored for ASCII letters only, in every byte value and position`() {
    let literal: StaticString = "abcdefgh-zyxwvu0"
    let lower = ByteView(literal).array
    for place in lower.indices {
      for value in 0...255 {
        var bytes = lower
        bytes[place] = UInt8(value)
        let text = GuardedBytes(bytes)
        let expected = ASCII.lowercased(UInt8(value)) == lower[place]
        #expect(text.view.equalsLowercased(literal) == expected, "\(place) \(value)")
        #expect(text.view.equalsIgnoringCase(ByteView(literal)) == expected)
        #expect(text.view.equals(literal) == (UInt8(value) == lower[place]))
      }
    }
  }

  @Test(arguments: ["", "a", "te", "age", "host", "range", "cookie", "expires", "if-match"])
  func `short names are compared whole`(name: String) {
    let literals: [StaticString] = [
      "", "a", "te", "age", "host", "range", "cookie", "expires", "if-match",
    ]
    for literal in literals {
      let text = GuardedBytes(name.uppercased())
      #expect(text.view.equalsLowercased(literal) == (name == ByteView(literal).string))
    }
  }

  @Test func `lower case in place changes capitals and nothing else`() {
    for count in 0...40 {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 37 + count * 11) }
      let text = GuardedBytes(bytes)
      text.view.lowercaseInPlace()
      #expect(text.view.array == bytes.map(ASCII.lowercased))
    }
    let all = GuardedBytes((0...255).map(UInt8.init))
    all.view.lowercaseInPlace()
    #expect(all.view.array == (0...255).map { ASCII.lowercased(UInt8($0)) })
  }

  @Test(
    arguments: [
      ("", nil), ("0", 0), ("007", 7), ("999999999999999999", 999_999_999_999_999_999),
      ("000000000000000000", 0), ("0000000000000000000", nil), ("1000000000000000000", nil),
      ("+1", nil), ("-1", nil), (" 1", nil), ("1 ", nil), ("1_0", nil), ("0x1", nil), ("1.0", nil),
      ("/", nil), (":", nil), ("\u{661}", nil),
    ] as [(String, Int?)])
  func `decimals are 1 to 18 digits and nothing else`(text: String, value: Int?) {
    #expect(GuardedBytes(text).read { $0.decimal } == value)
  }

  @Test(arguments: [
    ("", ""), (" ", ""), (" \t ", ""), ("a", "a"), ("\ta b ", "a b"), ("a\u{B}", "a\u{B}"),
  ])
  func `blanks at the ends are trimmed, inner ones and other controls are not`(
    text: String, trimmed: String
  ) {
    #expect(GuardedBytes(text).read { $0.trimmed().string } == trimmed)
  }

  @Test func `slices are what array slices are, for every pair of bounds`() {
    let text = GuardedBytes("0123456789")
    let array = text.view.array
    for start in 0...10 {
      for end in start...10 {
        #expect(text.view.slice(start, end).array == Array(array[start..<end]))
        #expect(text.view.slice(ByteRange(start, end)).array == Array(array[start..<end]))
      }
      #expect(text.view.slice(from: start).array == Array(array[start...]))
    }
    #expect(ByteView.empty.isEmpty && ByteView.empty.array == [])
    #expect([UInt8]().withByteView { $0.count } == 0)
  }

  @Test func `an index or a slice out of bounds ends the process`() async {
    await #expect(processExitsWith: .failure) { _ = ByteView("abc")[3] }
    await #expect(processExitsWith: .failure) { _ = ByteView("abc")[-1] }
    await #expect(processExitsWith: .failure) { _ = ByteView("abc").slice(1, 4) }
    await #expect(processExitsWith: .failure) { _ = ByteView("abc").slice(2, 1) }
    await #expect(processExitsWith: .failure) { _ = ByteView("abc").slice(-1, 1) }
    await #expect(processExitsWith: .failure) { _ = ByteView("abc").endOfToken(from: 4) }
  }
}
