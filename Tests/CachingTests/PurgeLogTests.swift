import Primitives
import TestUnitSupport
import Testing

@testable import Caching

@Suite struct `The log of purges` {
  private func request(
    tag: String? = nil, url: String? = nil, prefix: String? = nil, all: Bool = false,
    soft: Bool = false
  ) -> PurgeRequest {
    var request = PurgeRequest()
    request.tags = tag.map { [Array($0.utf8)] } ?? []
    request.urls = url.map { [Array($0.utf8)] } ?? []
    request.prefix = prefix.map { Array($0.utf8) }
    request.all = all
    request.soft = soft
    return request
  }

  private func match(
    _ log: PurgeLog, _ url: String, tags: [String] = [], since began: UInt64
  ) -> (sequence: UInt64, isSoft: Bool)? {
    var octets: [UInt8] = []
    for tag in tags { octets += [UInt8(tag.utf8.count), 0] + Array(tag.utf8) }
    return HeldText(url).read { url in
      HeldText(octets).read { list in log.match(url: url, tags: TagList(list), since: began) }
    }
  }

  @Test func `a fetch misses what came before it and is caught by what came after`() {
    var log = PurgeLog()
    _ = log.add(request(tag: "old"))
    let began = log.fetchBegan()
    #expect(match(log, "http://a/x", tags: ["old"], since: began) == nil)
    let purge = log.add(request(tag: "new"))
    #expect(match(log, "http://a/x", tags: ["new"], since: began)?.sequence == purge)
    #expect(match(log, "http://a/x", tags: ["other"], since: began) == nil)
    log.fetchEnded(began)
  }

  @Test func `each way to name an object catches it`() {
    let cases: [(PurgeRequest, Bool)] = [
      (request(tag: "t"), true), (request(tag: "T"), false), (request(tag: "tt"), false),
      (request(url: "http://a/b/c"), true), (request(url: "http://a/b"), false),
      (request(prefix: "http://a/b/"), true), (request(prefix: "http://a/b/d"), false),
      (request(all: true), true),
    ]
    for (purge, isCaught) in cases {
      var log = PurgeLog()
      let began = log.fetchBegan()
      _ = log.add(purge)
      let found = match(log, "http://a/b/c", tags: ["s", "t"], since: began)
      #expect((found != nil) == isCaught, "\(purge)")
    }
  }

  @Test func `a hard purge counts although soft ones came after it`() throws {
    var log = PurgeLog()
    let began = log.fetchBegan()
    let hard = log.add(request(tag: "t"))
    let soft = log.add(request(tag: "t", soft: true))
    let found = try #require(match(log, "http://a/", tags: ["t"], since: began))
    #expect(!found.isSoft && found.sequence >= hard && found.sequence <= soft)
    #expect(match(log, "http://a/", tags: ["t"], since: hard)?.isSoft == true)
  }

  @Test func `purges are known as long as a fetch may have missed them`() {
    var log = PurgeLog()
    let first = log.fetchBegan()
    let purge = log.add(request(tag: "t"))
    let second = log.fetchBegan()
    for _ in 0..<3000 { _ = log.add(request(tag: "x")) }
    #expect(match(log, "http://a/", tags: ["t"], since: first)?.sequence == purge)
    log.fetchEnded(second)
    #expect(match(log, "http://a/", tags: ["t"], since: first)?.sequence == purge)
    log.fetchEnded(first)
  }

  @Test func `beyond its limit a floor rises, and older fetches share nothing`() throws {
    var log = PurgeLog()
    let began = log.fetchBegan()
    for _ in 0...PurgeLog.mostEntries { _ = log.add(request(tag: "x")) }
    #expect(log.floor > began)
    let found = try #require(match(log, "http://a/", tags: ["t"], since: began))
    // Whoever asked after any of them must not have it.
    #expect(found.sequence == began + 1 && !found.isSoft)
    #expect(match(log, "http://a/", tags: ["t"], since: log.sequence) == nil)
  }
}
