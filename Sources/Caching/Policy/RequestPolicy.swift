import HTTP
import Primitives

/// Why a request passes the cache by.
public enum BypassReason: UInt8, Sendable, BitwiseCopyable {
  /// Neither GET nor HEAD.
  case method
  /// It has content: a "fat GET" whose answer may depend on it.
  case content
  case upgrade
  /// `If-Match` or `If-Unmodified-Since`: only the origin can decide (RFC 9111 §4.3.2).
  case precondition
  /// The rule says so.
  case condition
  /// It names no host, and no default stands in.
  case noHost
}

/// What a request asks of a stored response.
public struct RequestConstraints: Sendable, Equatable, BitwiseCopyable {
  /// Only what the backend has confirmed just now.
  public var noCache = false
  /// Nothing of the answer may be stored (RFC 9111 §5.2.1.5).
  public var noStore = false
  /// 504 where the answer would have to be fetched (RFC 9111 §5.2.1.7).
  public var onlyIfCached = false
  /// In seconds, 0–2^31; `nil`: not said.
  public var maxAge: Int?
  public var minFresh: Int?
  public var maxStale: Int?
  public var isHead = false
  /// A Range field on a GET; on other methods it means nothing (RFC 9110 §14.2).
  public var hasRange = false
  /// `If-None-Match` or `If-Modified-Since`.
  public var hasConditional = false
  public var hasAuthorization = false

  public init() {}
}

public enum RequestVerdict: Sendable, Equatable, BitwiseCopyable {
  case bypass(BypassReason)
  case lookup(RequestConstraints)
}

/// What a request has to do with the cache. No allocation.
public enum RequestPolicy {
  /// Fields that make a request more than the wish for what is stored, or that need a look by
  /// whoever forwards it, `Via` for loops and the claims of other proxies.
  @inlinable @inline(__always)
  static var questions: FieldSet {
    FieldSet(
      .authorization, .cacheControl, .expect, .forwarded, .range, .upgrade, .via, .xForwardedProto
    ).union(
      FieldSet(
        .ifMatch, .ifModifiedSince, .ifNoneMatch, .ifUnmodifiedSince, .xForwardedHost,
        .xForwardedPort))
  }

  /// Whether the request asks for no more than what is stored for it: `judge` would say that it is
  /// to be looked up, without constraints. False: `judge` has to say.
  @inlinable @inline(__always)
  public static func isPlain(
    _ head: borrowing RequestHead, rule: borrowing CompiledCacheRule
  ) -> Bool {
    head.method == .get && head.framing == .none && !head.host.isEmpty && !rule.hasBypass
      && head.fields.present.isDisjoint(with: questions)
  }

  public static func judge(
    _ head: borrowing RequestHead, rule: borrowing CompiledCacheRule
  ) -> RequestVerdict {
    guard head.method == .get || head.method == .head else { return .bypass(.method) }
    if head.framing != .none { return .bypass(.content) }
    if head.wantsUpgrade { return .bypass(.upgrade) }
    if head.host.isEmpty { return .bypass(.noHost) }
    let present = head.fields.present
    if present.contains(.ifMatch) || present.contains(.ifUnmodifiedSince) {
      return .bypass(.precondition)
    }
    if rule.hasBypass, isBypassed(head, rule) { return .bypass(.condition) }
    var constraints = RequestConstraints()
    constraints.isHead = head.method == .head
    constraints.hasRange = head.method == .get && present.contains(.range)
    constraints.hasConditional =
      present.contains(.ifNoneMatch) || present.contains(.ifModifiedSince)
    constraints.hasAuthorization = present.contains(.authorization)
    if present.contains(.cacheControl) {
      let control = CacheControl(head.fields, head.bytes)
      constraints.noStore = control.flags.contains(.noStore)
      constraints.onlyIfCached = control.flags.contains(.onlyIfCached)
      if rule.obeysRequestDirectives {
        constraints.noCache = control.flags.contains(.noCache)
        constraints.maxAge = control.maxAge
        constraints.minFresh = control.minFresh
        constraints.maxStale = control.maxStale
      }
    }
    return .lookup(constraints)
  }

  private static func isBypassed(
    _ head: borrowing RequestHead, _ rule: borrowing CompiledCacheRule
  ) -> Bool {
    for index in 0..<rule.bypassHeaders.count {
      let line = unsafe rule.bypassHeaders[index].pointee.firstIndex(in: head.fields, head.bytes)
      if line != nil { return true }
    }
    if rule.bypassCookies.count > 0 {
      var line = head.fields.firstIndex(of: .cookie)
      while let found = line {
        var cookies = CookiePairs(head.value(found))
        while let pair = cookies.next() {
          for index in 0..<rule.bypassCookies.count
          where unsafe pair.name.equals(rule.bypassCookies[index].pointee.view) {
            return true
          }
        }
        line = head.fields.firstIndex(of: .cookie, from: found + 1)
      }
    }
    if rule.bypassParameters.count > 0 {
      let query = head.query
      var parameters = QueryParameters(query)
      while let range = parameters.next() {
        let name = QueryParameters.name(query.slice(range))
        for index in 0..<rule.bypassParameters.count
        where unsafe rule.bypassParameters[index].pointee.matches(name) {
          return true
        }
      }
    }
    return false
  }
}
