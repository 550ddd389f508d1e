/// Heads that are accepted, and heads that are refused with their status; the rule numbers are
/// those of docs/THREAT-MODEL.md.
enum HeadSamples {
  static let manyFields = (0..<99).map { "X-\($0): \($0)\r\n" }.joined()

  static let acceptedRequests: [String] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET http://EXAMPLE.com/a?b HTTP/1.1\r\nHost: other\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: A.Example:80\r\n\r\n",
    "M!#$%&'*+-.^_`|~09 /x HTTP/1.1\r\nhOsT:a\r\n\r\n",
    "POST /p?q=%zz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\nContent-Length: 7\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tChUnKeD \t\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-y,,Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers;q=1, trailers\r\nConnection: te\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \u{E9}\u{FF}\r\nEmpty:\r\nBlank: \t \r\nT:a\tb\r\n\r\n",
    "GET /%41/%2F HTTP/1.1\r\nHost: [2001:DB8::1]:8080\r\nX:y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\(manyFields)\r\n",
    "PATCH /a//b HTTP/1.1\r\nHost: a\r\nA: b:c\r\nAge: :\r\n\r\n",
    "DELETE /very/long/path/that/is/longer/than/any/vector?and=a&long=query HTTP/1.1\r\n"
      + "Host: a-long-host-name.with.many.labels.example\r\n\r\n",
  ]

  private static func line(_ line: String) -> String { "\(line)\r\nHost: a\r\n\r\n" }
  private static func get(_ fields: String) -> String {
    "GET / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n\r\n"
  }

  static let refusedFraming: [(String, Int)] = [
    (get("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
    (get("Transfer-Encoding: chunked\r\nContent-Length: 5"), 400),
    (get("Transfer-Encoding: gzip"), 501), (get("Transfer-Encoding: identity"), 501),
    (get("Transfer-Encoding: gzip, chunked"), 400), (get("Transfer-Encoding: chunked,"), 400),
    (get("Transfer-Encoding:"), 400), (get("Transfer-Encoding: \"chunked\""), 400),
    (get("Transfer-Encoding: chunked;q=1"), 400), (get("Transfer-Encoding: chunked\u{80}"), 400),
    (get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
    (get("Transfer-Encoding: chunked\u{B}"), 400), (get("Transfer-Encoding : chunked"), 400),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (get("Content-Length: +5"), 400), (get("Content-Length: -0"), 400),
    (get("Content-Length: 0x5"), 400), (get("Content-Length: 5 5"), 400),
    (get("Content-Length: 5,5"), 400), (get("Content-Length:"), 400),
    (get("Content-Length: 1.0"), 400), (get("Content-Length: 1000000000000000000"), 400),
    (get("Content-Length: 5\r\nContent-Length: 6"), 400),
    (get("Content-Length: 5\r\nContent-Length: x"), 400),
    (get("Content-Length: 5\r\nX: y\r\nContent-Length: 5\r\nContent-Length: 4"), 400),
    (get("Expect: 200-ok"), 417), (get("Expect:"), 417),
    (get("Expect: 100-continue\r\nExpect: 100-continue"), 417),
  ]

  static let refusedLines: [(String, Int)] = [
    (line("GET / HTTP/1.2"), 505), (line("GET / HTTP/2.0"), 505), (line("GET / HTTP/0.9"), 505),
    (line("GET / HTTP/1.11"), 400), (line("GET / HTTP/11"), 400), (line("GET / http/1.1"), 400),
    (line("GET / HTTP/1.1 "), 400), (line("GET /  HTTP/1.1"), 400), (line("GET  / HTTP/1.1"), 400),
    (line("GET\t/ HTTP/1.1"), 400), (line("GET /\tHTTP/1.1"), 400), (line(" GET / HTTP/1.1"), 400),
    (line("GET /"), 400), (line("GET / "), 400), (line("GET"), 400), (line(""), 400),
    (line("G(T / HTTP/1.1"), 400), (line("\u{C9}T / HTTP/1.1"), 400), (line("GET / HTTP/1,1"), 400),
    (line(String(repeating: "M", count: 33) + " / HTTP/1.1"), 400),
    (line("\r\n\r\nGET / HTTP/1.1"), 400), ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ("GET / HTTP/1.1\rHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n", 400),
    (line("CONNECT a:80 HTTP/1.1"), 405), (line("TRACE / HTTP/1.1"), 405),
    (line("GET * HTTP/1.1"), 400), (line("GET a HTTP/1.1"), 400), (line("GET /.. HTTP/1.1"), 400),
    (line("GET /%2e%2e/a HTTP/1.1"), 400), (line("GET /%00 HTTP/1.1"), 400),
    (line("GET /a#b HTTP/1.1"), 400), (line("GET /\"a HTTP/1.1"), 400),
    (line("GET /<a HTTP/1.1"), 400), (line("GET /a\\b HTTP/1.1"), 400),
    (line("GET /a|b HTTP/1.1"), 400), (line("GET /{a} HTTP/1.1"), 400),
    (line("GET /^ HTTP/1.1"), 400), (line("GET /` HTTP/1.1"), 400),
    (line("GET /\u{E9} HTTP/1.1"), 400), (line("GET /a\u{7F} HTTP/1.1"), 400),
    (line("GET http://u@a/ HTTP/1.1"), 400), (line("GET ftp://a/ HTTP/1.1"), 400),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
  ]

  static let refusedFields: [(String, Int)] = [
    (get("X : y"), 400), (get("X\t: y"), 400), (get(" X: y"), 400), (get(": y"), 400),
    (get("X"), 400), (get("X y"), 400), (get("X(: y"), 400), (get("\u{E9}: y"), 400),
    (get("X: a\r\n b"), 400), (get("X: a\r\n\tb"), 400), (get("X: \u{0}"), 400),
    (get("X: a\u{1}"), 400), (get("X: a\u{7F}"), 400), (get("X\u{0}: a"), 400), (get("@: a"), 400),
    ("GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", 400),
    ("GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n", 400), ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
  ]

  static let acceptedResponses: [String] = [
    "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 404 Not\tF\u{F6}und\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 599 X\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nConnection: close, x\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nVia: 1.1 a\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA:\r\nB: \t\r\nC: d \r\n\r\n",
  ]

  private static func answer(_ fields: String) -> String { "HTTP/1.1 200 OK\r\n\(fields)\r\n\r\n" }

  static let refusedResponses: [String] = [
    "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1 99 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n",
    "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 \r\n\r\n\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
    " HTTP/1.1 200 OK\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "\n\r\n",
    "HTTP/1.1 200 OK\n\r\n\r\n", "HTTP/1.1 200 O\u{0}K\r\n\r\n", "HTTP/1.1 200 O\rK\r\n\r\n",
    "HTTP/1.1 200\tOK\r\n\r\n", "HTTP/1.1 200-OK\r\n\r\n", "HTTP/1.1 200\n\r\n",
    answer("Content-Length: 5\r\nTransfer-Encoding: chunked"), answer("Content-Length: x"),
    answer("Content-Length: 5\r\nContent-Length: 6"), answer("Transfer-Encoding: gzip"),
    answer("Transfer-Encoding: chunked, chunked"), answer("Content-Length: -1"),
    answer("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), answer("X : y"),
    answer(" X: y"), answer("X: a\r\n b"), answer("X"), answer("X: \u{0}"), answer(": x"),
    answer("X: a\rb"), "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 304 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\n\r\n",
  ]

  /// One byte for each character: the samples above speak of bytes, not of UTF-8.
  static func bytes(_ sample: String) -> [UInt8] {
    sample.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) }
  }
}
