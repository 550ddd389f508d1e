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
      reloads the configuration; SIGUSR1 opens the access log again.
      """)

  @OptionGroup var file: ConfigurationOption

  func run() throws {
    guard let daemon = Daemon(path: file.config, environment: ProcessEnvironment.variables) else {
      throw ExitCode(Daemon.ExitStatus.failure)
    }
    throw ExitCode(daemon.run())
  }
}

/// The process's environment, for `${NAME}` in configurations.
enum ProcessEnvironment {
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
