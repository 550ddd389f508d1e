import TestSupport
import Testing

/// Requests that two parsers could read differently: one answer, the end of the connection, and
/// not an octet for the backend (docs/THREAT-MODEL.md, rules 1–4, 8–13, 15, 19).
@Suite(.blocking) struct `Requests that are refused` {
  struct Case: Sendable, CustomTestStringConvertible {
    var rule: String
    var request: String
    var status: Int

    init(_ rule: String, _ request: String, _ status: Int = 400) {
      (self.rule, self.request, self.status) = (rule, request, status)
    }

    var testDescription: String { "rule \(rule): \(request.prefix(60).debugDescription)" }
  }

  /// A head with `fields` in place of, or after, what a request needs.
  private static func get(_ fields: String, host: String = "Host: example.com\r\n") -> String {
    "GET / HTTP/1.1\r\n\(host)\(fields)\r\n\r\n"
  }

  private static func post(_ fields: String, _ body: String = "0\r\n\r\n") -> String {
    "POST / HTTP/1.1\r\nHost: example.com\r\n\(fields)\r\n\r\n\(body)"
  }

  private static func line(_ line: String) -> String {
    "\(line)\r\nHost: example.com\r\n\r\n"
  }

  static let framing: [Case] = [
    Case("1", post("Content-Length: 5\r\nTransfer-Encoding: chunked")),
    Case("1", post("Transfer-Encoding: chunked\r\nContent-Length: 5")),
    Case("1", post("Transfer-Encoding: chunked\r\nContent-Length: 0")),
    Case("2", post("Transfer-Encoding: gzip"), 501),
    Case("2", post("Transfer-Encoding: identity"), 501),
    Case("2", post("Transfer-Encoding: xchunked"), 501),
    Case("2", post("Transfer-Encoding: gzip, chunked")),
    Case("2", post("Transfer-Encoding: chunked, chunked")),
    Case("2", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
    Case("2", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
    Case("2", post("Transfer-Encoding: chunked;a=b")),
    Case("2", post("Transfer-Encoding: \"chunked\"")),
    Case("2", post("Transfer-Encoding:")),
    Case("2", post("Transfer-Encoding: chunked,")),
    Case("2", post("Transfer-Encoding: ,chunked")),
    Case("2", post("Transfer-Encoding: \u{0B}chunked")),
    Case("2", post("Transfer-Encoding: chunked\u{0C}")),
    Case("2", post("Transfer-Encoding: chunk\u{E9}d")),
    Case("3", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Case("4", post("Content-Length: +5", "12345")),
    Case("4", post("Content-Length: -5", "12345")),
    Case("4", post("Content-Length: 0x5", "12345")),
    Case("4", post("Content-Length: 5a", "12345")),
    Case("4", post("Content-Length:", "12345")),
    Case("4", post("Content-Length: 5 5", "12345")),
    Case("4", post("Content-Length: 5, 5", "12345")),
    Case("4", post("Content-Length: 5,6", "12345")),
    Case("4", post("Content-Length: 5\r\nContent-Length: 6", "12345")),
    Case("4", post("Content-Length: 9223372036854775808", "12345")),
    Case("4", post("Content-Length: 18446744073709551621", "12345")),
    Case("4", post("Content-Length: 5.0", "12345")),
    Case("4", post("Content-Length: \u{0661}", "1")),
  ]

  static let lines: [Case] = [
    Case("8", "GET / HTTP/1.1\nHost: example.com\n\n"),
    Case("8", "GET / HTTP/1.1\r\nHost: example.com\n\r\n"),
    Case("8", "GET / HTTP/1.1\rHost: example.com\r\r"),
    Case("8", get("A: b\rX: c")),
    Case("8", get("A: b\u{0}c")),
    Case("8", get("A: b\u{1}c")),
    Case("8", get("A: b\u{7F}c")),
    Case("8", get("A: b\r\n folded")),
    Case("8", get("A: b\r\n\tfolded")),
    Case("8", get("A : b")),
    Case("8", get("A\t: b")),
    Case("8", get(": b")),
    Case("8", get("A(: b")),
    Case("8", get("A\u{E9}: b")),
    Case("8", get("no colon")),
    Case("8", get("Host: example.com", host: " ")),
    Case("8", get("A: b", host: " Host: example.com\r\n")),
    Case("8", "GET / HTTP/1.1\r\n\tX: y\r\nHost: example.com\r\n\r\n"),
    Case("9", line("GET / HTTP/1.2"), 505),
    Case("9", line("GET / HTTP/2.0"), 505),
    Case("9", line("GET / HTTP/0.9"), 505),
    Case("9", line("GET / HTTP/11")),
    Case("9", line("GET / HTTP/1.10")),
    Case("9", line("GET / HTTP/1.")),
    Case("9", line("GET / http/1.1")),
    Case("9", line("GET / HTTPS/1.1")),
    Case("9", line("GET /")),
    Case("9", line("GET")),
    Case("9", line("GET  / HTTP/1.1")),
    Case("9", line("GET /  HTTP/1.1")),
    Case("9", line("GET\t/ HTTP/1.1")),
    Case("9", line("GET /\tHTTP/1.1")),
    Case("9", line("GET / HTTP/1.1 ")),
    Case("9", line("GET / x HTTP/1.1")),
    Case("9", line("G(T / HTTP/1.1")),
    Case("9", line(" GET / HTTP/1.1")),
    Case("9", line("\(String(repeating: "A", count: 33)) / HTTP/1.1")),
    Case("9", "PRI * HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    Case("15", "\r\n\r\n" + line("GET / HTTP/1.1")),
    Case("15", "\n" + line("GET / HTTP/1.1")),
    Case("15", "\r" + line("GET / HTTP/1.1")),
  ]

  static let targets: [Case] =
    [
      "/a\u{1}b", "/a\u{7F}b", "/a\u{E9}b", "/a\"b", "/a<b", "/a>b", "/a\\b", "/a^b", "/a{b",
      "/a|b", "/a}b", "/a`b", "/a#b", "/#", "*", "relative", "ftp://example.com/", "http://",
      "http:///path", "http://user@example.com/", "http://user:pw@example.com/",
      "http://example.com:0/", "http://example.com:65536/", "http://example.com:/",
      "http://a b/", "http://[::1/", "/%00", "/a%00b", "/%", "/%2", "/%zz", "/..", "/../",
      "/a/../b", "/a/./b", "/.", "/a/..", "/%2e%2e/b", "/a/%2E%2e", "/a/.%2e/b", "/a/%2e/b",
      "http://example.com/../b",
    ].map { Case("10", line("GET \($0) HTTP/1.1")) } + [
      Case("13", line("CONNECT example.com:443 HTTP/1.1"), 405),
      Case("13", line("TRACE / HTTP/1.1"), 405),
      Case("12", "GET / HTTP/1.1\r\n\r\n"),
      Case("12", get("A: b", host: "Host:\r\n")),
      Case("12", get("A: b", host: "Host: a\r\nHost: a\r\n")),
      Case("12", get("A: b", host: "Host: a\r\nHost: b\r\n")),
    ]
    + [
      "a b", "user@a", "a/b", "a,b", "a\"b", "a:0", "a:65536", "a:", "a:80:80", "a:+80", "a:8O",
      "[::1", "::1", "a?b", "a#b", "a\\b", "http://a", "a;b", "\u{E9}", "[]", "[g::1]", ".",
    ].map { Case("12", get("A: b", host: "Host: \($0)\r\n")) }
    + [
      Case("19", post("Expect: 200-ok\r\nContent-Length: 2", "ab"), 417),
      Case("19", post("Expect: 100-continue, x\r\nContent-Length: 2", "ab"), 417),
      Case("19", post("Expect: \r\nContent-Length: 2", "ab"), 417),
    ]

  @Test(arguments: [("framing", framing), ("lines", lines), ("targets", targets)])
  func `each class gets its status, the connection ends, the backend sees nothing`(
    group: String, cases: [Case]
  ) throws {
    let origin = try HTTPOrigin()
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for item in cases {
        for pieceSize in [Int.max, 7, 1] {
          let name = "\(item.testDescription), pieces of \(pieceSize)"
          let client = try daemon.connect()
          let octets = Array((item.request + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").utf8)
          // weir may answer and close before everything has been sent: that is the point.
          try? client.send(pieces: split(latin1(octets), pieceSize))
          do {
            let response = try client.readResponse()
            #expect(response.status == item.status, "\(name): \(response.head.text)")
            #expect(response["connection"] == "close", "\(name): \(response.head.text)")
            #expect(response["proxy-status"] != nil, "\(name): \(response.head.text)")
            let end = try client.readToEnd()
            #expect(end.octets.isEmpty, "\(name): answered twice")
            if pieceSize == .max { #expect(end.ending == .fin, "\(name)") }
          } catch {
            Issue.record("\(name): \(error)")
          }
        }
      }
      // One good request at the end: what comes before it at the backend came too early.
      #expect(try daemon.get("/sentinel").status == 200)
      #expect(origin.requests.map(\.head.target) == ["/sentinel"])
      #expect(origin.records.filter { $0.receivedCount > 0 }.count == 1)
      #expect(!origin.records.contains { $0.text.contains("smuggled") })
    }
  }

  /// What stands right beside the refused ones: strictness that refuses these is a fault, too.
  @Test func `their lawful neighbours pass`() throws {
    let origin = try HTTPOrigin()
    let accepted: [String] = [
      Self.post("Transfer-Encoding: Chunked"),
      Self.post("Transfer-Encoding:\tchunked \t"),
      Self.post("Content-Length: 005", "12345"),
      Self.post("Content-Length: 5\r\nContent-Length: 5", "12345"),
      Self.get("A: \u{E9}\u{FF}"),
      Self.get("A:"),
      Self.get("A: b\tc"),
      Self.get("!#$%&'*+-.^`|~: token"),
      "\r\n" + Self.line("GET / HTTP/1.1"),
      Self.line("GET http://example.com HTTP/1.1"),
      Self.line("GET http://example.com?q HTTP/1.1"),
      Self.line("GET HTTP://Example.COM:80/x HTTP/1.1"),
      Self.line("OPTIONS * HTTP/1.1"),
      Self.line("GET /%2F/%5C//...//a..b/..c/.d HTTP/1.1"),
      Self.line("GET /?a=../..&b=%zz HTTP/1.1"),
      Self.line("\(String(repeating: "A", count: 32)) / HTTP/1.1"),
      Self.get("A: b", host: "Host: [::1]:8080\r\n"),
      Self.get("A: b", host: "Host: EXAMPLE.com:65535\r\n"),
      "GET / HTTP/1.0\r\n\r\n",
      "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
    ]
    try withDaemon(DaemonConfiguration([origin.address])) { daemon in
      for request in accepted {
        let client = try daemon.connect()
        try client.send(latin1(Array(request.utf8)))
        #expect(try client.readResponse().status == 200, "\(request.debugDescription)")
      }
    }
    #expect(origin.requests.count == accepted.count)
  }
}

/// Test cases spell octets above 0x7F as characters of Latin-1.
func latin1(_ utf8: [UInt8]) -> [UInt8] {
  String(decoding: utf8, as: UTF8.self).unicodeScalars.flatMap { scalar -> [UInt8] in
    scalar.value < 256 ? [UInt8(scalar.value)] : Array(String(scalar).utf8)
  }
}

func split(_ octets: [UInt8], _ size: Int) -> [[UInt8]] {
  stride(from: 0, to: octets.count, by: min(size, max(1, octets.count))).map {
    Array(octets[$0..<min($0 + min(size, octets.count), octets.count)])
  }
}
