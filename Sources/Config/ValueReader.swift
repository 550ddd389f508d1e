import Primitives

/// Readers of values that are not addresses.
enum ValueReader {
  static func word(_ word: String, _ words: [String], _ noun: String) throws(ValueFault) -> Value {
    if words.contains(word) { return .text(word) }
    let list = words.map { "'\($0)'" }.joined(separator: ", ")
    let expected = words.count == 1 ? "expected \(list)" : "expected one of \(list)"
    throw ValueFault(
      message: "unknown \(noun) '\(word)'",
      notes: [expected] + Suggestion.note(for: word, among: words))
  }

  static func either(_ word: String, _ special: String, _ kind: ValueKind) throws(ValueFault)
    -> Value
  {
    do {
      return try kind.read(word)
    } catch {
      var fault = error
      fault.notes.append("or '\(special)'")
      throw fault
    }
  }

  static func integer(_ word: String, _ range: ClosedRange<Int>) throws(ValueFault) -> Value {
    let expected = "\(range.lowerBound) to \(range.upperBound)"
    guard word.utf8.allSatisfy(ASCII.isDigit), !word.isEmpty else {
      throw ValueFault(
        message: "'\(word)' is not a whole number", notes: ["expected \(expected)"])
    }
    guard let value = Int(word), range.contains(value) else {
      throw ValueFault(message: "\(word) is out of range", notes: ["expected \(expected)"])
    }
    return .integer(value)
  }

  static func number(_ word: String, _ range: ClosedRange<Double>) throws(ValueFault) -> Value {
    let expected = "expected \(written(range.lowerBound)) to \(written(range.upperBound))"
    let isPlain = word.utf8.allSatisfy { ASCII.isDigit($0) || $0 == UInt8(ascii: ".") }
    guard isPlain, let first = word.utf8.first, ASCII.isDigit(first), let value = Double(word)
    else { throw ValueFault(message: "'\(word)' is not a number", notes: [expected]) }
    guard range.contains(value) else {
      throw ValueFault(message: "\(word) is out of range", notes: [expected])
    }
    return .number(value)
  }

  static func percentage(_ word: String, _ range: ClosedRange<Int>) throws(ValueFault) -> Value {
    let expected = "expected \(range.lowerBound)% to \(range.upperBound)%"
    let (digits, unit) = split(word)
    guard unit == "%", let value = Int(digits) else {
      throw ValueFault(message: "'\(word)' is not a percentage", notes: [expected])
    }
    guard range.contains(value) else {
      throw ValueFault(message: "\(word) is out of range", notes: [expected])
    }
    return .integer(value)
  }

  /// The digits a word begins with, and what follows them.
  private static func split(_ word: String) -> (digits: String, unit: String) {
    let digits = word.utf8.prefix { ASCII.isDigit($0) }.count
    let bytes = Array(word.utf8)
    return (
      String(decoding: bytes[..<digits], as: UTF8.self),
      String(decoding: bytes[digits...], as: UTF8.self)
    )
  }

  static func duration(
    _ word: String, _ range: ClosedRange<TimeAmount>
  ) throws(ValueFault) -> Value {
    let (digits, unit) = split(word)
    guard !digits.isEmpty, let length = DurationUnit.all.first(where: { $0.name == unit })?.length
    else {
      let example = digits.isEmpty || !unit.isEmpty ? "10s" : "\(digits)s"
      throw ValueFault(
        message: "expected a duration such as '\(example)', not '\(word)'",
        notes: ["a whole number with one of the units ms, s, m, h, d"])
    }
    let count = Int64(digits) ?? .max
    let (product, overflow) = count.multipliedReportingOverflow(by: length)
    let amount = TimeAmount.milliseconds(overflow ? .max : product)
    guard range.contains(amount) else {
      throw ValueFault(
        message: "\(word) is out of range",
        notes: ["expected \(written(range.lowerBound)) to \(written(range.upperBound))"])
    }
    return .duration(amount)
  }

  static func size(_ word: String, _ range: ClosedRange<Int>) throws(ValueFault) -> Value {
    let (digits, unit) = split(word)
    guard !digits.isEmpty, let length = SizeUnit.all.first(where: { $0.name == unit })?.length
    else {
      let example = digits.isEmpty || !unit.isEmpty ? "64KiB" : "\(digits)KiB"
      throw ValueFault(
        message: "expected a size such as '\(example)', not '\(word)'",
        notes: ["a whole number with one of the units B, KiB, MiB, GiB, TiB"])
    }
    let (product, overflow) = (Int(digits) ?? .max).multipliedReportingOverflow(by: length)
    let value = overflow ? Int.max : product
    guard range.contains(value) else {
      let least = written(bytes: range.lowerBound)
      throw ValueFault(
        message: "\(word) is out of range",
        notes: ["expected \(least) to \(written(bytes: range.upperBound))"])
    }
    return .integer(value)
  }

