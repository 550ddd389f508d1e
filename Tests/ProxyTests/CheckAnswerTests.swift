import HTTP
import Resilience
import Testing

@testable import Proxy

@Suite struct `The answer to a health check` {
  private func judge(
    _ text: String, ended: Bool = false, _ change: (inout HTTPCheck) -> Void = { _ in }
  ) -> CheckAnswer.Verdict {
    var check = HTTPCheck(method: "GET", path: "/healthz")
    change(&check)
    var head = ResponseHead()
    return Array(text.utf8).withByteView {
      CheckAnswer.judge($0, hasEnded: ended, check, &head).verdict
    }
  }

  @Test(
    arguments: [
      ("HTTP/1.1 200 OK\r\n\r\n", .passed), ("HTTP/1.0 204 No\r\n\r\n", .passed),
      ("HTTP/1.1 399 X\r\n\r\n", .passed), ("HTTP/1.1 400 X\r\n\r\n", .failed(.status(400))),
      ("HTTP/1.1 503 X\r\nContent-Length: 9\r\n\r\n", .failed(.status(503))),
      ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", .passed),
      ("HTTP/1.1 100 Continue\r\n\r\n", .needsMore), ("", .needsMore), ("HTTP/1.1 20", .needsMore),
      ("SSH-2.0-OpenSSH_9.2\r\n", .failed(.malformed)),
      ("HTTP/1.1 200 OK\nA: b\n\n", .failed(.malformed)),
    ] as [(String, CheckAnswer.Verdict)])
  func `is judged by its status`(text: String, verdict: CheckAnswer.Verdict) {
    #expect(judge(text) == verdict)
  }

  @Test func `that ends early is none`() {
    #expect(judge("", ended: true) == .failed(.closed))
    #expect(judge("HTTP/1.1 200 OK\r\nA", ended: true) == .failed(.closed))
  }

  @Test func `may have other statuses`() {
    for (status, verdict) in [
      (200, .failed(.status(200))), (401, .passed), (500, .passed), (502, .failed(.status(502))),
    ] as [(Int, CheckAnswer.Verdict)] {
      #expect(
        judge("HTTP/1.1 \(status) X\r\n\r\n") { $0.expected = [401...401, 500...501] } == verdict)
    }
  }

  @Test(
    arguments: [
      ("Content-Length: 8\r\n\r\nall well", false, .passed),
      ("Content-Length: 8\r\n\r\nall wel", false, .needsMore),
      ("Content-Length: 8\r\n\r\nall bad!", false, .failed(.contentMismatch)),
      ("Content-Length: 8\r\n\r\nall", true, .failed(.closed)),
      ("\r\nall well", false, .passed), ("\r\nall", false, .needsMore),
      ("\r\nall", true, .failed(.contentMismatch)),
      ("Transfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n", false, .passed),
      ("Transfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n wel", false, .needsMore),
      ("Transfer-Encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n", false, .failed(.contentMismatch)),
      ("Transfer-Encoding: chunked\r\n\r\nx\r\n", false, .failed(.malformed)),
    ] as [(String, Bool, CheckAnswer.Verdict)])
  func `may have to contain something`(text: String, ended: Bool, verdict: CheckAnswer.Verdict) {
    let answer = judge("HTTP/1.1 200 OK\r\n" + text, ended: ended) { $0.contains = "well" }
    #expect(answer == verdict)
  }

  /// And whether another check may follow on the connection.
  @Test(
    arguments: [
      ("HTTP/1.1 204 No\r\n\r\n", true),
      ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
      ("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
      ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", false),
      ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", false),
      ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", false),
      ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
      ("HTTP/1.1 200 OK\r\n\r\nok", false), ("HTTP/1.1 204 No\r\n\r\nHTTP/1.1 204", false),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", false),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", false),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n", false),
      ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", false),
    ])
  func `leaves its connection only where it is whole`(text: String, leaves: Bool) {
    var head = ResponseHead()
    for ended in [false, true] {
      let finding = Array(text.utf8).withByteView {
        CheckAnswer.judge(
          $0, hasEnded: ended, HTTPCheck(method: "GET", path: "/"), &head)
      }
      #expect(finding.verdict == .passed)
      #expect(finding.leavesConnection == (leaves && !ended))
    }
  }

  @Test func `is asked for in one request`() {
    var check = HTTPCheck(method: "HEAD", path: "/a?b")
    func text(closes: Bool = true) -> String {
      String(
        decoding: CheckAnswer.request(check, authority: "10.0.0.1:80", closes: closes),
        as: UTF8.self)
    }
    #expect(
      text() == "HEAD /a?b HTTP/1.1\r\nHost: 10.0.0.1:80\r\nUser-Agent: weir-health-check\r\n"
        + "Connection: close\r\n\r\n")
    check.host = "a.example"
    check.fields = [.init(name: "user-agent", value: "x"), .init(name: "X-A", value: "1")]
    #expect(
      text(closes: false)
        == "HEAD /a?b HTTP/1.1\r\nHost: a.example\r\nuser-agent: x\r\nX-A: 1\r\n\r\n")
  }
}
