import Foundation

/// The octets of test bodies: octet i is `bytes[i % period]`. The period is a prime, so that a
/// block lost, repeated or shifted by a buffer's size is noticed wherever it happens.
public enum Pattern {
  static let period = 65_521
  /// One period, and a slack after it: any window of up to `window` octets is contiguous.
  static let window = 256 << 10
  static let bytes: [UInt8] = {
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    var octets: [UInt8] = []
    octets.reserveCapacity(period + window)
    for _ in 0..<period {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      octets.append(UInt8(truncatingIfNeeded: state >> 32))
    }
    for index in 0..<window { octets.append(octets[index]) }
    return octets
  }()

  public static func prefix(_ count: Int) -> [UInt8] {
    (0..<count).map { bytes[$0 % period] }
  }

  /// Whether these are its first `count` octets; quick, where `prefix` would take seconds.
  public static func isPrefix(_ octets: [UInt8], _ count: Int) -> Bool {
    var check = PatternCheck()
    octets.withUnsafeBytes { check.add($0) }
    return check.isIntact && check.count == count
  }

  static func withWindow<Result>(
    at offset: Int, count: Int, _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try bytes.withUnsafeBytes {
      let first = offset % period
      return try body(UnsafeRawBufferPointer(rebasing: $0[first..<(first + count)]))
    }
  }

  /// Sends the first `count` octets, without ever holding more than a window.
  public static func send(_ count: Int, on connection: WireConnection) throws {
    var offset = 0
    while offset < count {
      let size = min(window, count - offset)
      try withWindow(at: offset, count: size) { try connection.send($0) }
      offset += size
    }
  }

  /// The same as chunks of uneven sizes, the last chunk and `trailer` (whole lines) after them.
  public static func sendChunked(
    _ count: Int, on connection: WireConnection, trailer: String = ""
  ) throws {
    var offset = 0
    var size = 1
    while offset < count {
      size = min(size * 3 + 1, window, count - offset)
      try connection.send(String(size, radix: 16) + "\r\n")
      try withWindow(at: offset, count: size) { try connection.send($0) }
      try connection.send("\r\n")
      offset += size
    }
    try connection.send("0\r\n\(trailer)\r\n")
  }
}

/// Compares a body with the pattern as it comes.
public struct PatternCheck: Sendable {
  public private(set) var count = 0
  public private(set) var isIntact = true

  public init() {}

  public mutating func add(_ octets: UnsafeRawBufferPointer) {
    var done = 0
    while done < octets.count {
      let size = min(Pattern.window, octets.count - done)
      let same = Pattern.withWindow(at: count, count: size) {
        memcmp($0.baseAddress!, octets.baseAddress! + done, size) == 0
      }
      if !same { isIntact = false }
      count += size
      done += size
    }
  }
}
