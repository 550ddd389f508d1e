import HTTP
import Primitives

/// Why a response is not stored.
public enum NotStored: UInt8, Error, Sendable, BitwiseCopyable, CaseIterable {
  /// The request's method was not GET.
  case method
  /// The request said `no-store`.
  case requestNoStore
  /// An interim response, or a status that `must-understand` asks for and weir does not know.
  case status
  /// 206.
  case partial
  /// 304: it updates what is stored, and is never stored itself.
  case notModified
  /// 500 and above, where the rule does not name the status. The last of the reasons that forbid
  /// storing: nothing else does, so those who wait for the same answer may be given this one.
  case serverError
  case noStore
  case isPrivate
  /// The request had Authorization and the response does not allow it (RFC 9111 §3.5).
  case authorization
  case setCookie
  /// `Vary: *`, or more names than are kept.
  case vary
  /// It states no lifetime and nothing gives it one.
  case noLifetime
  /// It may never be served: no lifetime is left, no window allows it stale, and it has no
  /// validator.
  case useless
}

public enum StoreVerdict: Sendable, Equatable, BitwiseCopyable {
  case store(Freshness)
  case doNotStore(NotStored)
}

/// When a response's head came.
public struct ResponseTiming: Sendable, Equatable, BitwiseCopyable {
  /// Of the wall clock, since the Unix epoch: compared with Date and Expires only.
  public var wallSeconds: Int64
  /// From the sending of the request to the head's arrival, by the monotonic clock (RFC 9111
  /// §4.2.3 `response_delay`).
  public var delay: TimeAmount

  public init(wallSeconds: Int64, delay: TimeAmount) {
    self.wallSeconds = wallSeconds
    self.delay = delay
  }
}

/// Whether a response is stored and how long it is fresh (RFC 9111 §3 and §4.2). Looks at each
/// head that a cache fetched once; allocates only where a targeted field has several lines.
public enum ResponsePolicy {
  /// RFC 9111 §4.2.2 suggests a tenth; whatever the share, in seconds.
  static let mostHeuristicSeconds: Int64 = 86_400

  /// `request`: of the request that was sent upstream (`isHead` is false where a GET was sent for
  /// a HEAD). `age`: instead of the head's own Age field; for a stored head that a 304 has just
  /// updated this is the 304's (`ResponsePolicy.age`), 0 where it has none.
  public static func judge(
    _ request: RequestConstraints, _ head: borrowing ResponseHead,
    rule: borrowing CompiledCacheRule, timing: ResponseTiming, age: Int? = nil
  ) -> StoreVerdict {
    if request.isHead { return .doNotStore(.method) }
    if request.noStore { return .doNotStore(.requestNoStore) }
    let (control, usesExpires) = directives(head, rule)
    if let reason = refusal(request, head, rule, control) { return .doNotStore(reason) }
    let dates = ResponseDates(head, timing)
    guard
      let lifetime = lifetime(
        head, rule, control, expires: usesExpires ? dates.expiry(head) : nil, dates: dates)
    else { return .doNotStore(.noLifetime) }
    let initialAge = initialAge(age ?? ResponsePolicy.age(head), dates, timing)
    let freshness = Freshness(
      initialAge: initialAge,
      lifetime: lifetime.isRuled ? after(initialAge, lifetime.seconds) : lifetime.seconds,
      windowsOf: control, rule)
    guard hasUse(freshness, head) else { return .doNotStore(.useless) }
    return .store(freshness)
  }

  /// The directives that hold for this cache, by the order of targeted fields; `usesExpires`
  /// where `Expires` counts besides.
  static func directives(
    _ head: borrowing ResponseHead, _ rule: borrowing CompiledCacheRule
  ) -> (control: CacheControl, usesExpires: Bool) {
    // RFC 9213 §2.2: the first one that is valid; Cache-Control and Expires are then ignored.
    for name in [FieldName.weirCacheControl, .cdnCacheControl] where head.fields.contains(name) {
      if let control = CacheControl(targeted: name, head.fields, head.bytes) {
        return (control, false)
      }
    }
    if rule.obeysSurrogateControl, head.fields.contains(.surrogateControl),
      let control = CacheControl(surrogate: head.fields, head.bytes)
    {
      return (control, false)
    }
    return (CacheControl(head.fields, head.bytes), true)
  }

