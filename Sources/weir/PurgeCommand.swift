import Admin
import ArgumentParser
import Daemon

/// `weir purge`
struct PurgeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "purge", abstract: "Remove responses from the caches of a running weir.",
    discussion: """
      When the command has ended, nobody is given what was purged, whatever was being fetched at \
      the time. Exits with 0 when done, also where nothing matched; with 1 if weir refused; with 2 \
      if it cannot be reached.
      """)

  @OptionGroup var target: AdminOption

  @Option(name: .customLong("tag"), help: "Responses with this tag; may be repeated.")
  var tags: [String] = []

  @Option(name: .customLong("url"), help: "Responses of this URL, all variants; may be repeated.")
  var urls: [String] = []

  @Option(help: "Responses whose URL begins so, as in 'https://www.example.com/news/'.")
  var prefix: String?

  @Flag(help: "Everything.")
  var all = false

  @Option(help: "Of this cache only; without, of all.")
  var cache: String?

  @Flag(help: "Make stale instead: served once more where stale responses are, and fetched anew.")
  var soft = false

  @Flag(help: "Count what would go, and do nothing.")
  var dryRun = false

  @Flag(help: "Print the daemon's answer as JSON.")
  var json = false

  func validate() throws {
    if tags.isEmpty, urls.isEmpty, prefix == nil, !all {
      throw ValidationError("say what: --tag, --url, --prefix or --all")
    }
  }

  func run() throws {
    var body = PurgeBody()
    if !tags.isEmpty { body.tags = tags }
    if !urls.isEmpty { body.urls = urls }
    body.prefix = prefix
    body.cache = cache
    if all { body.all = true }
    if soft { body.soft = true }
    if dryRun { body.dryRun = true }
    let answer = try target.client().require(
      "POST", "/v1/purge", AdminJSON.encode(body), statuses: [200, 404, 422])
    if json { print(answer.text, terminator: "") }
    guard answer.status == 200, let done = AdminJSON.decode(PurgeDocument.self, answer.body)
    else {
      let problem = AdminJSON.decode(ProblemDocument.self, answer.body)
      StandardError.write("weir: \(problem?.detail ?? answer.text)")
      throw ExitCode(Daemon.ExitStatus.failure)
    }
    guard !json else { return }
    let verb = dryRun ? "would be purged" : soft ? "made stale" : "purged"
    print("\(done.matched) responses \(verb) (\(done.bytes) bytes), sequence \(done.sequence)")
  }
}
