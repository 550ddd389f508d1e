import Admin
import ArgumentParser
import Daemon

/// Which backend, and how to tell the daemon: what `weir ready`, `drain` and `maint` share.
struct BackendArguments: ParsableArguments {
  @OptionGroup var target: AdminOption

  @Argument(
    help: ArgumentHelp(
      "The backend: its upstream's name, a slash, its own name.", valueName: "upstream/backend"))
  var backend: String

  @Flag(help: "Print the daemon's answer as JSON.")
  var json = false

  func set(_ state: String) throws {
    guard let slash = backend.firstIndex(of: "/"), slash > backend.startIndex,
      backend.index(after: slash) < backend.endIndex
    else { throw ValidationError("'\(backend)' is not of the form upstream/backend") }
    let upstream = BackendArguments.encoded(backend[..<slash])
    let name = BackendArguments.encoded(backend[backend.index(after: slash)...])
    let answer = try target.client().require(
      "PATCH", "/v1/upstreams/\(upstream)/backends/\(name)",
      AdminJSON.encode(BackendPatch(state: state)), statuses: [200, 404])
    if json { print(answer.text, terminator: "") }
    guard answer.status == 200 else {
      let problem = AdminJSON.decode(ProblemDocument.self, answer.body)
      StandardError.write("weir: \(problem?.detail ?? answer.text)")
      throw ExitCode(Daemon.ExitStatus.failure)
    }
    if !json { print("\(backend) is set to \(state)") }
  }

  /// Everything but what may stand in a path segment as it is.
  private static func encoded(_ name: Substring) -> String {
    name.utf8.map { octet in
      let isPlain =
        (0x30...0x39).contains(octet) || (0x41...0x5A).contains(octet)
        || (0x61...0x7A).contains(octet) || "-._~:".utf8.contains(octet)
      if isPlain { return String(UnicodeScalar(octet)) }
      let hex = String(octet, radix: 16, uppercase: true)
      return hex.utf8.count == 1 ? "%0\(hex)" : "%\(hex)"
    }.joined()
  }
}

private let discussion = """
  Holds until the next such command or a restart, across reloads. Exits with 0 when done; with 1 \
  if there is no such backend; with 2 if weir cannot be reached.
  """

/// `weir ready UPSTREAM/BACKEND`
struct ReadyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ready", abstract: "Give a backend requests again.", discussion: discussion)

  @OptionGroup var backend: BackendArguments

  func run() throws { try backend.set("ready") }
}

/// `weir drain UPSTREAM/BACKEND`
struct DrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Give a backend no new requests; those in flight go on.", discussion: discussion)

  @OptionGroup var backend: BackendArguments

  func run() throws { try backend.set("drain") }
}

/// `weir maint UPSTREAM/BACKEND`
struct MaintCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "maint",
    abstract: "Give a backend no new requests, and check its health no more.",
    discussion: discussion)

  @OptionGroup var backend: BackendArguments

  func run() throws { try backend.set("maint") }
}
