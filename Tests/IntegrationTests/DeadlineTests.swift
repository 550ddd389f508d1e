import Foundation
import TestSupport
import Testing

/// `pass-deadline`, and what backends are told of further attempts.
@Suite(.blocking) struct `What a backend is told` {
  private func configuration(_ origin: HTTPOrigin, _ route: String) -> DaemonConfiguration {
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = route
    return configuration
  }

  /// What the backend got in this field.
  private func told(_ name: String, _ daemon: DaemonProcess, _ fields: String = "") throws
    -> [String]
  {
    let text = try daemon.get("/echo", fields: fields).text
    return text.split(separator: "\r\n").filter { $0.lowercased().hasPrefix("\(name): ") }.map {
      String($0.dropFirst(name.count + 2))
    }
  }

  @Test func `the time that is left, in place of what the client says`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(configuration(origin, "request-timeout 20s\npass-deadline on")) { daemon in
      let values = try told("weir-deadline-ms", daemon, "Weir-Deadline-Ms: 99999999\r\n")
      #expect(values.count == 1)
      let left = try #require(values.first.flatMap { Int($0) })
      #expect((1...20_000).contains(left), "\(left)")
      #expect(try told("grpc-timeout", daemon) == [])
    }
  }

  @Test func `the attempt's time where that is less`() throws {
    let origin = try HTTPOrigin()
    let route = "request-timeout 1h\nattempt-timeout 15s\npass-deadline on"
    try withDaemon(configuration(origin, route)) { daemon in
      let left = try #require(try told("weir-deadline-ms", daemon).first.flatMap { Int($0) })
      #expect((1...15_000).contains(left), "\(left)")
    }
  }

  @Test func `in gRPC's own field, of which the client's may be less`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(configuration(origin, "request-timeout 20s\npass-deadline on")) { daemon in
      let type = "Content-Type: application/grpc+proto\r\n"
      func left(_ fields: String) throws -> Int {
        let values = try told("grpc-timeout", daemon, type + fields)
        #expect(values.count == 1, "\(values)")
        let value = try #require(values.first)
        #expect(value.hasSuffix("m"))
        return try #require(Int(value.dropLast()))
      }
      let own = try left("")
      let more = try left("grpc-timeout: 1H\r\n")
      let less = try left("grpc-timeout: 10S\r\n")
      let other = try told("weir-deadline-ms", daemon, type)
      #expect((1...20_000).contains(own) && (1...20_000).contains(more), "\(own) \(more)")
      #expect((1...10_000).contains(less) && other == [], "\(less) \(other)")
    }
  }

  @Test func `nothing where the route does not ask, or has no limit`() throws {
    let origin = try HTTPOrigin()
    try withDaemon(configuration(origin, "request-timeout 20s")) { daemon in
      let values = try told("weir-deadline-ms", daemon)
      #expect(values == [])
    }
    try withDaemon(configuration(origin, "pass-deadline on")) { daemon in
      #expect(try told("weir-deadline-ms", daemon) == [])
      let own = "Content-Type: application/grpc\r\ngrpc-timeout: 9S\r\n"
      let left = try #require(try told("grpc-timeout", daemon, own).first)
      #expect(left.hasSuffix("m") || left == "9S")
    }
  }

  @Test func `which attempt it is, from the second on`() throws {
    let well = try HTTPOrigin("well")
    let gone = try HTTPOrigin("gone")
    gone.stop()
    var configuration = DaemonConfiguration([gone.address, well.address])
    configuration.upstream = "balance round-robin"
    try withDaemon(configuration) { daemon in
      let values = try (0..<4).map { _ in
        try told("weir-attempt", daemon, "Weir-Attempt: 7\r\n").joined(separator: ",")
      }
      #expect(values.contains("2"), "\(values)")
      #expect(Set(values).isSubset(of: ["2", "7"]), "\(values)")
    }
  }
}
