import Caching
import HTTP
import HTTP1
import Primitives
import TestUnitSupport
import Testing

/// Heads that a seed has changed go through everything that reads them: nothing may trap, and what
/// must hold whatever is sent is checked.
@Suite struct `Changed at random` {
  private struct Mutator {
    var random: SeededRandom
    let alphabet = Array("\"\\,;=/*?#&%:.-WQ01 \tq\u{80}ab".utf8)

    mutating func change(_ text: String, _ most: Int) -> String {
      var octets = Array(text.utf8)
      for _ in 0..<random.below(most + 1) {
        let octet = alphabet[random.below(alphabet.count)]
        switch random.below(3) {
        case 0 where !octets.isEmpty: octets[random.below(octets.count)] = octet
        case 1 where !octets.isEmpty: octets.remove(at: random.below(octets.count))
        default: octets.insert(octet, at: random.below(octets.count + 1))
        }
      }
      return String(decoding: octets, as: UTF8.self)
    }
  }

  @Test func `a request is judged, and has one key and one answer`() throws {
    var mutator = Mutator(random: SeededRandom(seed: 7))
    var rule = CacheRule()
    rule.query = .drop(["utm_*"])
    rule.sortsQuery = true
    rule.keyCookies = ["s"]
    rule.bypass = [.cookie("admin"), .query("preview")]
    let compiled = CompiledCacheRule(rule)
    let etag = HeldText("\"a\"")
    var read = 0
    for _ in 0..<3000 {
      let lines = [
        "Cookie: \(mutator.change("a=b; s=\"1\"; admin2=x", 3))",
        "If-None-Match: \(mutator.change("W/\"b\", \"c,d\", \"a\"", 3))",
        "If-Range: \(mutator.change("\"a\"", 1))",
        "Accept-Encoding: \(mutator.change("gzip;q=0.5, br, *;q=0", 3))",
        "Cache-Control: \(mutator.change("max-age=5, no-store=\"x\"", 3))",
        "Range: \(mutator.change("bytes=0-1, 5-", 3))",
      ].joined(separator: "\n")
      let target = "/" + mutator.change("a/b?x=1&utm_a=2&b", 3).replacing(" ", with: "")
      do {
        try Heads.get(target, lines) { head in
          read += 1
          _ = RequestPolicy.judge(head, rule: compiled)
          let stored = StoredValidators(etag: etag.view, lastModified: .empty, dateSeconds: 9)
          _ = ConditionalRequest.evaluate(head, status: 200, stored)
          _ = ConditionalRequest.allowsRange(head, stored)
          let names = ByteView("accept-encoding,cookie,x")
          let key = Heads.appended { sink in
            _ = CacheKey.append(head, isSecure: true, rule: compiled, to: &sink)
            Caching.Vary.appendSecondaryKey(names: names, head, to: &sink)
          }
          #expect(key != nil)
          try checkPurgeMeetsKey(head, compiled)
        }
      } catch is HeadFault {}
    }
    #expect(read > 1000, "\(read)")
  }

  /// Whatever the target: a purge of the URL in a key has the octets of that key.
  private func checkPurgeMeetsKey(
    _ head: borrowing RequestHead, _ rule: borrowing CompiledCacheRule
  ) throws {
    var layout: CacheKey.Layout?
    let octets = Heads.appended {
      layout = CacheKey.append(head, isSecure: false, rule: rule, to: &$0)
    }
    let url = try Array(#require(octets)[..<#require(layout).urlEnd])
    var again: [UInt8] = []
    let held = HeldText(url)
    try held.read { url in
      again = try Heads.appended { _ = try CacheKey.append(url: url, rule: rule, to: &$0) } ?? []
    }
    if again != url { Issue.record("\(text(url)) became \(text(again))") }
  }

  @Test func `a response is judged, kept and read again, and its tags and references too`()
    throws
  {
    var mutator = Mutator(random: SeededRandom(seed: 8))
    var rule = CacheRule()
    rule.tagHeaders = ["xkey"]
    rule.obeysSurrogateControl = true
    rule.heuristicPercent = 10
    let compiled = CompiledCacheRule(rule)
    let timing = ResponseTiming(wallSeconds: 784_111_777, delay: .zero)
    var read = 0
    for _ in 0..<3000 {
      let lines = [
        "Cache-Control: \(mutator.change("max-age=5, private=\"x\"", 3))",
        "CDN-Cache-Control: \(mutator.change("max-age=5;a=\"x\", b=(1 2)", 2))",
        "Surrogate-Control: \(mutator.change("max-age=5+6;x", 2))",
        "Date: \(mutator.change("Sun, 06 Nov 1994 08:49:37 GMT", 1))",
        "Expires: \(mutator.change("Sunday, 06-Nov-94 08:49:37 GMT", 1))",
        "Last-Modified: \(mutator.change("Sun Nov  6 08:49:37 1994", 1))",
        "Age: \(mutator.change("5, 6", 2))", "Vary: \(mutator.change("Accept, b", 2))",
        "Cache-Tag: \(mutator.change("a, b c,d", 3))", "xkey: \(mutator.change("a b", 3))",
        "Location: \(mutator.change("../c/./d?e#f", 4))",
        "Content-Location: \(mutator.change("http://example.com/x/../y", 4))",
        "Connection: \(mutator.change("close, vary", 2))",
      ].joined(separator: "\n")
      do {
        try Heads.response("HTTP/1.1 200 OK\n\(lines)") { head in
          read += 1
          let verdict = ResponsePolicy.judge(
            RequestConstraints(), head, rule: compiled, timing: timing)
          if case .store(let freshness) = verdict {
            #expect(freshness.lifetime <= 1 << 31 && freshness.staleWhileRevalidate <= 1 << 31)
          }
          let tags = CacheTags.collect(head, rule: compiled) { #expect(!$0.isEmpty) }
          #expect(tags.taken <= CacheTags.most)
          try checkHead(head, compiled)
          try checkReferences(head, compiled)
        }
      } catch is HeadFault {}
    }
    #expect(read > 1000, "\(read)")
  }

  private func checkHead(
    _ head: borrowing ResponseHead, _ rule: borrowing CompiledCacheRule
  ) throws {
    var layout: StoredHead.Layout?
    let kept = Heads.appended {
      layout = StoredHead.append(head, rule: rule, wallSeconds: 9, to: &$0)
    }
    let stored = try HeldText(#require(kept))
    #expect(layout?.length == kept?.count)
    // What is kept of what is kept is the same again.
    var again = ResponseHead()
    let isRead = stored.read { StoredHead.load($0, into: &again) }
    #expect(isRead)
    let twice = Heads.appended {
      _ = StoredHead.append(again, rule: rule, wallSeconds: 9, to: &$0)
    }
    if twice != kept { Issue.record("\(text(kept)) became \(text(twice))") }
  }

  /// What a response makes void is of its own origin, whatever it says.
  private func checkReferences(
    _ response: borrowing ResponseHead, _ rule: borrowing CompiledCacheRule
  ) throws {
    var request = RequestHead()
    let held = Heads.octets("POST /a/b HTTP/1.1\nHost: example.com")
    for target in Invalidation.Target.allCases {
      let key = try held.read { view in
        _ = try HeadParser.parseRequest(view, into: &request, limits: HeadLimits())
        return Heads.appended {
          _ = Invalidation.append(
            target, request, isSecure: false, response, rule: rule, to: &$0)
        }
      }
      let found = text(key)
      if !found.isEmpty, !found.hasPrefix("http://example.com/") { Issue.record("\(found)") }
    }
  }
}
