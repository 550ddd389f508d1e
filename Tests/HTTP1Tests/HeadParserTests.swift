import HTTP
import HTTP1
import Primitives
import Testing

@Suite struct `The head parser` {
  /// Whole, with bytes of the next message behind, at every split point, octet by octet and in
  /// random steps: one result, and never an answer before the blank line.
  private func checkAccepted(_ sample: String, _ grammar: Grammar) {
    let bytes = HeadSamples.bytes(sample)
    guard let whole = grammar.parse(bytes).head else {
      Issue.record("refused: \(grammar.parse(bytes)) \(sample.debugDescription)")
      return
    }
    #expect(whole.length == bytes.count)
    for next in ["\r\n", "GET", "\u{0}", "\r", "\n", "X: y\r\n\r\n"] {
      #expect(grammar.parse(bytes + Array(next.utf8)) == .accepted(whole))
    }
    let early = (0..<bytes.count).filter { grammar.parse(Array(bytes[..<$0])) != .incomplete }
    #expect(early.isEmpty, "decided too early: \(early)")
    var random = SeededRandom(seed: 9112)
    for most in [1, 2, 3, 17, 40] {
      let fed = grammar.feed(bytes) { _ in most == 1 ? 1 : 1 + random.below(most) }
      #expect(fed.outcome == .accepted(whole) && fed.after == bytes.count)
    }
  }

  private func checkRefused(_ sample: String, _ status: Int, _ grammar: Grammar) {
    let bytes = HeadSamples.bytes(sample)
    #expect(grammar.parse(bytes) == .refused(status))
    var decided = false
    for count in 0...bytes.count {
      let outcome = grammar.parse(Array(bytes[..<count]))
      if decided || count == bytes.count {
        #expect(outcome == .refused(status), "after \(count)")
      } else {
        #expect(outcome == .incomplete || outcome == .refused(status), "after \(count)")
      }
      decided = outcome != .incomplete
    }
    var random = SeededRandom(seed: 9112)
    for most in [1, 2, 3, 17, 40] {
      let fed = grammar.feed(bytes) { _ in most == 1 ? 1 : 1 + random.below(most) }
      #expect(fed.outcome == .refused(status), "in steps up to \(most)")
    }
  }

  @Test(arguments: HeadSamples.acceptedRequests)
  func `accepts a request when its blank line has come, however it came`(sample: String) {
    checkAccepted(sample, .request)
  }

  @Test(
    arguments: HeadSamples.refusedFraming + HeadSamples.refusedLines + HeadSamples.refusedFields)
  func `refuses a request with one status, however it came`(sample: String, status: Int) {
    checkRefused(sample, status, .request)
  }

  @Test(arguments: HeadSamples.acceptedResponses)
  func `accepts a response when its blank line has come, however it came`(sample: String) {
    checkAccepted(sample, .response)
  }

  @Test(arguments: HeadSamples.refusedResponses)
  func `refuses a response with 502, however it came`(sample: String) {
    checkRefused(sample, 502, .response)
  }

  @Test func `accepts every byte where its class allows it, and no other`() {
    for value in 0...255 {
      let byte = UInt8(value)
      let inValue =
        Array("GET / HTTP/1.1\r\nHost: a\r\nX: a".utf8) + [byte] + Array("b\r\n\r\n".utf8)
      let isValue = byte >= 32 && byte != 127 || byte == 9
      #expect((Grammar.request.parse(inValue).head != nil) == isValue, "value \(value)")
      let inName =
        Array("GET / HTTP/1.1\r\nHost: a\r\nx".utf8) + [byte] + Array("b: c\r\n\r\n".utf8)
      let isToken = [byte].withByteView { $0.endOfToken(from: 0) == 1 }
      let isSplit = byte == UInt8(ascii: ":")
      #expect((Grammar.request.parse(inName).head != nil) == (isToken || isSplit), "name \(value)")
      let inTarget = Array("GET /a".utf8) + [byte] + Array("41 HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
      let isTarget = [byte].withByteView { $0.endOfTarget(from: 0) == 1 }
      #expect((Grammar.request.parse(inTarget).head != nil) == isTarget, "target \(value)")
    }
  }
}