  static func name(_ word: String, _ more: String) throws(ValueFault) -> Value {
    let isAllowed = word.utf8.allSatisfy { byte in
      ASCII.isLetter(byte) || ASCII.isDigit(byte) || "._-".utf8.contains(byte)
        || more.utf8.contains(byte)
    }
    guard isAllowed, (1...64).contains(word.utf8.count) else {
      throw ValueFault(
        message: "'\(word)' is not a name",
        notes: ["expected 1 to 64 letters, digits or any of '. _ -'"])
    }
    return .text(word)
  }

  static func token(_ word: String, _ noun: String) throws(ValueFault) -> Value {
    guard isToken(word), word.utf8.count <= 256 else {
      throw ValueFault(
        message: "'\(word)' is not a \(noun)",
        notes: ["expected letters, digits or any of ! # $ % & ' * + - . ^ _ ` | ~"])
    }
    return .text(word)
  }

  static func isToken(_ word: String) -> Bool {
    Array(word.utf8).withByteView { !$0.isEmpty && $0.endOfToken(from: 0) == $0.count }
  }

  static func path(_ word: String, mustBeAbsolute: Bool) throws(ValueFault) -> Value {
    let isClean = word.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    guard isClean, !word.isEmpty, word.utf8.count < 4096 else {
      throw ValueFault(message: "'\(word)' is not a path")
    }
    if mustBeAbsolute, !word.hasPrefix("/") {
      throw ValueFault(
        message: "'\(word)' is not an absolute path", notes: ["expected a path such as '/\(word)'"])
    }
    return .text(word)
  }

  static func text(_ word: String, _ limit: Int) throws(ValueFault) -> Value {
    guard word.utf8.count <= limit else {
      throw ValueFault(message: "the text is longer than \(written(bytes: limit))")
    }
    return .text(word)
  }

  static func fieldValue(_ word: String) throws(ValueFault) -> Value {
    let bytes = Array(word.utf8)
    guard bytes.withByteView({ $0.endOfFieldValue(from: 0) == $0.count }) else {
      throw ValueFault(message: "a field value must not contain control characters")
    }
    if let first = bytes.first, let last = bytes.last, ASCII.isBlank(first) || ASCII.isBlank(last) {
      throw ValueFault(message: "a field value does not begin or end with white space")
    }
    guard bytes.count <= 4096 else { throw ValueFault(message: "longer than 4KiB") }
    return .text(word)
  }

  static func protocolName(_ word: String) throws(ValueFault) -> Value {
    let name = word.lowercased()
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count <= 2, parts.allSatisfy({ isToken(String($0)) }), name.utf8.count <= 64 else {
      throw ValueFault(
        message: "'\(word)' is not a protocol name", notes: ["expected one such as 'websocket'"])
    }
    if name == "h2c" || name == "h2" {
      throw ValueFault(
        message: "'\(word)' is never passed on by Upgrade",
        notes: ["HTTP/2 inside a tunnel would escape every rule of its routes"])
    }
    return .text(name)
  }

  /// What `redirect` may replace.
  static let redirectVariables = ["host", "path", "query", "request-uri"]

  static func redirectTarget(_ word: String) throws(ValueFault) -> Value {
    let bytes = Array(word.utf8)
    guard bytes.withByteView({ $0.endOfFieldValue(from: 0) == $0.count }),
      bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
    else {
      throw ValueFault(
        message: "a URL consists of visible ASCII characters",
        notes: ["percent-encode the others"])
    }
    var rest = Substring(word)
    while let dollar = rest.firstIndex(of: "$") {
      rest = rest[rest.index(after: dollar)...]
      let name = String(rest.prefix { $0 == "-" || ("a"..."z").contains($0) })
      guard redirectVariables.contains(name) else {
        let known = redirectVariables.map { "'$\($0)'" }.joined(separator: ", ")
        let meant = Suggestion.closest(to: name, among: redirectVariables)
        throw ValueFault(
          message: "unknown variable '$\(name)'",
          notes: ["expected one of \(known)"] + (meant.map { ["did you mean '$\($0)'?"] } ?? []))
      }
      rest = rest.dropFirst(name.count)
    }
    let isURL = word.hasPrefix("http://") || word.hasPrefix("https://")
    guard isURL || word.hasPrefix("/") || word.hasPrefix("$path") || word.hasPrefix("$request-uri")
    else {
      throw ValueFault(
        message: "'\(word)' is neither a URL nor a path",
        notes: ["expected 'http://…', 'https://…' or '/…'"])
    }
    guard bytes.count <= 4096 else { throw ValueFault(message: "longer than 4KiB") }
    return .text(word)
  }
}
