/// How an upstream chooses the backend of a request (`balance`).
public enum BalancePolicy: Sendable, Equatable {
  /// Weighted round robin, spread smoothly by virtual deadlines.
  case roundRobin
  /// Fewest requests in flight for its weight, exact across workers.
  case leastConnections
  /// The better of two drawn by weight (Mitzenmacher 2001).
  case twoChoices
  /// Consistent hashing of one part of the request.
  case hash(HashOptions)
}

/// `balance hash KEY [bound=F] [points=N]`
public struct HashOptions: Sendable, Equatable {
  public var key: HashKey
  /// Upper bound of a backend's share of the requests in flight, as a multiple of its fair share;
  /// above 1, `nil` for no bound (arXiv 1608.01350).
  public var bound: Double?
  /// Ring points for each unit of weight.
  public var pointsPerWeight = 256

  public init(key: HashKey, bound: Double? = nil) {
    self.key = key
    self.bound = bound
  }
}

/// The part of the request that is hashed.
public enum HashKey: Sendable, Equatable {
  /// The path as forwarded, without query.
  case path
  /// Host, path and query.
  case url
  /// The client's address, trusted proxies taken into account.
  case clientAddress
  /// The first field with this lower-case name.
  case header(String)
  case cookie(String)
  case query(String)
}

/// What balancing knows of one backend of an upstream.
public struct BackendSpec: Sendable, Equatable {
  /// Unique within its upstream; the ring position comes from it and from nothing else.
  public var name: String
  /// 0–256; 0 takes no new requests.
  public var weight: Int
  /// Used only when no other backend can serve.
  public var isBackup: Bool
  /// Requests that it may have in flight at once, at least 1; `nil`: any number.
  public var maxRequests: Int?

  public init(
    name: String, weight: Int = 1, isBackup: Bool = false, maxRequests: Int? = nil
  ) {
    self.name = name
    self.weight = weight
    self.isBackup = isBackup
    self.maxRequests = maxRequests
  }
}
