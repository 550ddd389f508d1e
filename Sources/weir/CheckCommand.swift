import Admin
import ArgumentParser
import Config
import Daemon
import Glibc

/// `weir check -c FILE`
struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check a configuration and say everything that is wrong with it.",
    discussion: "Exits with 0 if it could be run, with 1 and the diagnostics if not.")

  @OptionGroup var file: ConfigurationOption

  @Flag(help: "Print the diagnostics as JSON, on standard output.")
  var json = false

  private struct Report: Encodable {
    var file: String
    var ok: Bool
    var diagnostics: [Diagnostic]
  }

  func run() throws {
    let result = ConfigurationLoader.load(
      path: file.config, environment: ProcessEnvironment.variables, files: DiskFiles())
    let isSound = result.options != nil
    if json {
      let report = Report(file: file.config, ok: isSound, diagnostics: result.diagnostics)
      print(String(decoding: AdminJSON.encode(report), as: UTF8.self), terminator: "")
    } else {
      let color = Terminal.wantsColor(STDERR_FILENO)
      for diagnostic in result.diagnostics {
        StandardError.write(diagnostic.rendered(color: color))
      }
      let count = result.errorCount
      if isSound {
        print("\(file.config): ok")
      } else {
        StandardError.write("\(file.config): \(count) error\(count == 1 ? "" : "s")")
      }
    }
    if !isSound { throw ExitCode(Daemon.ExitStatus.failure) }
  }
}

enum Terminal {
  /// A terminal that can do it, whose user has not asked for none (no-color.org).
  static func wantsColor(_ descriptor: Int32) -> Bool {
    let environment = ProcessEnvironment.variables
    return isatty(descriptor) == 1 && environment["TERM"] != "dumb"
      && (environment["NO_COLOR"] ?? "").isEmpty
  }
}
