import Caching
import HTTP
import Primitives
import Synchronization

/// What people want purged, as they write it.
public struct PurgeOrder: Sendable, Equatable {
  /// `nil`: every cache.
  public var cache: String?
  public var tags: [String] = []
  /// `http(s)://host[:port]/path[?query]`
  public var urls: [String] = []
  public var prefix: String?
  public var all = false
  public var soft = false
  public var dryRun = false

  public init() {}

  /// It names nothing.
  public var isEmpty: Bool { tags.isEmpty && urls.isEmpty && prefix == nil && !all }
}

/// Why a purge is not done; nothing of it has been done then.
public enum PurgeFault: Error, Equatable, Sendable {
  case unknownCache(String)
  case tag(String)
  case url(String, CacheURLFault)
  /// It does not reach as far as the path's first slash.
  case prefix(String)

  public var text: String {
    switch self {
    case .unknownCache(let name): "there is no cache '\(name)'"
    case .tag(let tag):
      "'\(tag.prefix(64))' is no tag: 1 to \(CacheTags.mostBytes) octets, without blank or comma"
    case .url(let url, let fault): "'\(url.prefix(128))' \(PurgeFault.text(fault))"
    case .prefix(let prefix):
      "'\(prefix.prefix(128))' is no prefix of a URL with its host and a slash behind it"
    }
  }

  private static func text(_ fault: CacheURLFault) -> String {
    switch fault {
    case .scheme: "is no URL: expected 'http://…' or 'https://…'"
    case .host: "names no host"
    case .target: "has octets that no URL has"
    case .tooLong: "is too long"
    }
  }
}

extension Snapshot {
  private static let urlBytes = 16 * 1024

  /// Purges the caches of this configuration. When it returns, no lookup that begins afterwards
  /// gets what was purged. The sequence is left to the caller, who counts over all caches.
  public func purge(
    _ order: PurgeOrder, now: MonotonicTime
  ) throws(PurgeFault) -> PurgeResult {
    let targets = try targets(of: order)
    var total = PurgeResult()
    for (index, request) in targets {
      let result = stores[index].purge(request, now: now)
      total.matched += result.matched
      total.bytes += result.bytes
    }
    return total
  }

  /// What each cache is asked, by its index: a URL has the key that the cache's rules give it.
  private func targets(
    of order: PurgeOrder
  ) throws(PurgeFault) -> [(store: Int, request: PurgeRequest)] {
    if let name = order.cache, !stores.contains(where: { $0.name == name }) {
      throw .unknownCache(name)
    }
    for tag in order.tags where !Snapshot.isTag(tag) { throw .tag(tag) }
    var request = PurgeRequest()
    request.tags = order.tags.map { Array($0.utf8) }
    request.all = order.all
    request.soft = order.soft
    request.dryRun = order.dryRun
    if let prefix = order.prefix { request.prefix = try Snapshot.prefix(prefix) }
    var targets: [(store: Int, request: PurgeRequest)] = []
    for (index, store) in stores.enumerated() where order.cache ?? store.name == store.name {
      var own = request
      for url in order.urls { try addKeys(url, of: index, to: &own) }
      targets.append((index, own))
    }
    return targets
  }

  private static func isTag(_ tag: String) -> Bool {
    (1...CacheTags.mostBytes).contains(tag.utf8.count)
      && tag.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: ",") }
  }

  /// The key that the URL has with no rule, and with each rule of the cache.
  private func addKeys(
    _ url: String, of store: Int, to request: inout PurgeRequest
  ) throws(PurgeFault) {
    request.urls.append(try Snapshot.key(url, rule: nil))
    for index in 0..<cacheRules.count where cacheRules[index].pointee.cache == store {
      let key = try Snapshot.key(url, rule: cacheRules[index])
      if !request.urls.contains(key) { request.urls.append(key) }
    }
  }

  private static func key(
    _ url: String, rule: UnsafePointer<CacheRuleOfStore>?
  ) throws(PurgeFault) -> [UInt8] {
    var room = [UInt8](repeating: 0, count: urlBytes)
    var octets = Array(url.utf8)
    var fault: CacheURLFault?
    let key = room.withByteSink { sink -> [UInt8] in
      octets.withByteView { url in
        do throws(CacheURLFault) {
          if let rule {
            _ = try CacheKey.append(url: url, rule: rule.pointee.rule, to: &sink)
          } else {
            _ = try CacheKey.append(url: url, to: &sink)
          }
        } catch { fault = error }
        return sink.view.array
      }
    }
    if let fault { throw .url(url, fault) }
    octets.removeAll()
    return key
  }

  /// A prefix begins with a whole origin, in the form that keys have it.
  private static func prefix(_ prefix: String) throws(PurgeFault) -> [UInt8] {
    let parts = prefix.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 4 else { throw .prefix(prefix) }
    do throws(PurgeFault) {
      // What follows the first slash may end anywhere, within an escape too.
      let origin = try key("\(parts[0])//\(parts[2])/", rule: nil)
      return origin + Array(parts[3].utf8)
    } catch { throw .prefix(prefix) }
  }
}

/// A rule of a route, and the cache that it is for: distinct ones, for the keys of purged URLs.
struct CacheRuleOfStore: ~Copyable, Sendable {
  let cache: Int
  let rule: CompiledCacheRule

  init(_ options: RouteCache) {
    cache = options.cache
    rule = CompiledCacheRule(options.rule)
  }
}
