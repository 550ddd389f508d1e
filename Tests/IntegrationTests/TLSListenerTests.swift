import Foundation
import TestSupport
import Testing

/// A listener that speaks TLS, with clients that share no code with it.
@Suite(.blocking) struct `TLS listeners` {
  static let certificates = Result { try TestCertificates() }

  private func configuration(
    _ backends: [String], _ tls: String, listener: String = ""
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    configuration.listener = "\(listener)\ntls {\n\(tls)\n}"
    return configuration
  }

  private func connect(
    _ daemon: DaemonProcess, _ name: String = "example.com",
    showing pair: TestCertificates.Pair? = nil
  ) throws -> WireConnection {
    let connection = try daemon.connect()
    let authority = try Self.certificates.get().authority
    try connection.startTLS(TestTLS(trusting: authority, showing: pair), name: name)
    return connection
  }

  private func curl(_ arguments: [String]) throws -> String {
    let (_, output) = try ChildProcess.run(
      "curl",
      ["-sS", "--max-time", "20", "--cacert", Self.certificates.get().authority] + arguments)
    return output
  }

  @Test func `serve requests, kept alive and pipelined, of any size in both directions`() throws {
    let pair = try Self.certificates.get().issue(["example.com"])
    let origin = try HTTPOrigin()
    try withDaemon(configuration([origin.address], pair.directive)) { daemon in
      let client = try connect(daemon)
      for count in [0, 1, 16_384, 70_000, 3_000_000] {
        try client.send("GET /bytes/\(count) HTTP/1.1\r\nHost: example.com\r\n\r\n")
        let response = try client.readResponse()
        #expect(Pattern.isPrefix(response.body, count))
      }
      try client.send(
        "GET /chunked/200000 HTTP/1.1\r\nHost: a\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n")
      let chunked = try client.readResponse()
      #expect(Pattern.isPrefix(chunked.body, 200_000))
      #expect(try client.readResponse().text == "origin")
      try client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
      try Pattern.send(2_000_000, on: client)
      let answer = try client.readResponse()
      #expect(answer["x-content-count"] == "2000000" && answer["x-content-intact"] == "yes")
    }
    #expect(origin.requests.first?.head["x-forwarded-proto"] == "https")
    #expect(origin.requests.first?.head["forwarded"]?.hasSuffix("proto=https") == true)
  }

  @Test func `show each name its certificate, of the kind that the client can verify`() throws {
    let certificates = try Self.certificates.get()
    let main = try certificates.issue(["example.com", "*.example.com"], key: .rsa)
    let second = try certificates.issue(["example.com"], key: .ecdsa)
    let api = try certificates.issue(["api.example.org"])
    let tls = [main, second, api].map(\.directive).joined(separator: "\n")
    try withDaemon(configuration([], tls)) { daemon in
      func shown(_ arguments: String...) throws -> String {
        try ChildProcess.run(
          "openssl",
          ["s_client", "-connect", "127.0.0.1:\(daemon.port)"] + arguments
        ).output
      }
      let rsa = try shown("-servername", "example.com", "-sigalgs", "rsa_pss_rsae_sha256")
      #expect(rsa.contains("Peer signature type: RSA-PSS"))
      let ecdsa = try shown("-servername", "example.com", "-sigalgs", "ecdsa_secp256r1_sha256")
      #expect(ecdsa.contains("Peer signature type: ECDSA"))
      #expect(try shown("-servername", "API.example.org").contains("CN = api.example.org"))
      #expect(try shown("-servername", "x.example.com").contains("CN = example.com"))
      #expect(try shown("-noservername").contains("CN = example.com"))
      // Rule 38.
      #expect(try shown("-tls1_1").contains("alert protocol version"))
      #expect(try shown("-alpn", "http/1.1").contains("ALPN protocol: http/1.1"))
      #expect(try shown("-alpn", "smtp").contains("no application protocol"))
      #expect(try shown("-tls1_2").contains("Secure Renegotiation IS supported"))
      #expect(try shown("-tls1_2").contains("Compression: NONE"))
    }
  }

  @Test func `resume sessions on any worker`() throws {
    let certificates = try Self.certificates.get()
    let pair = try certificates.issue(["example.com"])
    var configuration = configuration([], pair.directive)
    configuration.workers = 3
    configuration.blocks = "route * {\n respond 200\n}"
    try withDaemon(configuration) { daemon in
      let session = "\(daemon.directory)/session"
      let address = ["s_client", "-connect", "127.0.0.1:\(daemon.port)", "-tls1_2"]
      _ = try ChildProcess.run("openssl", address + ["-sess_out", session])
      // Twelve connections meet all three workers but once in 130 runs, and each must know it.
      for _ in 0..<12 {
        let output = try ChildProcess.run("openssl", address + ["-sess_in", session]).output
        #expect(output.contains("Reused, TLSv1.2"))
      }
      #expect(try daemon.counts("weir_tls_handshakes_total{result=\"resumed\"} 12\n"))
      #expect(try daemon.counts("weir_tls_handshakes_total{result=\"full\"} 1\n"))
    }
  }

