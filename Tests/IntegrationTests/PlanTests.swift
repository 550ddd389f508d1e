import Foundation
import TestSupport
import Testing

/// `weir plan` says what a reload then does.
@Suite(.blocking) struct `Plan` {
  private let origins = Result { try (0..<4).map { try HTTPOrigin("o\($0)") } }

  private static let cached = """
    cache main memory=16MiB
    route /cached/* { \n upstream app \n cache main \n }

    """

  private func before() throws -> DaemonConfiguration {
    var configuration = DaemonConfiguration(
      try origins.get().prefix(3).enumerated().map { "\($1.address) name=b\($0)" })
    configuration.upstream = "balance hash path"
    configuration.blocks = Self.cached + "route /old/* { \n respond 200 body=old \n }"
    return configuration
  }

  private func plan(
    _ daemon: DaemonProcess, _ next: DaemonConfiguration, _ options: String...
  ) throws -> (ending: ChildProcess.Ending, output: String) {
    let path = "\(daemon.directory)/next.conf"
    try daemon.write(next, to: path)
    return try ChildProcess.run(
      DaemonProcess.binary, ["plan", "-c", daemon.configurationPath] + options + [path])
  }

  @Test func `ten changes are announced as they then happen`() throws {
    let port = Ports.take()
    let address = try origins.get()[3].address
    let samples: [(name: String, change: (inout DaemonConfiguration) -> Void)] = [
      ("nothing", { _ in }),
      ("a backend more", { $0.backends.append("\(address) name=b3") }),
      ("a backend less", { $0.backends.removeFirst() }),
      ("a weight", { $0.backends[0] += " weight=4" }),
      ("an address", { $0.backends[1] = "\(address) name=b1" }),
      ("a listener", { $0.blocks += "\nlistener two { \n bind 127.0.0.1:\(port) \n }" }),
      ("an address of a listener", { $0.listener = "bind 127.0.0.1:\(port)" }),
      ("routes", { $0.blocks = Self.cached + "route /new/* { \n respond 200 body=new \n }" }),
      (
        "settings",
        {
          $0.upstream += "\n connect-timeout 2s"
          $0.route = "max-body-size 1MiB"
        }
      ),
      (
        "limits and caches",
        {
          $0.top = "max-connections 500"
          $0.blocks = $0.blocks.replacingOccurrences(of: "cache main", with: "cache other")
        }
      ),
    ]
    let first = try before()
    try withDaemon(first) { daemon in
      for (name, change) in samples {
        var next = first
        change(&next)
        let announced = try plan(daemon, next)
        #expect(announced.ending == .exit(0), "\(name): \(announced.output)")
        let lines = announced.output.split(separator: "\n").filter { !$0.contains("keys move") }
        let done = try daemon.reload(next).output.split(separator: "\n").dropFirst()
        let happened = done.map { $0.trimmingCharacters(in: .whitespaces) }
        #expect(lines.map(String.init) == (happened.isEmpty ? ["nothing changes"] : happened))
        #expect(lines != ["nothing changes"] || name == "nothing", "\(name): \(lines)")
        #expect(try daemon.reload(first).ending == .exit(0))
      }
    }
  }

  @Test func `the keys that it says move do, and too many are an error`() throws {
    let first = try before()
    var next = first
    next.backends.append("\(try origins.get()[3].address) name=b3")
    try withDaemon(first) { daemon in
      func owners() throws -> [String] {
        let client = try daemon.connect()
        return try (0..<400).map { number in
          try client.send("GET /key/\(number) HTTP/1.1\r\nHost: a\r\n\r\n")
          return try client.readResponse()["x-origin"] ?? ""
        }
      }
      let announced = try plan(daemon, next, "--max-moved", "10%")
      #expect(announced.ending == .exit(1) && announced.output.contains("and 10% may"))
      let words = announced.output.components(separatedBy: "upstream app: ")[1]
      let share = try #require(Double(words.prefix { $0 != "%" }))
      let before = try owners()
      #expect(try daemon.reload(next).ending == .exit(0))
      let moved = zip(before, try owners()).count { $0 != $1 }
      #expect(abs(Double(moved) / 4 - share) < 8, "\(moved) of 400, announced \(share)%")
      #expect(try plan(daemon, next, "--max-moved", "0%").ending == .exit(0), "it is in force")
    }
  }

  @Test func `requests of the access log that would take another route are named`() throws {
    var first = try before()
    first.top += "\naccess-log @DIRECTORY@/access.log"
    var next = first
    next.blocks = Self.cached + "route /old/a/* { \n respond 200 body=a \n }"
    let daemon = try DaemonProcess(first)
    for target in ["/old/a/1", "/old/b", "/else"] { _ = try daemon.get(target) }
    let log = "\(daemon.directory)/access.log"
    let isWritten = Poll.until(.after(10)) {
      (try? String(contentsOfFile: log, encoding: .utf8))?.contains("/else") == true
    }
    #expect(isWritten)
    let planned = try plan(daemon, next, "--requests", log)
    #expect(planned.ending == .exit(0))
    #expect(planned.output.contains("2 of 3 requests would take another route"))
    #expect(planned.output.contains("GET /old/a/1 HTTP/1.1: /old/* → /old/a/*"), "\(planned)")
    #expect(planned.output.contains("GET /old/b HTTP/1.1: /old/* → *"))
    let document = try plan(daemon, next, "--requests", log, "--json")
    #expect(document.output.contains("\"requests_rerouted\":2"), "\(document.output)")
    next.route = "colour blue"
    #expect(try plan(daemon, next).ending == .exit(1))
    try daemon.stop()
  }
}
