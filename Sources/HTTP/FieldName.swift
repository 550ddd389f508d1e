import Primitives

/// Field names that weir acts upon; every other name is `.other` and keeps its bytes.
///
/// At most 63 names, so that the presence of all of them fits one word (`Fields`).
public enum FieldName: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  case other
  case acceptEncoding
  case age
  case authorization
  case cacheControl
  case connection
  case contentEncoding
  case contentLength
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
  case xForwardedFor
  case xForwardedHost
  case xForwardedPort
  case xForwardedProto
  case xOriginalHost
  case xOriginalUrl
  case xRequestId
  case xRewriteUrl

  /// Finds a name by its length and first letter; at most a few comparisons, ASCII case ignored
  /// (RFC 9110 §5.1).
  public init(_ name: ByteView) {
    self = name.isEmpty ? .other : FieldName.identify(name, ASCII.lowercased(name[0]))
  }

  /// The name as weir writes it.
  public var text: StaticString {
    switch self {
    case .other: ""
    case .acceptEncoding: "Accept-Encoding"
    case .age: "Age"
    case .authorization: "Authorization"
    case .cacheControl: "Cache-Control"
    case .connection: "Connection"
    case .contentEncoding: "Content-Encoding"
    case .contentLength: "Content-Length"
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

  var bit: UInt64 { self == .other ? 0 : 1 << UInt64(rawValue) }

  private static func identify(_ name: ByteView, _ first: UInt8) -> FieldName {
    switch name.count {
    case 2:
      if first == UInt8(ascii: "t"), name.equalsLowercased("te") {
        return .te
      }
    case 3:
      if first == UInt8(ascii: "a"), name.equalsLowercased("age") {
        return .age
      }
      if first == UInt8(ascii: "v"), name.equalsLowercased("via") {
        return .via
      }
    case 4:
      if first == UInt8(ascii: "d"), name.equalsLowercased("date") {
        return .date
      }
      if first == UInt8(ascii: "e"), name.equalsLowercased("etag") {
        return .etag
      }
      if first == UInt8(ascii: "h"), name.equalsLowercased("host") {
        return .host
      }
      if first == UInt8(ascii: "v"), name.equalsLowercased("vary") {
        return .vary
      }
    case 5:
      if first == UInt8(ascii: "p"), name.equalsLowercased("proxy") {
        return .proxy
      }
      if first == UInt8(ascii: "r"), name.equalsLowercased("range") {
        return .range
      }
    case 6:
      if first == UInt8(ascii: "c"), name.equalsLowercased("cookie") {
        return .cookie
      }
      if first == UInt8(ascii: "e"), name.equalsLowercased("expect") {
        return .expect
      }
      if first == UInt8(ascii: "s"), name.equalsLowercased("server") {
        return .server
      }
    case 7:
      if first == UInt8(ascii: "e"), name.equalsLowercased("expires") {
        return .expires
      }
      if first == UInt8(ascii: "r"), name.equalsLowercased("referer") {
        return .referer
      }
      if first == UInt8(ascii: "t"), name.equalsLowercased("trailer") {
        return .trailer
      }
      if first == UInt8(ascii: "u"), name.equalsLowercased("upgrade") {
        return .upgrade
      }
    case 8:
      if first == UInt8(ascii: "i"), name.equalsLowercased("if-match") {
        return .ifMatch
      }
      if first == UInt8(ascii: "i"), name.equalsLowercased("if-range") {
        return .ifRange
      }
      if first == UInt8(ascii: "l"), name.equalsLowercased("location") {
        return .location
      }
    case 9:
      if first == UInt8(ascii: "f"), name.equalsLowercased("forwarded") {
        return .forwarded
      }
    case 10:
      if first == UInt8(ascii: "c"), name.equalsLowercased("connection") {
        return .connection
      }
      if first == UInt8(ascii: "k"), name.equalsLowercased("keep-alive") {
        return .keepAlive
      }
      if first == UInt8(ascii: "s"), name.equalsLowercased("set-cookie") {
        return .setCookie
      }
      if first == UInt8(ascii: "t"), name.equalsLowercased("tracestate") {
        return .tracestate
      }
      if first == UInt8(ascii: "u"), name.equalsLowercased("user-agent") {
        return .userAgent
      }
    case 11:
      if first == UInt8(ascii: "r"), name.equalsLowercased("retry-after") {
        return .retryAfter
      }
      if first == UInt8(ascii: "t"), name.equalsLowercased("traceparent") {
        return .traceparent
      }
    case 12:
      if first == UInt8(ascii: "c"), name.equalsLowercased("content-type") {
        return .contentType
      }
      if first == UInt8(ascii: "p"), name.equalsLowercased("proxy-status") {
        return .proxyStatus
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-request-id") {
        return .xRequestId
      }
    case 13:
      if first == UInt8(ascii: "a"), name.equalsLowercased("authorization") {
        return .authorization
      }
      if first == UInt8(ascii: "c"), name.equalsLowercased("cache-control") {
        return .cacheControl
      }
      if first == UInt8(ascii: "i"), name.equalsLowercased("if-none-match") {
        return .ifNoneMatch
      }
      if first == UInt8(ascii: "l"), name.equalsLowercased("last-modified") {
        return .lastModified
      }
      if first == UInt8(ascii: "s"), name.equalsLowercased("surrogate-key") {
        return .surrogateKey
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-rewrite-url") {
        return .xRewriteUrl
      }
    case 14:
      if first == UInt8(ascii: "c"), name.equalsLowercased("content-length") {
        return .contentLength
      }
      if first == UInt8(ascii: "h"), name.equalsLowercased("http2-settings") {
        return .http2Settings
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-original-url") {
        return .xOriginalUrl
      }
    case 15:
      if first == UInt8(ascii: "a"), name.equalsLowercased("accept-encoding") {
        return .acceptEncoding
      }
      if first == UInt8(ascii: "i"), name.equalsLowercased("idempotency-key") {
        return .idempotencyKey
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-forwarded-for") {
        return .xForwardedFor
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-original-host") {
        return .xOriginalHost
      }
    case 16:
      if first == UInt8(ascii: "c"), name.equalsLowercased("content-encoding") {
        return .contentEncoding
      }
      if first == UInt8(ascii: "p"), name.equalsLowercased("proxy-connection") {
        return .proxyConnection
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-forwarded-host") {
        return .xForwardedHost
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-forwarded-port") {
        return .xForwardedPort
      }
    case 17:
      if first == UInt8(ascii: "i"), name.equalsLowercased("if-modified-since") {
        return .ifModifiedSince
      }
      if first == UInt8(ascii: "s"), name.equalsLowercased("sec-websocket-key") {
        return .secWebsocketKey
      }
      if first == UInt8(ascii: "s"), name.equalsLowercased("surrogate-control") {
        return .surrogateControl
      }
      if first == UInt8(ascii: "t"), name.equalsLowercased("transfer-encoding") {
        return .transferEncoding
      }
      if first == UInt8(ascii: "x"), name.equalsLowercased("x-forwarded-proto") {
        return .xForwardedProto
      }
    case 18:
      if first == UInt8(ascii: "p"), name.equalsLowercased("proxy-authenticate") {
        return .proxyAuthenticate
      }
    case 19:
      if first == UInt8(ascii: "p"), name.equalsLowercased("proxy-authorization") {
        return .proxyAuthorization
      }
    default: break
    }
    return .other
  }
}
