import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A table of fields` {
  private func field(_ name: FieldName, _ start: Int, _ length: Int) -> Field {
    Field(
      name: name, nameRange: ByteRange(start, start + length),
      valueRange: ByteRange(start + length + 1, start + length + 2),
      lineRange: ByteRange(start, start + length + 4))
  }

  @Test func `takes 256 lines and refuses the next`() {
    var fields = Fields()
    let taken = (0..<300).filter { fields.append(field(.host, $0, 1)) }
    let isFull = fields.count == 256 && fields.contains(.host)
    #expect(taken == Array(0..<256) && isFull)
    fields.removeAll()
    let isEmpty = fields.count == 0 && !fields.contains(.host)
    let isTaken = fields.append(field(.via, 0, 3))
    #expect(isEmpty && isTaken)
  }

  @Test func `finds lines by name, in order, from any line on`() {
    let text = HeldText("Via:a\r\nX-One:b\r\nvia:c\r\nx-oNE:d\r\nX-On:e\r\n")
    var fields = Fields()
    var start = 0
    for line in text.view.string.split(separator: "\r\n") {
      let length = line.prefix { $0 != ":" }.utf8.count
      let name = FieldName(text.view.slice(start, start + length))
      _ = fields.append(field(name, start, length))
      start += line.utf8.count + 2
    }
    #expect((0...5).map { fields.firstIndex(of: .via, from: $0) } == [0, 2, 2, nil, nil, nil])
    #expect(fields.firstIndex(of: .host) == nil && fields.firstIndex(of: .other) == nil)
    let unknown = (0...5).map {
      fields.firstIndex(named: ByteView("x-one"), in: text.view, from: $0)
    }
    #expect(unknown == [1, 1, 3, 3, nil, nil])
    #expect(fields.firstIndex(named: ByteView("via"), in: text.view) == 0)
    #expect(fields.contains(.via) && !fields.contains(.other))
    #expect(text.view.slice(fields[2].lineRange).string == "via:c\r\n")
    #expect(text.view.slice(fields[2].nameRange).string == "via")
    #expect(text.view.slice(fields[2].valueRange).string == "c")
  }

  @Test func `a line that is not there ends the process`() async {
    await #expect(processExitsWith: .failure) {
      let fields = Fields()
      _ = fields[0].name
    }
  }
}
