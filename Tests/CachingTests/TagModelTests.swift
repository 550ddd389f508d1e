import Primitives
import TestUnitSupport
import Testing

@testable import Caching

/// Against a list of what is stored: tags by the hundred, variants, renewals, purges of every kind,
/// responses in use, and memory that is at its end.
@Suite struct `Lists of tags beside a model` {
  struct Entry {
    var content: String
    var tags: Set<String>
    var storedAt: MonotonicTime
    var isSoft = false
  }

  private final class Model {
    let driver: StoreDriver
    var random: SeededRandom
    /// By path, and `#` with the language where it varies.
    var entries: [String: Entry] = [:]
    var held: [StoreDriver.Found] = []
    let tagCount: Int

    init(memory: Int, seed: UInt64, tagCount: Int) {
      driver = StoreDriver(memory: memory)
      random = SeededRandom(seed: seed)
      self.tagCount = tagCount
    }

    func path() -> String { "/\(random.below(5))/\(random.below(6))/\(random.below(6))" }

    func tags(_ most: Int) -> Set<String> {
      Set((0..<random.below(most + 1)).map { _ in "t\(random.below(tagCount))" })
    }

    func language() -> String { ["", "de", "en", "fr"][random.below(4)] }

    static func lines(_ language: String) -> String {
      language.isEmpty ? "" : "Accept-Language: \(language)"
    }

    static func secondary(_ language: String) -> [UInt8] {
      (try? Heads.get("/", lines(language)) { head in
        withOctets("accept-language") { names in
          Heads.appended { Caching.Vary.appendSecondaryKey(names: names, head, to: &$0) }
        }
      }) ?? []
    }

    func look(_ path: String, _ language: String) -> StoreDriver.Found {
      driver.lookup(path, Model.lines(language))
    }

    func matches(_ request: PurgeRequest) -> [String] {
      entries.filter { key, entry in
        let url = "http://a" + key.prefix { $0 != "#" }
        return request.all || request.urls.contains(Array(url.utf8))
          || request.tags.contains { entry.tags.contains(String(decoding: $0, as: UTF8.self)) }
          || request.prefix.map { url.hasPrefix(String(decoding: $0, as: UTF8.self)) } ?? false
      }.map(\.key)
    }
  }

  private func request(_ model: Model) -> PurgeRequest {
    var request = PurgeRequest()
    switch model.random.below(12) {
    case 0..<5:
      for _ in 0...model.random.below(3) {
        request.tags.append(Array("t\(model.random.below(model.tagCount))".utf8))
      }
    case 5..<8: request.urls = [Array(("http://a" + model.path()).utf8)]
    case 8: request.prefix = Array("http://a/\(model.random.below(5))/".utf8)
    case 9:
      request.prefix = Array("http://a/\(model.random.below(5))/\(model.random.below(6))".utf8)
    case 10:
      request.tags = [Array("t\(model.random.below(model.tagCount))".utf8)]
      request.urls = [Array(("http://a" + model.path()).utf8)]
      request.prefix = Array("http://a/\(model.random.below(5))/1/".utf8)
    default: request.all = model.random.below(8) == 0
    }
    let kind = model.random.below(4)
    request.dryRun = kind == 0
    request.soft = kind == 1
    return request
  }

