import Admin
import ArgumentParser

/// `weir status`
struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Show what a running weir is doing.",
    discussion: """
      Counts are since the start; times are quantiles of the same, in milliseconds. Exits with 2 \
      if weir cannot be reached.
      """)

  @OptionGroup var target: AdminOption

  @Flag(help: "Print everything, as JSON: an object with 'status' and 'upstreams'.")
  var json = false

  func run() throws {
    let client = try target.client()
    let status = try client.require("GET", "/v1/status")
    let upstreams = try client.require("GET", "/v1/upstreams")
    guard let daemon = AdminJSON.decode(StatusDocument.self, status.body),
      let known = AdminJSON.decode(UpstreamsDocument.self, upstreams.body)
    else { throw Unreachable.exit("weir at \(client.address) speaks another version") }
    if json {
      print("{\"status\":\(status.text),\"upstreams\":\(upstreams.text)}")
    } else {
      print(StatusReport.text(daemon, known), terminator: "")
    }
  }
}
