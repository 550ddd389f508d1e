import CLinux
import HTTP
import Primitives
import TestUnitSupport
import Testing

/// The scanner takes ordinary lines by vectors, sixteen octets at a time. Whatever it does not take
/// goes to a plain one that looks at single octets; both must say the same of everything.
@Suite struct `The vectors of the field scanner` {
  private struct Scan: Equatable {
    var end: UInt32
    var outcome: UInt32
    var present: UInt64
    var repeated: UInt64
    var hasUnderscore: Bool
    var lines: [[UInt32]]
    var lineOf: [Int: UInt8]
  }

  private typealias Scanner = (
    UnsafeMutablePointer<weir_field_table>?, UnsafePointer<UInt8>?, UInt32, UInt32, UInt32, UInt32
  ) -> weir_field_section

  private static func scan(
    _ bytes: [UInt8], _ scanner: Scanner, start: Int, maxFields: Int, maxLine: Int
  ) -> Scan {
    let fields = UnsafeMutablePointer<weir_field>.allocate(capacity: Int(WEIR_MAX_FIELDS) + 3)
    defer { fields.deallocate() }
    let lineOf = UnsafeMutableRawPointer(fields + Int(WEIR_MAX_FIELDS))
      .assumingMemoryBound(to: UInt8.self)
    var table = weir_field_table()
    table.fields = fields
    let section = HeldText(bytes).read {
      scanner(
        &table, $0.pointer, UInt32(start), UInt32($0.count), UInt32(maxFields), UInt32(maxLine))
    }
    let lines = (0..<Int(table.count)).map { index in
      let line = fields[index]
      return [
        line.start, line.name_end, line.value_start, line.value_end, line.end, UInt32(line.name),
      ]
    }
    let known = (1..<64).filter { table.present >> UInt64($0) & 1 == 1 }
    return Scan(
      end: section.end, outcome: section.outcome, present: table.present,
      repeated: table.repeated & table.present, hasUnderscore: table.has_underscore != 0,
      lines: lines, lineOf: Dictionary(uniqueKeysWithValues: known.map { ($0, lineOf[$0]) }))
  }

  private static let names =
    FieldName.allCases.map { ByteView($0.text).string }.filter { !$0.isEmpty } + [
      "X-Custom", "x_under", "Upgrade-Insecure-Requests", "Sec-Fetch-Mode", "sec-ch-ua-platform",
      "Access-Control-Allow-Origin", "a", "!#$%&'*+-.^_`|~", "X-A-Name-Of-Thirty-One-Octets-X",
      "X-A-Name-Of-Thirty-Two-Octets-XX", "x.y", "TE", "Bad Name", "b@d",
    ]
  private static let values = [
    "", "a", "text/html", "max-age=0", "gzip, deflate, br", "caf\u{E9}", "a\tb", "tab at the end\t",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "a\u{7F}b", "\u{0}",
    String(repeating: "v", count: 15), String(repeating: "v", count: 16),
    String(repeating: "v", count: 17), String(repeating: "v", count: 31),
    String(repeating: "v", count: 32), String(repeating: "v", count: 33), "  two blanks before",
    "two blanks behind  ", " ",
  ]
  private static let separators = [":", ": ", ": ", ": ", ":\t", ":  ", " :", ""]
  private static let lineEnds = [
    "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n",
  ]

  private static func randomSection(_ random: inout SeededRandom) -> [UInt8] {
    func pick(_ choices: [String]) -> String { choices[random.below(choices.count)] }
    var text = ""
    for _ in 0..<random.below(12) {
      let name = pick(names)
      text += random.below(3) == 0 ? name.lowercased() : name
      text += pick(separators) + pick(values)
      text += random.below(8) == 0 ? pick(lineEnds) : "\r\n"
    }
    text += random.below(4) == 0 ? "" : "\r\n"
    var bytes = Array(text.utf8)
    for _ in 0..<random.below(3) where !bytes.isEmpty {
      bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
    }
    return bytes
  }

