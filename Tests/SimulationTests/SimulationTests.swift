import Foundation
import TestSupport
import Testing

/// The workers that ship, under a clock and a network of the test's own. In a process of its own: a
/// run depends on the numbers of its descriptors, and narrows the buffers of all that it finds.
@Suite(.blocking) struct `Simulated seeds` {
  private typealias Result = (ending: ChildProcess.Ending, output: String)

  private func simulate(_ first: Int, _ count: Int) throws -> Result {
    let binary = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("test-simulate").path
    return try ChildProcess.run(binary, ["\(first)", "\(count)"], seconds: 300)
  }

  @Test func `fixed seeds keep every rule`() throws {
    let result = try simulate(1, 100)
    #expect(result.ending == .exit(0), "\(result.output)")
  }

  /// `make planted` and `make rules` take too long to be run each time; that they still can be is
  /// seen at once.
  @Test(arguments: ["faults.py", "rules.py"])
  func `planted faults have their places in the sources`(_ name: String) throws {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Planted/\(name)").path
    let result = try ChildProcess.run("/usr/bin/env", ["python3", script, "--check"], seconds: 60)
    #expect(result.ending == .exit(0), "\(result.output)")
  }

  @Test func `a seed is one run: the same again to the last octet`() throws {
    let (first, second) = (try simulate(101, 20), try simulate(101, 20))
    #expect(first.ending == .exit(0) && first.output.contains("digest "), "\(first.output)")
    #expect(first.output == second.output)
  }
}
