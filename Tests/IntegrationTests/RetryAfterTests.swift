import TestSupport
import Testing

/// What a backend may do with `Retry-After` (RFC 9110 §10.2.3): spare itself retries, for a minute
/// at most; nothing else.
@Suite(.blocking) struct `Retry-After of backends` {
  /// Answers 503 with these lines, and counts what it was asked.
  private func origin(_ fields: String, _ count: Monitor<Int>) throws -> ScriptedOrigin {
    try ScriptedOrigin { connection, _ in
      while (try? connection.hasMore()) == true {
        _ = try connection.readHead()
        count.update { $0 += 1 }
        try connection.send("HTTP/1.1 503 No\r\n\(fields)Content-Length: 0\r\n\r\n")
      }
    }
  }

  /// The attempts of ten GETs, each of two if nothing forbids the second, and of ten POSTs, which
  /// have one and make the next GET begin at the other of two backends. One has these lines.
  private func attempts(_ fields: String) throws -> Int {
    let count = Monitor(0)
    let origins = [try origin(fields, count), try origin("", count)]
    var configuration = DaemonConfiguration(origins.map(\.address))
    configuration.upstream = """
      balance round-robin
      circuit-breaker off
      retry attempts=2 backoff=1ms max-backoff=1ms budget=100%
      """
    try withDaemon(configuration) { daemon in
      for _ in 0..<10 {
        let statuses = try ["GET", "POST"].map { try daemon.get("/", method: $0).status }
        #expect(statuses == [503, 503])
      }
    }
    return count.current
  }

  @Test(arguments: [
    "Retry-After: 30\r\n", "Retry-After: 999999999999999999\r\n",
    "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", "Retry-After: 30\r\nRetry-After: 1\r\n",
  ])
  func `spares it retries, not requests`(fields: String) throws {
    let count = try attempts(fields)
    #expect(count >= 20 && count < 30, "\(count)")
  }

  @Test(arguments: [
    "", "Retry-After: 0\r\n", "Retry-After: -5\r\n", "Retry-After: +5\r\n", "Retry-After:\r\n",
    "Retry-After: 1.5\r\n", "Retry-After: 30, 30\r\n", "Retry-After: 0x1E\r\n",
    "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    "Retry-After: Fri, 99 Zzz 9999 99:99:99 GMT\r\n",
    "Retry-After: Sunday, 06-Nov-94 08:49:37 GMT\r\n", "Retry-After: soon\r\n",
    "Retry-After: Fri, 31 Dec 9999 23:59:59\r\n",
  ])
  func `means nothing where it is no time to come`(fields: String) throws {
    #expect(try attempts(fields) == 30)
  }
}
