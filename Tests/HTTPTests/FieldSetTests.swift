import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A set of field names` {
  @Test func `contains what it was made of`() {
    for name in FieldName.allCases where name != .other {
      #expect(FieldSet(name).contains(name))
      let others = FieldName.allCases.filter { $0 != name }
      #expect(others.allSatisfy { !FieldSet(name).contains($0) })
    }
    #expect(!FieldSet(.other).contains(.other))
  }

  @Test func `hop-by-hop fields are those of RFC 9110`() {
    let names = FieldName.allCases.filter { FieldSet.hopByHop.contains($0) }
    #expect(
      Set(names) == [
        .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade, .http2Settings,
        .trailer,
      ])
  }
}

@Suite struct `A mask of lines` {
  @Test func `holds each of 256 lines on its own`() {
    for index in 0..<256 {
      var mask = FieldMask()
      #expect(mask.isEmpty)
      mask.insert(index)
      #expect(!mask.isEmpty)
      #expect((0..<256).filter { mask.contains($0) } == [index])
    }
  }

  @Test func `agrees with a set`() {
    var random = SeededRandom(seed: 1)
    var mask = FieldMask()
    var model = Set<Int>()
    for _ in 0..<300 {
      let index = random.below(256)
      mask.insert(index)
      model.insert(index)
      #expect(Set((0..<256).filter { mask.contains($0) }) == model)
    }
  }
}

@Suite struct `Members of a list` {
  private func members(_ text: String) -> [String] {
    let held = HeldText(text)
    var walk = ListMembers(held.view)
    var found: [String] = []
    while let member = walk.next() { found.append(member.string) }
    return found
  }

  @Test(
    arguments: [
      ("", []), (",", []), (" , ,\t,", []), ("a", ["a"]), ("a,b", ["a", "b"]),
      (" a ,\tb\t, c d ,", ["a", "b", "c d"]), (",,a,,b,,", ["a", "b"]), ("a,", ["a"]),
      (",a", ["a"]), ("a;q=\"x\"", ["a;q=\"x\""]),
    ] as [(String, [String])])
  func `come trimmed and never empty`(text: String, expected: [String]) {
    #expect(members(text) == expected)
  }

  @Test func `agree with splitting`() {
    var random = SeededRandom(seed: 5)
    let alphabet = Array("ab, \t,".utf8)
    for _ in 0..<3000 {
      let bytes = (0..<random.below(12)).map { _ in alphabet[random.below(alphabet.count)] }
      let text = String(decoding: bytes, as: UTF8.self)
      let expected = text.split(separator: ",").map { part in
        let front = part.drop { $0 == " " || $0 == "\t" }
        return String(front.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
      }
      #expect(members(text) == expected.filter { !$0.isEmpty }, "\(text)")
    }
  }
}
