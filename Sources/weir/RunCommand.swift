import ArgumentParser
import Daemon
import Glibc

/// `weir run -c FILE`
struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Serve in the foreground until SIGTERM or SIGINT.",
    discussion: """
      SIGTERM and SIGINT finish what is in flight (at most drain-timeout) and exit with 0; SIGHUP
      reloads the configuration; SIGUSR1 opens the access log again; SIGUSR2 hands over to a new
      process of the same command, as 'weir upgrade' does.
      """)

  @OptionGroup var file: ConfigurationOption

  func run() throws {
    let daemon = Daemon(
      path: file.config, environment: ProcessEnvironment.variables,
      program: ProcessEnvironment.program)
    guard let daemon else {
      throw ExitCode(Daemon.ExitStatus.failure)
    }
    throw ExitCode(daemon.run())
  }
}

/// The process's environment, for `${NAME}` in configurations.
enum ProcessEnvironment {
  /// The file this program was started from; what lies there later is another version of it.
  static var program: String? {
    var room = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/self/exe", &room, room.count)
    return length > 0 ? String(decoding: room[..<length], as: UTF8.self) : nil
  }

  static var variables: [String: String] {
    var found: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
      let pair = String(cString: text).split(
        separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if pair.count == 2 { found[String(pair[0])] = String(pair[1]) }
      entry += 1
    }
    return found
  }
}
