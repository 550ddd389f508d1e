import Foundation
import TestSupport
import Testing

/// Clients that do not read what weir has for them.
@Suite(.blocking) struct `A client that does not read` {
  /// What a backend says before it waits: as much as weir passes on before a final answer.
  static let hints: String = {
    let link = "Link: <" + String(repeating: "l", count: 7900) + ">\r\n"
    return String(repeating: "HTTP/1.1 103 Early Hints\r\n\(link)\(link)\r\n", count: 10)
  }()

  enum Refusal: Int, CaseIterable, Sendable {
    case malformed = 400
    case tooLarge = 413

    var content: String {
      switch self {
      case .malformed: "zz\r\n"
      case .tooLarge: "1000\r\n" + String(repeating: "y", count: 4096)
      }
    }
  }

  enum Place { case kernel, weir, nowhere }

  /// What the backend has seen of the tries, by their numbers: one that was given up may still be
  /// under way when the next one begins.
  struct Progress: Sendable {
    /// weir has taken all hints.
    var read: Set<Int> = []
    /// weir has closed the connection.
    var ended: Set<Int> = []
  }

  /// A GET whose answer nearly fills the kernel's buffers, then a POST whose early hints do not fit
  /// any more, then content that is refused: the refusal waits behind the hints.
  ///
  /// - Returns: where the refusal waited for the client; `nowhere` if the GET's answer alone was
  ///   more than the kernel took, and the POST's turn did not come.
  private func refuse(
    _ refusal: Refusal, behind octets: Int, _ daemon: DaemonProcess, _ number: Int,
    _ progress: Monitor<Progress>
  ) throws -> Place {
    let client = try WireConnection.connect(port: daemon.port, receiveBufferBytes: 64 << 10)
    try client.send(
      "GET /\(octets) HTTP/1.1\r\nHost: a\r\n\r\n"
        + "POST /hints/\(number) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "1\r\nx\r\n")
    guard progress.wait(until: .after(1), for: { $0.read.contains(number) }) else {
      client.reset()
      return .nowhere
    }
    try client.send(refusal.content)
    // weir closes the backend's connection as it refuses.
    guard progress.wait(until: .patient, for: { $0.ended.contains(number) }) else {
      throw TestFailure("not refused at \(octets)")
    }
    var taken = Int.max / 2
    _ = Poll.until(.after(1)) {
      if let queues = client.kernelQueues { taken = queues.sentToUs }
      return taken < .max / 2
    }
    #expect(try client.readResponse().body.count == octets)
    let answer = try client.readResponse()
    #expect(answer.status == refusal.rawValue && answer.interim.count == 10)
    #expect(answer["connection"] == "close")
    #expect(try client.readToEnd() == ([], .fin))
    return taken + (16 << 10) < client.receivedCount ? .weir : .kernel
  }

  @Test(arguments: Refusal.allCases)
  func `gets the refusal of its content when it reads at last`(refusal: Refusal) throws {
    let progress = Monitor(Progress())
    let origin = try ScriptedOrigin { connection, _ in
      while try connection.hasMore() {
        let head = try connection.readHead()
        if head.target.hasPrefix("/hints/"), let number = Int(head.target.dropFirst(7)) {
          try connection.send(Self.hints)
          guard connection.waitUntilRead() else { return }
          progress.update { $0.read.insert(number) }
          _ = try connection.readToEnd()
          progress.update { $0.ended.insert(number) }
          return
        }
        let count = Int(head.target.dropFirst()) ?? 0
        try? connection.send(
          Array("HTTP/1.1 200 OK\r\nContent-Length: \(count)\r\n\r\n".utf8)
            + [UInt8](repeating: 120, count: count))
      }
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.route = "early-hints on\n  max-body-size 2KiB"
    try withDaemon(configuration) { daemon in
      // How much the kernel takes is its own affair, and not always the same: look for it.
      var octets = 1 << 20
      for number in 0..<200 {
        switch try refuse(refusal, behind: octets, daemon, number, progress) {
        case .kernel: octets += 96 << 10
        case .nowhere: octets = max(64 << 10, octets - (144 << 10))
        case .weir:
          #expect(try daemon.get("/3").body.count == 3)
          return
        }
      }
      throw TestFailure("weir never had to wait")
    }
  }
}
