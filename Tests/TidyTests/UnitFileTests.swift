import Foundation
import Testing

/// The systemd unit says what the documentation promises, and systemd accepts it.
@Suite struct `Unit file` {
  private static let verifier = ["/usr/bin/systemd-analyze", "/bin/systemd-analyze"].first {
    FileManager.default.isExecutableFile(atPath: $0)
  }

  private func run(_ command: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(fileURLWithPath: command[0])
    process.arguments = Array(command.dropFirst())
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, output)
  }

  @Test(.enabled(if: verifier != nil, "systemd-analyze is not installed"))
  func `systemd-analyze verify has nothing to say`() throws {
    let unit = try #require(SourceTree.file("systemd/weir.service"))
    // The binary and the page it names are not installed where this test runs.
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("weir-unit-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let text = unit.text.replacingOccurrences(of: "/usr/bin/weir", with: "/bin/true")
    let path = folder.appendingPathComponent("weir.service").path
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    let done = try run([Self.verifier!, "verify", path])
    let complaints = done.output.split(separator: "\n").filter { $0.contains("weir.service") }
    #expect(complaints.isEmpty && done.status == 0, "\(done.output)")
  }

  @Test func `it never runs as root and keeps the hardening of rule 55`() throws {
    let unit = try #require(SourceTree.file("systemd/weir.service")).text
    for line in [
      "User=weir", "AmbientCapabilities=CAP_NET_BIND_SERVICE",
      "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "NoNewPrivileges=yes", "ProtectSystem=strict",
      "MemoryDenyWriteExecute=yes", "Restart=on-failure", "RuntimeDirectory=weir",
      "Type=notify", "WatchdogSec=10s", "FileDescriptorStoreMax=1024",
      "LogsDirectory=weir", "ExecStart=/usr/bin/weir run -c /etc/weir/proxy.conf",
    ] {
      #expect(unit.split(separator: "\n").contains(Substring(line)), "\(line)")
    }
    #expect(unit.contains("\nLimitNOFILE=") && unit.contains("\nExecReload=/usr/bin/weir reload"))
  }
}