  private static func refusal(
    _ request: RequestConstraints, _ head: borrowing ResponseHead,
    _ rule: borrowing CompiledCacheRule, _ control: CacheControl
  ) -> NotStored? {
    switch head.status {
    case ..<200: return .status
    case 206: return .partial
    case 304: return .notModified
    default: break
    }
    let understands = isUnderstood(head.status)
    if control.flags.contains(.mustUnderstand) {
      if !understands { return .status }
    } else if control.flags.contains(.noStore) {
      return .noStore
    }
    if control.flags.contains(.isPrivate) { return .isPrivate }
    if request.hasAuthorization, control.sMaxAge == nil,
      control.flags.isDisjoint(with: [.isPublic, .mustRevalidate])
    {
      return .authorization
    }
    if head.fields.contains(.setCookie), !rule.storesSetCookie { return .setCookie }
    if head.fields.contains(.vary), !Vary.isBearable(head) { return .vary }
    return head.status >= 500 && !rule.names(head.status) ? .serverError : nil
  }

  /// Statuses whose rules for caches weir follows (RFC 9111 §3, `must-understand`).
  static func isUnderstood(_ status: Int) -> Bool {
    switch status {
    case 200, 203, 204, 300, 301, 302, 303, 307, 308: true
    case 400, 401, 403, 404, 405, 406, 410, 414, 415, 421, 422, 429, 451: true
    case 500, 501, 502, 503, 504: true
    default: false
    }
  }

  /// RFC 9110 §15.1, without 206, which is not stored.
  static func isHeuristicallyCacheable(_ status: Int) -> Bool {
    switch status {
    case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501: true
    default: false
    }
  }

  /// A lifetime that the rule gives begins when the response comes, however old it is by then: a
  /// `ttl` of an hour is an hour in this cache, also behind a clock that is wrong.
  private static func after(_ initialAge: TimeAmount, _ seconds: UInt32) -> UInt32 {
    let age = (initialAge.nanoseconds + 999_999_999) / 1_000_000_000
    return clamped(Int64(seconds) + max(age, 0))
  }

  /// In seconds; `nil` where neither the response nor the rule gives one.
  private static func lifetime(
    _ head: borrowing ResponseHead, _ rule: borrowing CompiledCacheRule, _ control: CacheControl,
    expires: Int64?, dates: ResponseDates
  ) -> (seconds: UInt32, isRuled: Bool)? {
    let ruled = rule.lifetime(head.status).map { clamped($0.nanoseconds / 1_000_000_000) }
    if rule.options.ttlOverrides, let ruled { return (ruled, true) }
    if let stated = control.sMaxAge ?? control.maxAge { return (clamped(Int64(stated)), false) }
    if let expires { return (clamped(expires - dates.date), false) }
    if let ruled { return (ruled, true) }
    let mayGuess =
      isHeuristicallyCacheable(head.status) || control.flags.contains(.isPublic)
    if rule.options.heuristicPercent > 0, mayGuess, let modified = dates.lastModified {
      let span = max(0, dates.date - modified)
      let share = span * Int64(rule.options.heuristicPercent) / 100
      return (clamped(min(share, mostHeuristicSeconds)), false)
    }
    // Stored to be confirmed at each use, where the status lets a cache keep it unasked.
    if control.flags.contains(.noCache), mayGuess { return (0, false) }
    return nil
  }

  private static func clamped(_ seconds: Int64) -> UInt32 {
    UInt32(clamping: min(max(seconds, 0), Int64(CacheControl.mostSeconds)))
  }

