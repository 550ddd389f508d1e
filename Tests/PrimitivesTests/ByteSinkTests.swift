import Primitives
import Testing

@Suite struct `A byte sink` {
  /// What `write` leaves in a sink of each capacity: everything, or the flag; never a byte behind.
  private func check(_ expected: String, _ write: (inout ByteSink) -> Void) {
    let length = expected.utf8.count
    for capacity in 0...(length + 2) {
      let memory = GuardedBytes(count: capacity)
      var sink = ByteSink(base: memory.base, capacity: capacity)
      write(&sink)
      #expect(sink.overflowed == (capacity < length), "\(expected) in \(capacity)")
      #expect(sink.count <= capacity)
      if capacity >= length { #expect(sink.view.string == expected) }
    }
  }

  @Test func `each kind of append fits exactly or is refused, at every capacity`() {
    check("literal") { $0.append("literal") }
    check("view") { $0.append(ByteView("view")) }
    check("array") { $0.append(Array("array".utf8)) }
    check("strïng") { $0.append(string: "strïng") }
    check("b") { $0.append(byte: UInt8(ascii: "b")) }
    check("-9223372036854775808") { $0.append(decimal: Int.min) }
    check("007") { $0.append(decimal: UInt(7), width: 3) }
    check("ff") { $0.append(hex: 255) }
    check("00ff") { $0.append(hex: 255, width: 4) }
    check("0123456789abcdef") { $0.append(hex16: 0x0123_4567_89AB_CDEF) }
    check("192.168.100.1") { $0.append(IPAddress("192.168.100.1")!) }
    check("2001:db8::1") { $0.append(IPAddress("2001:db8::1")!) }
    check("") { $0.append("") }
    check("one two") {
      $0.append("one")
      $0.append(byte: 32)
      $0.append(ByteView("two"))
    }
  }

  @Test func `what did not fit stays marked until the sink is cut or emptied`() {
    let memory = GuardedBytes(count: 4)
    var sink = ByteSink(base: memory.base, capacity: 4)
    sink.append("ab")
    sink.append("cde")
    sink.append("c")
    #expect(sink.overflowed)
    sink.truncate(to: 2)
    #expect(!sink.overflowed && sink.view.string == "ab")
    sink.append("cd")
    #expect(!sink.overflowed && sink.view.string == "abcd")
    sink.append("e")
    #expect(sink.overflowed)
    sink.removeAll()
    #expect(!sink.overflowed && sink.count == 0)
  }

  private func text(_ write: (inout ByteSink) -> Void) -> String {
    var bytes = [UInt8](repeating: 0, count: 64)
    return bytes.withByteSink { sink in
      write(&sink)
      return sink.view.string
    }
  }

  @Test func `decimals and hex digits are those of the standard library`() {
    var random = SeededRandom(seed: 7)
    var values: [UInt] = [0, UInt.max, UInt.max - 1, 1 << 63, (1 << 63) - 1]
    var power: UInt = 1
    while power < UInt.max / 10 {
      values += [power - 1, power, power + 1]
      power *= 10
    }
    for bit in 0..<64 { values += [1 << UInt(bit), (1 << UInt(bit)) - 1] }
    for _ in 0..<500 { values.append(UInt(random.next() >> UInt64(random.below(64)))) }
    for value in values {
      #expect(text { $0.append(decimal: value) } == String(value))
      let signed = Int(bitPattern: value)
      #expect(text { $0.append(decimal: signed) } == String(signed))
      let hex = String(value, radix: 16)
      #expect(text { $0.append(hex: value) } == hex)
      let padded = String(repeating: "0", count: 16 - hex.count) + hex
      #expect(text { $0.append(hex16: UInt64(value)) } == padded)
      #expect(text { $0.append(hex: value, width: 16) } == padded)
    }
  }

  @Test(
    arguments: [
      (0, 1, "0"), (0, 3, "000"), (5, 1, "5"), (45, 1, "5"), (345, 2, "45"),
      (7, 20, "0000000000000000007"),
    ] as [(UInt, Int, String)])
  func `a width pads with zeros and cuts higher digits`(value: UInt, width: Int, tail: String) {
    let written = text { $0.append(decimal: value, width: width) }
    #expect(written.utf8.count == width && written.hasSuffix(tail))
  }
}
