import Foundation
import TestSupport
import Testing

/// Responses whose backend is gone before weir looks at them: the daemon stands still meanwhile.
@Suite(.blocking) struct `Responses cut short` {
  private struct Example: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var method = "GET"
    let response: String
    var isReset = false
    /// Status, and the content that tells who answered.
    let status: Int
    let content: String?
  }

  private static let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!"
  private static let examples = [
    Example(testDescription: "half of the content", response: half, status: 200, content: "other"),
    Example(
      testDescription: "half of the content, reset", response: half, isReset: true, status: 200,
      content: "other"),
    Example(
      testDescription: "half of the head", response: "HTTP/1.1 200 OK\r\nContent-Le", status: 200,
      content: "other"),
    Example(
      testDescription: "content that ends with the connection, reset",
      response: "HTTP/1.1 200 OK\r\n\r\npartial", isReset: true, status: 200, content: "other"),
    Example(
      testDescription: "what must not be sent twice", method: "POST", response: half, status: 502,
      content: nil),
    Example(
      testDescription: "all of the content",
      response: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole", status: 200, content: "whole"),
    Example(
      testDescription: "content that ends with the connection",
      response: "HTTP/1.1 200 OK\r\n\r\nwhole", status: 200, content: "whole"),
    Example(
      testDescription: "chunks",
      response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "5\r\nwhole\r\n0\r\n\r\n", isReset: true, status: 200, content: "whole"),
    Example(
      testDescription: "no content",
      response: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, content: ""),
  ]

  @Test(arguments: examples)
  private func `are another backend's, or weir's, as long as the client has nothing`(
    _ example: Example
  ) throws {
    let isStopped = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      guard isStopped.wait(until: .patient, for: { $0 }) else { return }
      try connection.send(example.response)
      if example.isReset { connection.reset() }
    }
    let other = try HTTPOrigin("other")
    let configuration = DaemonConfiguration(
      ["\(origin.address) name=a", "\(other.address) backup name=b"])
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send("\(example.method) /bytes/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
      #expect(origin.wait { $0.first?.text.contains("\r\n\r\n") == true })
      daemon.process.kill(SIGSTOP)
      #expect(
        Poll.until(.patient) {
          let stat = try? String(contentsOfFile: "/proc/\(daemon.pid)/stat", encoding: .utf8)
          return stat?.contains(") T ") == true
        })
      isStopped.update { $0 = true }
      #expect(origin.wait { $0.first?.hasEnded == true })
      daemon.process.kill(SIGCONT)
      let response = try client.readResponse(to: example.method)
      #expect(response.status == example.status)
      if let content = example.content {
        #expect((response["x-origin"] ?? response.text) == content)
      } else {
        let why = response["proxy-status"] ?? ""
        #expect(why.contains("error=http_response_incomplete; next-hop=a; received-status=200"))
      }
    }
  }
}
