import Balancing
import Primitives
import Resilience
import Testing

@testable import Proxy

/// A configuration with what DNS says of its names.
@Suite struct ResolvedOptionsTests {
  private func options(_ change: (inout UpstreamOptions) -> Void) -> ProxyOptions {
    var options = ProxyOptions()
    var upstream = UpstreamOptions(name: "app")
    change(&upstream)
    options.upstreams = [upstream]
    return options
  }

  private func found(
    _ text: String, port: UInt16 = 80, weight: Int = 1, isBackup: Bool = false
  ) -> ResolvedAddress {
    ResolvedAddress(
      .init(
        address: IPAddress(text) ?? IPAddress(v4: 0), port: port, weight: weight,
        isBackup: isBackup, host: "pod.internal."))
  }

  @Test func `each address is a backend with what the line says`() throws {
    let host = NameQuery.host("app.internal.")
    var named = BackendNameOptions(query: host, port: 8080, name: "app")
    (named.weight, named.isBackup, named.maxRequests) = (3, true, 9)
    let written = options { $0.names = [named] }
    #expect(written.resolved([:]).upstreams[0].backends.isEmpty)
    let addresses = ["10.0.0.1", "2001:db8::1"].compactMap { IPAddress($0) }
    let resolved = written.resolved([host: addresses.map { ResolvedAddress(address: $0) }])
    let backends = resolved.upstreams[0].backends
    #expect(backends.map(\.name) == ["app@10.0.0.1", "app@2001:db8::1"])
    #expect(backends.map(\.address.description) == ["10.0.0.1:8080", "[2001:db8::1]:8080"])
    let first = try #require(backends.first)
    #expect(first.weight == 3 && first.isBackup && first.maxRequests == 9)
    #expect(first.authority == "app.internal:8080" && first.serverName == "app.internal")
    #expect(first.query == host && resolved.nameQueries == [host])
  }

  @Test func `a service brings ports, weights and backups, and nobody's certificate`() throws {
    let service = NameQuery.service("_http._tcp.app.internal")
    let written = options {
      $0.names = [BackendNameOptions(query: service, port: 0, name: "app")]
    }
    let resolved = written.resolved([
      service: [found("10.0.0.1", port: 81, weight: 7), found("::1", port: 82, isBackup: true)]
    ])
    let backends = resolved.upstreams[0].backends
    #expect(backends.map(\.name) == ["app@10.0.0.1:81", "app@[::1]:82"])
    #expect(backends.map(\.weight) == [7, 1] && backends.map(\.isBackup) == [false, true])
    let first = try #require(backends.first)
    #expect(first.authority == "pod.internal:81" && first.serverName == nil)
  }

  @Test(arguments: [1, 256, 4096])
  func `what a service says never is too much for a hash ring`(points: Int) {
    let service = NameQuery.service("_http._tcp.app.internal")
    var hash = HashOptions(key: .path)
    hash.pointsPerWeight = points
    let written = options {
      $0.balance = .hash(hash)
      $0.names = [BackendNameOptions(query: service, port: 0, name: "app")]
    }
    let many = (0..<256).map { found("10.0.0.\($0)", weight: $0 == 0 ? 256 : 1 + $0 % 256) }
    let backends = written.resolved([service: many]).upstreams[0].backends
    let weights = backends.reduce(0) { $0 + $1.weight }
    #expect(weights * points <= HashRing.pointLimit)
    #expect(backends.count == 256 && backends.allSatisfy { $0.weight >= 1 })
    // They keep their order.
    #expect(backends[255].weight >= backends[1].weight)
    _ = BalancerPlan(policy: .hash(hash), backends: backends.map { $0.spec(limit: nil) })
  }
}
