import Primitives

/// What a lookup came to.
///
/// `@unchecked Sendable`: what it points to is shared by threads anyway, and counted.
@safe
public struct CacheFound: BitwiseCopyable, @unchecked Sendable {
  public enum Kind: UInt8, Sendable, BitwiseCopyable {
    /// `object` may be served as it is.
    case hit
    /// `object` may be served although it is stale; `fill`, where there is one, is to be fetched by
    /// the caller behind it.
    case stale
    /// `fill` is under way: wait for it, or read what it has.
    case waits
    /// `fill` is to be fetched by the caller, who then waits for it.
    case fetch
    /// Lately it could not be stored, or this request forbids it: ask a backend for this request.
    case pass
    /// `only-if-cached`, and nothing is: 504.
    case absent
  }

  public var kind: Kind
  /// Pinned for the caller.
  public var object: StoredObject?
  /// Retained for the caller.
  public var fill: Unmanaged<CacheFill>?
  public var freshness = Freshness(initialAge: .zero, lifetime: 0)
  /// Something was stored for the key, but could not be used as it is.
  public var wasStale = false
  /// Purges so far.
  public var sequence: UInt64 = 0
}

/// A fresh stored response, for a request that asks for no more than that.
public struct CacheHit: BitwiseCopyable, Sendable {
  /// Pinned for the caller.
  public let object: StoredObject
  /// For `Age` and `Cache-Status`, in seconds.
  public let age: Int
  public let ttl: Int
}

/// What one cache holds now.
public struct CacheUsage: Sendable, Equatable {
  public var objects = 0
  /// Of what is stored, tables included.
  public var bytes = 0
  public var fetches = 0
  public var evicted: UInt64 = 0
  public var purged: UInt64 = 0
}
