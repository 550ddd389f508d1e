import Primitives

/// A set of known field names.
public struct FieldSet: OptionSet, Sendable, BitwiseCopyable {
  public let rawValue: UInt64

  @inlinable
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  @_disfavoredOverload
  public init(_ names: FieldName...) { rawValue = names.reduce(0) { $0 | $1.bit } }

  /// Up to eight names: a constant, where they are.
  @inlinable @inline(__always)
  public init(
    _ a: FieldName, _ b: FieldName = .other, _ c: FieldName = .other, _ d: FieldName = .other,
    _ e: FieldName = .other, _ f: FieldName = .other, _ g: FieldName = .other,
    _ h: FieldName = .other
  ) {
    rawValue = a.bit | b.bit | c.bit | d.bit | e.bit | f.bit | g.bit | h.bit
  }

  @inlinable @inline(__always)
  public func contains(_ name: FieldName) -> Bool { rawValue & name.bit != 0 }

  /// Fields that speak about one connection only (RFC 9110 §7.6.1, RFC 9112 §7.1): never
  /// forwarded. `TE`, `Upgrade` and the framing fields are written anew where they are needed.
  @inlinable
  public static var hopByHop: FieldSet {
    FieldSet(
      .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade, .http2Settings,
      .trailer)
  }
}

/// Lines of one head that are left out when it is forwarded: a bit for each index.
public struct FieldMask: BitwiseCopyable, Sendable {
  @usableFromInline var words = InlineArray<4, UInt64>(repeating: 0)

  public init() {}

  public mutating func insert(_ index: Int) {
    words[index >> 6] |= UInt64(1) << UInt64(index & 63)
  }

  @inlinable @inline(__always)
  public func contains(_ index: Int) -> Bool {
    words[index >> 6] >> UInt64(index & 63) & 1 == 1
  }

  @inlinable @inline(__always)
  public var isEmpty: Bool { words[0] | words[1] | words[2] | words[3] == 0 }
}

/// Walks the members of a comma-separated list (RFC 9110 §5.6.1); empty members are skipped.
public struct ListMembers {
  private let value: ByteView
  private var index = 0

  @inline(__always)
  public init(_ value: ByteView) { self.value = value }

  public mutating func next() -> ByteView? {
    while index < value.count {
      let end = value.firstIndex(of: UInt8(ascii: ","), from: index) ?? value.count
      let member = value.slice(index, end).trimmed()
      index = end + 1
      if !member.isEmpty { return member }
    }
    return nil
  }
}
