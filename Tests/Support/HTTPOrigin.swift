import Foundation

/// A well-behaved keep-alive origin whose answer the path decides (the last match counts, so that
/// any route prefix may stand before it):
///
///     …/bytes/N    N octets of the pattern, Content-Length
///     …/chunked/N  the same, chunked, with the trailer `X-Check: done`
///     …/close/N    the same, ended by closing the connection
///     …/echo       head and content of the request, as received
///     …/delay/MS   an empty 200 after that many milliseconds
///     …/hold/0     an empty 200 once the test has called `release`
///     …/status/N   that status, empty
///     anything     its name
///
/// Every answer names it in `X-Origin`, and tells in `X-Content-Count` and `X-Content-Intact`
/// what it got of the pattern.
public final class HTTPOrigin: Sendable {
  /// One request as it arrived.
  public struct Request: Sendable {
    public var head: WireHead
    public var contentCount: Int
    /// Number of the connection it came on.
    public var connection: Int
  }

  public let name: String
  private let scripted: ScriptedOrigin
  private let log: Monitor<[Request]>
  private let isReleased: Monitor<Bool>

  public init(
    _ name: String = "origin", host: String = "127.0.0.1", port: UInt16 = 0
  ) throws {
    let log = Monitor<[Request]>([])
    let isReleased = Monitor(false)
    self.name = name
    self.log = log
    self.isReleased = isReleased
    scripted = try ScriptedOrigin(host: host, port: port) { connection, number in
      connection.stepSeconds = 120
      do {
        while try connection.hasMore() {
          let again = try HTTPOrigin.serve(connection, number, name, log, isReleased)
          if !again { return }
        }
      } catch is WireError {
        // The proxy left, as it may at any time; what it sent stands in the records.
        return
      }
    }
  }

  public var address: String { scripted.address }
  public var port: UInt16 { scripted.port }
  public var requests: [Request] { log.current }
  public var records: [ScriptedOrigin.Record] { scripted.records }
  public var receivedCount: Int { scripted.receivedCount }

  public func wait(_ seconds: Double = 10, for condition: ([Request]) -> Bool) -> Bool {
    log.wait(until: .after(seconds), for: condition)
  }

  /// Lets the requests for `…/hold/0` go, those to come as well.
  public func release() { isReleased.update { $0 = true } }

  public func stop() { scripted.stop() }

  /// Serves one request; false when the connection ends with it.
  private static func serve(
    _ connection: WireConnection, _ number: Int, _ name: String, _ log: Monitor<[Request]>,
    _ isReleased: Monitor<Bool>
  ) throws -> Bool {
    let head = try connection.readHead()
    var check = PatternCheck()
    var content: [UInt8] = []
    let trailers = try connection.readRequestBody(head) {
      check.add($0)
      if content.count < 1 << 20 { content.append(contentsOf: $0) }
    }
    log.update {
      $0.append(Request(head: head, contentCount: check.count, connection: number))
    }
    let path = (head.target.split(separator: "?").first ?? "").split(separator: "/").map(
      String.init)
    let argument = path.last.flatMap { Int($0) } ?? 0
    let verb = path.count >= 2 && Int(path[path.count - 1]) != nil ? path[path.count - 2] : ""
    var fields = """
      X-Origin: \(name)\r
      X-Content-Count: \(check.count)\r
      X-Content-Intact: \(check.isIntact ? "yes" : "no")\r\n
      """
    let isHead = head.method == "HEAD"
    func answer(_ status: Int, _ body: [UInt8]) throws {
      let bare = [204, 304].contains(status)
      fields += bare ? "" : "Content-Length: \(body.count)\r\n"
      try connection.send(
        Array("HTTP/1.1 \(status) Some\r\n\(fields)\r\n".utf8)
          + (isHead || bare ? [] : body))
    }
    switch verb {
    case "bytes" where argument <= Pattern.window && !isHead:
      // In one piece: a process that is killed has answered, or not begun to.
      try answer(200, Array(Pattern.bytes[..<argument]))
    case "bytes":
      try connection.send("HTTP/1.1 200 OK\r\n\(fields)Content-Length: \(argument)\r\n\r\n")
      if !isHead { try Pattern.send(argument, on: connection) }
    case "chunked":
      try connection.send("HTTP/1.1 200 OK\r\n\(fields)Transfer-Encoding: chunked\r\n\r\n")
      if !isHead {
        try Pattern.sendChunked(argument, on: connection, trailer: "X-Check: done\r\n")
      }
    case "close":
      try connection.send("HTTP/1.1 200 OK\r\n\(fields)Connection: close\r\n\r\n")
      if !isHead { try Pattern.send(argument, on: connection) }
      return false
    case "delay":
      var pause = timespec(tv_sec: argument / 1000, tv_nsec: argument % 1000 * 1_000_000)
      nanosleep(&pause, nil)
      try answer(200, [])
    case "hold":
      _ = isReleased.wait(until: .after(60)) { $0 }
      try answer(200, [])
    case "status": try answer(argument, [])
    default:
      if path.last == "echo" {
        let end = trailers.map { "\($0.name): \($0.value)\r\n" }.joined()
        try answer(200, Array((head.text + "\r\n\r\n").utf8) + content + Array(end.utf8))
      } else {
        try answer(200, Array(name.utf8))
      }
    }
    return head["connection"]?.lowercased() != "close"
  }
}
