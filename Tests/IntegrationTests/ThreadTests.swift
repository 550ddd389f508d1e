import CLinux
import Foundation
import TestSupport
import Testing

@Suite(.blocking) struct `Threads of the daemon` {
  /// Slices by thread's name, the main one's by "main"; nanoseconds.
  private func slices(of process: pid_t) throws -> [String: UInt64] {
    let folder = "/proc/\(process)/task"
    var found: [String: UInt64] = [:]
    for task in try FileManager.default.contentsOfDirectory(atPath: folder) {
      let name = try String(contentsOfFile: "\(folder)/\(task)/comm", encoding: .utf8)
      guard let number = Int32(task) else { continue }
      // A sanitizer has threads with the process's name, too.
      found[number == process ? "main" : name.trimmingCharacters(in: .newlines)] =
        weir_thread_slice(number)
    }
    return found
  }

  /// Where Linux has slices of a thread's own (6.12); before, both are the same.
  @Test func `those for operators and checks take short turns, workers usual ones`() throws {
    let usual = weir_thread_slice(0)
    let short = Monitor<UInt64?>(nil)
    Thread.detachNewThread {
      weir_prompt_thread()
      short.update { $0 = weir_thread_slice(0) }
    }
    #expect(short.wait(until: .patient) { $0 != nil })
    try withDaemon(DaemonConfiguration(["127.0.0.1:\(Ports.take())"])) { daemon in
      let wanted = ["main": short.current, "weir-watch": short.current, "weir-worker-0": usual]
      // The main thread comes to it once it has made the others.
      let isSo = try Poll.until(.patient) {
        let found = try slices(of: daemon.pid)
        return wanted.allSatisfy { found[$0] == $1 }
      }
      let found = try slices(of: daemon.pid)
      #expect(isSo, "\(found), not \(wanted)")
    }
  }
}
