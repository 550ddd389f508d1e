import Foundation
import TestSupport
import Testing

/// Must show 5 of the issue: gRPC through the daemon, over TLS on both sides, with grpcio as client
/// and server (Debian's python3-grpcio).
@Suite(.blocking) struct `gRPC` {
  @Test func `all four kinds of calls, with trailers, deadlines and cancellation`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["grpc.test"])
    let server = try PythonScript.start("grpc_server.py", [pair.certificate, pair.key])
    var configuration = DaemonConfiguration(
      ["127.0.0.1:\(try PythonScript.port(of: server))"])
    configuration.listener = "tls {\n\(pair.directive)\n}"
    configuration.upstream =
      "http2 on\ntls {\nca \(certificates.authority)\nserver-name grpc.test\n}"
    configuration.workers = 2
    try withDaemon(configuration) { daemon in
      let client = try PythonScript.start(
        "grpc_client.py", ["\(daemon.port)", certificates.authority, "grpc.test"])
      let ending = client.waitForEnd(120)
      #expect(ending == .exit(0), "\(client.output)")
      for kind in [
        "unary", "client_stream", "server_stream", "both_stream", "errors", "deadline",
        "cancellation", "together",
      ] {
        #expect(client.output.contains("ok \(kind)\n"), "\(kind)")
      }
      // The server knew how much time there was, and heard of both ends.
      #expect(server.waitForOutput { $0.contains("held deadline limited\n") })
      #expect(server.waitForOutput { $0.contains("ended deadline\n") })
      #expect(server.waitForOutput { $0.contains("held cancelled unlimited\n") })
      #expect(server.waitForOutput { $0.contains("ended cancelled\n") })
    }
  }
}
