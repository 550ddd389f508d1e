import Balancing
import HTTP
import HTTP1
import Primitives
import Proxy
import Routing

/// What would happen if one checked configuration took the place of another: `weir plan`.
public struct ConfigurationPlan: Sendable {
  /// An upstream that hashes before and after.
  public struct Movement: Sendable, Equatable {
    public let upstream: String
    /// Of the key space, 0 to 1, with all backends able to serve.
    public let share: Double
  }

  /// A request that another route would take.
  public struct Rerouting: Sendable, Equatable {
    public let request: String
    /// Names of routes; `nil`: none takes it (404).
    public let before: String?
    public let after: String?
  }

  public let changes: ConfigurationChanges
  public let movements: [Movement]
  /// Upstreams that hash over what DNS says of a name: how many keys move there nobody can tell.
  public let untold: [String]
  private let old: ProxyOptions
  private let new: ProxyOptions
  private let oldTable: RouteTable
  private let newTable: RouteTable

  /// Throws where an expression cannot be compiled.
  public init(from old: ProxyOptions, to new: ProxyOptions) throws(RouteTableError) {
    self.old = old
    self.new = new
    changes = ConfigurationChanges(from: old, to: new)
    oldTable = try RouteTable(old.routes.map(\.pattern))
    newTable = try RouteTable(new.routes.map(\.pattern))
    untold = new.upstreams.filter { upstream in
      guard case .hash = upstream.balance,
        let before = old.upstreams.first(where: { $0.name == upstream.name })
      else { return false }
      return before != upstream && !(before.names.isEmpty && upstream.names.isEmpty)
    }.map(\.name)
    movements = new.upstreams.compactMap { upstream in
      // What a name stands for is known to DNS alone.
      guard let before = old.upstreams.first(where: { $0.name == upstream.name }),
        before.names.isEmpty, upstream.names.isEmpty,
        let share = ConfigurationPlan.balancer(before)
          .movedShare(to: ConfigurationPlan.balancer(upstream))
      else { return nil }
      return Movement(upstream: upstream.name, share: share)
    }
  }

  private static func balancer(_ upstream: UpstreamOptions) -> BalancerPlan {
    BalancerPlan(
      policy: upstream.balance, backends: upstream.backends.map { $0.spec(limit: nil) })
  }

  /// Of requests given as heads, those that another route would take. Heads that weir would refuse
  /// are no request. `count`: how many were looked at.
  public func reroutings(
    of requests: some Sequence<[UInt8]>
  ) -> (count: Int, changed: [Rerouting]) {
    let matcher = RouteMatcher()
    var head = RequestHead()
    var count = 0
    var changed: [Rerouting] = []
    for request in requests {
      request.withByteView { bytes in
        do throws(HeadFault) {
          let length = try HeadParser.parseRequest(bytes, into: &head, limits: HeadLimits())
          guard length > 0 else { return }
        } catch { return }
        count += 1
        let before = ConfigurationPlan.name(matcher.match(oldTable, head), in: old)
        let after = ConfigurationPlan.name(matcher.match(newTable, head), in: new)
        guard before != after else { return }
        let line = String(decoding: request.prefix { $0 != 0x0D }, as: UTF8.self)
        changed.append(Rerouting(request: line, before: before, after: after))
      }
    }
    return (count, changed)
  }

  private static func name(_ match: RouteMatch, in options: ProxyOptions) -> String? {
    guard case .route(let index) = match else { return nil }
    return options.routes[index].name
  }
}
