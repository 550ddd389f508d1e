import Primitives
import Proxy
import Routing

/// Checks that need the whole configuration.
extension Draft {
  /// Routes and backends of one configuration; far above what a table of either was measured with.
  static let routeLimit = 100_000
  static let backendLimit = 100_000

  mutating func checkReferences() {
    checkPresence()
    checkNames(listenerNames, "listener")
    checkNames(upstreamNames, "upstream")
    checkAddresses()
    checkNames(cacheNames, "cache")
    resolveUpstreams()
    resolveCaches()
    checkRoutes()
    checkStickyCookies()
  }

  private mutating func checkPresence() {
    if listenerNames.isEmpty, !hasFaultyListener {
      report.error(
        "no listener", at: nil, notes: ["expected one such as 'listener web { bind :8080 }'"])
    }
    if routes.isEmpty, !hasFaultyRoute {
      report.warning(
        "no route: every request is answered with 404", at: nil,
        notes: ["'route *' takes every request"])
    }
    checkSizes()
    if routes.count > Draft.routeLimit {
      report.error("more than \(Draft.routeLimit) routes", at: nil)
    }
  }

  /// Names count with all the addresses that they may have: what DNS says must never be too much
  /// for a configuration that was accepted.
  private mutating func checkSizes() {
    let each = proxy.namePolicy.maxAddresses
    let backends = proxy.upstreams.reduce(0) { $0 + $1.backends.count + $1.names.count * each }
    if backends > Draft.backendLimit {
      let hasNames = proxy.upstreams.contains { !$0.names.isEmpty }
      report.error(
        "more than \(Draft.backendLimit) backends", at: nil,
        notes: hasNames ? ["each host name may become \(each) ('max-addresses=')"] : [])
    }
    for (upstream, location) in zip(proxy.upstreams, upstreamLocations) {
      guard case .hash(let options) = upstream.balance else { continue }
      let weights =
        upstream.backends.reduce(0) { $0 + $1.weight }
        + upstream.names.reduce(0) { $0 + $1.weight * each }  // 1 for services
      let points = weights * options.pointsPerWeight
      guard points > UpstreamOptions.ringPointLimit else { continue }
      var notes = [
        "at most \(UpstreamOptions.ringPointLimit): the sum of all weights times 'points='"
      ]
      if !upstream.names.isEmpty {
        notes.append("each host name may become \(each) backends ('max-addresses=')")
      }
      report.error(
        "the hash ring \(upstream.names.isEmpty ? "has" : "may have") \(points) points",
        at: location, notes: notes)
    }
  }

  private mutating func checkNames(_ names: [Named<String>], _ noun: String) {
    var first: [String: Location] = [:]
    for name in names {
      if let earlier = first[name.key] {
        report.error(
          "the \(noun) name '\(name.key)' is taken", at: name.location,
          notes: ["first on \(report.place(of: earlier, from: name.location))"])
      } else {
        first[name.key] = name.location
      }
    }
  }

  /// Two sockets on one address would share its connections at random; so would one on every
  /// address of the machine and one of each family.
  private mutating func checkAddresses() {
    var first: [SocketAddress: Location] = [:]
    for bound in boundAddresses {
      var key = bound.key
      if case .ip(let address, let port) = key, AddressReader.isUnspecified(address) {
        key = .ip(IPAddress(high: 0, low: 0), port: port)
      }
      if let earlier = first[key] {
        report.error(
          "the address \(bound.key) is bound already", at: bound.location,
          notes: ["on \(report.place(of: earlier, from: bound.location))"])
      } else {
        first[key] = bound.location
      }
    }
  }

  private mutating func resolveUpstreams() {
    let known = upstreamNames.map(\.key)
    var indices: [String: Int] = [:]
    for (index, upstream) in proxy.upstreams.enumerated() where indices[upstream.name] == nil {
      indices[upstream.name] = index
    }
    var used: Set<String> = []
    for index in routes.indices {
      switch routes[index].action {
      case .final(let action): routes[index].options.action = action
      case .upstream(let token):
        used.insert(token.text)
        if let upstream = indices[token.text] {
          routes[index].options.action = .upstream(upstream)
        } else {
          reportUnknown(token, among: known)
        }
        guard let fallback = routes[index].fallback else { continue }
        used.insert(fallback.text)
        if fallback.text == token.text {
          report.error("the route's own upstream is no fallback", at: fallback.location)
        } else if let upstream = indices[fallback.text] {
          routes[index].options.fallbackUpstream = upstream
        } else {
          reportUnknown(fallback, among: known)
        }
      }
    }
    guard !hasFaultyRoute else { return }
    for upstream in upstreamNames where !used.contains(upstream.key) {
      report.warning("no route leads to the upstream '\(upstream.key)'", at: upstream.location)
    }
  }

  private mutating func reportUnknown(_ token: Token, among known: [String]) {
    guard !known.contains(token.text), !hasFaultyUpstream else { return }
    let list = known.map { "'\($0)'" }.joined(separator: ", ")
    let expected =
      known.isEmpty
      ? "the configuration has no upstream"
      : known.count == 1 ? "expected \(list)" : "expected one of \(list)"
    report.error(
      "unknown upstream '\(token.text)'", at: token.location,
      notes: [expected] + Suggestion.note(for: token.text, among: known))
  }

  private mutating func resolveCaches() {
    let known = cacheNames.map(\.key)
    var used: Set<String> = []
    for index in routes.indices {
      guard let token = routes[index].cache else { continue }
      used.insert(token.text)
      if let cache = known.firstIndex(of: token.text) {
        routes[index].options.cache?.cache = cache
      } else {
        let expected =
          known.isEmpty
          ? "expected one that the configuration makes: 'cache \(token.text) memory=64MiB'"
          : "expected one of " + known.map { "'\($0)'" }.joined(separator: ", ")
        report.error(
          "unknown cache '\(token.text)'", at: token.location,
          notes: [expected] + Suggestion.note(for: token.text, among: known))
      }
    }
    for cache in cacheNames where !used.contains(cache.key) {
      report.warning("no route uses the cache '\(cache.key)'", at: cache.location)
    }
  }

  private mutating func checkRoutes() {
    let patterns = routes.map(\.options.pattern)
    for conflict in RouteTable.duplicates(in: patterns) {
      let location = routes[conflict.route].location
      let place = report.place(of: routes[conflict.winner].location, from: location)
      report.error(
        "the route on \(place) has the same host, path and conditions", at: location,
        notes: ["no request can reach this one"])
    }
    for conflict in RouteTable.hiddenRegexes(in: patterns) {
      let location = routes[conflict.route].location
      let winner = routes[conflict.winner]
      let place = report.place(of: winner.location, from: location)
      report.warning(
        "no request can reach this route", at: location,
        notes: ["'\(winner.options.name)' on \(place) takes them: a prefix wins over an expression"]
      )
    }
    proxy.routes = routes.map(\.options)
  }
}