  /// No memory is short: the store holds exactly what the model does.
  @Test(arguments: 0..<3)
  func `hold exactly what is stored`(seed: UInt64) throws {
    let model = Model(memory: 32 << 20, seed: seed, tagCount: seed % 2 == 0 ? 300 : 9)
    let driver = model.driver
    for turn in 0..<2500 {
      switch model.random.below(8) {
      case 0, 1:
        let request = request(model)
        let matched = model.matches(request)
        #expect(driver.store.purge(request, now: driver.now).matched == matched.count, "\(turn)")
        for key in matched where !request.dryRun {
          if request.soft { model.entries[key]?.isSoft = true } else { model.entries[key] = nil }
        }
      case 2:
        driver.now = driver.now + .seconds(Int64(model.random.below(20)))
      default:
        let path = model.path()
        let language = model.language()
        // By its path whether a response varies.
        let varies = path.hasSuffix("/1") || path.hasSuffix("/2")
        let key = varies ? path + "#" + language : path
        let found = model.look(path, language)
        let entry = model.entries[key]
        let isFresh =
          entry.map {
            !$0.isSoft && driver.now - $0.storedAt < .seconds(60)
          } ?? false
        #expect((found.kind == .hit) == isFresh, "\(turn) \(key) \(found.kind)")
        if isFresh { #expect(found.content == entry?.content) }
        guard let fill = found.fill else { continue }
        #expect((fill.stale != nil) == (entry != nil), "\(turn) \(key)")
        let tags = model.tags(seed % 3 == 0 ? 120 : 8)
        if let entry, !varies, model.random.below(2) == 0 {
          driver.renew(fill, length: entry.content.utf8.count, tags: tags.sorted())
          model.entries[key] = Entry(content: entry.content, tags: tags, storedAt: driver.now)
        } else {
          let content = String(repeating: "\(turn) ", count: model.random.below(300))
          driver.fetch(
            fill, content, tags: tags.sorted(), vary: varies ? "accept-language" : "",
            secondary: varies ? Model.secondary(language) : [])
          model.entries[key] = Entry(content: content, tags: tags, storedAt: driver.now)
        }
        _ = fill.leave(found.waiter)
      }
      if turn % 50 == 0 { driver.store.checkInvariants() }
      #expect(driver.store.usage.objects == model.entries.count, "\(turn)")
    }
    driver.store.checkInvariants()
    #expect(driver.purge(all: true).matched == model.entries.count)
    driver.store.checkInvariants()
  }

  /// Memory is short, some of it in use: the store holds at most what the model does, and each way
  /// of asking agrees with each other.
  @Test(arguments: 0..<3)
  func `agree with lookups where memory is short`(seed: UInt64) throws {
    let model = Model(
      memory: (1 << 20) + (seed % 2 == 0 ? 0 : 512 << 10), seed: seed + 100,
      tagCount: [9, 200, 2000][Int(seed % 3)])
    let driver = model.driver
    for turn in 0..<2500 {
      switch model.random.below(10) {
      case 0:
        var request = request(model)
        request.soft = false
        let stored = Set(model.matches(request)).filter { isStored(model, $0) }
        #expect(
          driver.store.purge(request, now: driver.now).matched == stored.count, "\(turn)")
        for key in model.matches(request) where !request.dryRun { model.entries[key] = nil }
      case 1 where model.held.count > 0:
        model.held.remove(at: model.random.below(model.held.count))
      case 2 where model.random.below(40) == 0: model.held = []
      default:
        let path = model.path()
        let found = driver.lookup(path)
        if found.kind == .hit {
          #expect(found.content == model.entries[path]?.content)
          if model.random.below(3) == 0 { model.held.append(found) }
        }
        guard let fill = found.fill else { continue }
        let tags = model.tags(seed % 4 == 3 ? 250 : 30)
        let content = String(
          repeating: "\(turn) ", count: model.random.below(model.random.below(8) == 0 ? 20000 : 600)
        )
        driver.fetch(fill, content, tags: tags.sorted(), lifetime: 100_000)
        model.entries[path] = Entry(content: content, tags: tags, storedAt: driver.now)
        _ = fill.leave(found.waiter)
      }
      if turn % 50 == 0 { driver.store.checkInvariants() }
      #expect(driver.store.usage.bytes <= driver.store.options.memoryBytes)
    }
    model.held = []
    driver.store.checkInvariants()
    _ = driver.purge(all: true)
    driver.store.checkInvariants()
    #expect(driver.store.usage.objects == 0)
  }

  /// Whether it is in the index; changes nothing.
  private func isStored(_ model: Model, _ key: String) -> Bool {
    model.driver.purge(urls: ["http://a" + key], dryRun: true).matched > 0
  }
}