  /// RFC 9111 §4.2.3.
  private static func initialAge(
    _ age: Int, _ dates: ResponseDates, _ timing: ResponseTiming
  ) -> TimeAmount {
    let apparent = TimeAmount.seconds(max(0, timing.wallSeconds - dates.date))
    let stated = TimeAmount.seconds(Int64(age)).nanoseconds
    let corrected = stated.addingReportingOverflow(max(timing.delay.nanoseconds, 0))
    let most = Int64(CacheControl.mostSeconds) * 1_000_000_000
    let value = corrected.overflow ? most : corrected.partialValue
    return TimeAmount(nanoseconds: min(max(apparent.nanoseconds, value), most))
  }

  /// The Age field in seconds, 0 where it is absent or malformed; of several values the first
  /// (RFC 9111 §5.1).
  public static func age(_ head: borrowing ResponseHead) -> Int {
    guard let value = head.first(.age) else { return 0 }
    let end = value.firstIndex(of: UInt8(ascii: ",")) ?? value.count
    return value.slice(0, end).trimmed().deltaSeconds ?? 0
  }

  private static func hasUse(_ freshness: Freshness, _ head: borrowing ResponseHead) -> Bool {
    if head.fields.contains(.etag) || head.fields.contains(.lastModified) { return true }
    switch freshness.state(resident: .zero) {
    case .fresh, .staleWhileRevalidate, .staleIfError: return true
    case .mustRevalidate, .dead: return false
    }
  }
}

extension Freshness {
  /// The windows that the response states, else the rule's.
  init(
    initialAge: TimeAmount, lifetime: UInt32, windowsOf control: CacheControl,
    _ rule: borrowing CompiledCacheRule
  ) {
    var flags: Flags = []
    if !control.flags.isDisjoint(with: [.mustRevalidate, .proxyRevalidate]) {
      flags.insert(.mustRevalidate)
    }
    // RFC 9111 §5.2.2.10: s-maxage means proxy-revalidate as well. A response that also allows
    // stale use in so many words has taken that back (docs/CACHING.md); the rule cannot.
    let allowsStale =
      (control.staleWhileRevalidate ?? 0) > 0 || (control.staleIfError ?? 0) > 0
    if control.sMaxAge != nil, !allowsStale { flags.insert(.mustRevalidate) }
    if control.flags.contains(.noCache) { flags.insert(.noCache) }
    if control.flags.contains(.immutable) { flags.insert(.immutable) }
    let isShared = control.sMaxAge != nil
    self.init(
      initialAge: initialAge, lifetime: lifetime,
      staleWhileRevalidate: Freshness.window(
        control.staleWhileRevalidate, isShared ? nil : rule.options.staleWhileRevalidate),
      staleIfError: Freshness.window(
        control.staleIfError, isShared ? nil : rule.options.staleIfError),
      flags: flags)
  }

  private static func window(_ stated: Int?, _ ruled: TimeAmount?) -> UInt32 {
    if let stated { return UInt32(clamping: stated) }
    let seconds = (ruled?.nanoseconds ?? 0) / 1_000_000_000
    return UInt32(clamping: min(max(seconds, 0), Int64(CacheControl.mostSeconds)))
  }
}

/// The dates of a response, with what stands in for those that are missing.
struct ResponseDates {
  /// When the origin made it; when it came where it does not say (RFC 9110 §6.6.1).
  let date: Int64
  let lastModified: Int64?
  private let now: Int64

  init(_ head: borrowing ResponseHead, _ timing: ResponseTiming) {
    now = timing.wallSeconds
    date = head.first(.date).flatMap { HTTPDate.parse($0, now: timing.wallSeconds) } ?? now
    lastModified = head.first(.lastModified).flatMap {
      HTTPDate.parse($0, now: timing.wallSeconds)
    }
  }

  /// The earliest Expires; one that is no date is in the past (RFC 9111 §5.3). `nil`: none.
  func expiry(_ head: borrowing ResponseHead) -> Int64? {
    var earliest: Int64?
    var line = head.fields.firstIndex(of: .expires)
    while let index = line {
      let value = HTTPDate.parse(head.value(index), now: now) ?? Int64.min / 2
      earliest = min(earliest ?? value, value)
      line = head.fields.firstIndex(of: .expires, from: index + 1)
    }
    return earliest
  }
}
