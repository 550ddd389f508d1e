import HTTP
import HTTP1
import Primitives
import Testing

/// Mutated heads: nothing crashes, the result does not depend on how the bytes came, and what is
/// accepted means the same to the next parser that reads what `HeadWriter` made of it.
@Suite struct `Mutated heads` {
  private static let requests =
    HeadSamples.acceptedRequests.filter { $0.utf8.count < 400 }
    + HeadSamples.refusedFraming.map(\.0)
    + HeadSamples.refusedLines.map(\.0) + HeadSamples.refusedFields.map(\.0)
  private static let responses = HeadSamples.acceptedResponses + HeadSamples.refusedResponses

  private static let interesting: [String] = [
    "\r\n", "\r", "\n", "\r\n\r\n", ":", " ", "\t", "\u{0}", "\u{7F}", "\u{80}", "\u{FF}", "/", "*",
    ",", "close", "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Host: b\r\n", "%2e",
    "HTTP/1.0", "HTTP/1.1", "http://c/", "..", "?", "[", "]", "Connection: ", "5", "-",
    "aaaaaaaaaa",
  ]

  private static func mutate(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
    for _ in 0...random.below(3) {
      let place = random.below(bytes.count + 1)
      switch random.below(5) {
      case 0: if place < bytes.count { bytes[place] = UInt8(truncatingIfNeeded: random.next()) }
      case 1: if place < bytes.count { bytes.remove(at: place) }
      case 2: bytes.removeSubrange(place..<min(bytes.count, place + random.below(12)))
      case 3:
        let from = random.below(bytes.count + 1)
        let piece = Array(bytes[from..<min(bytes.count, from + random.below(30))])
        bytes.insert(contentsOf: piece, at: place)
      default:
        let piece = interesting[random.below(interesting.count)]
        bytes.insert(contentsOf: HeadSamples.bytes(piece), at: place)
      }
    }
  }

  private func check(_ samples: [String], _ grammar: Grammar, _ seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var accepted = 0
    for _ in 0..<2000 {
      var bytes = HeadSamples.bytes(samples[random.below(samples.count)])
      Self.mutate(&bytes, &random)
      let whole = grammar.parse(bytes)
      let description = "\(seed): \(String(decoding: bytes, as: UTF8.self).debugDescription)"
      if let part = Self.firstDisagreement(bytes, whole, grammar, &random) {
        Issue.record("\(part) of \(description)")
      }
      guard let head = whole.head else { continue }
      accepted += 1
      let skipped = bytes.first == 13 && !grammar.isResponse ? 2 : 0
      let again = grammar.parse(head.emitted)
      if again.head?.length != head.emitted.count || again.head?.emitted != head.emitted
        || again.head?.framing != head.framing
      {
        Issue.record("written again it is \(again): \(description)")
      }
      if grammar.isResponse { continue }
      if again.head?.summary != head.summary || head.emitted.count != head.length - skipped {
        Issue.record("\(head.summary) became \(again): \(description)")
      }
    }
    #expect(accepted > 50, "the mutations leave nothing to accept")
  }

  /// Prefixes are undecided or agree with the whole; all of it in pieces is the whole.
  private static func firstDisagreement(
    _ bytes: [UInt8], _ whole: Outcome, _ grammar: Grammar, _ random: inout SeededRandom
  ) -> String? {
    for _ in 0..<4 {
      let count = random.below(bytes.count + 1)
      let part = grammar.parse(Array(bytes[..<count]))
      if part != .incomplete, part != whole { return "\(part), not \(whole), after \(count)" }
    }
    let fed = grammar.feed(bytes) { _ in 1 + random.below(30) }
    if fed.outcome == whole { return nil }
    // Refusals may be found later by those who wait for line ends, acceptance may not.
    return whole.status != nil && fed.outcome == .incomplete ? nil : "\(fed.outcome), not \(whole),"
  }

  @Test(arguments: 1...5)
  func `of requests mean one thing or are refused`(seed: UInt64) {
    check(Self.requests, .request, seed)
  }

  @Test(arguments: 1...5)
  func `of responses mean one thing or are refused`(seed: UInt64) {
    check(Self.responses, .response, seed)
  }

  @Test func `made of random bytes are refused or incomplete`() {
    var random = SeededRandom(seed: 1)
    for _ in 0..<2000 {
      let bytes = (0..<random.below(200)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      #expect(Grammar.request.parse(bytes).head == nil)
      #expect(Grammar.response.parse(bytes).head == nil)
    }
  }

  /// Every accepted request has one Host on 1.1, one framing, and no byte a rule forbids.
  @Test(arguments: 6...8)
  func `that are accepted keep the rules that a plain reading can check`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    for _ in 0..<3000 {
      var bytes = HeadSamples.bytes(Self.requests[random.below(Self.requests.count)])
      Self.mutate(&bytes, &random)
      guard let head = Grammar.request.parse(bytes).head else { continue }
      let text = String(String.UnicodeScalarView(bytes[..<head.length].map { UnicodeScalar($0) }))
      if let fault = Self.plainFault(text) { Issue.record("\(fault): \(text.debugDescription)") }
    }
  }

  private static func plainFault(_ text: String) -> String? {
    var rest = Substring(text)
    if rest.unicodeScalars.starts(with: "\r\n".unicodeScalars) {
      rest = Substring(rest.unicodeScalars.dropFirst(2))
    }
    let lines = String(rest).replacing("\r\n", with: "\u{2028}").split(
      separator: "\u{2028}", omittingEmptySubsequences: false)
    guard lines.count >= 3, lines.suffix(2).allSatisfy(\.isEmpty) else { return "no blank line" }
    let start = lines[0].split(separator: " ", omittingEmptySubsequences: false)
    guard start.count == 3, start[2] == "HTTP/1.1" || start[2] == "HTTP/1.0" else { return "start" }
    var counts: [String: Int] = [:]
    for line in lines.dropFirst().dropLast(2) {
      guard let colon = line.firstIndex(of: ":"), colon > line.startIndex else { return "line" }
      let name = line[..<colon]
      let value = line[colon...].unicodeScalars.dropFirst()
      if name.contains(where: { $0.isWhitespace || !$0.isASCII }) { return "name" }
      if value.contains(where: { $0.value < 32 && $0.value != 9 || $0.value == 127 }) {
        return "control"
      }
      counts[name.lowercased(), default: 0] += 1
    }
    if counts["host", default: 0] > 1 { return "two hosts" }
    if start[2] == "HTTP/1.1", counts["host"] == nil { return "no host" }
    if counts["transfer-encoding"] != nil, counts["content-length"] != nil { return "two framings" }
    if counts["transfer-encoding", default: 0] > 1 { return "two codings" }
    return nil
  }
}
