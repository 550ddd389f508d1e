import TestSupport
import Testing

/// No spelling of a target reaches the backend of another route (rule 10a).
@Suite(.blocking) struct `Route bypass` {
  /// Where a request may end: at one of the two backends, or nowhere.
  enum Place: String, Sendable { case open, secret, other, refused }

  static func blocks(_ open: String, _ secret: String, _ other: String) -> String {
    """
    upstream open { backend \(open) }
    upstream secret { backend \(secret) }
    upstream other { backend \(other) }
    route example.com/secret/* { upstream secret }
    route example.com/exact { upstream secret }
    route example.com/* { upstream open }
    route * { upstream other }
    """
    .replacingOccurrences(of: " { ", with: " {\n").replacingOccurrences(of: " }", with: "\n}")
  }

  static let targets: [(target: String, place: Place)] = [
    ("/secret/x", .secret), ("/secret", .secret), ("/secret/", .secret),
    ("/%73ecret/x", .secret), ("/%73%65%63%72%65%74/x", .secret), ("/secre%74/x", .secret),
    ("/secret/?a", .secret), ("/secret?a", .secret), ("/secret/%2e", .refused),
    ("/exact", .secret), ("/%65xact", .secret), ("/exact?x", .secret), ("/exact/", .open),
    ("/open/../secret/x", .refused), ("/open/%2e%2e/secret/x", .refused),
    ("/open/.%2E/secret/x", .refused), ("/./secret/x", .refused), ("/%2e/secret/x", .refused),
    ("/secret/../open", .refused), ("/secret%00/x", .refused), ("/open/%00/../secret", .refused),
    ("/open/..%2Fsecret/x", .refused), ("/open%2f..%2fsecret/x", .refused),
    ("/open/%2e%2e%5Csecret/x", .refused), ("/open/..;/secret/x", .refused),
    // Other paths by rule 10a: distinct, so never the secret route, and never a decoded one.
    ("//secret/x", .open), ("/secret//x", .secret), ("/secret%2Fx", .open),
    ("/secret%2fx", .open), ("/%2Fsecret/x", .open), ("/SECRET/x", .open), ("/secretx", .open),
    ("/secret%5Cx", .open), ("/secret;/x", .open), ("/secret%3F/x", .open), ("/secret%23", .open),
    ("/%2573ecret/x", .open), ("/open?/../secret", .open), ("/open?x=/secret/x", .open),
    ("/secret\\x", .refused), ("/secret#/x", .refused), ("/secret%", .refused),
    ("http://example.com/secret/x", .secret), ("http://EXAMPLE.COM/%73ecret/x", .secret),
    ("http://other.test/secret/x", .other), ("http://example.com/../secret/x", .refused),
    ("http://example.com@other.test/secret", .refused), ("http://example.com", .open),
    ("http://example.com?x", .open), ("https://example.com/secret/x", .secret),
  ]

  static let hosts: [(host: String, place: Place)] = [
    ("example.com", .secret), ("EXAMPLE.com", .secret), ("Example.Com:8080", .secret),
    ("example.com.", .secret), ("EXAMPLE.COM.:80", .secret), ("www.example.com", .other),
    ("example.com.evil.test", .other), ("xexample.com", .other), ("example", .other),
    ("example.com..", .refused),
  ]

  @Test func `each spelling goes where it says, or nowhere`() throws {
    let origins = try ["open", "secret", "other"].map { try HTTPOrigin($0) }
    var configuration = DaemonConfiguration()
    configuration.blocks = Self.blocks(
      origins[0].address, origins[1].address, origins[2].address)
    let requests =
      Self.targets.map { ("GET \($0.target) HTTP/1.1\r\nHost: example.com\r\n", $0.place) }
      + Self.hosts.map { ("GET /secret/x HTTP/1.1\r\nHost: \($0.host)\r\n", $0.place) }
      + [
        ("GET http://example.com/secret/x HTTP/1.1\r\nHost: other.test\r\n", Place.secret),
        ("GET http://other.test/secret/x HTTP/1.1\r\nHost: example.com\r\n", .other),
        ("GET /secret/x HTTP/1.1\r\nHost: example.com\r\nX-Original-URL: /open\r\n", .secret),
        ("GET /open HTTP/1.1\r\nHost: example.com\r\nX-Rewrite-URL: /secret/x\r\n", .open),
        ("GET /open HTTP/1.1\r\nHost: other.test\r\nX-Forwarded-Host: example.com\r\n", .other),
        ("GET /secret/x HTTP/1.0\r\n", .other),
      ]
    try withDaemon(configuration) { daemon in
      for (request, place) in requests {
        let before = origins.map(\.requests.count)
        let client = try daemon.connect()
        try client.send(request + "Connection: close\r\n\r\n")
        let response = try client.readResponse()
        let reached = response["x-origin"] ?? "refused"
        #expect(reached == place.rawValue, "\(request.debugDescription): \(response.head.text)")
        for (index, origin) in origins.enumerated() where origin.name != place.rawValue {
          #expect(origin.requests.count == before[index], "\(request.debugDescription)")
        }
        if place == .refused { #expect(response.status == 400, "\(request.debugDescription)") }
      }
      // What the backend sees is what the client wrote, never a decoded form.
      #expect(origins[1].requests.contains { $0.head.target == "/%73ecret/x" })
      #expect(origins[0].requests.contains { $0.head.target == "/secret%2fx" })
      #expect(origins[0].requests.contains { $0.head.target == "//secret/x" })
    }
  }

  @Test func `strict-path refuses what servers disagree about`() throws {
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "strict-path on"
    try withDaemon(configuration) { daemon in
      for target in ["/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb", "//a", "/a//b", "/a//"] {
        let response = try daemon.get(target)
        #expect(response.status == 400, "\(target)")
      }
      #expect(origin.receivedCount == 0)
      #expect(try daemon.get("/a/b?c=//%2F").status == 200)
    }
  }
}
