import Primitives

/// `sticky cookie NAME [ttl=DURATION] [key-file=PATH]`: a client's requests go to the backend that
/// had its first one.
public struct StickyOptions: Sendable, Equatable {
  public var cookie: String
  /// Of a cookie, from its last issue.
  public var lifetime = TimeAmount.seconds(3600)
  /// Signs the cookies, also those of other weirs with the same one; `nil`: made at the start of
  /// the process.
  public var key: [UInt8]?

  public init(cookie: String) { self.cookie = cookie }
}

/// The value of a sticky cookie: which backend, until when, and the proof that weir said so, as
/// `<16 hexadecimal digits>.<8>.<32>`.
///
/// The backend stands there as a number made of its name with the key, so that a cookie tells an
/// outsider neither names nor addresses; and nobody without the key can make one, so no client
/// chooses its backend.
public struct StickyCookie: Sendable, Equatable, BitwiseCopyable {
  /// Octets of a value.
  public static let count = 16 + 1 + 8 + 1 + 32

  public var backend: UInt64
  /// Seconds since 1970.
  public var expires: UInt32
  public var seal: (UInt64, UInt64)

  public init(backend: UInt64, expires: Int64, seal: (UInt64, UInt64) = (0, 0)) {
    self.backend = backend
    self.expires = UInt32(clamping: expires)
    self.seal = seal
  }

  /// `nil` where the value has another form.
  public init?(_ value: ByteView) {
    let dot = UInt8(ascii: ".")
    guard value.count == StickyCookie.count, value[16] == dot, value[25] == dot,
      let backend = StickyCookie.number(value.slice(0, 16)),
      let expires = StickyCookie.number(value.slice(17, 25)),
      let high = StickyCookie.number(value.slice(26, 42)),
      let low = StickyCookie.number(value.slice(42, 58))
    else { return nil }
    self.init(backend: backend, expires: Int64(expires), seal: (high, low))
  }

  /// Of lower-case digits alone, so that a cookie has one form.
  private static func number(_ digits: ByteView) -> UInt64? {
    var number: UInt64 = 0
    for index in 0..<digits.count {
      let digit = digits[index]
      guard let value = ASCII.hexValue(digit), ASCII.isDigit(digit) || digit >= 0x61 else {
        return nil
      }
      number = number << 4 | UInt64(value)
    }
    return number
  }

  /// What the seal is made of.
  public func appendClaim(to sink: inout ByteSink) {
    sink.append(hex16: backend)
    sink.append(".")
    sink.append(hex: UInt(expires), width: 8)
  }

  public func append(to sink: inout ByteSink) {
    appendClaim(to: &sink)
    sink.append(".")
    sink.append(hex16: seal.0)
    sink.append(hex16: seal.1)
  }

  /// Whether it holds still.
  public func isValid(at seconds: Int64) -> Bool { Int64(expires) > seconds }

  /// Half of its life is over: time for a new one, while its client is here.
  public func isWorn(at seconds: Int64, _ options: StickyOptions) -> Bool {
    Int64(expires) - seconds < options.lifetime.milliseconds / 2000
  }

  public static func == (a: StickyCookie, b: StickyCookie) -> Bool {
    a.backend == b.backend && a.expires == b.expires && a.seal == b.seal
  }
}
