import Caching
import HTTP
import HTTP1
import Primitives
import TestUnitSupport

/// Heads as the parser of the daemon makes them, for tests.
enum Heads {
  struct Refused: Error {}

  /// `text`: lines with `\n`; the blank line is added.
  static func octets(_ text: String) -> HeldText {
    HeldText(text.replacing("\n", with: "\r\n") + "\r\n\r\n")
  }

  static func request<Result>(
    _ text: String, _ body: (borrowing RequestHead) throws -> Result
  ) throws -> Result {
    var head = RequestHead()
    let held = octets(text)
    return try held.read { view in
      guard try HeadParser.parseRequest(view, into: &head, limits: HeadLimits()) == view.count
      else { throw Refused() }
      return try body(head)
    }
  }

  static func get<Result>(
    _ target: String, _ lines: String = "", host: String = "example.com",
    _ body: (borrowing RequestHead) throws -> Result
  ) throws -> Result {
    let more = lines.isEmpty ? "" : "\n\(lines)"
    return try request("GET \(target) HTTP/1.1\nHost: \(host)\(more)", body)
  }

  static func response<Result>(
    _ text: String, _ body: (borrowing ResponseHead) throws -> Result
  ) throws -> Result {
    var head = ResponseHead()
    let held = octets(text)
    return try held.read { view in
      let end = try HeadParser.parseResponse(
        view, into: &head, limits: HeadLimits(), isHead: false)
      guard end == view.count else { throw Refused() }
      return try body(head)
    }
  }

  /// What `body` appends, or `nil` where it did not fit.
  static func appended(
    capacity: Int = 8192, _ body: (inout ByteSink) throws -> Void
  ) rethrows -> [UInt8]? {
    let room = UnsafeMutablePointer<UInt8>.allocate(capacity: max(capacity, 1))
    defer { room.deallocate() }
    var sink = ByteSink(base: room, capacity: capacity)
    try body(&sink)
    return sink.overflowed ? nil : sink.view.array
  }
}

/// Text of octets, for comparing.
func text(_ octets: [UInt8]?) -> String { octets.map { String(decoding: $0, as: UTF8.self) } ?? "" }
