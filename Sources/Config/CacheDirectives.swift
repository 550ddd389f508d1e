import Caching
import Primitives
import Proxy

/// `cache` at the top level, which makes one, and in a route, which uses it.
extension Directive {
  private static let second = TimeAmount.seconds(1)
  private static let year = TimeAmount.seconds(365 * 86_400)
  private static let memory = CacheOptions.leastMemoryBytes...(32 << 30)
  private static var cache: CacheOptions { CacheOptions(name: "") }

  static let caches = Directive(
    name: "cache", context: .top,
    arguments: [Argument(label: "NAME", kind: .name(more: ""))],
    options: [
      OptionRow(
        key: "memory", kind: .size(memory), fallback: written(bytes: cache.memoryBytes),
        summary: "Everything it takes, its own tables included."),
      OptionRow(
        key: "max-object", kind: .size(1...(32 << 30)),
        fallback: written(bytes: CacheOptions.defaultMaxObjectBytes),
        summary: "Longer content is passed on and not stored; never more than an eighth of "
          + "`memory`."),
      OptionRow(
        key: "max-variants", kind: .integer(1...CacheOptions.mostVariants),
        fallback: String(cache.maxVariants),
        summary: "Responses of one URL that differ in what `Vary` names; beyond that the oldest "
          + "goes."),
      OptionRow(
        key: "huge-pages", kind: .word(["on", "off"], noun: "setting"), fallback: "on",
        summary: "Ask for its memory in pages of 2 MiB, of which the system grants what it has: "
          + "what is stored is found faster."),
    ],
    isRepeatable: true,
    summary: "A cache in memory, shared by all workers and by the routes that name it. One whose "
      + "options a reload changes begins empty."
  ) { draft, reading in draft.addCache(reading) }

  static let routeCache = Directive(
    name: "cache", context: .route,
    arguments: [Argument(label: "NAME", kind: .name(more: ""))],
    options: lifetimes + keys + treatment,
    fallback: "nothing is stored",
    summary: "Store the upstream's responses in this cache, as RFC 9111 allows, and answer from "
      + "it. Without further options a response is stored only for as long as it says itself "
      + "(docs/CACHING.md)."
  ) { draft, reading in draft.setCache(reading) }

  private static let lifetimes: [OptionRow] = [
    OptionRow(
      key: "ttl", kind: .duration(second...year), fallback: "none",
      summary: "How long responses with status 200, 203, 204, 300, 301 or 308 are fresh that do "
        + "not say it themselves."),
    OptionRow(
      key: "ttl-overrides", kind: .word(["on", "off"], noun: "setting"), fallback: "off",
      summary: "`ttl` and `status-ttl` hold although the response says how long. What forbids "
        + "storing (`no-store`, `private`, …) still holds."),
    OptionRow(
      key: "status-ttl", kind: .text(limit: 1024), fallback: "none",
      summary: "The same by status, as in `404:10s,503:1s`; 5xx is stored only where it is named "
        + "here."),
    OptionRow(
      key: "stale-while-revalidate", kind: .duration(second...year), fallback: "0s",
      summary: "How long a stale response that does not say it itself is served while it is "
        + "fetched anew."),
    OptionRow(
      key: "stale-if-error", kind: .duration(second...year), fallback: "0s",
      summary: "How long a stale response that does not say it itself is served where its backend "
        + "fails."),
    OptionRow(
      key: "heuristic", kind: .percentage(1...100), fallback: "none",
      summary: "Share of the time since `Last-Modified` that a response is fresh which says "
        + "nothing, at most a day."),
  ]

  private static let keys: [OptionRow] = [
    OptionRow(
      key: "query", kind: .text(limit: 4096), fallback: "all",
      summary: "Parameters of the query that tell resources apart: `all`, `none`, "
        + "`keep:a,b` or `drop:utm_*,ref`. A backend is not sent what is left out when a "
        + "response is fetched for the cache."),
    OptionRow(
      key: "sort-query", kind: .word(["on", "off"], noun: "setting"), fallback: "off",
      summary: "Their order does not matter."),
    OptionRow(
      key: "key-headers", kind: .text(limit: 1024), fallback: "none",
      summary: "Request fields that tell resources apart, with commas between."),
    OptionRow(
      key: "key-cookies", kind: .text(limit: 1024), fallback: "none",
      summary: "Cookies that do."),
    OptionRow(
      key: "bypass", kind: .text(limit: 1024), fallback: "none",
      summary: "Requests that pass the cache by, as in "
        + "`header:x-preview,cookie:session,query:nocache`."),
  ]

  private static let treatment: [OptionRow] = [
    OptionRow(
      key: "tag-headers", kind: .text(limit: 1024), fallback: "none",
      summary: "Response fields with tags besides `Cache-Tag` and `Surrogate-Key`."),
    OptionRow(
      key: "expose-tags", kind: .word(["on", "off"], noun: "setting"), fallback: "off",
      summary: "Clients see the fields with tags."),
    OptionRow(
      key: "surrogate-control", kind: .word(["on", "off"], noun: "setting"), fallback: "off",
      summary: "Obey `Surrogate-Control`, and keep it from clients."),
    OptionRow(
      key: "request-directives", kind: .word(["on", "off"], noun: "setting"), fallback: "off",
      summary: "Obey `no-cache`, `max-age`, `min-fresh` and `max-stale` of requests: anybody can "
        + "then make weir ask its backends."),
    OptionRow(
      key: "store-set-cookie", kind: .word(["on", "off"], noun: "setting"), fallback: "off",
      summary: "Store responses that set a cookie; everybody gets that cookie then."),
  ]
}

