import Primitives
import Resilience

/// What is asked of DNS on behalf of `backend` lines; equal ones are asked once.
public enum NameQuery: Hashable, Sendable {
  /// A and AAAA of a host, in lower case as written.
  case host(String)

  /// As in logs, metrics and documents.
  public var text: String {
    switch self {
    case .host(let name): name
    }
  }
}

/// An address that DNS names for a query.
public struct ResolvedAddress: Hashable, Sendable {
  public var address: IPAddress

  public init(address: IPAddress) { self.address = address }
}

/// `backend HOST:PORT`: every address of the name is a backend, called `name@address`.
public struct BackendNameOptions: Sendable, Equatable {
  public var query: NameQuery
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
    let host = hostName
    var backend = BackendOptions(
      address: .ip(found.address, port: port), name: "\(name)@\(found.address)")
    backend.weight = weight
    backend.isBackup = isBackup
    backend.maxRequests = maxRequests
    backend.authority = "\(host):\(port)"
    backend.serverName = host
    backend.query = query
    return backend
  }

  /// Without the dot that says that a name is complete: no certificate and no Host field has it.
  private var hostName: String {
    switch query {
    case .host(let name): name.hasSuffix(".") ? String(name.dropLast()) : name
    }
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
    }
    return options
  }
}