  @Test(arguments: 1...8)
  func `judge and find what the plain scanner does`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    for _ in 0..<4000 {
      let bytes = Self.randomSection(&random)
      let start = random.below(4) == 0 ? random.below(bytes.count + 1) : 0
      let maxFields = random.below(3) == 0 ? random.below(8) : 256
      let maxLine = random.below(3) == 0 ? random.below(80) : 8192
      for length in [bytes.count, start + random.below(bytes.count - start + 1)] {
        let part = Array(bytes[..<length])
        let fast = Self.scan(
          part, weir_scan_fields, start: start, maxFields: maxFields, maxLine: maxLine)
        let short = Self.scan(
          part, weir_scan_fields_shortly, start: start, maxFields: maxFields, maxLine: maxLine)
        let plain = Self.scan(
          part, weir_scan_fields_plainly, start: start, maxFields: maxFields, maxLine: maxLine)
        if fast != plain || short != plain {
          let text = String(decoding: part, as: UTF8.self).debugDescription
          Issue.record(
            "\(fast), \(short), not \(plain): \(text) from \(start), \(maxFields), \(maxLine)")
          return
        }
      }
    }
  }

  @Test func `agree at each length of name and value, wherever the bytes end`() {
    for nameLength in 1...40 {
      for valueLength in 0...70 {
        let line =
          String(repeating: "n", count: nameLength) + ": "
          + String(repeating: "v", count: valueLength) + "\r\n"
        for rest in ["", "\r", "\r\n", "A: b\r\n\r\n", "\r\n" + String(repeating: "x", count: 40)] {
          let bytes = Array((line + rest).utf8)
          let fast = Self.scan(bytes, weir_scan_fields, start: 0, maxFields: 256, maxLine: 99)
          let short = Self.scan(
            bytes, weir_scan_fields_shortly, start: 0, maxFields: 256, maxLine: 99)
          let plain = Self.scan(
            bytes, weir_scan_fields_plainly, start: 0, maxFields: 256, maxLine: 99)
          if fast != plain { Issue.record("\(fast), not \(plain): \(line + rest)") }
          if short != plain { Issue.record("\(short), not \(plain): \(line + rest)") }
        }
      }
    }
  }

  @Test func `accept and refuse each octet in a value and in a name as the plain scanner does`() {
    for octet in 0...255 {
      for place in 0..<62 {
        let value = "lmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh"
        var bytes = Array("Abcdefghijk: \(value)\r\nHost: b\r\n\r\n".utf8)
        bytes[place] = UInt8(octet)
        let fast = Self.scan(bytes, weir_scan_fields, start: 0, maxFields: 256, maxLine: 99)
        let short = Self.scan(
          bytes, weir_scan_fields_shortly, start: 0, maxFields: 256, maxLine: 99)
        let plain = Self.scan(
          bytes, weir_scan_fields_plainly, start: 0, maxFields: 256, maxLine: 99)
        if fast != plain { Issue.record("\(octet) at \(place): \(fast), not \(plain)") }
        if short != plain { Issue.record("\(octet) at \(place): \(short), not \(plain)") }
      }
    }
  }

  @Test func `lines left out by name or by number are missing from the copy, the rest is whole`() {
    var random = SeededRandom(seed: 9112)
    for _ in 0..<2000 {
      let count = random.below(140)
      let lines = (0..<count).map { _ in
        "\(Self.names[random.below(20)]): \(random.below(1000))\r\n"
      }
      let text = HeldText(lines.joined() + "\r\n")
      var fields = Fields()
      let outcome = fields.scan(text.view, from: 0, maxFields: 256, maxFieldBytes: 100).outcome
      guard outcome == .complete else {
        Issue.record("\(outcome)")
        return
      }
      let drops = FieldSet(rawValue: random.next() & random.next() & ~1)
      var mask = FieldMask()
      for index in 0..<count where random.below(10) == 0 { mask.insert(index) }
      if random.below(2) == 0 { mask = FieldMask() }
      var expected = ""
      for index in 0..<count where !mask.contains(index) && !drops.contains(fields[index].name) {
        expected += lines[index]
      }
      for room in [expected.utf8.count, expected.utf8.count - 1] where room >= 0 {
        var space = [UInt8](repeating: 0, count: room + 1)
        let (copied, overflowed) = space.withUnsafeMutableBufferPointer { space in
          var sink = ByteSink(base: space.baseAddress!, capacity: room)
          fields.copy(of: text.view, dropping: drops, mask: mask, to: &sink)
          return (sink.view.string, sink.overflowed)
        }
        #expect(overflowed == (room < expected.utf8.count))
        if !overflowed, copied != expected { Issue.record("\(copied), not \(expected)") }
      }
    }
  }
}
