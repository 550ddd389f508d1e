import Foundation
import TestSupport

/// A keep-alive backend whose answers a test writes octet by octet, by path and by how often that
/// path was asked for.
final class CacheOrigin: Sendable {
  /// One request as it came.
  struct Asked: Sendable {
    var head: WireHead
    var path: String
    /// Number of its connection.
    var connection: Int
  }

  /// What a script answers with.
  enum Answer: Sendable {
    case text(String)
    case octets([UInt8])
    /// Writes by itself; the connection ends behind it.
    case byHand(@Sendable (WireConnection) throws -> Void)
  }

  private let scripted: ScriptedOrigin
  private let log: Monitor<[Asked]>
  private let counts: Monitor<[String: Int]>

  /// `script` gets the request's head, and how many there were before it for the same path.
  init(_ script: @escaping @Sendable (WireHead, Int) throws -> Answer) throws {
    let log = Monitor<[Asked]>([])
    let counts = Monitor<[String: Int]>([:])
    self.log = log
    self.counts = counts
    scripted = try ScriptedOrigin { connection, number in
      connection.stepSeconds = 60
      do {
        while try connection.hasMore() {
          let head = try connection.readHead()
          _ = try connection.readRequestBody(head)
          let path = CacheOrigin.path(head.target)
          let before = counts.update { counts in
            defer { counts[path, default: 0] += 1 }
            return counts[path] ?? 0
          }
          log.update { $0.append(Asked(head: head, path: path, connection: number)) }
          switch try script(head, before) {
          case .text(let text): try connection.send(text)
          case .octets(let octets): try connection.send(octets)
          case .byHand(let write): return try write(connection)
          }
        }
      } catch is WireError { return }
    }
  }

  /// A table's origin: each path answers with its own list, the last again and again.
  convenience init(_ answers: [String: [String]]) throws {
    try self.init { head, before in
      guard let list = answers[CacheOrigin.path(head.target)] else {
        return .text(CacheOrigin.answer(404))
      }
      return .text(list[min(before, list.count - 1)])
    }
  }

  private static func path(_ target: String) -> String {
    String(target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)[0])
  }

  var address: String { scripted.address }
  var requests: [Asked] { log.current }
  var records: [ScriptedOrigin.Record] { scripted.records }

  func asked(_ path: String) -> [WireHead] {
    requests.filter { $0.path == path }.map(\.head)
  }

  func wait(_ seconds: Double = Deadline.patienceSeconds, for condition: ([Asked]) -> Bool) -> Bool
  {
    log.wait(until: .after(seconds), for: condition)
  }

  /// Waits until the connections satisfy `condition`.
  func waitForRecords(
    _ seconds: Double = Deadline.patienceSeconds, for condition: ([ScriptedOrigin.Record]) -> Bool
  ) -> Bool {
    scripted.wait(seconds, for: condition)
  }

  func stop() { scripted.stop() }

  /// A whole response; `fields` without line ends.
  static func answer(
    _ status: Int = 200, _ fields: [String] = [], _ body: String = "body"
  ) -> String {
    let bare = status == 304 || status == 204 || status < 200
    let length = bare ? [] : ["Content-Length: \(body.utf8.count)"]
    return
      (["HTTP/1.1 \(status) Some"] + fields + length).joined(separator: "\r\n") + "\r\n\r\n"
      + (bare ? "" : body)
  }
}

/// A member of `Cache-Status` (RFC 9211), taken apart.
struct CacheWord: Equatable {
  var text: String

  init(_ response: WireResponse) { text = response.head.all("cache-status").last ?? "" }
  init(_ text: String) { self.text = text }

  private var parts: [String] {
    text.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }
  }

  /// RFC 9211 §2.1–2: never together with `fwd`.
  var isHit: Bool { parts.contains("hit") && forward == nil }
  var isStored: Bool { parts.contains("stored") }
  var isCollapsed: Bool { parts.contains("collapsed") }
  var detail: String? { value("detail") }
  var forward: String? { value("fwd") }
  var forwardStatus: Int? { value("fwd-status").flatMap { Int($0) } }
  var ttl: Int? { value("ttl").flatMap { Int($0) } }

  private func value(_ name: String) -> String? {
    parts.first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.count + 1)) }
  }
}

extension DaemonConfiguration {
  /// The route `*` stores in the cache `main`, with these options.
  static func cached(
    _ backends: [String], _ options: String = "", memory: String = "16MiB", workers: Int = 1
  ) -> DaemonConfiguration {
    var configuration = DaemonConfiguration(backends)
    configuration.top = "cache main memory=\(memory)"
    configuration.route = "cache main \(options)"
    configuration.workers = workers
    return configuration
  }
}

extension DaemonProcess {
  /// A response may have reached its client an instant before it counts as stored.
  func waitUntilStored(_ target: String, host: String = "example.com") throws {
    let isStored = try Poll.until(.patient) {
      try get(target, host: host, fields: "Cache-Control: only-if-cached\r\n").status == 200
    }
    guard isStored else { throw TestFailure("\(target) is not stored") }
  }
}

/// A gate that a held answer of an origin waits at.
final class Gate: Sendable {
  private let isOpen = Monitor(false)

  func open() { isOpen.update { $0 = true } }

  /// Throws where nobody opens it in time: a test's daemon must not wait for ever.
  func pass() throws {
    guard isOpen.wait(until: .after(60), for: { $0 }) else { throw TestFailure("gate not opened") }
  }
}

/// Runs `body` on so many threads at once and gives back what they return, or throw.
func together<Value: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (Int) throws -> Value
) throws -> [Value] {
  let results = Monitor([Result<Value, any Error>]())
  for index in 0..<count {
    Thread.detachNewThread {
      let result = Result { try body(index) }
      results.update { $0.append(result) }
    }
  }
  guard results.wait(until: .after(120), for: { $0.count == count }) else {
    throw TestFailure("\(results.update { $0.count }) of \(count) threads ended")
  }
  return try results.update { $0 }.map { try $0.get() }
}
