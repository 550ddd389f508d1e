import Primitives
import Synchronization

/// How the end of a message's content is found (RFC 9112 §6.3).
public enum BodyFraming: Sendable, Equatable, BitwiseCopyable {
  /// No content follows the head.
  case none
  /// Exactly this many octets; above zero.
  case length(Int)
  /// The chunked transfer coding.
  case chunked
  /// Everything until the connection ends; responses only.
  case untilClose
}

/// Form of a request target (RFC 9112 §3.2); the authority form belongs to CONNECT, which weir
/// refuses.
public enum TargetForm: UInt8, Sendable, BitwiseCopyable {
  case origin, absolute, asterisk
}

/// A request's head, the same for every protocol version: ranges into `bytes`, found by a parser
/// that has already refused everything ambiguous (docs/THREAT-MODEL.md).
///
/// A worker owns one and parses each request into it; it describes the request only until the
/// next one is parsed. `bytes` are pinned in the client connection's buffer for the whole
/// exchange, so the head can be parsed again when a second attempt needs it.
@safe
public struct RequestHead: ~Copyable {
  /// The head section from the first byte of the request line to the blank line, inclusive.
  public var bytes: ByteView = .empty
  public var method: Method = .other
  public var methodRange: ByteRange = .empty
  public var version: HTTPVersion = .http11
  public var targetForm: TargetForm = .origin
  /// The target as received.
  public var targetRange: ByteRange = .empty
  /// Path and query of the target as forwarded upstream; empty for an absolute form without a
  /// path (sent as `/`, or `*` for OPTIONS).
  public var pathAndQueryRange: ByteRange = .empty
  /// The path alone, as received.
  public var pathRange: ByteRange = .empty
  /// The query without its `?`.
  public var queryRange: ByteRange = .empty
  /// Lower-cased host with optional port: from the absolute form, else from Host; empty when an
  /// HTTP/1.0 request has none.
  public var authorityRange: ByteRange = .empty
  /// `authorityRange` without the port.
  public var hostRange: ByteRange = .empty
  public var framing: BodyFraming = .none
  public var fields = Fields()
  /// The path with percent-encoded unreserved octets decoded: what routes match on (safety rule
  /// 10a). Points into `bytes`, or into the parser's scratch where something was decoded.
  public var routingPath: ByteView = .empty
  /// Connection management as the client asked for it (RFC 9112 §9.3).
  public var wantsKeepAlive = false
  public var expectsContinue = false
  /// `TE: trailers` was sent.
  public var acceptsTrailers = false
  /// `Upgrade` named in `Connection` and present.
  public var wantsUpgrade = false
  /// `Connection` names fields that go no further.
  public var hasNominations = false
  /// Never used. What has an atomic in it lives at an address and is lent by it: without one the
  /// compiler copies the head, of 150 octets, for each function that it is lent to.
  private let place = Atomic<Bool>(false)
  /// Room for `routingPath` where it differs from the received path; a path never grows.
  private let decodedPath: UnsafeMutablePointer<UInt8>
  private static let decodedPathBytes = 32 * 1024
  /// Stands in for a host that an HTTP/1.0 request did not name (rule 12).
  @usableFromInline var assumedHost: ByteView = .empty
  private static let assumedHostBytes = 256

  public init() {
    unsafe decodedPath = .allocate(
      capacity: RequestHead.decodedPathBytes + RequestHead.assumedHostBytes)
  }

  deinit { unsafe decodedPath.deallocate() }

  /// Forgets the last request, except for the storage.
  public mutating func reset(_ bytes: ByteView) {
    self.bytes = bytes
    fields.removeAll()
    pathAndQueryRange = .empty
    pathRange = .empty
    queryRange = .empty
    authorityRange = .empty
    hostRange = .empty
    assumedHost = .empty
    framing = .none
    routingPath = .empty
    wantsKeepAlive = false
    expectsContinue = false
    acceptsTrailers = false
    wantsUpgrade = false
    hasNominations = false
  }

  /// Gives a request without a host this one: lower case, at most 255 octets.
  public mutating func assumeHost(_ host: [UInt8]) {
    var sink = unsafe ByteSink(
      base: decodedPath + RequestHead.decodedPathBytes, capacity: RequestHead.assumedHostBytes)
    sink.append(host)
    assumedHost = sink.view
  }

  mutating func decodedPathSink() -> ByteSink {
    unsafe ByteSink(base: decodedPath, capacity: RequestHead.decodedPathBytes)
  }

  @inlinable @inline(__always)
  public func value(_ index: Int) -> ByteView { bytes.slice(fields[index].valueRange) }

  /// Value of the first field with this name, or `nil`.
  @inlinable @inline(__always)
  public func first(_ name: FieldName) -> ByteView? {
    fields.firstIndex(of: name).map { bytes.slice(fields[$0].valueRange) }
  }

  @inlinable @inline(__always)
  public var host: ByteView { hostRange.isEmpty ? assumedHost : bytes.slice(hostRange) }
  @inlinable @inline(__always)
  public var authority: ByteView {
    authorityRange.isEmpty ? assumedHost : bytes.slice(authorityRange)
  }
  public var path: ByteView { bytes.slice(pathRange) }
  public var query: ByteView { bytes.slice(queryRange) }
  public var target: ByteView { bytes.slice(targetRange) }
  public var methodName: ByteView { bytes.slice(methodRange) }
}

/// A response's head; owned and pinned as `RequestHead`, in the backend connection's buffer.
public struct ResponseHead: ~Copyable {
  public var bytes: ByteView = .empty
  public var version: HTTPVersion = .http11
  /// 100–599.
  public var status = 0
  /// The status line's reason phrase.
  public var reasonRange: ByteRange = .empty
  public var framing: BodyFraming = .none
  public var fields = Fields()
  /// The backend will keep the connection open after this response.
  public var wantsKeepAlive = false
  /// `Connection` names fields that go no further.
  public var hasNominations = false
  /// As in `RequestHead`.
  private let place = Atomic<Bool>(false)

  public init() {}

  public func value(_ index: Int) -> ByteView { bytes.slice(fields[index].valueRange) }

  public func first(_ name: FieldName) -> ByteView? {
    fields.firstIndex(of: name).map { bytes.slice(fields[$0].valueRange) }
  }
}

/// What a head may cost before it is refused (safety rules 20 and 21). All in octets but
/// `maxFields`.
public struct HeadLimits: Sendable, Equatable {
  /// The whole head section: 431, or 502 for a response.
  public var maxBytes = 16 * 1024
  /// One field line: 431, or 502 for a response.
  public var maxFieldBytes = 8 * 1024
  /// Field lines: 431, or 502 for a response. At most `Fields.hardLimit`.
  public var maxFields = 100
  /// The request target: 414.
  public var maxTargetBytes = 8 * 1024

  public init() {}
}
