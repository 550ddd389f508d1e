import Primitives

/// How a text goes into a line. Chosen at compile time: a generic parameter, never an existential.
protocol LogText {
  mutating func append(_ text: ByteView, to line: inout ByteWriter)
}

/// As it is; `isSuspect` tells afterwards whether that was wrong for any of the texts.
struct PlainText: LogText {
  private var suspects: UInt32 = 0
  var isSuspect: Bool { suspects != 0 }

  @inline(__always)
  mutating func append(_ text: ByteView, to line: inout ByteWriter) {
    suspects |= line.append(plain: text)
  }
}

/// Inside a JSON string (RFC 8259 §7). Well-formed UTF-8 stays, and a byte that is none becomes
/// `\u00XX`, so that the line is valid whatever a client sent. At most six octets for each.
struct JSONText: LogText {
  func append(_ text: ByteView, to line: inout ByteWriter) { line.appendJSONEscaped(text) }
}

/// For the combined format: quotes, backslashes, controls and everything above 0x7E as `\xHH`. At
/// most four octets for each.
struct CombinedText: LogText {
  func append(_ text: ByteView, to line: inout ByteWriter) { line.appendCombinedEscaped(text) }
}

extension ByteWriter {
  fileprivate mutating func appendJSONEscaped(_ text: ByteView) {
    var index = 0
    while index < text.count {
      let byte = text[index]
      if byte >= 0x80 {
        let length = text.utf8SequenceLength(at: index)
        if length > 0 {
          for offset in 0..<length { append(byte: text[index + offset]) }
          index += length
          continue
        }
        append("\\u00")
        append(hexPair: byte)
      } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
        append(byte: UInt8(ascii: "\\"))
        append(byte: byte)
      } else if byte < 0x20 {
        append("\\u00")
        append(hexPair: byte)
      } else {
        append(byte: byte)
      }
      index += 1
    }
  }

  fileprivate mutating func appendCombinedEscaped(_ text: ByteView) {
    for index in 0..<text.count {
      let byte = text[index]
      if byte < 0x20 || byte >= 0x7F || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
        append("\\x")
        append(hexPair: byte)
      } else {
        append(byte: byte)
      }
    }
  }

  private mutating func append(hexPair byte: UInt8) {
    append(byte: ByteWriter.hexDigit(byte >> 4))
    append(byte: ByteWriter.hexDigit(byte & 15))
  }

  private static func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + (value - 10)
  }
}

extension ByteView {
  /// Octets of the well-formed UTF-8 sequence of two or more octets that starts at `index`; 0
  /// where there is none (Unicode 15, table 3-7: no overlong form, no surrogate, nothing above
  /// U+10FFFF).
  func utf8SequenceLength(at index: Int) -> Int {
    let first = self[index]
    let length: Int
    var least: UInt8 = 0x80
    var most: UInt8 = 0xBF
    switch first {
    case 0xC2...0xDF: length = 2
    case 0xE0...0xEF:
      length = 3
      if first == 0xE0 { least = 0xA0 }
      if first == 0xED { most = 0x9F }
    case 0xF0...0xF4:
      length = 4
      if first == 0xF0 { least = 0x90 }
      if first == 0xF4 { most = 0x8F }
    default: return 0
    }
    guard index + length <= count, (least...most).contains(self[index + 1]) else { return 0 }
    for offset in 2..<max(length, 2) where !(0x80...0xBF).contains(self[index + offset]) {
      return 0
    }
    return length
  }
}
