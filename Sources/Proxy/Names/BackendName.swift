import Balancing
import Primitives
import Resilience

/// What is asked of DNS on behalf of `backend` lines; equal ones are asked once.
public enum NameQuery: Hashable, Sendable {
  /// A and AAAA of a host, in lower case as written.
  case host(String)
  /// SRV of a service, and A and AAAA of the hosts in its records.
  case service(String)

  /// As in logs, metrics and documents.
  public var text: String {
    switch self {
    case .host(let name): name
    case .service(let name): "srv:\(name)"
    }
  }
}

/// An address that DNS names for a query.
public struct ResolvedAddress: Hashable, Sendable {
  public let address: IPAddress
  /// What the records of a service say of it besides.
  public let service: ServiceTracker.Found?

  public init(address: IPAddress) {
    self.address = address
    service = nil
  }

  public init(_ found: ServiceTracker.Found) {
    address = found.address
    service = found
  }

  /// Behind the `@` of its backend's name.
  public var text: String {
    service.map { "\(SocketAddress.ip(address, port: $0.port))" } ?? "\(address)"
  }
}

/// `backend HOST:PORT` or `backend srv:SERVICE`: every address of the name is a backend, called
/// `name@address`.
public struct BackendNameOptions: Sendable, Equatable {
  public var query: NameQuery
  /// 0 for a service, whose records have ports.
  public var port: UInt16
  /// As written, unless `name=` says otherwise; the part of its backends' names before the `@`.
  public var name: String
  public var weight = 1
  public var isBackup = false
  /// Requests in flight at once at each address; `nil`: as the upstream says.
  public var maxRequests: Int?

  public init(query: NameQuery, port: UInt16, name: String) {
    self.query = query
    self.port = port
    self.name = name
  }

  /// The backend of one of its addresses.
  func backend(_ found: ResolvedAddress) -> BackendOptions {
    let port = found.service?.port ?? port
    var backend = BackendOptions(
      address: .ip(found.address, port: port), name: "\(name)@\(found.text)")
    backend.weight = found.service?.weight ?? weight
    backend.isBackup = isBackup || found.service?.isBackup == true
    backend.maxRequests = maxRequests
    switch query {
    case .host(let name):
      backend.authority = "\(BackendNameOptions.withoutDot(name)):\(port)"
      backend.serverName = BackendNameOptions.withoutDot(name)
    case .service:
      // Whom a certificate has to name is not for DNS to say: the configuration does.
      let host = found.service?.host ?? ""
      backend.authority = "\(BackendNameOptions.withoutDot(host)):\(port)"
    }
    backend.query = query
    return backend
  }

  /// A dot at the end says that a name is complete: no certificate and no Host field has it.
  private static func withoutDot(_ name: String) -> String {
    name.hasSuffix(".") ? String(name.dropLast()) : name
  }
}

extension ProxyOptions {
  /// What DNS has to be asked for, each once, in the order of the file.
  public var nameQueries: [NameQuery] {
    var seen: Set<NameQuery> = []
    return upstreams.flatMap(\.names).map(\.query).filter { seen.insert($0).inserted }
  }

  /// The same configuration with the addresses that are known of its names as backends, behind
  /// those that the file has. Of a name that is not known there are none.
  public func resolved(_ known: [NameQuery: [ResolvedAddress]]) -> ProxyOptions {
    guard upstreams.contains(where: { !$0.names.isEmpty }) else { return self }
    var options = self
    for index in upstreams.indices {
      for name in upstreams[index].names {
        let found = (known[name.query] ?? []).prefix(namePolicy.maxAddresses)
        options.upstreams[index].backends += found.map { name.backend($0) }
      }
      options.upstreams[index].fitRing()
    }
    return options
  }
}

extension UpstreamOptions {
  /// The configuration's check has counted each address of a service with weight 1. Where what DNS
  /// says is too much for a hash ring, all weights from there become smaller alike, down to 1.
  fileprivate mutating func fitRing() {
    guard case .hash(let hash) = balance else { return }
    let limit = HashRing.pointLimit / hash.pointsPerWeight
    let whole = backends.reduce(0) { $0 + $1.weight }
    let scaled = backends.indices.filter { isOfService(backends[$0]) }
    guard whole > limit, !scaled.isEmpty else { return }
    let part = scaled.reduce(0) { $0 + backends[$1].weight }
    let room = max(0, limit - (whole - part) - scaled.count)
    for index in scaled { backends[index].weight = 1 + backends[index].weight * room / (part + 1) }
  }

  private func isOfService(_ backend: BackendOptions) -> Bool {
    if case .service = backend.query { true } else { false }
  }
}
