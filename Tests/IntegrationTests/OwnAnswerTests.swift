import Foundation
import TestSupport
import Testing

/// What weir says of itself where it answers itself: to the client, and in the log.
@Suite(.blocking) struct `Answers of weir's own` {
  private func proxyStatus(_ response: WireResponse) -> String { response["proxy-status"] ?? "" }

  @Test func `name the backend that failed, where they may`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      switch head.target {
      case "/upgrade":
        try connection.send(
          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
      case "/hints":
        try connection.send(String(repeating: "HTTP/1.1 102 Processing\r\n\r\n", count: 11))
      default: try connection.send("junk\r\n\r\n")
      }
    }
    let rows = [
      ("/junk", 502, "weir-test; error=http_protocol_error; next-hop=one"),
      ("/upgrade", 502, "weir-test; error=http_upgrade_failed; next-hop=one; received-status=101"),
      ("/hints", 502, "weir-test; error=http_protocol_error; next-hop=one; received-status=102"),
    ]
    var configuration = DaemonConfiguration(["\(origin.address) name=one"])
    configuration.upstream = "circuit-breaker off"
    configuration.blocks = """
      upstream gone {
        backend 127.0.0.1:\(Ports.take())
        circuit-breaker off
      }
      route /gone {
        upstream gone
      }
      """
    try withDaemon(configuration) { daemon in
      for (target, status, expected) in rows {
        let response = try daemon.get(target)
        #expect(response.status == status && proxyStatus(response) == expected)
      }
      let refused = proxyStatus(try daemon.get("/gone"))
      let start = "weir-test; error=connection_refused; next-hop=\"127.0.0.1:"
      #expect(refused.hasPrefix(start), "\(refused)")
      // The client's own fault names nobody.
      let client = try daemon.connect()
      try client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
      let ours = try client.readResponse()
      #expect(ours.status == 400 && proxyStatus(ours) == "weir-test; error=http_request_error")
    }
    configuration.listener = "name-backends off"
    try withDaemon(configuration) { daemon in
      let response = try daemon.get("/junk")
      #expect(proxyStatus(response) == "weir-test; error=http_protocol_error")
    }
  }

  @Test func `have the longest content that the configuration allows`() throws {
    var configuration = DaemonConfiguration()
    let content = String(repeating: "x", count: 32 << 10)
    configuration.blocks = "route * {\n  respond 200 body=\(content)\n}"
    try withDaemon(configuration) { daemon in
      let response = try daemon.get("/")
      #expect(response.status == 200)
      #expect(response.text == content)
    }
  }

  /// Octets are those of the content that the client got, and no time is 0 that was not.
  @Test func `are logged with their length and their time`() throws {
    var configuration = DaemonConfiguration()
    configuration.top = "access-log @DIRECTORY@/access.log format=json"
    configuration.blocks = """
      route /fixed {
        respond 200 content-type=text/plain body="hello"
      }
      route /none {
        respond 204
      }
      route /moved {
        redirect 308 https://b/
      }
      """
    try withDaemon(configuration) { daemon in
      let path = "\(daemon.directory)/access.log"
      let requests = [
        "GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /fixed HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: a\r\n\r\n", "GET /moved HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /bad HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
      ]
      var lengths: [Int] = []
      for request in requests {
        let client = try daemon.connect()
        try client.send(request)
        let method = request.hasPrefix("HEAD") ? "HEAD" : "GET"
        lengths.append(try client.readResponse(to: method).body.count)
      }
      #expect(lengths == [5, 0, 0, 0, 14, 0, 16])
      func lines() -> [String] {
        let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        let all: [String] = text.components(separatedBy: "\n")
        return Array(all.dropLast())
      }
      #expect(Poll.until(.patient) { lines().count >= requests.count })
      for (line, length) in zip(lines(), lengths) {
        let value = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        #expect(value?["response_bytes"] as? Int == length, "\(line)")
        #expect(value?["total_us"] as? Int ?? 0 > 0, "\(line)")
      }
      #expect(try daemon.counts("\nweir_response_bytes_total \(lengths.reduce(0, +))\n"))
    }
  }
}
