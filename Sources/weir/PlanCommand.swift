import Admin
import ArgumentParser
import Config
import Daemon
import Glibc

/// `weir plan FILE`
struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Say what another configuration would change, before it does.",
    discussion: """
      Compares FILE with the configuration file: listeners, upstreams, backends, routes and caches \
      that come, go or change; of upstreams that hash, the exact share of the key space that moves \
      to another backend; and, of the requests in an access log, those that another route would \
      take. Nothing is changed. Exits with 0; with 1 if FILE could not be run, or more moves than \
      '--max-moved' allows.
      """)

  /// Of an access log: its end, and at most so many requests.
  private static let logBytes = 16 << 20
  private static let requestLimit = 10_000
  private static let shownRequests = 20

  @OptionGroup var current: ConfigurationOption

  @Argument(help: ArgumentHelp("The other configuration.", valueName: "file"))
  var file: String

  @Option(
    help: ArgumentHelp(
      "Largest share of any upstream's key space that may move, as in 10%.", valueName: "percent"))
  var maxMoved: String?

  @Option(
    help: ArgumentHelp(
      "An access log (JSON) whose last 10000 requests are routed by both.", valueName: "path"))
  var requests: String?

  @Flag(help: "Print the plan as JSON.")
  var json = false

  private struct Document: Encodable {
    struct Change: Encodable {
      var kind: String
      var subject: String
      var detail: String
    }
    struct Movement: Encodable {
      var upstream: String
      var movedPercent: Double
    }
    struct Rerouting: Encodable {
      var request: String
      var before: String?
      var after: String?
    }
    var changes: [Change]
    var movements: [Movement]
    var requestsCompared: Int
    var requestsRerouted: Int
    var reroutings: [Rerouting]
  }

  func run() throws {
    let limit = try maxMoved.map(PlanCommand.percent)
    let plan = try makePlan()
    let found = plan.reroutings(of: try requests.map(PlanCommand.heads) ?? [])
    if json { try printJSON(plan, found) } else { printText(plan, found) }
    let over = plan.movements.filter { $0.share * 100 > limit ?? .infinity }
    for movement in over {
      StandardError.write(
        "weir: upstream \(movement.upstream): \(PlanCommand.text(movement.share)) of the key space "
          + "moves, and \(maxMoved ?? "") may")
    }
    if !over.isEmpty { throw ExitCode(Daemon.ExitStatus.failure) }
  }

  private func makePlan() throws -> ConfigurationPlan {
    let (old, new) = (try load(current.config), try load(file))
    guard let old = old.options, let new = new.options else {
      throw ExitCode(Daemon.ExitStatus.failure)
    }
    do {
      return try ConfigurationPlan(from: old, to: new)
    } catch {
      StandardError.write("weir: \(error)")
      throw ExitCode(Daemon.ExitStatus.failure)
    }
  }

  private func load(_ path: String) throws -> LoadResult {
    let result = ConfigurationLoader.load(
      path: path, environment: ProcessEnvironment.variables, files: DiskFiles())
    for diagnostic in result.diagnostics where result.options == nil || path == file {
      StandardError.write(diagnostic.rendered())
    }
    return result
  }

  private static func percent(_ text: String) throws -> Double {
    guard text.hasSuffix("%"), let value = Double(text.dropLast()), (0...100).contains(value)
    else { throw ValidationError("'\(text)' is no share such as 10%") }
    return value
  }

  private static func text(_ share: Double) -> String {
    let hundredths = Int((share * 10_000).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)%"
  }

  /// The requests of an access log, as heads: what routes can see of them there.
  private static func heads(_ path: String) throws -> [[UInt8]] {
    struct Line: Decodable {
      var method: String
      var host: String
      var target: String
    }
    let lines = try end(of: path).split(separator: 0x0A).suffix(requestLimit)
    return lines.compactMap { AdminJSON.decode(Line.self, Array($0)) }.map {
      Array("\($0.method) \($0.target) HTTP/1.1\r\nHost: \($0.host)\r\n\r\n".utf8)
    }
  }

  private static func end(of path: String) throws -> [UInt8] {
    let log = open(path, O_RDONLY | O_CLOEXEC)
    guard log >= 0 else {
      throw ValidationError("\(path) cannot be read: \(String(cString: strerror(errno)))")
    }
    defer { close(log) }
    lseek(log, max(0, lseek(log, 0, SEEK_END) - logBytes), SEEK_SET)
    var octets: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 64 << 10)
    while octets.count < logBytes {
      let count = read(log, &block, block.count)
      guard count > 0 else { break }
      octets += block[..<count]
    }
    return octets
  }

  private func printText(
    _ plan: ConfigurationPlan, _ found: (count: Int, changed: [ConfigurationPlan.Rerouting])
  ) {
    if plan.changes.isEmpty { print("nothing changes") }
    for line in plan.changes.lines { print(line) }
    for movement in plan.movements {
      print("upstream \(movement.upstream): \(PlanCommand.text(movement.share)) of its keys move")
    }
    for name in plan.untold {
      print("upstream \(name): how many of its keys move depends on what DNS says")
    }
    guard requests != nil else { return }
    print("\(found.changed.count) of \(found.count) requests would take another route")
    for one in found.changed.prefix(PlanCommand.shownRequests) {
      print("  \(one.request): \(one.before ?? "no route") → \(one.after ?? "no route")")
    }
  }

  private func printJSON(
    _ plan: ConfigurationPlan, _ found: (count: Int, changed: [ConfigurationPlan.Rerouting])
  ) throws {
    let document = Document(
      changes: plan.changes.list.map {
        .init(kind: $0.kind.rawValue, subject: $0.subject, detail: $0.detail)
      },
      movements: plan.movements.map {
        .init(upstream: $0.upstream, movedPercent: $0.share * 100)
      },
      requestsCompared: found.count, requestsRerouted: found.changed.count,
      reroutings: found.changed.prefix(PlanCommand.shownRequests).map {
        .init(request: $0.request, before: $0.before, after: $0.after)
      })
    print(String(decoding: AdminJSON.encode(document), as: UTF8.self), terminator: "")
  }
}
