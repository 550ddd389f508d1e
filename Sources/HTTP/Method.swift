import Primitives

/// Request methods that weir treats by name; every other token is `.other` and keeps its bytes.
public enum Method: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  case get, head, post, put, delete, options, patch, connect, trace, other

  /// RFC 9110 §9.1: method names are case-sensitive.
  public init(_ name: ByteView) {
    switch name.count {
    case 3 where name.equals("GET"): self = .get
    case 3 where name.equals("PUT"): self = .put
    case 4 where name.equals("HEAD"): self = .head
    case 4 where name.equals("POST"): self = .post
    case 5 where name.equals("PATCH"): self = .patch
    case 5 where name.equals("TRACE"): self = .trace
    case 6 where name.equals("DELETE"): self = .delete
    case 7 where name.equals("OPTIONS"): self = .options
    case 7 where name.equals("CONNECT"): self = .connect
    default: self = .other
    }
  }

  /// RFC 9110 §9.2.2.
  public var isIdempotent: Bool {
    switch self {
    case .get, .head, .options, .put, .delete, .trace: true
    case .post, .patch, .connect, .other: false
    }
  }

  /// RFC 9110 §9.2.1.
  public var isSafe: Bool {
    switch self {
    case .get, .head, .options, .trace: true
    default: false
    }
  }
}

/// The protocol version of a message as received.
public enum HTTPVersion: UInt8, Sendable, BitwiseCopyable {
  case http10, http11, http2
}
