import HTTP
import HTTP1
import Primitives
import TestUnitSupport
import Testing

@Suite struct `What a head says` {
  private func request(_ text: String, _ holds: (borrowing RequestHead) -> Bool) {
    HeldText(HeadSamples.bytes(text)).read { view in
      var head = RequestHead()
      let length = try? HeadParser.parseRequest(view, into: &head, limits: HeadLimits())
      let isRight = holds(head)
      #expect(length == view.count && isRight, "\(text.debugDescription)")
    }
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\nHost: a", true), ("GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE", false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: y ,close", false),
    ("GET / HTTP/1.0", false), ("GET / HTTP/1.0\r\nConnection: Keep-Alive", true),
    ("GET / HTTP/1.0\r\nConnection: keep-alive, close", false),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed", true),
  ])
  func `keep-alive is what version and Connection say`(head: String, keeps: Bool) {
    request(head + "\r\n\r\n") { $0.wantsKeepAlive == keeps }
  }

  @Test func `framing, expectation, trailers, upgrade and nominations are found`() {
    request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 012\r\nExpect: 100-continue\r\n\r\n") {
      $0.framing == .length(12) && $0.expectsContinue && !$0.hasNominations
    }
    request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n") {
      $0.framing == .none && !$0.expectsContinue
    }
    request("POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n") {
      $0.framing == .length(1) && !$0.expectsContinue
    }
    request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\nTE: trailers\r\n\r\n") {
      $0.framing == .chunked && $0.acceptsTrailers && !$0.wantsUpgrade
    }
    request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n") {
      !$0.wantsUpgrade
    }
    request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-A\r\nUpgrade: h\r\n\r\n") {
      $0.wantsUpgrade && $0.hasNominations && $0.framing == .none
    }
    request("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h\r\nTE: trailers\r\n\r\n") {
      !$0.wantsUpgrade && !$0.acceptsTrailers
    }
  }

  @Test func `an absolute form's authority replaces Host`() {
    request("GET HTTP://B.example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n") {
      $0.host.string == "b.example" && $0.authority.string == "b.example:81"
        && $0.path.string == "/x" && $0.query.string == "y" && $0.targetForm == .absolute
    }
    request("GET / HTTP/1.1\r\nHost: A.Example.:81\r\n\r\n") {
      $0.host.string == "a.example" && $0.authority.string == "a.example.:81"
    }
  }

  @Test(
    arguments: [
      ("200 OK\r\nContent-Length: 5", false, .length(5)), ("200 OK", false, .untilClose),
      ("200 OK\r\nContent-Length: 0", false, .none), ("200 OK\r\nContent-Length: 5", true, .none),
      ("200 OK\r\nTransfer-Encoding: chunked", false, .chunked), ("200 OK", true, .none),
      ("200 OK\r\nTransfer-Encoding: chunked", true, .none),
      ("204 No\r\nContent-Length: 5", false, .none), ("304 Not\r\nContent-Length: 5", false, .none),
      ("100 Go\r\nContent-Length: 5", false, .none), ("205 R\r\nContent-Length: 0", false, .none),
    ] as [(String, Bool, BodyFraming)])
  func `a response's content is found as RFC 9112 §6.3 says`(
    text: String, isHead: Bool, framing: BodyFraming
  ) {
    let grammar = Grammar(isResponse: true, isHead: isHead)
    let head = grammar.parse(Array("HTTP/1.1 \(text)\r\n\r\n".utf8)).head
    #expect(head?.framing == framing)
    #expect(head?.summary.contains("keep=\(framing != .untilClose)") == true)
  }
}
