import Caching
import Primitives
import TestUnitSupport
import Testing

@Suite struct `Cache-Status` {
  private func line(
    _ kind: CacheStatus.Kind, instance: String = "weir-a",
    _ change: (inout CacheStatus) -> Void = { _ in }
  ) -> String {
    var status = CacheStatus(kind)
    change(&status)
    return HeldText(instance).read { instance in
      text(Heads.appended { CacheStatusField.append(status, instance: instance, to: &$0) })
    }
  }

  @Test func `tells hits and what was forwarded in the words of RFC 9211`() {
    #expect(line(.hit) == "Cache-Status: weir-a; hit\r\n")
    #expect(line(.hit) { $0.ttl = 123 } == "Cache-Status: weir-a; hit; ttl=123\r\n")
    let stale = line(.hit) {
      $0.ttl = -5
      $0.detail = .staleWhileRevalidate
    }
    #expect(stale == "Cache-Status: weir-a; hit; ttl=-5; detail=swr\r\n")
    let stored = line(.forwarded(.uriMiss)) {
      $0.stored = true
      $0.collapsed = true
      $0.ttl = 60
    }
    #expect(stored == "Cache-Status: weir-a; fwd=uri-miss; stored; collapsed; ttl=60\r\n")
    let confirmed = line(.forwarded(.stale)) { $0.forwardStatus = 304 }
    #expect(confirmed == "Cache-Status: weir-a; fwd=stale; fwd-status=304\r\n")
  }

  @Test func `has a word of its own for each reason`() {
    let reasons = ForwardReason.allCases.map { line(.forwarded($0)) }
    #expect(Set(reasons).count == ForwardReason.allCases.count)
    let words = [
      "bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial",
    ]
    #expect(reasons == words.map { "Cache-Status: weir-a; fwd=\($0)\r\n" })
    let details = CacheDetail.allCases.map { detail in line(.hit) { $0.detail = detail } }
    #expect(Set(details).count == CacheDetail.allCases.count)
  }

  @Test func `says of a hit nothing that only a forwarded request has`() {
    let hit = line(.hit) {
      $0.stored = true
      $0.collapsed = true
      $0.forwardStatus = 200
    }
    #expect(hit == "Cache-Status: weir-a; hit\r\n")
  }

  @Test(arguments: [
    ("weir-a", "weir-a"), ("weir-a.b_c", "weir-a.b_c"), ("a b", "\"a b\""), ("1a", "\"1a\""),
    ("a\"b\\c", "\"a\\\"b\\\\c\""), ("", "\"\""), ("ä", "\"\""), ("a\r\nb", "\"ab\""),
  ])
  func `names the cache by a token, or by a string`(instance: String, expected: String) {
    #expect(line(.hit, instance: instance) == "Cache-Status: \(expected); hit\r\n")
  }
}
