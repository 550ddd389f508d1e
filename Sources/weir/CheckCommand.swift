import ArgumentParser
import Config
import Daemon

/// `weir check -c FILE`
struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check a configuration and say everything that is wrong with it.",
    discussion: "Exits with 0 if it could be run, with 1 and the diagnostics if not.")

  @OptionGroup var file: ConfigurationOption

  func run() throws {
    let result = ConfigurationLoader.load(
      path: file.config, environment: ProcessEnvironment.variables, files: DiskFiles())
    for diagnostic in result.diagnostics { StandardError.write(diagnostic.rendered()) }
    guard result.options != nil else {
      StandardError.write(
        "\(file.config): \(result.errorCount) error\(result.errorCount == 1 ? "" : "s")")
      throw ExitCode(Daemon.ExitStatus.failure)
    }
    print("\(file.config): ok")
  }
}
