/// An IPv4 or IPv6 address as a plain value, without port.
///
/// IPv4 is kept as its IPv4-mapped IPv6 form (RFC 4291 §2.5.5.2), so that one comparison serves
/// both and a client seen through a dual-stack socket is the same client.
public struct IPAddress: Sendable, Hashable, BitwiseCopyable {
  /// The first eight octets, most significant first.
  public var high: UInt64
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// From the 32-bit address in host order: 127.0.0.1 is 0x7F000001.
  public init(v4: UInt32) {
    self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(v4))
  }

  public var isV4: Bool { high == 0 && low >> 32 == 0xFFFF }
  public var v4: UInt32 { UInt32(truncatingIfNeeded: low) }

  /// Octet 0–15 of the IPv6 form.
  public func octet(_ index: Int) -> UInt8 {
    let word = index < 8 ? high : low
    return UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * (index & 7)))
  }

  /// Group 0–7 of the IPv6 form.
  func group(_ index: Int) -> UInt16 {
    let word = index < 4 ? high : low
    return UInt16(truncatingIfNeeded: word >> UInt64(48 - 16 * (index & 3)))
  }

  /// Dotted quad, or a full or compressed IPv6 literal without brackets or zone; `nil` otherwise.
  public init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    let address =
      bytes.contains(UInt8(ascii: ":")) ? IPAddress.parseV6(bytes) : IPAddress.parseV4(bytes[...])
    guard let address else { return nil }
    self = address
  }

  private static func parseV4(_ bytes: ArraySlice<UInt8>) -> IPAddress? {
    let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var value: UInt32 = 0
    for part in parts {
      guard (1...3).contains(part.count), part.allSatisfy(ASCII.isDigit) else { return nil }
      // "010" is octal to some programs and decimal to others: refused.
      if part.count > 1, part.first == UInt8(ascii: "0") { return nil }
      let octet = part.reduce(0) { $0 * 10 + UInt32($1 - UInt8(ascii: "0")) }
      guard octet <= 255 else { return nil }
      value = value << 8 | octet
    }
    return IPAddress(v4: value)
  }

  private static func parseV6(_ bytes: [UInt8]) -> IPAddress? {
    var groups: [UInt16] = []
    var gap: Int?
    var rest = bytes[...]
    if rest.starts(with: "::".utf8) {
      gap = 0
      rest = rest.dropFirst(2)
    }
    while !rest.isEmpty {
      let end = rest.firstIndex(of: UInt8(ascii: ":")) ?? rest.endIndex
      let part = rest[rest.startIndex..<end]
      if part.contains(UInt8(ascii: ".")) {
        guard end == rest.endIndex, let v4 = parseV4(part)?.v4 else { return nil }
        groups += [UInt16(v4 >> 16), UInt16(truncatingIfNeeded: v4)]
        rest = []
        break
      }
      guard (1...4).contains(part.count), part.allSatisfy({ ASCII.hexValue($0) != nil }) else {
        return nil
      }
      groups.append(part.reduce(0) { $0 << 4 | UInt16(ASCII.hexValue($1) ?? 0) })
      rest = rest[end...].dropFirst()
      if end < bytes.endIndex, rest.isEmpty { return nil }
      if rest.first == UInt8(ascii: ":") {
        guard gap == nil else { return nil }
        gap = groups.count
        rest = rest.dropFirst()
      }
    }
    if let gap {
      guard groups.count < 8 else { return nil }
      groups.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: gap)
    }
    guard groups.count == 8 else { return nil }
    let words = groups.map(UInt64.init)
    return IPAddress(
      high: words[0] << 48 | words[1] << 32 | words[2] << 16 | words[3],
      low: words[4] << 48 | words[5] << 32 | words[6] << 16 | words[7])
  }
}

extension IPAddress: CustomStringConvertible {
  public var description: String {
    var bytes = [UInt8](repeating: 0, count: 48)
    return bytes.withByteSink { sink in
      sink.append(self)
      return sink.view.string
    }
  }
}

extension ByteSink {
  /// Dotted quad, or RFC 5952 form without brackets.
  public mutating func append(_ address: IPAddress) {
    if address.isV4 {
      return append(quad: address.v4)
    }
    let zeros = ByteSink.longestZeroRun(address)
    var index = 0
    while index < 8 {
      if index == zeros.start, zeros.count > 1 {
        append("::")
        index += zeros.count
        continue
      }
      if index > 0, index != zeros.start + zeros.count || zeros.count < 2 {
        append(byte: UInt8(ascii: ":"))
      }
      append(hex: UInt(address.group(index)))
      index += 1
    }
  }

  private static func longestZeroRun(_ address: IPAddress) -> (start: Int, count: Int) {
    var best = (start: -1, count: 0)
    var start = 0
    while start < 8 {
      var end = start
      while end < 8, address.group(end) == 0 { end += 1 }
      if end - start > best.count { best = (start, end - start) }
      start = max(end, start + 1)
    }
    return best
  }
}

extension Array where Element == UInt8 {
  /// Lends the array's storage to `body` as a sink of the same capacity.
  public mutating func withByteSink<Result>(_ body: (inout ByteSink) -> Result) -> Result {
    unsafe withUnsafeMutableBufferPointer { bytes in
      guard let base = bytes.baseAddress else { preconditionFailure("a sink needs room") }
      var sink = unsafe ByteSink(base: base, capacity: bytes.count)
      return body(&sink)
    }
  }
}

/// A network in CIDR notation: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
public struct IPNetwork: Sendable, Hashable, BitwiseCopyable {
  public let address: IPAddress
  /// 0–128 in the IPv6 form; an IPv4 `/8` is 104 here.
  public let prefixLength: Int

  /// `nil` unless the text is an address with an optional prefix length in range. Bits beyond the
  /// prefix are ignored.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let first = parts.first, parts.count <= 2, let address = IPAddress(first) else {
      return nil
    }
    let width = address.isV4 ? 32 : 128
    var length = width
    if parts.count == 2 {
      // `Int` alone would take a sign, too.
      guard parts[1].utf8.allSatisfy(ASCII.isDigit), let given = Int(parts[1]), given <= width
      else { return nil }
      length = given
    }
    self.address = address
    self.prefixLength = length + (128 - width)
  }

  public func contains(_ other: IPAddress) -> Bool {
    let highBits = min(prefixLength, 64)
    let lowBits = prefixLength - highBits
    return IPNetwork.agree(address.high, other.high, bits: highBits)
      && IPNetwork.agree(address.low, other.low, bits: lowBits)
  }

  private static func agree(_ a: UInt64, _ b: UInt64, bits: Int) -> Bool {
    bits == 0 || (a ^ b) >> UInt64(64 - bits) == 0
  }
}
