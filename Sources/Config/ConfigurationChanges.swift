import Balancing
import Primitives
import Proxy

/// What is different between two checked configurations, thing by thing: what a reload answers, and
/// what `weir plan` says before one.
public struct ConfigurationChanges: Sendable, Equatable {
  public enum Kind: String, Sendable, Codable {
    case added, removed, changed
  }

  public struct Change: Sendable, Equatable {
    public let kind: Kind
    /// `listener web`, `upstream app`, `backend app/b1`, `route /api/`, `cache main`, `weir`.
    public let subject: String
    /// What of it, where it is known; empty otherwise.
    public let detail: String

    init(_ kind: Kind, _ subject: String, _ detail: String = "") {
      self.kind = kind
      self.subject = subject
      self.detail = detail
    }

    public var text: String {
      detail.isEmpty ? "\(subject) \(kind.rawValue)" : "\(subject) \(kind.rawValue): \(detail)"
    }
  }

  public private(set) var list: [Change] = []

  public var isEmpty: Bool { list.isEmpty }
  /// One for each change.
  public var lines: [String] { list.map(\.text) }

  /// Listeners marked as removed count as not there.
  public init(from old: ProxyOptions, to new: ProxyOptions) {
    compareGlobals(old, new)
    compare(
      old.listeners.filter { !$0.isRemoved }, new.listeners, "listener", \.name, compareListeners)
    compare(old.caches, new.caches, "cache", \.name)
    compare(old.upstreams, new.upstreams, "upstream", \.name, compareUpstreams)
    compare(RouteInFull.all(of: old), RouteInFull.all(of: new), "route", \.name)
  }

  /// Removed ones in the old order, then the others in the new one. `details` reports what it can
  /// name and makes that part alike in the two; what still differs is reported as a whole.
  private mutating func compare<Thing: Equatable>(
    _ old: [Thing], _ new: [Thing], _ what: String, _ name: (Thing) -> String,
    _ details: (inout (old: Thing, new: Thing)) -> [Change] = { _ in [] }
  ) {
    for thing in old where !new.contains(where: { name($0) == name(thing) }) {
      list.append(Change(.removed, "\(what) \(name(thing))"))
    }
    for thing in new {
      guard let before = old.first(where: { name($0) == name(thing) }) else {
        list.append(Change(.added, "\(what) \(name(thing))"))
        continue
      }
      var pair = (old: before, new: thing)
      list += details(&pair)
      if pair.old != pair.new { list.append(Change(.changed, "\(what) \(name(thing))")) }
    }
  }

  private mutating func compareGlobals(_ old: ProxyOptions, _ new: ProxyOptions) {
    func compare<Value: Equatable>(
      _ directive: String, _ value: (ProxyOptions) -> Value, _ shown: (Value) -> String
    ) {
      let (before, after) = (value(old), value(new))
      guard before != after else { return }
      list.append(Change(.changed, "weir", "\(directive) \(shown(before)) → \(shown(after))"))
    }
    compare("max-connections", \.maxConnections, String.init)
    compare("max-connections-per-client", \.maxConnectionsPerClient, String.init)
    compare("max-streams", \.maxStreams, String.init)
    compare("drain-timeout", \.drainTimeout) { "\($0.milliseconds)ms" }
    compare("log-level", \.logLevel) { "\($0)" }
    compare("trusted-proxies", \.trustedProxies) { networks in
      networks.isEmpty ? "none" : networks.map { "\($0)" }.joined(separator: ",")
    }
    compare("workers", \.workers) { $0.map(String.init) ?? "auto" }
    compare("name", \.name) { $0 ?? "(random)" }
    compare("admin", \.admin) { $0.map { "\($0.address)" }.joined(separator: ",") }
    if old.resolver != new.resolver || old.namePolicy != new.namePolicy {
      list.append(Change(.changed, "weir", "resolver"))
    }
    if old.accessLog != new.accessLog { list.append(Change(.changed, "weir", "access-log")) }
  }
}

private func compareListeners(
  _ pair: inout (old: ListenerOptions, new: ListenerOptions)
) -> [ConfigurationChanges.Change] {
  let subject = "listener \(pair.new.name)"
  var found: [ConfigurationChanges.Change] = []
  for address in pair.old.bind where !pair.new.bind.contains(address) {
    found.append(.init(.changed, subject, "address \(address) removed"))
  }
  for address in pair.new.bind where !pair.old.bind.contains(address) {
    found.append(.init(.changed, subject, "address \(address) added"))
  }
  pair.old.bind = pair.new.bind
  return found
}

private func compareUpstreams(
  _ pair: inout (old: UpstreamOptions, new: UpstreamOptions)
) -> [ConfigurationChanges.Change] {
  let name = pair.new.name
  var found: [ConfigurationChanges.Change] = []
  for backend in pair.old.backends
  where !pair.new.backends.contains(where: { $0.name == backend.name }) {
    found.append(.init(.removed, "backend \(name)/\(backend.name)"))
  }
  for backend in pair.new.backends {
    let subject = "backend \(name)/\(backend.name)"
    guard let before = pair.old.backends.first(where: { $0.name == backend.name }) else {
      found.append(.init(.added, subject))
      continue
    }
    if before.address != backend.address {
      found.append(.init(.changed, subject, "address \(before.address) → \(backend.address)"))
    } else if before.weight != backend.weight {
      found.append(.init(.changed, subject, "weight \(before.weight) → \(backend.weight)"))
    } else if before != backend {
      found.append(.init(.changed, subject))
    }
  }
  pair.old.backends = pair.new.backends
  let subject = { (named: BackendNameOptions) in "backend \(name)/\(named.name)" }
  for named in pair.old.names where !pair.new.names.contains(where: { $0.name == named.name }) {
    found.append(.init(.removed, subject(named)))
  }
  for named in pair.new.names {
    guard let before = pair.old.names.first(where: { $0.name == named.name }) else {
      found.append(.init(.added, subject(named)))
      continue
    }
    if before.weight != named.weight {
      found.append(.init(.changed, subject(named), "weight \(before.weight) → \(named.weight)"))
    } else if before != named {
      found.append(.init(.changed, subject(named)))
    }
  }
  pair.old.names = pair.new.names
  return found
}

/// A route with the name of its upstream instead of its place in one file.
private struct RouteInFull: Equatable {
  let name: String
  let upstream: String?
  var options: RouteOptions

  static func all(of configuration: ProxyOptions) -> [RouteInFull] {
    configuration.routes.map { route in
      guard case .upstream(let index) = route.action else {
        return RouteInFull(name: route.name, upstream: nil, options: route)
      }
      var options = route
      options.action = .upstream(0)
      return RouteInFull(
        name: route.name, upstream: configuration.upstreams[index].name, options: options)
    }
  }
}
