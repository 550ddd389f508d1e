import HTTP
import HTTP1
import Primitives
import Testing

@Suite struct `Limits of a head` {
  private static var small: HeadLimits {
    var limits = HeadLimits()
    limits.maxBytes = 400
    limits.maxFieldBytes = 100
    limits.maxFields = 5
    limits.maxTargetBytes = 60
    return limits
  }

  private let request = Grammar(limits: small)
  private let response = Grammar(limits: small, isResponse: true)
  private static let host = "Host: a\r\n"

  private func field(_ octets: Int) -> String {
    "X: " + String(repeating: "v", count: octets - 3) + "\r\n"
  }

  private func head(_ fields: String, target: String = "/") -> [UInt8] {
    Array("GET \(target) HTTP/1.1\r\n\(Self.host)\(fields)\r\n".utf8)
  }

  /// Accepted whole and at every split; none of its prefixes is refused.
  private func expectAccepted(_ bytes: [UInt8], _ grammar: Grammar) {
    #expect(grammar.parse(bytes).head?.length == bytes.count)
    let wrong = (0..<bytes.count).filter { grammar.parse(Array(bytes[..<$0])) != .incomplete }
    #expect(wrong.isEmpty, "refused at the limit, not beyond it, after \(wrong)")
  }

  private func expectRefused(_ bytes: [UInt8], _ status: Int, _ grammar: Grammar) {
    #expect(grammar.parse(bytes) == .refused(status))
    let others = (0..<bytes.count).map { grammar.parse(Array(bytes[..<$0])) }
      .filter { $0 != .incomplete && $0 != .refused(status) }
    #expect(others.isEmpty)
  }

  @Test func `one field line may be as long as its limit`() {
    expectAccepted(head(field(100)), request)
    expectRefused(head(field(101)), 431, request)
    expectAccepted(head(field(100) + field(100)), request)
    expectAccepted(Array("HTTP/1.1 200 OK\r\n\(field(100))\r\n".utf8), response)
    expectRefused(Array("HTTP/1.1 200 OK\r\n\(field(101))\r\n".utf8), 502, response)
    let name = String(repeating: "n", count: 98)
    expectAccepted(head("\(name):v\r\n"), request)
    expectRefused(head("\(name):vv\r\n"), 431, request)
  }

  @Test func `the target may be as long as its limit`() {
    let target = "/" + String(repeating: "t", count: 59)
    expectAccepted(head("", target: target), request)
    expectRefused(head("", target: target + "t"), 414, request)
  }

  @Test func `as many lines as allowed, and not one more`() {
    let line = "X: y\r\n"
    expectAccepted(head(String(repeating: line, count: 4)), request)
    expectRefused(head(String(repeating: line, count: 5)), 431, request)
    let answer = "HTTP/1.1 200 OK\r\n"
    expectAccepted(Array((answer + String(repeating: line, count: 5) + "\r\n").utf8), response)
    expectRefused(Array((answer + String(repeating: line, count: 6) + "\r\n").utf8), 502, response)
  }

  @Test func `the head may be as long as its limit`() {
    let full = head(field(98) + field(98) + field(98) + field(71))
    #expect(full.count == 400)
    expectAccepted(full, request)
    let over = head(field(98) + field(98) + field(98) + field(72))
    #expect(over.count == 401)
    expectRefused(over, 431, request)
  }

  @Test func `what follows a head does not count`() {
    let bytes = head(field(50))
    let next = [UInt8](repeating: 88, count: 2000)
    #expect(request.parse(bytes + next).head?.length == bytes.count)
  }

  /// Nobody may send without end inside any part of a head.
  @Test(arguments: [
    ("", "M", 400, 33), ("GET ", "/", 414, 61), ("GET / HTTP/1.1\r\n", "n", 431, 102),
    ("GET / HTTP/1.1\r\nX: ", "v", 431, 102), ("GET / HTTP/1.1\r\nX:", " ", 431, 102),
    ("GET / HTTP/1.1\r\nX", ":", 431, 102),
  ])
  func `an endless part is refused as soon as its limit is passed`(
    start: String, endless: String, status: Int, octets: Int
  ) {
    let line = start.split(separator: "\r\n", omittingEmptySubsequences: false).last ?? ""
    let before = status == 431 ? start.utf8.count - line.utf8.count : status == 414 ? 4 : 0
    for count in [octets, octets + 1, octets + 500] {
      let used = before + count - start.utf8.count
      let bytes = Array((start + String(repeating: endless, count: used)).utf8)
      #expect(request.parse(bytes) == .refused(status), "after \(count)")
    }
  }

  @Test(arguments: ["HTTP/1.1 200 ", "HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\n"])
  func `an endless response is refused at the latest when the head is full`(start: String) {
    let bytes = Array((start + String(repeating: "x", count: 400 - start.utf8.count)).utf8)
    #expect(response.parse(bytes) == .refused(502))
  }

  @Test func `a connection is asked again soon enough to see an endless line`() {
    let bytes = Array(("GET /" + String(repeating: "a", count: 20_000)).utf8)
    let fed = Grammar.request.feed(bytes) { _ in 1 }
    #expect(fed.outcome == .refused(414))
    #expect(fed.after <= 8 * 1024 + 1024 + 5)
  }

  @Test func `the default limits are those of rule 20`() {
    let limits = HeadLimits()
    #expect(limits.maxBytes == 16_384 && limits.maxFieldBytes == 8192)
    #expect(limits.maxFields == 100 && limits.maxTargetBytes == 8192)
    // A connection that fills the buffer with one line at its limit, one octet at a time around it.
    let line = "X: " + String(repeating: "v", count: 8189) + "\r\n"
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\(line)\r\n".utf8)
    let fed = Grammar.request.feed(bytes) { $0 < 8150 ? 8150 : 1 }
    #expect(fed.outcome.head?.length == bytes.count)
  }
}
