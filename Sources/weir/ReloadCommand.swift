import Admin
import ArgumentParser
import Daemon

/// `weir reload`
struct ReloadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reload",
    abstract: "Have a running weir read its configuration again.",
    discussion: """
      Answers when the new configuration is in force. Exits with 0 then; with 1, and the \
      diagnostics on standard error, if it was refused and the old one keeps running; with 2 if \
      weir cannot be reached.
      """)

  @OptionGroup var target: AdminOption

  @Flag(help: "Read only the certificates, keys and authorities again.")
  var certificates = false

  @Flag(help: "Print the daemon's answer as JSON.")
  var json = false

  func run() throws {
    let path = certificates ? "/v1/reload/certificates" : "/v1/reload"
    let answer = try target.client().require("POST", path, statuses: [200, 422])
    if json { print(answer.text, terminator: "") }
    if answer.status == 200, let done = AdminJSON.decode(ReloadDocument.self, answer.body) {
      for diagnostic in done.diagnostics { StandardError.write(diagnostic) }
      if !json {
        print("reloaded: generation \(done.generation) is in force")
        for change in done.changes { print("  \(change)") }
      }
      return
    }
    guard let problem = AdminJSON.decode(ProblemDocument.self, answer.body) else {
      throw Unreachable.exit("that is no answer of weir's: \(answer.text)")
    }
    for diagnostic in problem.diagnostics ?? [] { StandardError.write(diagnostic) }
    StandardError.write("weir: \(problem.detail)")
    throw ExitCode(Daemon.ExitStatus.failure)
  }
}
