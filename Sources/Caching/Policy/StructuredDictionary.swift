import Primitives

/// Reads a dictionary of structured fields (RFC 9651 §4.2.2) strictly: what does not parse makes
/// the whole field void.
///
/// Only integers and booleans are given a value, because no cache directive has another type; all
/// the others are checked and shown as `.other`. Parameters are checked and ignored. Neither
/// allocates nor copies, unlike a general library for structured fields (docs/decisions/0702).
struct StructuredDictionary {
  enum Value: Equatable {
    case integer(Int)
    case boolean(Bool)
    case other
  }

  struct Member {
    var key: ByteView
    var value: Value

    var isFalse: Bool { value == .boolean(false) }
    /// Of an integer that is not negative, at most 2^31; else `nil`.
    var seconds: Int? {
      guard case .integer(let number) = value, number >= 0 else { return nil }
      return min(number, CacheControl.mostSeconds)
    }
  }

  private let text: ByteView
  private var index = 0
  /// The field is void; no member comes any more.
  private(set) var hasFailed = false

  init(_ text: ByteView) {
    self.text = text
    skipSpaces()
  }

  mutating func next() -> Member? {
    guard !hasFailed, index < text.count else { return nil }
    guard let member = readMember(), endMember() else {
      hasFailed = true
      return nil
    }
    return member
  }

  private mutating func readMember() -> Member? {
    guard let key = readKey() else { return nil }
    var value = Value.boolean(true)
    if take(UInt8(ascii: "=")) {
      guard let found = take(UInt8(ascii: "(")) ? readInnerList() : readBareItem() else {
        return nil
      }
      value = found
    }
    return readParameters() ? Member(key: key, value: value) : nil
  }

  /// The comma behind a member, and no comma at the end.
  private mutating func endMember() -> Bool {
    skipBlanks()
    guard index < text.count else { return true }
    guard take(UInt8(ascii: ",")) else { return false }
    skipBlanks()
    return index < text.count
  }

  // MARK: Parts

  private var current: UInt8? { index < text.count ? text[index] : nil }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard current == byte else { return false }
    index += 1
    return true
  }

  private mutating func skipSpaces() {
    while current == UInt8(ascii: " ") { index += 1 }
  }

  private mutating func skipBlanks() {
    while let byte = current, ASCII.isBlank(byte) { index += 1 }
  }

  private mutating func readKey() -> ByteView? {
    let start = index
    while let byte = current {
      let isSmall = byte &- UInt8(ascii: "a") < 26 || byte == UInt8(ascii: "*")
      let isFurther =
        ASCII.isDigit(byte) || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
        || byte == UInt8(ascii: ".")
      guard isSmall || isFurther && index > start else { break }
      index += 1
    }
    return index > start ? text.slice(start, index) : nil
  }

  private mutating func readParameters() -> Bool {
    while take(UInt8(ascii: ";")) {
      skipSpaces()
      guard readKey() != nil else { return false }
      if take(UInt8(ascii: "=")), readBareItem() == nil { return false }
    }
    return true
  }

  private mutating func readInnerList() -> Value? {
    while true {
      skipSpaces()
      if take(UInt8(ascii: ")")) { return .other }
      guard readBareItem() != nil, readParameters() else { return nil }
      guard current == UInt8(ascii: " ") || current == UInt8(ascii: ")") else { return nil }
    }
  }

  private mutating func readBareItem() -> Value? {
    guard let byte = current else { return nil }
    switch byte {
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return readNumber()
    case UInt8(ascii: "?"): return readBoolean()
    case UInt8(ascii: "\""): return readString()
    case UInt8(ascii: ":"): return readOctets()
    case UInt8(ascii: "*"): return readToken()
    case UInt8(ascii: "@"):
      index += 1
      if case .integer? = readNumber() { return .other }
      return nil
    case UInt8(ascii: "%"): return readDisplayString()
    default: return ASCII.isLetter(byte) ? readToken() : nil
    }
  }

  /// An integer of at most 15 digits, or a decimal of at most 12 and 3 (RFC 9651 §4.2.4).
  private mutating func readNumber() -> Value? {
    let isNegative = take(UInt8(ascii: "-"))
    var value = 0
    var digits = 0
    while let byte = current, ASCII.isDigit(byte) {
      guard digits < 15 else { return nil }
      value = value * 10 + Int(byte - UInt8(ascii: "0"))
      digits += 1
      index += 1
    }
    guard digits > 0 else { return nil }
    guard take(UInt8(ascii: ".")) else { return .integer(isNegative ? -value : value) }
    guard digits <= 12 else { return nil }
    var places = 0
    while let byte = current, ASCII.isDigit(byte) {
      places += 1
      index += 1
    }
    return (1...3).contains(places) ? .other : nil
  }

  private mutating func readBoolean() -> Value? {
    index += 1
    if take(UInt8(ascii: "1")) { return .boolean(true) }
    return take(UInt8(ascii: "0")) ? .boolean(false) : nil
  }

  private mutating func readString() -> Value? {
    index += 1
    while let byte = current {
      index += 1
      switch byte {
      case UInt8(ascii: "\""): return .other
      case UInt8(ascii: "\\"):
        guard take(UInt8(ascii: "\"")) || take(UInt8(ascii: "\\")) else { return nil }
      case 0x20...0x7E: continue
      default: return nil
      }
    }
    return nil
  }

  private mutating func readToken() -> Value? {
    index += 1
    while let byte = current {
      let isPart = byte == UInt8(ascii: ":") || byte == UInt8(ascii: "/")
      guard isPart || text.endOfToken(from: index) > index else { break }
      index += 1
    }
    return .other
  }

  private mutating func readOctets() -> Value? {
    index += 1
    while let byte = current {
      index += 1
      if byte == UInt8(ascii: ":") { return .other }
      let isCode =
        ASCII.isLetter(byte) || ASCII.isDigit(byte) || byte == UInt8(ascii: "+")
        || byte == UInt8(ascii: "/") || byte == UInt8(ascii: "=")
      guard isCode else { return nil }
    }
    return nil
  }

  /// RFC 9651 §4.2.10, without the check that the octets are UTF-8: no directive has this type.
  private mutating func readDisplayString() -> Value? {
    index += 1
    guard take(UInt8(ascii: "\"")) else { return nil }
    while let byte = current {
      index += 1
      switch byte {
      case UInt8(ascii: "\""): return .other
      case UInt8(ascii: "%"):
        for _ in 0..<2 {
          guard let digit = current, isLowerHex(digit) else { return nil }
          index += 1
        }
      case 0x20...0x7E: continue
      default: return nil
      }
    }
    return nil
  }

  private func isLowerHex(_ byte: UInt8) -> Bool {
    ASCII.isDigit(byte) || byte &- UInt8(ascii: "a") < 6
  }
}
