import Foundation

/// Clients and servers that others have written, driven by the scripts of `Tests/Clients`.
public enum PythonScript {
  private static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Clients")

  /// Debian's, whose packages `make test` installs.
  public static let interpreter = "/usr/bin/python3"

  /// Begins one of them.
  public static func start(_ name: String, _ arguments: [String]) throws -> ChildProcess {
    try ChildProcess(interpreter, [folder.appendingPathComponent(name).path] + arguments)
  }

  /// What a server script says behind `port `.
  public static func port(of server: ChildProcess) throws -> UInt16 {
    guard server.waitForOutput(Deadline.patienceSeconds, { $0.contains("\n") }),
      let line = server.output.split(separator: "\n").first,
      let port = UInt16(line.dropFirst("port ".count))
    else { throw TestFailure("no port: \(server.output)") }
    return port
  }
}
