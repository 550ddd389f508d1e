import Primitives

/// A word, or a brace, of one line.
struct Token: Sendable {
  enum Kind: Sendable { case word, open, close }

  var kind = Kind.word
  /// Without quotes, escapes and references: what the directive gets.
  var text: String
  var location: Location
  /// `key` of a word that was written as `key=…`; quoting the whole word makes it plain.
  var key: String?
  /// A reference to the environment was replaced in it, or it was quoted: its text and its place
  /// in the file differ.
  var isLiteral = true
  /// False: a fault in it has been reported, and its text means nothing.
  var isSound = true

  /// The part after `key=`.
  var value: String { key.map { String(text.dropFirst($0.count + 1)) } ?? text }

  var valueLocation: Location {
    guard let key else { return location }
    let skipped = min(key.utf8.count + 1, location.length)
    let length = max(location.length - skipped, 1)
    return Location(file: location.file, offset: location.offset + skipped, length: length)
  }
}

/// Splits one file into lines of tokens.
///
/// A `#` begins a comment, and a brace is a brace, only where a word would begin; inside a word
/// both are ordinary, as expressions and addresses of fragments need them.
struct Lexer {
  private let file: Int
  private let bytes: [UInt8]
  private let environment: [String: String]
  private var position = 0
  private var end = 0

  init(file: Int, bytes: [UInt8], environment: [String: String]) {
    self.file = file
    self.bytes = bytes
    self.environment = environment
  }

  /// Lines without tokens are left out.
  mutating func lines(_ report: inout Report) -> [[Token]] {
    var lines: [[Token]] = []
    var start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    while start < bytes.count {
      let next = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
      position = start
      end = next > start && bytes[next - 1] == UInt8(ascii: "\r") ? next - 1 : next
      let isSound = checkCharacters(&report)
      var tokens = line(&report)
      if !isSound {
        for index in tokens.indices { tokens[index].isSound = false }
      }
      if !tokens.isEmpty { lines.append(tokens) }
      start = next + 1
    }
    return lines
  }

  private func location(_ start: Int, _ end: Int) -> Location {
    Location(file: file, offset: start, length: max(end - start, 1))
  }

  /// At most one fault a line: bytes that no text editor would show.
  private func checkCharacters(_ report: inout Report) -> Bool {
    let line = bytes[position..<end]
    let control = line.firstIndex { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F }
    if let control {
      let code = String(bytes[control], radix: 16, uppercase: true)
      report.error("control character 0x\(code)", at: location(control, control + 1))
      return false
    }
    if String(validating: line, as: UTF8.self) == nil {
      let first = line.firstIndex { $0 >= 0x80 } ?? position
      report.error("not UTF-8 text", at: location(first, first + 1))
      return false
    }
    return true
  }

  private mutating func line(_ report: inout Report) -> [Token] {
    var tokens: [Token] = []
    while true {
      while position < end, ASCII.isBlank(bytes[position]) { position += 1 }
      guard position < end, bytes[position] != UInt8(ascii: "#") else { break }
      let isAlone = position + 1 == end || ASCII.isBlank(bytes[position + 1])
      if isAlone, bytes[position] == UInt8(ascii: "{") || bytes[position] == UInt8(ascii: "}") {
        let isOpen = bytes[position] == UInt8(ascii: "{")
        tokens.append(
          Token(
            kind: isOpen ? .open : .close, text: isOpen ? "{" : "}",
            location: location(position, position + 1)))
        position += 1
      } else {
        tokens.append(word(&report))
      }
    }
    splitGluedBrace(&tokens, &report)
    return tokens
  }

  /// `listener web{`: the brace was meant as one.
  private func splitGluedBrace(_ tokens: inout [Token], _ report: inout Report) {
    guard let last = tokens.last, last.kind == .word, last.isLiteral, last.isSound,
      last.text.hasSuffix("{"), tokens.count > 1
    else { return }
    let brace = last.location.offset + last.location.length - 1
    report.error("'{' needs a space before it", at: location(brace, brace + 1))
    tokens[tokens.count - 1].text.removeLast()
    tokens[tokens.count - 1].location.length -= 1
    tokens.append(Token(kind: .open, text: "{", location: location(brace, brace + 1)))
  }

