import HTTP
import HTTP1
import Primitives
import TestUnitSupport
import Testing

@Suite struct `The head writer` {
  private static let names: [String] = [
    "Host", "X-One", "Connection", "Via", "X-Two", "Upgrade", "Cookie", "Date",
  ]

  private func write(_ capacity: Int, _ body: (inout ByteSink) -> Void) -> String? {
    var room = [UInt8](repeating: 0, count: capacity)
    return room.withByteSink { sink in
      body(&sink)
      return sink.overflowed ? nil : sink.view.string
    }
  }

  /// Every subset of eight lines by mask, with some names dropped: what is left, in order.
  @Test(arguments: [
    FieldSet(), FieldSet(.host), FieldSet(.via, .date), FieldSet.hopByHop,
    FieldSet(.host, .connection, .via, .upgrade, .cookie, .date),
  ])
  func `copies exactly the lines that are neither dropped nor masked`(drops: FieldSet) {
    let lines = Self.names.enumerated().map { "\($1): value \($0)\r\n" }
    HeldText(lines.joined() + "\r\n").read { section in
      var fields = Fields()
      let length = try? HeadParser.parseTrailers(section, into: &fields, limits: HeadLimits())
      #expect(length == section.count)
      for subset in 0..<256 {
        var mask = FieldMask()
        var expected = ""
        for index in 0..<8 {
          if subset >> index & 1 == 1 { mask.insert(index) }
          if subset >> index & 1 == 0, !drops.contains(fields[index].name) {
            expected += lines[index]
          }
        }
        let written = write(400) {
          fields.copy(of: section, dropping: drops, mask: mask, to: &$0)
        }
        #expect(written == expected)
      }
    }
  }

  @Test(arguments: [(200, "OK", "HTTP/1.1 200 OK\r\n"), (599, "", "HTTP/1.1 599 \r\n")])
  func `writes status lines`(status: Int, reason: String, line: String) {
    HeldText(reason).read { reason in
      #expect(write(40) { HeadWriter.appendStatusLine(status, reason: reason, to: &$0) } == line)
    }
  }

  @Test(arguments: [
    (0, "0"), (1, "1"), (9, "9"), (10, "a"), (15, "f"), (16, "10"), (255, "ff"), (4096, "1000"),
    (Int.max, "7fffffffffffffff"),
  ])
  func `writes sizes in hexadecimal for chunks and in decimal for lengths`(count: Int, hex: String)
  {
    #expect(write(40) { HeadWriter.appendChunkSize(count, to: &$0) } == hex + "\r\n")
    #expect(
      write(60) { HeadWriter.appendContentLength(count, to: &$0) }
        == "Content-Length: \(count)\r\n")
  }

  @Test func `writes single fields`() {
    #expect(write(40) { HeadWriter.appendField("A", "b", to: &$0) } == "A: b\r\n")
    #expect(write(40) { HeadWriter.appendField("A", ByteView("c"), to: &$0) } == "A: c\r\n")
    #expect(write(5) { HeadWriter.appendField("A", "b", to: &$0) } == nil)
  }
}
