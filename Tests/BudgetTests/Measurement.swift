import Foundation
import TestSupport
import Testing

/// Counts what the release binary does for a number of requests. Counts do not drift as times do:
/// they hold on a busy machine, too.
enum Measurement {
  /// Set by `make test`, which builds it.
  static let releaseBinary = ProcessInfo.processInfo.environment["WEIR_RELEASE_BINARY"]

  static let skipReason: Comment =
    "needs WEIR_RELEASE_BINARY, valgrind and strace: `make test` sets and installs them"

  static var isPossible: Bool {
    releaseBinary != nil
      && ["valgrind", "strace"].allSatisfy {
        FileManager.default.isExecutableFile(atPath: "/usr/bin/\($0)")
      }
  }

  /// The shape of proxy.conf.example with everything on; the connection is kept for the whole run.
  static func configuration(_ backends: [String]) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    configuration.top = "access-log @DIRECTORY@/access.log format=json"
    configuration.listener = "keep-alive-requests 1000000"
    return configuration
  }

  /// `count` requests, one after the other, on `connections` connections in turn.
  static func drive(
    _ daemon: DaemonProcess, _ count: Int, connections: Int = 1,
    target: (Int) -> String = { _ in "/bytes/1024" }
  ) throws {
    let clients = try (0..<connections).map { _ in try daemon.connect() }
    for number in 0..<count {
      let client = clients[number % connections]
      client.stepSeconds = 60
      try client.send(
        "GET \(target(number)) HTTP/1.1\r\nHost: bench.example.com\r\n"
          + "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101\r\n"
          + "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
          + "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
          + "Referer: http://bench.example.com/\r\nCookie: session=0123456789abcdef\r\n"
          + "Cache-Control: max-age=0\r\n\r\n")
      let response = try client.readResponse()
      guard response.status == 200 else { throw TestFailure(response.head.text) }
    }
  }

  // MARK: System calls

  /// System calls for each request, by name.
  static func systemCalls(few: Int, many: Int) throws -> [String: Double] {
    let origin = try HTTPOrigin()
    let daemon = try DaemonProcess(configuration([origin.address]), binary: releaseBinary!)
    try drive(daemon, 50)
    let counts = try [few, many].map { try traced(daemon, $0) }
    try daemon.stop()
    var perRequest: [String: Double] = [:]
    for name in Set(counts[0].keys).union(counts[1].keys) {
      let difference = (counts[1][name] ?? 0) - (counts[0][name] ?? 0)
      perRequest[name] = Double(difference) / Double(many - few)
    }
    return perRequest
  }

  private static func traced(_ daemon: DaemonProcess, _ count: Int) throws -> [String: Int] {
    let report = "\(daemon.directory)/strace.\(count)"
    let tracer = try ChildProcess(
      "/usr/bin/strace", ["-f", "-c", "-o", report, "-p", "\(daemon.pid)"])
    guard tracer.waitForOutput(10, { $0.contains("attached") }) else {
      throw TestFailure("strace cannot attach: \(tracer.output)")
    }
    try drive(daemon, count)
    tracer.kill(SIGINT)
    _ = tracer.waitForEnd()
    var calls: [String: Int] = [:]
    for line in try String(contentsOfFile: report, encoding: .utf8).split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count >= 5, let count = Int(words[3]), let name = words.last, name != "total"
      else { continue }
      calls[String(name)] = count
    }
    return calls
  }

  // MARK: Instructions and calls

  struct Profile: Sendable {
    var instructions: Int
    /// Calls of functions by name.
    var calls: [String: Int]
  }

  /// User-space instructions for each request, and calls for each request of some functions: the
  /// difference between two fresh processes, which leaves out the start.
  static func perRequest(
    few: Int, many: Int, connections: Int = 1,
    configuration: @escaping (String) -> DaemonConfiguration = { configuration([$0]) },
    target: @escaping (Int) -> String = { _ in "/bytes/1024" }
  ) throws -> (instructions: Double, calls: (String) -> Double) {
    let profiles = try [few, many].map {
      try profile($0, connections: connections, configuration: configuration, target: target)
    }
    let requests = Double(many - few)
    return (
      Double(profiles[1].instructions - profiles[0].instructions) / requests,
      { name in
        let counts = profiles.map { profile in
          profile.calls.filter { $0.key.hasPrefix(name) }.values.reduce(0, +)
        }
        return Double(counts[1] - counts[0]) / requests
      }
    )
  }

  private static func profile(
    _ count: Int, connections: Int, configuration: (String) -> DaemonConfiguration,
    target: (Int) -> String
  ) throws -> Profile {
    let origin = try HTTPOrigin(host: "0.0.0.0")
    let directory = try TemporaryDirectory.make()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let file = "\(directory)/callgrind.out"
    // Valgrind of Debian 12 gives up on newer debug sections; it needs the symbols only.
    let binary = "\(directory)/weir"
    let strip = try ChildProcess.run("strip", ["--strip-debug", "-o", binary, releaseBinary!])
    guard strip.ending == .exit(0) else { throw TestFailure("strip: \(strip.output)") }
    let daemon = try DaemonProcess(
      configuration("127.0.0.1:\(origin.port)"), binary: binary,
      wrapper: [
        "/usr/bin/valgrind", "--tool=callgrind", "--compress-strings=no",
        "--callgrind-out-file=\(file)",
      ], readySeconds: 120)
    try drive(daemon, count, connections: connections, target: target)
    try daemon.stop(within: 60)
    let output = daemon.process.output
    guard let total = output.firstMatch(of: #/Collected : (\d+)/#).flatMap({ Int($0.output.1) })
    else { throw TestFailure("callgrind said nothing: \(output)") }
    return Profile(instructions: total, calls: try calls(in: file))
  }

  /// `cfn=NAME`, then `calls=COUNT …`, for each place that calls NAME.
  private static func calls(in file: String) throws -> [String: Int] {
    var calls: [String: Int] = [:]
    var callee = ""
    for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") {
      if line.hasPrefix("cfn=") { callee = String(line.dropFirst(4)) }
      if line.hasPrefix("calls=") {
        calls[callee, default: 0] += Int(line.dropFirst(6).prefix { $0.isNumber }) ?? 0
      }
    }
    return calls
  }
}
