import ArgumentParser
import Config
import Daemon
import Primitives

/// Which daemon is meant, for the commands that talk to one.
struct AdminOption: ParsableArguments {
  @OptionGroup var file: ConfigurationOption

  @Option(
    help: ArgumentHelp(
      "Where its admin endpoint is; without, what 'admin' in the configuration says.",
      valueName: "unix:PATH|ADDRESS:PORT"))
  var admin: String?

  @Option(
    help: ArgumentHelp(
      "File with the bearer token; without, what the configuration says for the address.",
      valueName: "path"))
  var tokenFile: String?

  /// Throws `ExitCode` 2, after saying why, where no endpoint is known.
  func client() throws -> AdminClient {
    guard let written = admin else {
      let known = configured()
      guard let choice = known.first(where: { $0.token == nil }) ?? known.first else {
        throw Unreachable.exit(
          "\(file.config) names no admin endpoint; say which with '--admin unix:PATH'")
      }
      return AdminClient(address: choice.address, token: try token() ?? choice.token)
    }
    guard let address = SocketAddress(written) else {
      throw ValidationError("'\(written)' is neither 'unix:/path' nor 'address:port'")
    }
    if case .unix = address, tokenFile == nil {
      return AdminClient(address: address, token: nil)
    }
    let token = try token() ?? configured().first { $0.address == address }?.token
    return AdminClient(address: address, token: token)
  }

  /// The admin lines of the file, whatever else may be wrong with it: that is for the daemon to
  /// say.
  private func configured() -> [AdminListener] {
    let result = ConfigurationLoader.load(
      path: file.config, environment: ProcessEnvironment.variables, files: DiskFiles())
    return result.admin.map { AdminListener(address: $0.address, token: $0.token) }
  }

  private struct AdminListener {
    var address: SocketAddress
    var token: String?
  }

  private func token() throws -> String? {
    guard let tokenFile else { return nil }
    do {
      var bytes = try DiskFiles().read(tokenFile, limitBytes: 64 * 1024)[...]
      while let last = bytes.last, last <= 0x20 { bytes.removeLast() }
      return String(decoding: bytes, as: UTF8.self)
    } catch { throw Unreachable.exit("\(tokenFile) cannot be read: \(error.reason)") }
  }
}

/// The daemon could not be asked: neither success nor a refusal of its.
enum Unreachable {
  static let status: Int32 = 2

  static func exit(_ message: String) -> ExitCode {
    StandardError.write("weir: \(message)")
    return ExitCode(status)
  }
}

extension AdminClient {
  /// The answer with one of these statuses; throws `ExitCode` 2, after saying why, otherwise.
  func require(
    _ method: String, _ path: String, _ content: [UInt8] = [], statuses: Set<Int> = [200]
  ) throws -> Answer {
    let answer: Answer
    do {
      answer = try ask(method, path, content)
    } catch { throw Unreachable.exit(error.message) }
    guard statuses.contains(answer.status) else {
      let reason = answer.status == 401 ? "the token is not the right one" : answer.text
      throw Unreachable.exit("weir at \(address) answered \(answer.status): \(reason)")
    }
    return answer
  }
}
