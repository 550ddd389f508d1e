import Foundation

/// An `HTTPOrigin` in a process of its own (`test-origin`), so that it can be killed.
public final class OriginProcess: Sendable {
  public let address: String
  public let process: ChildProcess

  /// `address`: of one that is gone, to take its place.
  public init(_ name: String, at address: String? = nil) throws {
    let port = address?.split(separator: ":").last.flatMap { UInt16($0) } ?? Ports.take()
    let path = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("test-origin").path
    process = try ChildProcess(path, ["\(port)", name])
    self.address = "127.0.0.1:\(port)"
    guard process.waitForOutput(Deadline.patienceSeconds, { $0.contains("ready") }) else {
      throw TestFailure("test-origin did not start: \(process.output)")
    }
  }

  /// SIGKILL; returns when it is gone.
  public func kill() {
    process.kill(SIGKILL)
    _ = process.waitForEnd()
  }
}