  @Test func `refuse renegotiation`() throws {
    let pair = try Self.certificates.get().issue(["example.com"])
    try withDaemon(configuration([], pair.directive)) { daemon in
      let (_, output) = try ChildProcess.run(
        "/bin/sh",
        [
          "-c",
          "(echo R; sleep 3) | timeout 10 openssl s_client -tls1_2 "
            + "-connect 127.0.0.1:\(daemon.port)",
        ])
      #expect(output.contains("RENEGOTIATING") && output.contains("no renegotiation"))
    }
  }

  @Test func `ask clients for a certificate, and tell backends who they are`() throws {
    let certificates = try Self.certificates.get()
    let pair = try certificates.issue(["example.com"])
    let known = try certificates.issue(["client"], subject: "/O=Weir, Inc/CN=client one")
    let strangers = try TestCertificates()
    let stranger = try strangers.issue(["client"])
    let origin = try HTTPOrigin()
    let forged = "X-Client-Cert-Subject: CN=root\r\n"
    for policy in ["optional", "required"] {
      let tls = "\(pair.directive)\nclient-certificate \(policy) ca=\(certificates.authority)"
      try withDaemon(configuration([origin.address], tls)) { daemon in
        let client = try connect(daemon, showing: known)
        try client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\(forged)\r\n")
        let told = try client.readResponse().text
        #expect(told.contains("X-Client-Cert-Subject: CN=client one,O=Weir\\, Inc\r\n"))
        #expect(told.contains("\r\nX-Client-Cert-SHA256: "))
        #expect(!told.contains("CN=root"))
        // TLS 1.3 tells a client of the refusal only after its side has finished.
        let refused = Result {
          let client = try connect(daemon, showing: stranger)
          try client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
          return try client.readResponse().status
        }
        #expect(throws: (any Error).self) { try refused.get() }
        let anonymous = Result {
          let client = try connect(daemon)
          try client.send("GET /echo HTTP/1.1\r\nHost: a\r\n\(forged)\r\n")
          return try client.readResponse().text
        }
        if policy == "optional" {
          #expect(try !anonymous.get().lowercased().contains("x-client-cert"))
        } else {
          #expect(throws: (any Error).self) { try anonymous.get() }
        }
        let none = "weir_tls_handshakes_total{result=\"certificate_refused\"} 0\n"
        #expect(try daemon.counts(beyond: none))
      }
    }
  }

  @Test func `a client that begins no handshake is cut in time, one that speaks HTTP is told`()
    throws
  {
    let pair = try Self.certificates.get().issue(["example.com"])
    let tls = "\(pair.directive)\nhandshake-timeout 1s"
    try withDaemon(configuration([], tls)) { daemon in
      let silent = try daemon.connect()
      #expect(try silent.readToEnd().octets.isEmpty)
      // Part of a ClientHello does not buy more time.
      let slow = try daemon.connect()
      try slow.send([0x16, 3, 1, 2, 0, 1, 0])
      #expect(try slow.readToEnd().octets.isEmpty)
      let plain = try daemon.connect()
      try plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      let answer = try plain.readResponse()
      #expect(answer.status == 400)
      #expect(answer["proxy-status"]?.contains("this port speaks TLS") == true)
      #expect(try daemon.counts("weir_client_timeouts_total{phase=\"handshake\"} 2\n"))
    }
  }

