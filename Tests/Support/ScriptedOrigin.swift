import CLinux
import Foundation

/// A backend that does exactly what a test says, with a thread for each connection, and remembers
/// every octet it received, so that a test can also show that *nothing* arrived.
///
/// What the script throws ends the connection and is kept in `failures`: a script that expects a
/// cut connection catches it.
public final class ScriptedOrigin: Sendable {
  /// What one connection received.
  public struct Record: Sendable {
    public var received: [UInt8] = []
    public var receivedCount = 0
    public var hasEnded = false

    public var text: String { String(decoding: received, as: UTF8.self) }
  }

  private struct State: Sendable {
    var records: [Record] = []
    var failures: [String] = []
    var isStopped = false
  }

  public let port: UInt16
  public let host: String
  private let listener: Int32
  private let state = Monitor(State())
  /// Octets remembered of each connection; all are counted.
  private let keepLimit: Int

  /// - Parameters:
  ///   - host: a loopback address; origins on 127.0.0.2, 127.0.0.3 … may share one port. Or
  ///     `unix:/path`.
  ///   - script: runs once for each connection with its number, from 0.
  public init(
    host: String = "127.0.0.1", port: UInt16 = 0, keepLimit: Int = 1 << 20,
    script: @escaping @Sendable (WireConnection, Int) throws -> Void
  ) throws {
    self.host = host
    self.keepLimit = keepLimit
    (listener, self.port) =
      host.hasPrefix("unix:")
      ? (try Ports.listen(path: String(host.dropFirst(5))), 0)
      : try Ports.listen(host: host, port: port)
    Thread.detachNewThread { [listener, state, keepLimit] in
      while true {
        let descriptor = accept4(listener, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
        if descriptor < 0 && (errno == EINTR || errno == ECONNABORTED) { continue }
        if descriptor < 0 && [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(errno) {
          // Other tests have all descriptors: who gave up here would refuse connections from now.
          var pause = timespec(tv_sec: 0, tv_nsec: 10_000_000)
          nanosleep(&pause, nil)
          continue
        }
        if descriptor < 0 { break }
        ScriptedOrigin.serve(descriptor, state, keepLimit, script)
      }
      // Here and nowhere else: were it closed while this thread is on its way back to accept4, its
      // number could be another origin's by then, and this script would answer for that one.
      close(listener)
    }
  }

  private static func serve(
    _ descriptor: Int32, _ state: Monitor<State>, _ keepLimit: Int,
    _ script: @escaping @Sendable (WireConnection, Int) throws -> Void
  ) {
    let number = state.update {
      $0.records.append(Record())
      return $0.records.count - 1
    }
    Thread.detachNewThread {
      let connection = WireConnection(descriptor: descriptor)
      connection.tap = { bytes in
        state.update {
          $0.records[number].receivedCount += bytes.count
          let room = keepLimit - $0.records[number].received.count
          if room > 0 { $0.records[number].received.append(contentsOf: bytes.prefix(room)) }
        }
      }
      do {
        try script(connection, number)
      } catch {
        state.update { $0.failures.append("connection \(number): \(error)") }
      }
      connection.close()
      state.update { $0.records[number].hasEnded = true }
    }
  }

  deinit { stop() }

  /// `HOST:PORT`, as a `backend` line wants it.
  public var address: String { host.hasPrefix("unix:") ? host : "\(host):\(port)" }

  public var records: [Record] { state.current.records }
  public var failures: [String] { state.current.failures }
  /// Octets received on all connections together.
  public var receivedCount: Int { records.reduce(0) { $0 + $1.receivedCount } }

  /// Waits until the connections satisfy `condition`.
  public func wait(
    _ seconds: Double = Deadline.patienceSeconds, for condition: ([Record]) -> Bool
  ) -> Bool {
    state.wait(until: .after(seconds)) { state in condition(state.records) }
  }

  /// From now on connections are refused. Those that are open go on.
  public func stop() {
    let first = state.update {
      let wasStopped = $0.isStopped
      $0.isStopped = true
      return !wasStopped
    }
    // The port listens no more, and the accepting thread wakes.
    if first { shutdown(listener, Int32(SHUT_RDWR)) }
  }
}
