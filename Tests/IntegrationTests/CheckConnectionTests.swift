import Foundation
import TestSupport
import Testing

/// Which connections health checks go over (docs/decisions/0708-checks-keep-connections.md).
@Suite(.blocking) struct `Connections of health checks` {
  private static let well = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  /// `Connection` of each request, by connection.
  private final class Heard: Sendable {
    let fields = Monitor<[[String]]>([])

    func origin(_ answer: String = well) throws -> ScriptedOrigin {
      try ScriptedOrigin { [fields] connection, number in
        fields.update { heard in
          while heard.count <= number { heard.append([]) }
        }
        while try connection.hasMore() {
          let head = try connection.readHead()
          fields.update { $0[number].append(head["connection"] ?? "") }
          try connection.send(answer)
        }
      }
    }
  }

  private func configuration(_ origin: ScriptedOrigin, _ check: String) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(["\(origin.address) name=a"])
    configuration.upstream = check
    return configuration
  }

  @Test(arguments: [
    well, "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  ])
  func `four go over one, and the last says so`(answer: String) throws {
    let heard = Heard()
    let origin = try heard.origin(answer)
    try withDaemon(configuration(origin, "health-check GET / interval=20ms")) { _ in
      #expect(heard.fields.wait(until: .patient) { $0.count >= 4 })
    }
    let all = heard.fields.current.prefix(3)
    #expect(all.allSatisfy { $0 == ["", "", "", "close"] }, "\(all)")
  }

  @Test(arguments: [
    ("GET / interval=20ms reuse=off", well, "close"), ("POST / interval=20ms", well, "close"),
    ("GET / interval=20ms\npool-size 0", well, "close"),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", ""),
    ("GET / interval=20ms", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", ""),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", ""),
    ("GET / interval=20ms", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", ""),
    ("GET / interval=20ms rise=1 fall=9 fast-interval=20ms expect=204", well, ""),
  ])
  func `each has its own`(check: String, answer: String, field: String) throws {
    let heard = Heard()
    let origin = try heard.origin(answer)
    try withDaemon(configuration(origin, "health-check \(check)")) { _ in
      #expect(heard.fields.wait(until: .patient) { $0.count >= 4 })
    }
    let all = heard.fields.current.prefix(3)
    #expect(all.allSatisfy { $0 == [field] }, "\(all)")
  }

  /// The second request of each meets the end of its connection, before it or instead of an answer.
  @Test(arguments: [1, 2])
  func `a kept one that ends is no failure`(answers: Int) throws {
    let ends = Monitor(0)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send(Self.well)
      if answers == 2 { _ = try connection.readHead() }
      ends.update { $0 += 1 }
    }
    let check = "health-check GET / interval=20ms fall=1"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(ends.wait(until: .patient) { $0 >= 20 })
      #expect(!daemon.process.output.contains("health check failed"))
      let metrics = try daemon.admin("/metrics").text
      #expect(metrics.contains("weir_backend_health{upstream=\"app\",backend=\"a\"} 1"))
    }
  }

  /// An answer that comes before it is asked for is nobody's.
  @Test func `what comes unasked is no answer`() throws {
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      try connection.send(Self.well)
      Thread.sleep(forTimeInterval: 0.01)
      try connection.send(Self.well)
      let second = try? connection.readHead()
      if second != nil { throw WireError.malformed("asked again") }
    }
    let check = "health-check GET / interval=50ms timeout=5s fall=1"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(origin.wait { $0.count >= 10 })
      #expect(!daemon.process.output.contains("health check failed"))
    }
    #expect(!origin.failures.contains { $0.contains("asked again") }, "\(origin.failures)")
  }

  @Test func `a failed connect of a request is looked into with a new one`() throws {
    let heard = Heard()
    let origin = try heard.origin()
    let check = "health-check GET / interval=10s fall=1\npool-size 1"
    try withDaemon(configuration(origin, check)) { daemon in
      #expect(heard.fields.wait(until: .patient) { $0.first?.count == 1 })
      // Those that are open go on: over the kept one all would seem well.
      origin.stop()
      let status = try daemon.get("/").status
      #expect(status >= 500)
      let isFound = daemon.process.waitForOutput {
        $0.contains("app/a: health check failed, down reason=\"connection refused\"")
      }
      #expect(isFound)
    }
    #expect(heard.fields.current == [[""]])
  }
}
