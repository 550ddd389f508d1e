import TestSupport
import Testing

/// What a client costs that is connected in TLS and asks for nothing (docs/PERFORMANCE.md).
@Suite(.blocking, .serialized, .enabled(if: Measurement.isPossible, Measurement.skipReason))
struct `Budget of an idle TLS connection` {
  /// The budget is 12 KiB; a ratchet: lower it when the figure falls.
  static let limit = 9_000

  @Test func `memory, after a request and two seconds`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["example.com"])
    let tls = try TestTLS(trusting: certificates.authority)
    let origin = try HTTPOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.listener = "keep-alive-timeout 2m\ntls {\n\(pair.directive)\n}"
    let daemon = try DaemonProcess(configuration, binary: Measurement.releaseBinary!)
    var clients: [WireConnection] = []
    func memory(with count: Int) throws -> Int {
      while clients.count < count {
        let client = try daemon.connect()
        try client.startTLS(tls, name: "example.com")
        try client.send("GET /bytes/1024 HTTP/1.1\r\nHost: example.com\r\n\r\n")
        #expect(try client.readResponse().body.count == 1024)
        clients.append(client)
      }
      // Until nothing is given back any more.
      var least = Int.max
      _ = try Poll.until(.after(4)) {
        least = min(least, try daemon.memoryBytes("RssAnon"))
        return false
      }
      return least
    }
    // The first ones fill what all share.
    let few = try memory(with: 100)
    let many = try memory(with: 500)
    #expect((many - few) / 400 < Self.limit, "\((many - few) / 400) octets each")
    #expect((many - few) / 400 > 2_000, "what was measured?")
    try daemon.stop()
  }
}