  @Test func `noise never hurts the others`() throws {
    let pair = try Self.certificates.get().issue(["example.com"])
    let origin = try HTTPOrigin()
    try withDaemon(configuration([origin.address], pair.directive)) { daemon in
      let client = try connect(daemon)
      for number in 0..<200 {
        let noise = try daemon.connect()
        let length = 1 + number * 37 % 900
        // Records of every type, with a length of their own, and bare noise.
        var octets: [UInt8] = [0x16, 3, UInt8(number % 5), UInt8(number % 7), UInt8(number)]
        octets += (0..<length).map { UInt8(truncatingIfNeeded: $0 &* number &+ number) }
        try noise.send(number % 2 == 0 ? octets : Array(octets.dropFirst(5)))
        number % 3 == 0 ? noise.reset() : noise.close()
      }
      try client.send("GET /bytes/1000 HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(try client.readResponse().body.count == 1000)
    }
  }

  @Test func `say goodbye where a connection ends in order, and only there`() throws {
    let pair = try Self.certificates.get().issue(["example.com"])
    let origin = try ScriptedOrigin { connection, _ in
      let head = try connection.readHead()
      if head.target == "/cut" {
        try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf")
        connection.reset()
      } else {
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    try withDaemon(configuration([origin.address], pair.directive)) { daemon in
      let whole = try connect(daemon)
      try whole.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      #expect(try whole.readResponse().text == "ok")
      // Throws where the end comes without close_notify.
      #expect(try whole.hasMore() == false)
      let cut = try connect(daemon)
      try cut.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(throws: WireError.self) { try cut.readResponse() }
      #expect(throws: WireError.self) { try cut.hasMore() }
    }
  }

  @Test func `curl is redirected to HTTPS, and kept there`() throws {
    let pair = try Self.certificates.get().issue(["example.com"])
    var configuration = DaemonConfiguration()
    configuration.top = "trusted-proxies 127.0.0.2"
    let securePort = Ports.take()
    configuration.listener = "redirect-to-https port=\(securePort)"
    configuration.blocks = """
      listener secure {
        bind 127.0.0.1:\(securePort)
        tls {
          \(pair.directive)
          hsts 1d
        }
      }
      route * {
        respond 200 body=here
      }
      """
    try withDaemon(configuration) { daemon in
      let resolve = [
        "--resolve", "example.com:\(daemon.port):127.0.0.1", "--resolve",
        "example.com:\(securePort):127.0.0.1",
      ]
      let output = try curl(
        resolve + ["-L", "-i", "http://example.com:\(daemon.port)/a?b=c"])
      #expect(output.contains("HTTP/1.1 308 Permanent Redirect"))
      #expect(output.contains("Location: https://example.com:\(securePort)/a?b=c\r\n"))
      // Over TLS curl speaks HTTP/2.
      #expect(output.contains("HTTP/2 200"))
      #expect(output.contains("strict-transport-security: max-age=86400\r\n"))
      #expect(output.hasSuffix("here"))
      // Never over plain HTTP (RFC 6797 §7.2).
      let plain = try daemon.get("/a")
      #expect(plain.status == 308 && plain["strict-transport-security"] == nil)
      #expect(try daemon.get("/.well-known/acme-challenge/token").text == "here")
      #expect(try daemon.get("/.well-known/acme-challenge/").status == 308)
      #expect(try daemon.get("/a", fields: "X-Forwarded-Proto: https\r\n").status == 308)
      let trusted = try daemon.connect(source: "127.0.0.2")
      try trusted.send("GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n")
      #expect(try trusted.readResponse().text == "here")
    }
  }

  @Test func `a client that stops reading stops its backend, encrypted too`() throws {
    let pair = try Self.certificates.get().issue(["example.com"])
    let origin = try HTTPOrigin()
    try withDaemon(configuration([origin.address], pair.directive, listener: "send-timeout 1s")) {
      daemon in
      let before = try daemon.memoryBytes("RssAnon")
      let client = try connect(daemon)
      try client.send("GET /bytes/200000000 HTTP/1.1\r\nHost: a\r\n\r\n")
      // Cut after a second without progress: what it did not take was never fetched.
      let isCut = Poll.until(.patient) {
        let metrics = try? daemon.admin("/metrics").text
        return metrics?.contains("weir_client_timeouts_total{phase=\"send\"} 1\n") == true
      }
      #expect(isCut)
      // Of 200 MB; room for what a sanitizer keeps of freed memory.
      #expect(try daemon.memoryBytes("RssAnon") - before < 48 << 20)
      #expect(throws: WireError.self) { try client.readResponse() }
    }
  }

  @Test func `WebSocket bytes go through, and each side's end is heard`() throws {
    let pair = try Self.certificates.get().issue(["example.com"])
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send(
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
      #expect(try connection.read(4) == Array("ping".utf8))
      try connection.send("pong")
      #expect(try !connection.hasMore())
    }
    try withDaemon(configuration([origin.address], pair.directive)) { daemon in
      let client = try connect(daemon)
      try client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
      #expect(try client.readHead().status == 101)
      try client.send("ping")
      #expect(try client.read(4) == Array("pong".utf8))
      client.sayGoodbye()
      #expect(try !client.hasMore())
      #expect(origin.wait { $0.first?.hasEnded == true })
    }
    #expect(origin.failures.isEmpty)
  }
}
