import Foundation

/// A configuration with one listener, one upstream `app` and the route `*`, and room for whatever a
/// test wants to say at each place.
public struct DaemonConfiguration: Sendable {
  public var backends: [String]
  public var top = ""
  public var listener = ""
  public var upstream = ""
  public var route = ""
  /// Whole blocks, before the route `*`.
  public var blocks = ""
  public var workers = 1

  public init(_ backends: [String] = []) { self.backends = backends }

  func text(port: UInt16, admin: String) -> String {
    let application =
      backends.isEmpty
      ? ""
      : """
      upstream app {
      \(backends.map { "  backend \($0)" }.joined(separator: "\n"))
      \(upstream)
      }
      route * {
        upstream app
      \(route)
      }
      """
    return """
      name test
      workers \(workers)
      admin unix:\(admin)
      \(top)
      listener web {
        bind 127.0.0.1:\(port)
      \(listener)
      }
      \(blocks)
      \(application)

      """
  }
}

/// The real binary on a real port: `.build/debug/weir`, or what `WEIR_BINARY` names.
public final class DaemonProcess: Sendable {
  public let port: UInt16
  public let directory: String
  public let process: ChildProcess

  public var pid: pid_t { process.pid }
  public var configurationPath: String { "\(directory)/proxy.conf" }
  public var adminPath: String { "\(directory)/admin.sock" }

  /// The debug binary that the tests were built with.
  public static var binary: String {
    ProcessInfo.processInfo.environment["WEIR_BINARY"]
      ?? URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("weir").path
  }

  /// Starts it and returns when all listeners accept.
  ///
  /// `@DIRECTORY@` in the configuration becomes the daemon's own temporary directory, `@PORT2@` a
  /// second free port.
  public init(
    _ configuration: DaemonConfiguration, binary: String = DaemonProcess.binary,
    wrapper: [String] = [], descriptorLimit: Int? = nil, readySeconds: Double = 60
  ) throws {
    directory = try TemporaryDirectory.make()
    port = Ports.take()
    try DaemonProcess.write(configuration, port, directory)
    let command = wrapper + [binary, "run", "-c", "\(directory)/proxy.conf"]
    process = try ChildProcess(
      command[0], Array(command.dropFirst()), descriptorLimit: descriptorLimit)
    let isReady = process.waitForOutput(readySeconds) {
      $0.split(separator: "\n").contains { $0.contains("weir") && $0.contains("ready") }
    }
    guard isReady else {
      throw TestFailure("not ready: \(process.ending.map { "\($0)" } ?? "") \(process.output)")
    }
  }

  deinit {
    process.kill(SIGKILL)
    try? FileManager.default.removeItem(atPath: directory)
  }

  /// A configuration of this daemon, into another file.
  public func write(_ configuration: DaemonConfiguration, to path: String) throws {
    try DaemonProcess.write(configuration, port, directory, to: path)
  }

  private static func write(
    _ configuration: DaemonConfiguration, _ port: UInt16, _ directory: String,
    to path: String? = nil
  ) throws {
    let text = configuration.text(port: port, admin: "\(directory)/admin.sock")
      .replacingOccurrences(of: "@DIRECTORY@", with: directory)
    // Replaced as a whole: a daemon that reloads must never read half a file.
    let path = path ?? "\(directory)/proxy.conf"
    try text.write(toFile: path, atomically: true, encoding: .utf8)
  }

  public func connect(source: String? = nil) throws -> WireConnection {
    try WireConnection.connect(port: port, source: source)
  }

  /// One request on a connection of its own.
  public func get(
    _ target: String, host: String = "example.com", fields: String = "", method: String = "GET"
  ) throws -> WireResponse {
    let connection = try connect()
    try connection.send(
      "\(method) \(target) HTTP/1.1\r\nHost: \(host)\r\n\(fields)Connection: close\r\n\r\n")
    return try connection.readResponse(to: method)
  }

