import Foundation
import TestSupport
import Testing

/// Clients behind a proxy that says who they are.
@Suite(.blocking) struct `Proxy protocol` {
  private static let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  private static let line = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n"

  private func configuration(_ origin: HTTPOrigin) -> DaemonConfiguration {
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "proxy-protocol 127.0.0.0/8\n header-timeout 1s"
    return configuration
  }

  @Test func `the client that the header names is the client, in any pieces`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(configuration(origin)) { daemon in
      for cut in [0, 1, 6, 20, Self.line.utf8.count, Self.line.utf8.count + 5] {
        let text = Self.line + Self.request
        let client = try daemon.connect()
        try client.send(String(text.prefix(cut)))
        if cut > 0 { #expect(client.staysSilent(for: 0.02)) }
        try client.send(String(text.dropFirst(cut)))
        #expect(try client.readResponse().status == 200)
        // The header is for the connection: what follows is requests.
        try client.send(Self.request)
        #expect(try client.readResponse().status == 200)
      }
      let seen = Set(origin.requests.compactMap { $0.head["x-forwarded-for"] })
      #expect(seen == ["203.0.113.9"])
    }
  }

  @Test func `a TLS handshake may follow in the same segment`() throws {
    let origin = try HTTPOrigin()
    let certificates = try TestCertificates()
    var configuration = configuration(origin)
    let pair = try certificates.issue(["example.com"])
    configuration.listener += "\ntls {\n\(pair.directive)\n}"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send(Self.line)
      try client.startTLS(TestTLS(trusting: certificates.authority), name: "example.com")
      try client.send(Self.request)
      #expect(try client.readResponse().status == 200)
      #expect(origin.requests.first?.head["x-forwarded-for"] == "203.0.113.9")
    }
  }

  @Test func `without a header, or from elsewhere, the connection is closed and counted`() throws {
    let origin = try HTTPOrigin()
    var strangers = configuration(origin)
    strangers.listener = "proxy-protocol 192.0.2.0/24"
    try withDaemon(configuration(origin)) { daemon in
      for text in [Self.request, "PROXY TCP4 nonsense\r\n" + Self.request, "PROXY "] {
        let client = try daemon.connect()
        try client.send(text)
        #expect(try client.readToEnd().octets.isEmpty, "\(text)")
      }
      #expect(try daemon.counts("weir_connections_rejected_total{reason=\"proxy_header\"} 3\n"))
      #expect(origin.requests.isEmpty)
    }
    try withDaemon(strangers) { daemon in
      let client = try daemon.connect()
      #expect(try client.readToEnd().octets.isEmpty)
    }
  }

  @Test(arguments: ["", "P", "PROXY ", "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80", "\r\n\r\n\0"])
  func `what ends within the header is closed at once`(part: String) throws {
    let origin = try HTTPOrigin()
    var configuration = configuration(origin)
    configuration.listener = "proxy-protocol 127.0.0.0/8\n header-timeout 1h"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect()
      try client.send(part)
      // Alone at first, so that the end comes as an event of its own, too.
      if part == "PROXY " { #expect(client.staysSilent(for: 0.1)) }
      client.finishSending()
      #expect(try client.readToEnd().octets.isEmpty)
      if !part.isEmpty {
        let line = "weir_connections_rejected_total{reason=\"proxy_header\"} 1\n"
        #expect(try daemon.counts(line))
      }
    }
  }

  @Test func `limits are the client's, not the proxy's`() throws {
    let origin = try HTTPOrigin()
    var configuration = configuration(origin)
    configuration.top = "max-connections-per-client 2"
    try withDaemon(configuration) { daemon in
      func open(_ client: Int) throws -> WireConnection {
        let connection = try daemon.connect()
        try connection.send("PROXY TCP4 203.0.113.\(client) 192.0.2.1 1 80\r\n" + Self.request)
        return connection
      }
      let many = try (1...5).map { try open($0) }
      for connection in many { #expect(try connection.readResponse().status == 200) }
      #expect(try open(1).readResponse().status == 200)
      let second = try open(2)
      #expect(try second.readResponse().status == 200)
      #expect(try open(2).readToEnd().octets.isEmpty, "a third of one client")
    }
  }

  @Test func `a backend may be told in version 2`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      let header = try connection.read(28)
      _ = try connection.readHead()
      let words = header[12...].map { String($0) }.joined(separator: " ")
      try connection.send("HTTP/1.1 200 OK\r\nX-Header: \(words)\r\nContent-Length: 0\r\n\r\n")
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "proxy-protocol v2"
    try withDaemon(configuration) { daemon in
      let client = try daemon.connect(source: "127.0.0.9")
      try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      let words = try client.readResponse()["x-header"] ?? ""
      #expect(words.hasPrefix("33 17 0 12 127 0 0 9 127 0 0 1 "), "\(words)")
      #expect(words.hasSuffix(" \(daemon.port >> 8) \(daemon.port & 0xFF)"), "\(words)")
    }
  }

  /// Whose connection it is stands before the handshake, and no two clients have one.
  @Test func `a backend of TLS reads the header before the handshake, on a connection each`()
    throws
  {
    let certificates = try TestCertificates()
    let tls = try TestTLS(serving: certificates.issue(["api.internal"]))
    let origin = try ScriptedOrigin { connection, number in
      // One octet at a time: what follows belongs to the handshake.
      var line: [UInt8] = []
      while line.last != UInt8(ascii: "\n") {
        var octet: UInt8 = 0
        guard recv(connection.descriptor, &octet, 1, 0) == 1 else { return }
        line.append(octet)
      }
      try connection.startTLS(tls)
      while try connection.hasMore() {
        let head = try connection.readHead()
        _ = try connection.readRequestBody(head)
        // The first connection ends with its first request: that goes out once more, on another.
        if number == 0 { return }
        let source = String(decoding: line, as: UTF8.self).split(separator: " ").dropFirst(2).first
        try connection.send(
          "HTTP/1.1 200 OK\r\nX-Source: \(source ?? "")\r\nContent-Length: 0\r\n\r\n")
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = """
      proxy-protocol v1
      tls {
      ca \(certificates.authority)
      server-name api.internal
      }
      """
    try withDaemon(configuration) { daemon in
      let clients = try ["127.0.0.7", "127.0.0.8"].map { ($0, try daemon.connect(source: $0)) }
      for _ in 0..<3 {
        for (source, client) in clients {
          try client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
          let response = try client.readResponse()
          #expect(response.status == 200 && response["x-source"] == source, "\(response)")
        }
      }
    }
    #expect(origin.records.count == 7)
  }

  @Test func `a backend reads the header first, of requests and of checks`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      let line = try connection.readLine()
      _ = try connection.readHead()
      try connection.send("HTTP/1.1 200 OK\r\nX-Line: \(line)\r\nContent-Length: 0\r\n\r\n")
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "proxy-protocol v1\n health-check http /check interval=60s"
    try withDaemon(configuration) { daemon in
      for (source, request) in [("127.0.0.7", 1), ("127.0.0.8", 2), ("127.0.0.7", 3)] {
        let client = try daemon.connect(source: source)
        try client.send("GET /\(request) HTTP/1.1\r\nHost: a\r\n\r\n")
        let line = try client.readResponse()["x-line"] ?? ""
        #expect(line.hasPrefix("PROXY TCP4 \(source) 127.0.0.1 "), "\(line)")
        #expect(line.hasSuffix(" \(daemon.port)"), "\(line)")
      }
      // The check has its own thread and its own time.
      let isChecked = origin.wait { $0.contains { $0.text.contains(" /check ") } }
      #expect(isChecked && origin.records.count == 4, "a connection each, and the check's")
      let check = origin.records.map(\.text).filter { $0.contains(" /check ") }
      #expect(check.count == 1 && check[0].hasPrefix("PROXY UNKNOWN\r\n"), "\(check)")
    }
  }
}
