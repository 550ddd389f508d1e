import Foundation

/// A steady load of keep-alive connections that counts what goes wrong, for tests that break or
/// change something meanwhile.
public final class ClosedLoopLoad: Sendable {
  public struct Outcome: Sendable {
    public var completed = 0
    public var failures: [String] = []
    /// Answers by the name of the origin that gave them.
    public var byOrigin: [String: Int] = [:]
  }

  private struct State: Sendable {
    var outcome = Outcome()
    var running: Int
    var isStopping = false
  }

  private let state: Monitor<State>

  /// - Parameter request: the whole request text, for a connection and its running number.
  public init(
    port: UInt16, connections: Int = 16, method: String = "GET", tls: TestTLS? = nil,
    request: @escaping @Sendable (Int) -> String = {
      "GET /bytes/512?n=\($0) HTTP/1.1\r\nHost: example.com\r\n\r\n"
    }
  ) {
    let state = Monitor(State(running: connections))
    self.state = state
    for first in 0..<connections {
      Thread.detachNewThread {
        ClosedLoopLoad.drive(port, tls, method, request, first, connections, state)
        state.update { $0.running -= 1 }
      }
    }
  }

  private static func drive(
    _ port: UInt16, _ tls: TestTLS?, _ method: String, _ request: @Sendable (Int) -> String,
    _ first: Int,
    _ stride: Int, _ state: Monitor<State>
  ) {
    var connection: WireConnection?
    var number = first
    while !state.update({ $0.isStopping }) {
      let isNew = connection == nil
      do {
        let open = try connection ?? WireConnection.connect(port: port)
        if let tls, connection == nil { try open.startTLS(tls, name: "example.com") }
        connection = open
        try open.send(request(number))
        let response = try open.readResponse(to: method)
        if response["connection"]?.lowercased() == "close" { connection = nil }
        state.update {
          if response.status == 200 {
            $0.outcome.completed += 1
            $0.outcome.byOrigin[response["x-origin"] ?? "", default: 0] += 1
          } else {
            $0.outcome.failures.append("\(number): \(response.head.text)")
          }
        }
      } catch {
        connection = nil
        let place = isNew ? "a new connection, " : ""
        state.update { $0.outcome.failures.append("\(place)\(number): \(error)") }
      }
      number += stride
    }
  }

  public var outcome: Outcome { state.update { $0.outcome } }

  /// Waits until `count` more requests have been answered, right or wrong.
  @discardableResult
  public func waitForMore(_ count: Int, _ seconds: Double = 60) -> Bool {
    let target = state.update { $0.outcome.completed + $0.outcome.failures.count + count }
    return state.wait(until: .after(seconds)) {
      $0.outcome.completed + $0.outcome.failures.count >= target
    }
  }

  /// Waits until what has been answered satisfies the condition.
  public func wait(_ seconds: Double = 60, for condition: (Outcome) -> Bool) -> Bool {
    state.wait(until: .after(seconds)) { condition($0.outcome) }
  }

  /// Ends every connection after its current request.
  public func stop() -> Outcome {
    state.update { $0.isStopping = true }
    _ = state.wait(until: .patient) { $0.running == 0 }
    return outcome
  }
}