  /// Writes a new configuration and runs `weir reload`, which answers when it is in force.
  @discardableResult
  public func reload(_ configuration: DaemonConfiguration) throws
    -> (ending: ChildProcess.Ending, output: String)
  {
    try DaemonProcess.write(configuration, port, directory)
    return try command("reload", "--admin", "unix:\(adminPath)")
  }

  /// Writes a new configuration and sends SIGHUP, which nobody answers.
  public func signalReload(_ configuration: DaemonConfiguration) throws {
    try DaemonProcess.write(configuration, port, directory)
    process.kill(SIGHUP)
  }

  /// Runs `weir` with these arguments.
  public func command(_ arguments: String...) throws
    -> (ending: ChildProcess.Ending, output: String)
  {
    try ChildProcess.run(DaemonProcess.binary, arguments)
  }

  /// GET on the admin socket.
  public func admin(_ target: String, method: String = "GET") throws -> WireResponse {
    let connection = try WireConnection.connect(path: adminPath)
    try connection.send(
      "\(method) \(target) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return try connection.readResponse(to: method)
  }

  /// The page of metrics as soon as it satisfies `condition`, or as it still is when nobody would
  /// wait longer. A worker counts after it has sent: who asks at once may be earlier.
  public func metrics(when condition: (String) -> Bool) throws -> String {
    var page = ""
    _ = try Poll.until(.patient) {
      page = try admin("/metrics").text
      return condition(page)
    }
    return page
  }

  /// Whether the page of metrics has all of these, now or soon.
  public func counts(_ lines: String...) throws -> Bool {
    let page = try metrics { page in lines.allSatisfy { page.contains($0) } }
    return lines.allSatisfy { page.contains($0) }
  }

  /// Whether the page of metrics has this line no more, now or soon.
  public func counts(beyond line: String) throws -> Bool {
    try !metrics { !$0.contains(line) }.contains(line)
  }

  /// Resident memory of the process in bytes; `field` is a line of /proc/PID/status.
  public func memoryBytes(_ field: String = "VmRSS") throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    guard
      let line = status.split(separator: "\n").first(where: { $0.hasPrefix(field + ":") }),
      let kilobytes = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first
    else { throw TestFailure("no \(field) in \(status)") }
    return (Int(kilobytes) ?? 0) * 1024
  }

  /// Drains it and throws unless it exits with 0 and never said that it crashed.
  public func stop(within seconds: Double = Deadline.patienceSeconds) throws {
    process.kill(SIGTERM)
    guard let ending = process.waitForEnd(seconds) else {
      throw TestFailure("still running \(seconds) s after SIGTERM: \(process.output)")
    }
    let output = process.output
    for mark in ["Fatal error", "Crash", "AddressSanitizer", "ThreadSanitizer"]
    where output.contains(mark) {
      throw TestFailure("the daemon crashed (\(ending)): \(output.suffix(4000))")
    }
    guard ending == .exit(0) else {
      throw TestFailure("the daemon ended with \(ending): \(output.suffix(4000))")
    }
  }
}

/// Starts a daemon, hands it to `body`, and stops it with every check of `DaemonProcess.stop`.
public func withDaemon<Result>(
  _ configuration: DaemonConfiguration,
  stopsWithin seconds: Double = Deadline.patienceSeconds,
  _ body: (DaemonProcess) throws -> Result
) throws -> Result {
  let daemon = try DaemonProcess(configuration)
  let result: Result
  do {
    result = try body(daemon)
  } catch {
    let ending = daemon.process.ending.map { "\($0)" } ?? "running"
    let output = daemon.process.output.suffix(4000)
    throw TestFailure("\(error)\n--- daemon (\(ending)) ---\n\(output)")
  }
  try daemon.stop(within: seconds)
  return result
}

public enum TemporaryDirectory {
  public static func make() throws -> String {
    var template = Array("/tmp/weir-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw WireError.system("mkdtemp", errno) }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
