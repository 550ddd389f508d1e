import Primitives
import Testing

@Suite struct `A writer within room that was asked for once` {
  private func write(
    _ room: Int, within bound: Int, _ body: (inout ByteWriter) -> Void
  ) -> (text: String, overflowed: Bool) {
    let space = GuardedBytes(count: room)
    return withExtendedLifetime(space) {
      var sink = ByteSink(base: space.base, capacity: room)
      sink.append("<")
      sink.write(within: bound, body)
      return (sink.view.string, sink.overflowed)
    }
  }

  @Test func `writes what a sink writes`() {
    let address = IPAddress("2001:db8::1")!
    let (text, overflowed) = write(400, within: 300) { writer in
      writer.append(ByteView("view "))
      writer.append("literal")
      writer.append(byte: UInt8(ascii: " "))
      for number: UInt in [0, 999, 1000, 1_000_000, .max] {
        writer.append(decimal: number)
        writer.append(byte: UInt8(ascii: ","))
      }
      writer.append(decimal: Int.min)
      writer.append(thousandths: 7)
      writer.append(hex16: 0xFEDC_BA98_7654_3210)
      writer.append(IPAddress("127.0.0.1")!)
      writer.append(address)
    }
    #expect(!overflowed)
    #expect(
      text == "<view literal 0,999,1000,1000000,\(UInt.max),\(Int.min)007fedcba9876543210"
        + "127.0.0.12001:db8::1")
  }

  @Test func `knows the texts that may not stand in a log line as they are`() {
    for length in 1...70 {
      for octet in UInt8.min...UInt8.max {
        let place = Int(octet) % length
        var bytes = [UInt8](repeating: UInt8(ascii: "a"), count: length)
        bytes[place] = octet
        let isOdd = octet < 0x20 || octet > 0x7F || "\"\\".utf8.contains(octet)
        GuardedBytes(bytes).read { view in
          var found: UInt32 = 0
          let space = GuardedBytes(count: 120)
          withExtendedLifetime(space) {
            var sink = ByteSink(base: space.base, capacity: 120)
            sink.write(within: 80) { found = $0.append(plain: view) }
            if sink.view.array != bytes { Issue.record("\(octet) at \(place) of \(length)") }
          }
          if (found != 0) != isOdd { Issue.record("\(octet) at \(place) of \(length)") }
        }
      }
    }
    #expect(write(100, within: 20) { _ = $0.append(plain: .empty) }.text == "<")
  }

  @Test func `is not asked where there is not enough room`() {
    let (text, overflowed) = write(100, within: 90) { $0.append("never") }
    #expect(text == "<" && overflowed)
  }

  @Test func `more than the bound ends the process`() async {
    await #expect(processExitsWith: .failure) {
      var bytes = [UInt8](repeating: 0, count: 1000)
      bytes.withByteSink { sink in
        sink.write(within: 4) { $0.append("longer than four octets, and longer than the slack") }
      }
    }
  }
}
