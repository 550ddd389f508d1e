import HTTP
import Primitives

/// The chunked transfer coding (RFC 9112 §7.1), decoded as octets arrive.
///
///     size ──CRLF──► data ──all of it──► dataEnd ──CRLF──► size
///      │ size 0
///      ▼
///     trailers ──(HeadParser.parseTrailers)──► the caller ends the message
///
/// The decoder never copies: it says which of the octets it was shown are content. Extensions are
/// dropped and bounded (rule 5); anything but CRLF where a line ends is refused, because what is a
/// line end to one parser and data to another lets one request hide in another.
public struct ChunkedDecoder: BitwiseCopyable, Sendable {
  /// What to do with the front of the octets shown to `next`.
  public enum Step: Equatable, BitwiseCopyable {
    /// `skip` octets of framing, then `count` octets of content; call again behind them.
    case data(skip: Int, count: Int)
    /// `skip` octets of framing, and no more is known until further octets arrive.
    case needMore(skip: Int)
    /// `skip` octets of framing; the trailer section begins behind them.
    case trailers(skip: Int)
  }

  private enum State: UInt8, BitwiseCopyable {
    case sizeStart, size, extensionBytes, sizeLF, data, dataCR, dataLF, trailers
  }

  /// One size line, in octets.
  static let maxLineBytes = 4 * 1024
  /// All extensions of one message, in octets.
  static let maxExtensionBytes = 16 * 1024
  /// Digits of one size; its value stays below 2^62 (rule 5).
  static let maxSizeDigits = 16

  private var state = State.sizeStart
  private var digits: UInt8 = 0
  private var lineBytes: UInt16 = 0
  private var extensionTotal: UInt16 = 0
  private var size = 0

  public init() {}

  /// Throws 400; of a response the caller makes it 502.
  public mutating func next(_ bytes: ByteView) throws(HeadFault) -> Step {
    var index = 0
    while index < bytes.count {
      if state == .data {
        let count = min(size, bytes.count - index)
        size -= count
        if size == 0 { state = .dataCR }
        return .data(skip: index, count: count)
      }
      if state == .trailers { return .trailers(skip: index) }
      try take(bytes[index])
      index += 1
    }
    return state == .trailers ? .trailers(skip: index) : .needMore(skip: index)
  }

  /// One octet of framing.
  private mutating func take(_ byte: UInt8) throws(HeadFault) {
    switch state {
    case .sizeStart, .size: try takeSize(byte)
    case .extensionBytes: try takeExtension(byte)
    case .sizeLF:
      guard byte == UInt8(ascii: "\n") else { throw .bad("bare CR in chunk size") }
      state = size == 0 ? .trailers : .data
    case .dataCR:
      guard byte == UInt8(ascii: "\r") else { throw .bad("chunk longer than its size") }
      state = .dataLF
    case .dataLF:
      guard byte == UInt8(ascii: "\n") else { throw .bad("bare CR behind a chunk") }
      state = .sizeStart
      digits = 0
      lineBytes = 0
    case .data, .trailers: preconditionFailure("not framing")
    }
  }

  private mutating func takeSize(_ byte: UInt8) throws(HeadFault) {
    if let value = ASCII.hexValue(byte) {
      if state == .sizeStart {
        size = 0
        state = .size
      }
      digits += 1
      guard digits <= ChunkedDecoder.maxSizeDigits, size < 1 << 58 else {
        throw .bad("chunk size too large")
      }
      size = size << 4 | Int(value)
      return
    }
    guard state == .size else { throw .bad("malformed chunk size") }
    switch byte {
    case UInt8(ascii: "\r"): state = .sizeLF
    case UInt8(ascii: ";"): state = .extensionBytes
    default: throw .bad("malformed chunk size")
    }
  }

  private mutating func takeExtension(_ byte: UInt8) throws(HeadFault) {
    if byte == UInt8(ascii: "\r") {
      state = .sizeLF
      return
    }
    lineBytes += 1
    extensionTotal += 1
    guard byte >= 0x20 || byte == 0x09, byte != 0x7F else {
      throw .bad("control byte in chunk extension")
    }
    guard lineBytes <= ChunkedDecoder.maxLineBytes,
      extensionTotal <= ChunkedDecoder.maxExtensionBytes
    else { throw .bad("chunk extensions over the limit") }
  }
}