extension Draft {
  fileprivate mutating func addCache(_ reading: Reading) {
    var options = CacheOptions(name: reading.text(0))
    options.memoryBytes = reading.optionInteger("memory") ?? options.memoryBytes
    options.maxObjectBytes = reading.optionInteger("max-object")
    options.maxVariants = reading.optionInteger("max-variants") ?? options.maxVariants
    options.usesHugePages = reading.optionText("huge-pages") != "off"
    let most = options.memoryBytes / CacheOptions.objectsAtLeast
    if let size = options.maxObjectBytes, size > most, let token = reading.options["max-object"] {
      report.error(
        "one object may take an eighth of the cache at most", at: token.token.valueLocation,
        notes: ["expected at most \(written(bytes: most)), or more 'memory='"])
    }
    cacheNames.append(Named(key: options.name, location: reading.tokens[0].location))
    proxy.caches.append(options)
  }

  fileprivate mutating func setCache(_ reading: Reading) {
    routeCacheName = reading.tokens[0]
    var rule = CacheRule()
    rule.ttl = reading.optionDuration("ttl")
    rule.ttlOverrides = reading.optionText("ttl-overrides") == "on"
    rule.staleWhileRevalidate = reading.optionDuration("stale-while-revalidate")
    rule.staleIfError = reading.optionDuration("stale-if-error")
    rule.heuristicPercent = reading.optionInteger("heuristic") ?? 0
    rule.sortsQuery = reading.optionText("sort-query") == "on"
    rule.exposesTags = reading.optionText("expose-tags") == "on"
    rule.obeysSurrogateControl = reading.optionText("surrogate-control") == "on"
    rule.obeysRequestDirectives = reading.optionText("request-directives") == "on"
    rule.storesSetCookie = reading.optionText("store-set-cookie") == "on"
    rule.statusTTLs = statusTTLs(reading)
    rule.query = queryChoice(reading)
    rule.keyHeaders = names("key-headers", reading, "field name")
    rule.keyCookies = names("key-cookies", reading, "cookie name")
    rule.tagHeaders = names("tag-headers", reading, "field name")
    rule.bypass = bypasses(reading)
    if rule.ttlOverrides, rule.ttl == nil, rule.statusTTLs.isEmpty,
      let token = reading.options["ttl-overrides"]
    {
      report.error(
        "nothing to override with", at: token.token.location,
        notes: ["expected 'ttl=' or 'status-ttl=' beside it"])
    }
    var cache = RouteCache(cache: -1)
    cache.rule = rule
    route.cache = cache
  }

  /// The words of a list with commas, none of which is empty.
  private mutating func words(_ key: String, _ reading: Reading) -> [String] {
    guard let text = reading.optionText(key), let token = reading.options[key]?.token else {
      return []
    }
    let words = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    if words.contains("") {
      report.error(
        "an empty place in the list", at: token.valueLocation,
        notes: ["expected words with single commas between"])
      return []
    }
    return words
  }

  private mutating func names(
    _ key: String, _ reading: Reading, _ noun: String
  ) -> [String] {
    let words = words(key, reading)
    for word in words where !ValueReader.isToken(word) {
      guard let token = reading.options[key]?.token else { continue }
      report.error("'\(word)' is not a \(noun)", at: token.valueLocation)
    }
    return words
  }

  private mutating func statusTTLs(_ reading: Reading) -> [CacheRule.StatusTTL] {
    var list: [CacheRule.StatusTTL] = []
    for word in words("status-ttl", reading) {
      guard let token = reading.options["status-ttl"]?.token else { continue }
      let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
      guard parts.count == 2, let status = Int(parts[0]), (200...599).contains(status),
        status != 206, status != 304
      else {
        report.error(
          "'\(word)' is no status with a duration", at: token.valueLocation,
          notes: ["expected one such as '404:10s', of 200 to 599 but for 206 and 304"])
        continue
      }
      do throws(ValueFault) {
        let value = try ValueReader.duration(
          parts[1], TimeAmount.milliseconds(1000)...TimeAmount.seconds(365 * 86_400))
        if case .duration(let ttl) = value { list.append(.init(status: status, ttl: ttl)) }
      } catch { fault(error, at: token.valueLocation) }
    }
    return list
  }

  private mutating func queryChoice(_ reading: Reading) -> CacheRule.Query {
    guard let text = reading.optionText("query"), let token = reading.options["query"]?.token
    else { return .all }
    let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
    let list = parts.count == 2 ? parts[1].split(separator: ",").map(String.init) : []
    switch (parts.first, list.isEmpty) {
    case ("all", true) where parts.count == 1: return .all
    case ("none", true) where parts.count == 1: return .none
    case ("keep", false): return .keep(list)
    case ("drop", false): return .drop(list)
    default:
      report.error(
        "'\(text)' does not say which parameters", at: token.valueLocation,
        notes: ["expected 'all', 'none', 'keep:NAME,…' or 'drop:NAME,…'"])
      return .all
    }
  }

  private mutating func bypasses(_ reading: Reading) -> [CacheRule.Bypass] {
    var list: [CacheRule.Bypass] = []
    for word in words("bypass", reading) {
      let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
      switch parts.count == 2 ? parts[0] : "" {
      case "header": list.append(.header(parts[1]))
      case "cookie": list.append(.cookie(parts[1]))
      case "query": list.append(.query(parts[1]))
      default:
        guard let token = reading.options["bypass"]?.token else { continue }
        report.error(
          "'\(word)' does not say what a request must have", at: token.valueLocation,
          notes: ["expected 'header:NAME', 'cookie:NAME' or 'query:NAME'"])
      }
    }
    return list
  }
}
