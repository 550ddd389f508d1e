import Primitives

/// What may be done with a stored response now.
public enum FreshnessState: UInt8, Sendable, BitwiseCopyable {
  /// Serve it.
  case fresh
  /// Serve it and revalidate behind it; also where the request itself accepts stale responses.
  case staleWhileRevalidate
  /// Revalidate it; where that fails, serve it (RFC 5861 §4).
  case staleIfError
  /// Revalidate it; it is served only when the backend has confirmed it.
  case mustRevalidate
  /// The same, and every window is over: only its validators are of use.
  case dead
}

/// How long a stored response may be served, fixed when its head arrived.
///
/// ```
/// │◄─ initialAge ─►│◄───────── resident ─────────►│ now
/// │◄──────────── lifetime ───────►│◄─ stale-while-revalidate ─►│
///                                 │◄──────── stale-if-error ────────►│
/// ```
///
/// Windows are half open: at the very end of one its permission is gone. Residence is measured by
/// the monotonic clock, so a jump of the system's time makes nothing fresh or stale.
public struct Freshness: Sendable, Equatable, BitwiseCopyable {
  public struct Flags: OptionSet, Sendable, BitwiseCopyable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Never served stale (`must-revalidate`, `proxy-revalidate`, `s-maxage`).
    public static let mustRevalidate = Flags(rawValue: 1)
    /// Never served without the backend's word.
    public static let noCache = Flags(rawValue: 2)
    /// RFC 8246: not revalidated while fresh, whatever age the request wants.
    public static let immutable = Flags(rawValue: 4)
    /// A soft purge has made it stale.
    public static let purged = Flags(rawValue: 8)
  }

  /// RFC 9111 §4.2.3 `corrected_initial_age`.
  public var initialAge: TimeAmount
  /// Seconds, 0–2^31, as are the windows, which begin at the end of the lifetime.
  public var lifetime: UInt32
  public var staleWhileRevalidate: UInt32
  public var staleIfError: UInt32
  public var flags: Flags

  public init(
    initialAge: TimeAmount, lifetime: UInt32, staleWhileRevalidate: UInt32 = 0,
    staleIfError: UInt32 = 0, flags: Flags = []
  ) {
    self.initialAge = initialAge
    self.lifetime = lifetime
    self.staleWhileRevalidate = staleWhileRevalidate
    self.staleIfError = staleIfError
    self.flags = flags
  }

  /// `current_age` after this residence, exact; saturates.
  @inlinable @inline(__always)
  func exactAge(_ resident: TimeAmount) -> Int64 {
    let (sum, overflow) = initialAge.nanoseconds.addingReportingOverflow(
      Swift.max(resident.nanoseconds, 0))
    return overflow ? .max : sum
  }

  /// For the Age field: whole seconds, 0–2^31.
  public func age(resident: TimeAmount) -> Int {
    min(Int(exactAge(resident) / 1_000_000_000), CacheControl.mostSeconds)
  }

  /// Remaining lifetime in whole seconds, negative when it is over (RFC 9211 §2.5).
  public func ttl(resident: TimeAmount) -> Int {
    let left = Freshness.nanoseconds(lifetime) - min(exactAge(resident), Int64.max / 2)
    return Int((left >= 0 ? left : left - 999_999_999) / 1_000_000_000)
  }

  /// Whether a request without constraints gets it as it is: `state` without them is `fresh`.
  @inlinable @inline(__always)
  func isFresh(resident: TimeAmount) -> Bool {
    exactAge(resident) < Freshness.nanoseconds(lifetime)
      && flags.isDisjoint(with: [.purged, .noCache])
  }

  /// What may be done for a request with these constraints.
  public func state(
    resident: TimeAmount, _ constraints: RequestConstraints = RequestConstraints()
  ) -> FreshnessState {
    let age = exactAge(resident)
    let staleness = age - Freshness.nanoseconds(lifetime)
    if staleness < 0, !flags.contains(.purged) {
      if flags.contains(.noCache) || constraints.noCache { return .mustRevalidate }
      if flags.contains(.immutable) { return .fresh }
      if let most = constraints.maxAge, age > Freshness.nanoseconds(most) {
        return .mustRevalidate
      }
      if let least = constraints.minFresh, -staleness < Freshness.nanoseconds(least) {
        return .mustRevalidate
      }
      return .fresh
    }
    return staleState(age: age, staleness: max(staleness, 0), constraints)
  }

  private func staleState(
    age: Int64, staleness: Int64, _ constraints: RequestConstraints
  ) -> FreshnessState {
    let isOver =
      staleness >= Freshness.nanoseconds(max(staleWhileRevalidate, staleIfError))
    let isForbidden =
      !flags.isDisjoint(with: [.mustRevalidate, .noCache]) || constraints.noCache
    if isForbidden { return isOver ? .dead : .mustRevalidate }
    if let most = constraints.maxAge, age > Freshness.nanoseconds(most) {
      return isOver ? .dead : .mustRevalidate
    }
    // RFC 9111 §5.2.1.3: the client wants it fresh for some time, so not stale.
    if constraints.minFresh == nil {
      if staleness < Freshness.nanoseconds(staleWhileRevalidate) { return .staleWhileRevalidate }
      if !flags.contains(.purged), let most = constraints.maxStale,
        staleness <= Freshness.nanoseconds(most)
      {
        return .staleWhileRevalidate
      }
    }
    if staleness < Freshness.nanoseconds(staleIfError) { return .staleIfError }
    return isOver ? .dead : .mustRevalidate
  }

  /// A soft purge: stale from now on. The windows begin now where the lifetime was not over, so
  /// that a purge only ever shortens a life.
  public mutating func expire(resident: TimeAmount) {
    let now = UInt32(clamping: exactAge(resident) / 1_000_000_000)
    flags.insert(.purged)
    lifetime = min(lifetime, now)
  }

  @inlinable @inline(__always)
  static func nanoseconds(_ seconds: UInt32) -> Int64 { Int64(seconds) * 1_000_000_000 }

  /// `seconds` is at most 2^31.
  private static func nanoseconds(_ seconds: Int) -> Int64 { Int64(seconds) * 1_000_000_000 }
}
