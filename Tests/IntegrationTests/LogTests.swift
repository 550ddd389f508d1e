import Foundation
import TestSupport
import Testing

/// The access log: one line for each request, valid whatever clients send, never in the way.
@Suite(.blocking) struct `Access log` {
  private func lines(_ path: String) -> [String] {
    let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    // What stands behind the last line end is still being written.
    let all: [String] = text.components(separatedBy: "\n")
    return Array(all.dropLast())
  }

  @Test func `each request is one valid JSON line, hostile ones too`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "access-log @DIRECTORY@/access.log format=json"
    try withDaemon(configuration) { daemon in
      let path = "\(daemon.directory)/access.log"
      let requests = [
        "GET /plain?a=b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /quote HTTP/1.1\r\nHost: a\r\nUser-Agent: \"\\\u{E9}\t{}\r\nReferer: </b>\r\n\r\n",
        "GET /status/404 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /bad HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
        "\u{1}\u{2}garbage\r\n\r\n",
      ]
      for request in requests {
        let client = try daemon.connect()
        try client.send(latin1(Array(request.utf8)))
        _ = try client.readResponse(to: request.hasPrefix("HEAD") ? "HEAD" : "GET")
      }
      #expect(Poll.until(.patient) { lines(path).count >= requests.count }, "\(lines(path))")
      var byPath: [String: [String: Any]] = [:]
      for line in lines(path) {
        let value = try JSONSerialization.jsonObject(with: Data(line.utf8))
        let object = try #require(value as? [String: Any], "\(line)")
        #expect(object["status"] is Int, "\(line)")
        for key in ["path", "target", "uri"] {
          if let target = object[key] as? String { byPath[target] = object }
        }
      }
      #expect(lines(path).count == requests.count)
      let notFound = try #require(byPath["/status/404"])
      #expect(notFound["status"] as? Int == 404 && notFound["method"] as? String == "GET")
      let post = try #require(byPath["/post"])
      #expect(post["method"] as? String == "POST")
      #expect("\(post)".contains(origin.address), "which backend served: \(post)")
    }
  }

  /// An attempt that failed and was made good elsewhere is not how the request ended.
  @Test func `a request that a second backend answered has completed`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration(["127.0.0.1:\(Ports.take())", origin.address])
    configuration.top = "access-log @DIRECTORY@/access.log format=json"
    configuration.upstream = "balance round-robin"
    try withDaemon(configuration) { daemon in
      let path = "\(daemon.directory)/access.log"
      for _ in 0..<4 {
        let response = try daemon.get("/bytes/1")
        #expect(response.status == 200)
      }
      #expect(Poll.until(.patient) { lines(path).count >= 4 }, "\(lines(path))")
      let written = lines(path)
      let completed = written.filter { $0.contains("\"end\":\"completed\"") }
      let retried = written.filter { $0.contains("\"attempts\":2") }
      #expect(completed.count == written.count, "\(written)")
      #expect(!retried.isEmpty, "\(written)")
    }
  }

  @Test func `SIGUSR1 opens the file again after a rotation, and no line is lost`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "access-log @DIRECTORY@/access.log format=json"
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let (path, old) = ("\(daemon.directory)/access.log", "\(daemon.directory)/access.log.1")
      let load = ClosedLoopLoad(port: daemon.port, connections: 4)
      #expect(load.waitForMore(200))
      // The first batch may be younger than a batch may become, and the file is made for it.
      #expect(Poll.until(.patient) { FileManager.default.fileExists(atPath: path) })
      try FileManager.default.moveItem(atPath: path, toPath: old)
      daemon.process.kill(SIGUSR1)
      #expect(Poll.until(.patient) { FileManager.default.fileExists(atPath: path) })
      #expect(load.waitForMore(200))
      let outcome = load.stop()
      #expect(outcome.failures.isEmpty, "\(outcome.failures.prefix(3))")
      let isComplete = Poll.until(.patient) {
        lines(path).count + lines(old).count == outcome.completed
      }
      #expect(isComplete, "\(lines(path).count) + \(lines(old).count) of \(outcome.completed)")
      #expect(lines(path).count > 0 && lines(old).count > 0)
    }
  }

  /// Rule 54: a pipe that nobody reads stands for a disk that does not answer.
  @Test func `a log that cannot be written loses lines, never requests`() throws {
    let origin = try HTTPOrigin()
    for target in ["/dev/full", "@DIRECTORY@/stuck"] {
      var configuration = DaemonConfiguration([origin.address])
      configuration.top = "access-log @DIRECTORY@/log format=json"
      let directory = try TemporaryDirectory.make()
      if target.hasSuffix("stuck") {
        mkfifo("\(directory)/stuck", 0o600)
        // Held open for reading and never read, so that the pipe fills up.
        configuration.top = "access-log \(directory)/stuck format=json"
      } else {
        configuration.top = "access-log \(target) format=json"
      }
      let reader =
        target.hasSuffix("stuck") ? open("\(directory)/stuck", O_RDONLY | O_NONBLOCK) : -1
      try withDaemon(configuration) { daemon in
        let load = ClosedLoopLoad(port: daemon.port, connections: 4)
        #expect(load.waitForMore(3000))
        let outcome = load.stop()
        #expect(outcome.failures.isEmpty, "\(target): \(outcome.failures.prefix(3))")
      }
      if reader >= 0 { close(reader) }
      try FileManager.default.removeItem(atPath: directory)
    }
  }

  @Test func `the combined format is the known one`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "access-log @DIRECTORY@/access.log format=combined"
    try withDaemon(configuration) { daemon in
      _ = try daemon.get(
        "/bytes/42?x=1", fields: "User-Agent: test \"agent\"\r\nReferer: http://r/\r\n")
      let path = "\(daemon.directory)/access.log"
      #expect(Poll.until(.patient) { lines(path).count == 1 })
      let line = lines(path).first ?? ""
      let form =
        #/^127\.0\.0\.1 - - \[[^\]]+\] "GET /bytes/42\?x=1 HTTP/1\.1" 200 42 "http://r/" ".*"$/#
      #expect(line.wholeMatch(of: form) != nil, "\(line)")
    }
  }
}
