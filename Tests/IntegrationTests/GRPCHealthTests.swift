import Foundation
import TestSupport
import Testing

/// `health-check grpc` against backends of HTTP/2: scripted ones that answer anything, and grpcio.
@Suite(.blocking) struct `gRPC health checks` {
  /// What a scripted backend does with a call.
  enum Answer: Sendable, CustomTestStringConvertible {
    case serving(UInt8)
    case status(Int)
    /// A head alone, with this code.
    case code(Int)
    /// A message of so many octets.
    case large(Int)
    case withoutTrailers, reset, silence, http1

    var testDescription: String { "\(self)" }
  }

  private static func serve(_ answer: Answer, _ service: HTTP2Service, _ stream: UInt32) throws {
    let type = ("content-type", "application/grpc")
    switch answer {
    case .serving(let state):
      try service.head(stream, 200, [type])
      try service.content(stream, [0, 0, 0, 0, 2, 0x08, state], ends: false)
      try service.trailers(stream, [("grpc-status", "0")])
    case .status(let status): try service.head(stream, status, [type], ends: true)
    case .code(let code):
      try service.head(stream, 200, [type, ("grpc-status", "\(code)")], ends: true)
    case .large(let count):
      try service.head(stream, 200, [type])
      try service.content(
        stream,
        [0, 0, 0, UInt8(count >> 8), UInt8(count & 0xFF)]
          + [UInt8](repeating: 0, count: count), ends: false)
      try service.trailers(stream, [("grpc-status", "0")])
    case .withoutTrailers:
      try service.head(stream, 200, [type])
      try service.content(stream, [0, 0, 0, 0, 2, 0x08, 1])
    case .reset: try service.reset(stream, 2)
    case .silence, .http1: return
    }
  }

  private static func configuration(_ backend: String, _ check: String) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(["\(backend) name=a"])
    configuration.upstream = "http2 on\nhealth-check grpc \(check) interval=20ms fast-interval=20ms"
    return configuration
  }

  private func wait(for text: String, _ daemon: DaemonProcess) throws -> Bool {
    try Poll.until(.patient) { try daemon.admin("/v1/upstreams").text.contains(text) }
  }

  @Test func `take a backend out while it does not serve, and say why`() throws {
    let mood = Monitor(Answer.serving(1))
    let calls = Monitor<[StreamRequest]>([])
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      calls.update { $0.append(request) }
      try Self.serve(mood.current, service, request.stream)
    }
    var configuration = Self.configuration(
      origin.address, "service=shop.Orders host=check.example")
    configuration.upstream += "\nhealth-check-header X-Token secret"
    try withDaemon(configuration) { daemon in
      #expect(try wait(for: "\"health\":\"up\"", daemon))
      mood.update { $0 = .serving(2) }
      #expect(
        daemon.process.waitForOutput {
          $0.contains("app/a: health check failed") && $0.contains("serving status 2 (NOT_SERVING)")
        })
      #expect(try wait(for: "\"health_reason\":\"serving status 2 (NOT_SERVING)\"", daemon))
      let status = try daemon.command("status", "--admin", "unix:\(daemon.adminPath)").output
      #expect(status.contains("down a (\(origin.address)): serving status 2"), "\(status)")
      #expect(try daemon.get("/").status == 503)
      mood.update { $0 = .serving(1) }
      #expect(daemon.process.waitForOutput { $0.contains("app/a: health check passes, up") })
      #expect(try !daemon.admin("/v1/upstreams").text.contains("health_reason"))
    }
    let call = try #require(calls.current.first)
    #expect(call[":method"] == "POST" && call.path == "/grpc.health.v1.Health/Check")
    #expect(call[":authority"] == "check.example" && call[":scheme"] == "http")
    #expect(call["content-type"] == "application/grpc" && call["te"] == "trailers")
    #expect(call["x-token"] == "secret" && call["grpc-timeout"] == "500m")
    #expect(call.content == [0, 0, 0, 0, 13, 0x0A, 11] + Array("shop.Orders".utf8))
  }

  @Test(
    arguments: [
      (.serving(0), "serving status 0 (UNKNOWN)"), (.status(503), "status 503"),
      (.code(12), "grpc-status 12 (UNIMPLEMENTED)"), (.code(0), "the answer is not gRPC"),
      (.large(1025), "the answer is too large"), (.large(1024), "the answer is not gRPC"),
      (.withoutTrailers, "the answer is not gRPC"), (.reset, "connection closed before the answer"),
      (.silence, "no answer in time"), (.http1, "the answer is not gRPC"),
    ] as [(Answer, String)])
  func `fail by everything else, with a reason`(answer: Answer, reason: String) throws {
    let origin =
      if case .http1 = answer {
        try ScriptedOrigin { connection, _ in
          try connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
          _ = try connection.readToEnd()
        }
      } else {
        try ScriptedOrigin(http2: []) { service, request, _ in
          try Self.serve(answer, service, request.stream)
        }
      }
    let configuration = Self.configuration(origin.address, "timeout=400ms")
    try withDaemon(configuration) { daemon in
      let isTold = daemon.process.waitForOutput {
        $0.contains("app/a: health check failed") && $0.contains("reason=\"\(reason)\"")
      }
      #expect(isTold, "\(daemon.process.output)")
    }
  }

  @Test func `ask a server of grpcio over TLS`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["grpc.test"])
    let server = try PythonScript.start("grpc_server.py", [pair.certificate, pair.key])
    let address = "127.0.0.1:\(try PythonScript.port(of: server))"
    for (service, outcome) in [
      ("", "\"health\":\"up\""), ("service=shop.Well", "\"health\":\"up\""),
      ("service=shop.Ill", "\"health_reason\":\"serving status 2 (NOT_SERVING)\""),
      ("service=shop.Other", "\"health_reason\":\"grpc-status 5 (NOT_FOUND)\""),
    ] {
      var configuration = Self.configuration(address, "\(service) timeout=10s initial=down")
      if outcome.contains("reason") {
        configuration.upstream = configuration.upstream.replacing("initial=down", with: "")
      }
      configuration.upstream += "\ntls {\nca \(certificates.authority)\nserver-name grpc.test\n}"
      try withDaemon(configuration) { daemon in
        let isReached = try wait(for: outcome, daemon)
        #expect(isReached, "\(service): \(daemon.process.output)")
      }
    }
  }
}
