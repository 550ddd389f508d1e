import Foundation
import Primitives
import Testing

@testable import Telemetry

/// A folder of its own that goes away with the test.
private final class Folder {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "weir-log-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func text(_ name: String) -> String {
    (try? String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)) ?? ""
  }
}

private let silent = EventLog(level: .error, descriptor: -1, style: .plain)

private func soon(_ milliseconds: Int64 = 5000) -> MonotonicTime {
  MonotonicTime.now() + .milliseconds(milliseconds)
}

private func submit(_ text: String, to writer: LogWriter) -> Bool {
  Array(text.utf8).withByteView { writer.submit($0) }
}

@Suite struct LogWriterTests {
  @Test func `lines of several threads arrive whole, and closing waits for them`() throws {
    let folder = try Folder()
    let writer = try #require(
      LogWriter(.file(path: folder.path + "/access.log"), eventLog: silent))
    let group = DispatchGroup()
    for worker in 0..<4 {
      DispatchQueue.global().async(group: group) {
        for line in 0..<500 { _ = submit("worker \(worker) line \(line)\n", to: writer) }
      }
    }
    group.wait()
    #expect(writer.close(deadline: soon()))
    let lines = folder.text("access.log").split(separator: "\n")
    #expect(Set(lines).count == 2000 && lines.count == 2000)
    for worker in 0..<4 {
      let own = lines.filter { $0.hasPrefix("worker \(worker) ") }
      #expect(own.map(String.init) == (0..<500).map { "worker \(worker) line \($0)" })
    }
    #expect(writer.droppedLines == 0)
    #expect(!submit("late\n", to: writer))
    #expect(writer.droppedLines == 1)
  }

  @Test func `off has no writer`() {
    #expect(LogWriter(.off, eventLog: silent) == nil)
  }

  @Test func `what is written after a rename and reopen goes to the new file`() throws {
    let folder = try Folder()
    let path = folder.path + "/access.log"
    let writer = try #require(LogWriter(.file(path: path), eventLog: silent))
    #expect(submit("before\n", to: writer))
    try wait { folder.text("access.log") == "before\n" }
    try FileManager.default.moveItem(atPath: path, toPath: path + ".1")
    #expect(submit("still the old file\n", to: writer))
    writer.reopen()
    try wait { FileManager.default.fileExists(atPath: path + ".1") && reopened(writer, path) }
    #expect(writer.close(deadline: soon()))
    #expect(folder.text("access.log.1") == "before\nstill the old file\n")
    #expect(folder.text("access.log").contains("probe"))
  }

  /// A file that is opened at the first line after it was asked for.
  private func reopened(_ writer: LogWriter, _ path: String) -> Bool {
    if FileManager.default.fileExists(atPath: path) { return true }
    Thread.sleep(forTimeInterval: 0.05)
    _ = submit("probe\n", to: writer)
    return false
  }

  @Test func `a missing folder loses lines, counted, until it is there`() throws {
    let folder = try Folder()
    let path = folder.path + "/later/access.log"
    let writer = try #require(LogWriter(.file(path: path), eventLog: silent))
    #expect(submit("lost 1\nlost 2\n", to: writer))
    try wait { writer.droppedLines == 2 }
    try FileManager.default.createDirectory(
      atPath: folder.path + "/later", withIntermediateDirectories: false)
    writer.reopen()
    try wait { submit("kept\n", to: writer) && folder.text("later/access.log").contains("kept") }
    #expect(writer.close(deadline: soon()))
  }

  @Test func `a full disk loses lines, counted and told once, and serving goes on`() throws {
    let pipe = Pipe()
    let log = EventLog(
      level: .error, descriptor: pipe.fileHandleForWriting.fileDescriptor, style: .journal)
    let writer = try #require(LogWriter(.file(path: "/dev/full"), eventLog: log))
    for line in 0..<20 {
      #expect(submit("line \(line)\n", to: writer))
      Thread.sleep(forTimeInterval: 0.005)
    }
    try wait { writer.droppedLines == 20 }
    #expect(writer.close(deadline: soon()))
    try pipe.fileHandleForWriting.close()
    let events = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(
      events
        == "<3>cannot write the access log path=/dev/full reason=\"No space left on device\"\n")
  }

  @Test func `a reader that stops reading fills the queue, and nobody waits`() throws {
    let folder = try Folder()
    let path = folder.path + "/fifo"
    #expect(mkfifo(path, 0o600) == 0)
    let reader = open(path, O_RDWR | O_CLOEXEC)
    #expect(reader >= 0)
    let writer = try #require(LogWriter(.file(path: path), eventLog: silent))
    let block = [UInt8](repeating: UInt8(ascii: "x"), count: 63 * 1024) + [UInt8(ascii: "\n")]
    let start = MonotonicTime.now()
    var taken = 0
    while block.withByteView({ writer.submit($0) }), taken < 1000 { taken += 1 }
    #expect(taken >= 32 && taken <= 66, "\(taken)")
    #expect(writer.droppedLines == 1)
    #expect(MonotonicTime.now() - start < .seconds(2))
    // The thread is stuck in its write: closing gives up in time.
    let closing = MonotonicTime.now()
    #expect(!writer.close(deadline: soon(100)))
    #expect(MonotonicTime.now() - closing < .seconds(2))
    // Let the thread end: read until it has written everything.
    var sink = [UInt8](repeating: 0, count: 65_536)
    while !writer.close(deadline: soon(5)) { _ = read(reader, &sink, sink.count) }
    close(reader)
  }

  @Test func `a line that a failed write cut is ended before the next`() throws {
    signal(SIGPIPE, SIG_IGN)
    let folder = try Folder()
    let path = folder.path + "/fifo"
    #expect(mkfifo(path, 0o600) == 0)
    let first = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    // Longer than a pipe holds: the write stops in the middle of the line until the reader goes.
    let long = [UInt8](repeating: UInt8(ascii: "x"), count: 100_000) + [UInt8(ascii: "\n")]
    let closer = Thread {
      var held: Int32 = 0
      while ioctl(first, UInt(FIONREAD), &held) == 0, held < 65_536 { usleep(1000) }
      close(first)
    }
    closer.start()
    var file = LogFile(path: path, eventLog: silent)
    defer { file.closeDescriptor() }
    let lost = long.withByteView { file.write($0).count }
    #expect(lost > 0 && lost < 100_001)
    // At once it is not tried again; after the pause it is.
    #expect(write("four\n", to: &file) == "four\n")
    let second = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    defer { close(second) }
    Thread.sleep(forTimeInterval: 1.05)
    #expect(write("five\n", to: &file) == "")
    var bytes = [UInt8](repeating: 0, count: 100)
    let count = read(second, &bytes, bytes.count)
    #expect(String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self) == "\nfive\n")
  }

  private func write(_ text: String, to file: inout LogFile) -> String {
    Array(text.utf8).withByteView { file.write($0).string }
  }

  private func wait(_ condition: () -> Bool) throws {
    let deadline = soon()
    while !condition() {
      try #require(MonotonicTime.now() < deadline, "it did not happen within 5 s")
      Thread.sleep(forTimeInterval: 0.002)
    }
  }
}
