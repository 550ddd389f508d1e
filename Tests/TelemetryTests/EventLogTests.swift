import Foundation
import Telemetry
import Testing

/// A pipe whose reading end collects what an event log writes.
private final class Collector {
  let pipe = Pipe()
  var descriptor: Int32 { pipe.fileHandleForWriting.fileDescriptor }

  /// Everything written so far; ends the pipe.
  func text() -> String {
    try? pipe.fileHandleForWriting.close()
    return String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  }
}

@Suite struct EventLogTests {
  @Test func `journal lines carry their priority and no time`() {
    let collector = Collector()
    let log = EventLog(level: .debug, descriptor: collector.descriptor, style: .journal)
    log.debug("d")
    log.info("started", ["workers": "2", "file": "/etc/weir/proxy conf"])
    log.warning("w", ["text": "a=\"b\\\"", "empty": ""])
    log.error("e")
    #expect(
      collector.text() == """
        <7>d
        <6>started workers=2 file="/etc/weir/proxy conf"
        <4>w text="a=\\"b\\\\\\"" empty=""
        <3>e

        """)
  }

  @Test func `plain lines begin with time and level; lower levels are left out`() throws {
    let collector = Collector()
    let log = EventLog(level: .warning, descriptor: collector.descriptor, style: .plain)
    log.info("not this")
    log.error("this")
    log.setLevel(.info)
    log.info("and this")
    let lines = collector.text().split(separator: "\n").map(String.init)
    try #require(lines.count == 2)
    #expect(lines[0].wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z error this/) != nil)
    #expect(lines[1].hasSuffix("Z info and this"))
  }

  @Test func `controls cannot begin a line or move the cursor, and long lines are cut`() {
    let collector = Collector()
    let log = EventLog(level: .info, descriptor: collector.descriptor, style: .journal)
    log.info("a\nb\u{1B}[2J\u{85}c", ["k": "x\ry"])
    log.info(String(repeating: "z", count: 9000))
    let lines = collector.text().split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines[0] == "<6>a\\x0ab\\x1b[2J\\x85c k=\"x\\x0dy\"")
    #expect(lines[1].utf8.count == 4095)
    #expect(lines[2].isEmpty && lines.count == 3)
  }

  @Test func `a full pipe is not waited for, and the loss is told when it is read again`() {
    let collector = Collector()
    let log = EventLog(level: .info, descriptor: collector.descriptor, style: .journal)
    // A pipe holds 64 KiB by default.
    for number in 0..<100 { log.info("\(number) " + String(repeating: "x", count: 2000)) }
    let first = collector.pipe.fileHandleForReading.availableData
    #expect(first.count > 4096)
    log.info("after")
    let rest = String(decoding: first, as: UTF8.self) + collector.text()
    let told = rest.firstMatch(of: /<4>event log lines were dropped lines=(\d+)\n/)
    let kept = rest.split(separator: "\n").filter { $0.contains("xxx") }.count
    #expect(told.map { Int($0.1) } == 100 - kept)
    #expect(rest.hasSuffix("<6>after\n"))
  }
}
