import CLinux
import Primitives

/// Field names that weir acts upon; every other name is `.other` and keeps its bytes.
///
/// At most 63 names, so that the presence of all of them fits one word (`Fields`). The scanner
/// (`field_section.c`) holds the same list in the same order.
public enum FieldName: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  case other
  case acceptEncoding
  case age
  case authorization
  case cacheControl
  case cacheStatus
  case cacheTag
  case cdnCacheControl
  case connection
  case contentEncoding
  case contentLength
  case contentLocation
  case contentType
  case cookie
  case date
  case etag
  case expect
  case expires
  case forwarded
  case host
  case http2Settings
  case idempotencyKey
  case ifMatch
  case ifModifiedSince
  case ifNoneMatch
  case ifRange
  case ifUnmodifiedSince
  case keepAlive
  case lastModified
  case location
  case proxy
  case proxyAuthenticate
  case proxyAuthorization
  case proxyConnection
  case proxyStatus
  case range
  case referer
  case retryAfter
  case secWebsocketKey
  case server
  case setCookie
  case surrogateControl
  case surrogateKey
  case te
  case traceparent
  case tracestate
  case trailer
  case transferEncoding
  case upgrade
  case userAgent
  case vary
  case via
  case weirCacheControl
  case xClientCertSha256
  case xClientCertSubject
  case xForwardedFor
  case xForwardedHost
  case xForwardedPort
  case xForwardedProto
  case xOriginalHost
  case xOriginalUrl
  case xRequestId
  case xRewriteUrl

  /// The name in any case (RFC 9110 §5.1); `.other` where weir does not act upon it.
  public init(_ name: ByteView) {
    self = unsafe FieldName(number: weir_field_name(name.pointer, name.count))
  }

  /// From the number that the scanner found; its list of names is this one (`FieldNameTests`).
  @inlinable @inline(__always)
  init(number: UInt8) {
    assert(number < 63)
    self = unsafe unsafeBitCast(number, to: FieldName.self)
  }

  /// The name as weir writes it.
  public var text: StaticString {
    switch self {
    case .other: ""
    case .acceptEncoding: "Accept-Encoding"
    case .age: "Age"
    case .authorization: "Authorization"
    case .cacheControl: "Cache-Control"
    case .cacheStatus: "Cache-Status"
    case .cacheTag: "Cache-Tag"
    case .cdnCacheControl: "CDN-Cache-Control"
    case .connection: "Connection"
    case .contentEncoding: "Content-Encoding"
    case .contentLength: "Content-Length"
    case .contentLocation: "Content-Location"
    case .contentType: "Content-Type"
    case .cookie: "Cookie"
    case .date: "Date"
    case .etag: "ETag"
    case .expect: "Expect"
    case .expires: "Expires"
    case .forwarded: "Forwarded"
    case .host: "Host"
    case .http2Settings: "HTTP2-Settings"
    case .idempotencyKey: "Idempotency-Key"
    case .ifMatch: "If-Match"
    case .ifModifiedSince: "If-Modified-Since"
    case .ifNoneMatch: "If-None-Match"
    case .ifRange: "If-Range"
    case .ifUnmodifiedSince: "If-Unmodified-Since"
    case .keepAlive: "Keep-Alive"
    case .lastModified: "Last-Modified"
    case .location: "Location"
    case .proxy: "Proxy"
    case .proxyAuthenticate: "Proxy-Authenticate"
    case .proxyAuthorization: "Proxy-Authorization"
    case .proxyConnection: "Proxy-Connection"
    case .proxyStatus: "Proxy-Status"
    case .range: "Range"
    case .referer: "Referer"
    case .retryAfter: "Retry-After"
    case .secWebsocketKey: "Sec-WebSocket-Key"
    case .server: "Server"
    case .setCookie: "Set-Cookie"
    case .surrogateControl: "Surrogate-Control"
    case .surrogateKey: "Surrogate-Key"
    case .te: "TE"
    case .traceparent: "traceparent"
    case .tracestate: "tracestate"
    case .trailer: "Trailer"
    case .transferEncoding: "Transfer-Encoding"
    case .upgrade: "Upgrade"
    case .userAgent: "User-Agent"
    case .vary: "Vary"
    case .via: "Via"
    case .weirCacheControl: "Weir-Cache-Control"
    case .xClientCertSha256: "X-Client-Cert-SHA256"
    case .xClientCertSubject: "X-Client-Cert-Subject"
    case .xForwardedFor: "X-Forwarded-For"
    case .xForwardedHost: "X-Forwarded-Host"
    case .xForwardedPort: "X-Forwarded-Port"
    case .xForwardedProto: "X-Forwarded-Proto"
    case .xOriginalHost: "X-Original-Host"
    case .xOriginalUrl: "X-Original-URL"
    case .xRequestId: "X-Request-ID"
    case .xRewriteUrl: "X-Rewrite-URL"
    }
  }

  @inlinable @inline(__always)
  public var bit: UInt64 { UInt64(1) &<< UInt64(rawValue) & ~1 }
}
