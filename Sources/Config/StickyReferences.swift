import Proxy
import Routing

extension Draft {
  /// Two upstreams that one client may meet must not use one cookie: each takes the other's for
  /// none, and overwrites it with its own, so that the client sticks to neither.
  ///
  /// Hosts are compared as routes write them; `*` meets all.
  mutating func checkStickyCookies() {
    guard !hasFaultyUpstream, !hasFaultyRoute else { return }
    var first: [StickyPlace: Int] = [:]
    var told: Set<Int> = []
    // Hosts before `*`, whose routes any of them may meet.
    let places = stickyPlaces.sorted { $0.place.isEverywhere && !$1.place.isEverywhere }
    for (place, upstream) in places {
      let everywhere = StickyPlace(cookie: place.cookie, host: .any)
      guard let other = first[everywhere] ?? first[place], other != upstream else {
        first[place] = upstream
        continue
      }
      // Both orders of a pair are one fault, said at the upstream that stands later.
      let later = max(other, upstream)
      guard told.insert(later).inserted else { continue }
      let name = proxy.upstreams[later].name
      report.warning(
        "two upstreams of one site make clients stick by the cookie '\(place.cookie)'",
        at: upstreamNames.first { $0.key == name }?.location,
        notes: [
          "the other is '\(proxy.upstreams[min(other, upstream)].name)'",
          "each overwrites the cookie of the other: give it a name of its own",
        ])
    }
  }

  /// Where each sticky upstream is met: its own routes, and those it stands in for.
  private var stickyPlaces: [(place: StickyPlace, upstream: Int)] {
    routes.flatMap { route -> [(place: StickyPlace, upstream: Int)] in
      var met: [Int] = []
      if case .upstream(let upstream) = route.options.action { met.append(upstream) }
      if let fallback = route.options.fallbackUpstream { met.append(fallback) }
      return met.compactMap { upstream in
        guard let sticky = proxy.upstreams[upstream].sticky else { return nil }
        return (StickyPlace(cookie: sticky.cookie, host: route.options.pattern.host), upstream)
      }
    }
  }
}

/// A cookie's name, and the hosts of a route that its upstream is met at.
private struct StickyPlace: Hashable {
  var cookie: String
  var host: RoutePattern.Host

  var isEverywhere: Bool { host == .any }
}
