import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A field name` {
  private static let known = FieldName.allCases.filter { $0 != .other }

  @Test(arguments: known)
  func `is recognised in any case`(name: FieldName) {
    let text = ByteView(name.text).string
    var random = SeededRandom(seed: 9110)
    var forms = [text, text.lowercased(), text.uppercased()]
    for _ in 0..<20 {
      forms.append(
        String(
          text.map {
            random.below(2) == 0 ? Character($0.lowercased()) : Character($0.uppercased())
          }))
    }
    for form in forms { #expect(HeldText(form).read { FieldName($0) } == name, "\(form)") }
  }

  @Test(arguments: known)
  func `is nothing known after any change of one byte`(name: FieldName) {
    let bytes = ByteView(name.text).array
    let texts = Set(Self.known.map { ByteView($0.text).array.map(ASCII.lowercased) })
    func check(_ changed: [UInt8]) {
      let isKnown = texts.contains(changed.map(ASCII.lowercased))
      let isFound = HeldText(changed).read { FieldName($0) } != .other
      if isFound != isKnown { Issue.record("\(String(decoding: changed, as: UTF8.self))") }
    }
    for place in bytes.indices {
      var shorter = bytes
      shorter.remove(at: place)
      check(shorter)
      for value in 0...255 {
        var changed = bytes
        changed[place] = UInt8(value)
        check(changed)
      }
      for value: UInt8 in [0, 32, 45, 95, 97, 120, 255] {
        var longer = bytes
        longer.insert(value, at: place)
        check(longer)
        if place == 0 { check(bytes + [value]) }
      }
    }
  }

  @Test func `is one of at most 63, each with a bit and a text of its own`() {
    #expect(Self.known.count <= 63)
    #expect(Set(Self.known.map(\.bit)).count == Self.known.count)
    #expect(Self.known.allSatisfy { $0.bit != 0 && $0.bit.nonzeroBitCount == 1 })
    #expect(FieldName.other.bit == 0)
    #expect(Set(Self.known.map { ByteView($0.text).string.lowercased() }).count == Self.known.count)
  }

  @Test func `without bytes is other`() { #expect(FieldName(.empty) == .other) }
}