  private mutating func word(_ report: inout Report) -> Token {
    let start = position
    var text: [UInt8] = []
    var token = Token(text: "", location: location(start, start))
    token.key = keyAhead()
    if let key = token.key {
      text += Array(key.utf8) + [UInt8(ascii: "=")]
      position += key.utf8.count + 1
    }
    if position < end, bytes[position] == UInt8(ascii: "\"") {
      token.isLiteral = false
      token.isSound = quoted(into: &text, &report)
      if position < end, !ASCII.isBlank(bytes[position]), token.isSound {
        report.error(
          "a closing quote ends its word", at: location(position, position + 1),
          notes: ["put a space after it, or '\\\"' for a quote inside the word"])
        token.isSound = false
        while position < end, !ASCII.isBlank(bytes[position]) { position += 1 }
      }
    } else {
      while position < end, !ASCII.isBlank(bytes[position]) {
        if isReferenceAhead {
          token.isLiteral = false
          if !reference(into: &text, &report) { token.isSound = false }
        } else {
          text.append(bytes[position])
          position += 1
        }
      }
    }
    token.text = String(decoding: text, as: UTF8.self)
    token.location = location(start, position)
    return token
  }

  /// The key of `key=…` at the position: a small letter, then small letters, digits, hyphens.
  private func keyAhead() -> String? {
    var index = position
    while index < end {
      let byte = bytes[index]
      let isLetter = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
      let isInner = ASCII.isDigit(byte) || byte == UInt8(ascii: "-")
      guard isLetter || (index > position && isInner) else { break }
      index += 1
    }
    guard index > position, index < end, bytes[index] == UInt8(ascii: "=") else { return nil }
    return String(decoding: bytes[position..<index], as: UTF8.self)
  }

  /// From the opening quote past the closing one; false where a fault was reported.
  private mutating func quoted(into text: inout [UInt8], _ report: inout Report) -> Bool {
    let start = position
    var isSound = true
    position += 1
    while position < end {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") {
        position += 1
        return isSound
      }
      if byte == UInt8(ascii: "\\") {
        if !escape(into: &text, &report) { isSound = false }
      } else if isReferenceAhead {
        if !reference(into: &text, &report) { isSound = false }
      } else {
        text.append(byte)
        position += 1
      }
    }
    report.error(
      "the quote is not closed on its line", at: location(start, end),
      notes: ["write a line break inside a value as '\\n'"])
    return false
  }

  private mutating func escape(into text: inout [UInt8], _ report: inout Report) -> Bool {
    let start = position
    position += 1
    guard position < end else { return false }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "n"): text.append(UInt8(ascii: "\n"))
    case UInt8(ascii: "r"): text.append(UInt8(ascii: "\r"))
    case UInt8(ascii: "t"): text.append(UInt8(ascii: "\t"))
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "$"): text.append(byte)
    default:
      report.error(
        "unknown escape", at: location(start, position),
        notes: [
          "expected one of \\\" \\\\ \\$ \\n \\r \\t",
          "outside quotes a backslash is an ordinary character",
        ])
      return false
    }
    return true
  }

  // MARK: References to the environment

  private var isReferenceAhead: Bool {
    position + 1 < end && bytes[position] == UInt8(ascii: "$")
      && bytes[position + 1] == UInt8(ascii: "{")
  }

  /// `${NAME}` or `${NAME:-default}`; false where a fault was reported.
  private mutating func reference(into text: inout [UInt8], _ report: inout Report) -> Bool {
    let start = position
    guard let close = bytes[start..<end].firstIndex(of: UInt8(ascii: "}")) else {
      report.error("'${' is not closed on its line", at: location(start, end))
      position = end
      return false
    }
    position = close + 1
    let place = location(start, position)
    let inner = String(decoding: bytes[(start + 2)..<close], as: UTF8.self)
    let name = String(inner.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") })
    let rest = inner.dropFirst(name.count)
    guard let first = name.first, !first.isNumber, rest.isEmpty || rest.hasPrefix(":-") else {
      report.error(
        "'${\(inner)}' names no environment variable", at: place,
        notes: ["expected '${NAME}' or '${NAME:-default}'", "'\\$' in quotes is a plain '$'"])
      return false
    }
    let value = environment[name]
    if rest.isEmpty {
      guard let value else {
        report.error(
          "the environment variable '\(name)' is not set", at: place,
          notes: ["'${\(name):-VALUE}' gives a value for that case"])
        return false
      }
      text += Array(value.utf8)
    } else {
      // As in the shell: the default also stands for an empty value.
      let chosen = value.flatMap { $0.isEmpty ? nil : $0 } ?? String(rest.dropFirst(2))
      text += Array(chosen.utf8)
    }
    return true
  }
}
