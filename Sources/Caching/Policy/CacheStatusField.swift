import Primitives

/// Why a request was forwarded (RFC 9211 §2.2).
public enum ForwardReason: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  case bypass, method, uriMiss, varyMiss, miss, request, stale, partial

  var text: StaticString {
    switch self {
    case .bypass: "bypass"
    case .method: "method"
    case .uriMiss: "uri-miss"
    case .varyMiss: "vary-miss"
    case .miss: "miss"
    case .request: "request"
    case .stale: "stale"
    case .partial: "partial"
    }
  }
}

/// What weir adds in `detail` (RFC 9211 §2.8).
public enum CacheDetail: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  /// Served stale while it is fetched anew.
  case staleWhileRevalidate
  /// Served stale because the backend failed.
  case staleIfError
  /// Known for a while not to be storable.
  case uncacheable
  /// A purge came between.
  case purged
  /// Longer than what may be stored.
  case tooLarge
  /// More variants than one key may have.
  case tooManyVariants
  /// `only-if-cached`, and it is not.
  case onlyIfCached

  var text: StaticString {
    switch self {
    case .staleWhileRevalidate: "swr"
    case .staleIfError: "sie"
    case .uncacheable: "uncacheable"
    case .purged: "purged"
    case .tooLarge: "too-large"
    case .tooManyVariants: "too-many-variants"
    case .onlyIfCached: "only-if-cached"
    }
  }
}

/// How the cache handled one request, as `Cache-Status` says it (RFC 9211).
public struct CacheStatus: Sendable, Equatable, BitwiseCopyable {
  public enum Kind: Sendable, Equatable, BitwiseCopyable {
    case hit
    case forwarded(ForwardReason)
  }

  public var kind: Kind
  /// Status of the backend's answer where it is not the client's, as the 304 behind a 200.
  public var forwardStatus: Int?
  /// Remaining lifetime in seconds, negative for a stale response.
  public var ttl: Int?
  /// The answer was stored.
  public var stored = false
  /// The request shared the fetch of another one.
  public var collapsed = false
  public var detail: CacheDetail?

  public init(_ kind: Kind) { self.kind = kind }
}

public enum CacheStatusField {
  /// Appends `Cache-Status: <instance>; …` with CRLF. `instance` is written as a token where it
  /// is one, else as a string (RFC 9211 §2); octets that neither can hold are left out.
  public static func append(
    _ status: CacheStatus, instance: ByteView, to sink: inout ByteSink
  ) {
    sink.append("Cache-Status: ")
    appendItem(instance, to: &sink)
    switch status.kind {
    case .hit: sink.append("; hit")
    case .forwarded(let reason):
      sink.append("; fwd=")
      sink.append(reason.text)
    }
    if case .forwarded = status.kind {
      if let code = status.forwardStatus {
        sink.append("; fwd-status=")
        sink.append(decimal: code)
      }
      if status.stored { sink.append("; stored") }
      if status.collapsed { sink.append("; collapsed") }
    }
    if let ttl = status.ttl {
      sink.append("; ttl=")
      sink.append(decimal: ttl)
    }
    if let detail = status.detail {
      sink.append("; detail=")
      sink.append(detail.text)
    }
    sink.append("\r\n")
  }

  /// What `append` writes for every hit in front of its remaining lifetime: made once.
  public static func hitPrefix(instance: [UInt8]) -> [UInt8] {
    var octets = [UInt8](repeating: 0, count: 64 + 2 * instance.count)
    let count = octets.withByteSink { sink in
      sink.append("Cache-Status: ")
      instance.withView { appendItem($0, to: &sink) }
      sink.append("; hit; ttl=")
      return sink.count
    }
    return Array(octets.prefix(count))
  }

  private static func appendItem(_ text: ByteView, to sink: inout ByteSink) {
    if text.count > 0, ASCII.isLetter(text[0]), text.endOfToken(from: 0) == text.count {
      return sink.append(text)
    }
    sink.append(byte: UInt8(ascii: "\""))
    for index in 0..<text.count where (0x20...0x7E).contains(text[index]) {
      let byte = text[index]
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
        sink.append(byte: UInt8(ascii: "\\"))
      }
      sink.append(byte: byte)
    }
    sink.append(byte: UInt8(ascii: "\""))
  }
}
