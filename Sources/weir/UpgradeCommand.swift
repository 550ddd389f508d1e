import Admin
import ArgumentParser
import Daemon
import Glibc
import Primitives

/// `weir upgrade`
struct UpgradeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "upgrade",
    abstract: "Have a running weir hand over to a new process of the same command.",
    discussion: """
      The file that the running weir was started from is started again: replace it first to run a \
      new version. The new process gets the listening sockets, reads the configuration and checks \
      every backend once; only then does the old one drain. No connection is refused meanwhile. \
      Exits with 0 when the new process serves; with 1 if it did not get that far and the old one \
      goes on; with 2 if weir cannot be reached.
      """)

  /// A little more than the daemon gives the new process.
  private static let patience = TimeAmount.seconds(70)
  private static let look: useconds_t = 50_000

  @OptionGroup var target: AdminOption

  func run() throws {
    let client = try target.client()
    let before = try status(client).pid
    let begun = try client.require("POST", "/v1/upgrade", statuses: [202, 409])
    guard begun.status == 202 else {
      let problem = AdminJSON.decode(ProblemDocument.self, begun.body)
      throw failure(problem?.detail ?? begun.text)
    }
    let deadline = MonotonicTime.now() + UpgradeCommand.patience
    while MonotonicTime.now() < deadline {
      usleep(UpgradeCommand.look)
      // While the two change places neither may answer.
      guard let answer = try? client.ask("GET", "/v1/status"),
        let status = AdminJSON.decode(StatusDocument.self, answer.body)
      else { continue }
      if status.pid != before {
        print("upgraded: process \(status.pid) serves, version \(status.version)")
        return
      }
      if !status.upgrading, let reason = status.upgradeFailure { throw failure(reason) }
    }
    throw failure("no answer after \(UpgradeCommand.patience.milliseconds / 1000) s")
  }

  private func status(_ client: AdminClient) throws -> StatusDocument {
    let answer = try client.require("GET", "/v1/status", statuses: [200])
    guard let status = AdminJSON.decode(StatusDocument.self, answer.body) else {
      throw Unreachable.exit("that is no answer of weir's: \(answer.text)")
    }
    return status
  }

  private func failure(_ reason: String) -> ExitCode {
    StandardError.write("weir: not upgraded: \(reason)")
    return ExitCode(Daemon.ExitStatus.failure)
  }
}
