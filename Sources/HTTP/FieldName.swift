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
  case strictTransportSecurity
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
  case xClientCertFingerprint
  case xClientCertSubject
  case xForwardedFor
  case xForwardedHost
  case xForwardedPort
  case xForwardedProto
  case xOriginalHost
  case xOriginalUrl
  case xRequestId
  case xRewriteUrl

  /// Finds a name by its length, first and last letter, which differ for nearly all of them, and
  /// compares once; ASCII case is ignored (RFC 9110 §5.1).
  public init(_ name: ByteView) {
    self = name.isEmpty ? .other : FieldName.identify(name)
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
    case .strictTransportSecurity: "Strict-Transport-Security"
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
    case .xClientCertFingerprint: "X-Client-Cert-Fingerprint"
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

  @inline(__always)
  private static func key(_ length: Int, _ first: UInt8, _ last: UInt8) -> Int {
    length << 16 | Int(first | 0x20) << 8 | Int(last | 0x20)
  }

  private static func identify(_ name: ByteView) -> FieldName {
    // Setting bit 5 folds the case of letters; what else it folds fails the comparison.
    switch key(name.count, name[0], name[name.count - 1]) {
    case 0x027465:
      if name.equalsLowercased("te") { return .te }
    case 0x036165:
      if name.equalsLowercased("age") { return .age }
    case 0x037661:
      if name.equalsLowercased("via") { return .via }
    case 0x046465:
      if name.equalsLowercased("date") { return .date }
    case 0x046567:
      if name.equalsLowercased("etag") { return .etag }
    case 0x046874:
      if name.equalsLowercased("host") { return .host }
    case 0x047679:
      if name.equalsLowercased("vary") { return .vary }
    case 0x057079:
      if name.equalsLowercased("proxy") { return .proxy }
    case 0x057265:
      if name.equalsLowercased("range") { return .range }
    case 0x066365:
      if name.equalsLowercased("cookie") { return .cookie }
    case 0x066574:
      if name.equalsLowercased("expect") { return .expect }
    case 0x067372:
      if name.equalsLowercased("server") { return .server }
    case 0x076573:
      if name.equalsLowercased("expires") { return .expires }
    case 0x077272:
      if name.equalsLowercased("referer") { return .referer }
    case 0x077472:
      if name.equalsLowercased("trailer") { return .trailer }
    case 0x077565:
      if name.equalsLowercased("upgrade") { return .upgrade }
    case 0x086965:
      if name.equalsLowercased("if-range") { return .ifRange }
    case 0x086968:
      if name.equalsLowercased("if-match") { return .ifMatch }
    case 0x086c6e:
      if name.equalsLowercased("location") { return .location }
    case 0x096664:
      if name.equalsLowercased("forwarded") { return .forwarded }
    case 0x0a636e:
      if name.equalsLowercased("connection") { return .connection }
    case 0x0a6b65:
      if name.equalsLowercased("keep-alive") { return .keepAlive }
    case 0x0a7365:
      if name.equalsLowercased("set-cookie") { return .setCookie }
    case 0x0a7465:
      if name.equalsLowercased("tracestate") { return .tracestate }
    case 0x0a7574:
      if name.equalsLowercased("user-agent") { return .userAgent }
    case 0x0b7272:
      if name.equalsLowercased("retry-after") { return .retryAfter }
    case 0x0b7474:
      if name.equalsLowercased("traceparent") { return .traceparent }
    case 0x0c6365:
      if name.equalsLowercased("content-type") { return .contentType }
    case 0x0c7073:
      if name.equalsLowercased("proxy-status") { return .proxyStatus }
    case 0x0c7864:
      if name.equalsLowercased("x-request-id") { return .xRequestId }
    case 0x0d616e:
      if name.equalsLowercased("authorization") { return .authorization }
    case 0x0d636c:
      if name.equalsLowercased("cache-control") { return .cacheControl }
    case 0x0d6968:
      if name.equalsLowercased("if-none-match") { return .ifNoneMatch }
    case 0x0d6c64:
      if name.equalsLowercased("last-modified") { return .lastModified }
    case 0x0d7379:
      if name.equalsLowercased("surrogate-key") { return .surrogateKey }
    case 0x0d786c:
      if name.equalsLowercased("x-rewrite-url") { return .xRewriteUrl }
    case 0x0e6368:
      if name.equalsLowercased("content-length") { return .contentLength }
    case 0x0e6873:
      if name.equalsLowercased("http2-settings") { return .http2Settings }
    case 0x0e786c:
      if name.equalsLowercased("x-original-url") { return .xOriginalUrl }
    case 0x0f6167:
      if name.equalsLowercased("accept-encoding") { return .acceptEncoding }
    case 0x0f6979:
      if name.equalsLowercased("idempotency-key") { return .idempotencyKey }
    case 0x0f7872:
      if name.equalsLowercased("x-forwarded-for") { return .xForwardedFor }
    case 0x0f7874:
      if name.equalsLowercased("x-original-host") { return .xOriginalHost }
    case 0x106367:
      if name.equalsLowercased("content-encoding") { return .contentEncoding }
    case 0x10706e:
      if name.equalsLowercased("proxy-connection") { return .proxyConnection }
    case 0x107874:
      if name.equalsLowercased("x-forwarded-host") { return .xForwardedHost }
      if name.equalsLowercased("x-forwarded-port") { return .xForwardedPort }
    case 0x116965:
      if name.equalsLowercased("if-modified-since") { return .ifModifiedSince }
    case 0x11736c:
      if name.equalsLowercased("surrogate-control") { return .surrogateControl }
    case 0x117379:
      if name.equalsLowercased("sec-websocket-key") { return .secWebsocketKey }
    case 0x117467:
      if name.equalsLowercased("transfer-encoding") { return .transferEncoding }
    case 0x11786f:
      if name.equalsLowercased("x-forwarded-proto") { return .xForwardedProto }
    case 0x127065:
      if name.equalsLowercased("proxy-authenticate") { return .proxyAuthenticate }
    case 0x13706e:
      if name.equalsLowercased("proxy-authorization") { return .proxyAuthorization }
    case 0x157874:
      if name.equalsLowercased("x-client-cert-subject") { return .xClientCertSubject }
    case 0x197379:
      if name.equalsLowercased("strict-transport-security") { return .strictTransportSecurity }
    case 0x197874:
      if name.equalsLowercased("x-client-cert-fingerprint") { return .xClientCertFingerprint }
    default: break
    }
    return .other
  }
}
