import Primitives
import Testing

@testable import Config

@Suite struct LexerTests {
  static func lex(
    _ text: String, _ environment: [String: String] = [:]
  ) -> (lines: [[Token]], report: Report) {
    var report = Report()
    let bytes = Array(text.utf8)
    report.files.append(SourceFile(path: "f", bytes: bytes))
    var lexer = Lexer(file: 0, bytes: bytes, environment: environment)
    let lines = lexer.lines(&report)
    return (lines, report)
  }

  @Test(arguments: [
    ("a b c", ["a", "b", "c"]), ("  a\t b  ", ["a", "b"]), ("a # b c", ["a"]), ("# a", []),
    ("a#b http://x/#c", ["a#b", "http://x/#c"]), ("a {", ["a", "{"]), ("}", ["}"]),
    ("a ^/x{2}/[{}]$", ["a", "^/x{2}/[{}]$"]), ("a \"b c\" d", ["a", "b c", "d"]),
    ("a \"#\" \"{\" \"}\"", ["a", "#", "{", "}"]), ("a \"\"", ["a", ""]),
    (#"a "\"\\\$\n\r\t""#, ["a", "\"\\$\n\r\t"]), (#"a \d\"b"#, ["a", #"\d\"b"#]),
    ("a k=v k=\"v w\"", ["a", "k=v", "k=v w"]), ("a b\"c", ["a", "b\"c"]),
    ("a x $y $ z$", ["a", "x", "$y", "$", "z$"]), ("a\r", ["a"]), ("", []), ("ä ö", ["ä", "ö"]),
  ])
  func `a line is split into words`(text: String, words: [String]) {
    let (lines, report) = Self.lex(text)
    #expect(lines.flatMap { $0 }.map(\.text) == words)
    #expect(!report.hasErrors)
  }

  @Test func `lines end with LF or CRLF, and a byte order mark is skipped`() {
    let (lines, report) = Self.lex("\u{FEFF}a b\r\n\n  \nc\nd")
    #expect(lines.map { $0.map(\.text) } == [["a", "b"], ["c"], ["d"]])
    #expect(!report.hasErrors)
  }

  @Test(arguments: [
    ("weight=2", "weight", "2"), ("max-age=\"a b\"", "max-age", "a b"), ("k2=", "k2", ""),
    ("\"weight=2\"", nil, "weight=2"), ("=2", nil, "=2"), ("/a=b", nil, "/a=b"),
    ("A=b", nil, "A=b"), ("2k=b", nil, "2k=b"), ("${X}", nil, "weight=2"),
    ("name=${X}", "name", "weight=2"),
  ])
  func `an option is a plainly written key and a value`(word: String, key: String?, value: String) {
    let token = Self.lex(word, ["X": "weight=2"]).lines[0][0]
    #expect(token.key == key)
    #expect(token.value == value)
  }

  @Test(arguments: [
    ("${A}", "1"), ("x${A}y", "x1y"), ("\"x ${A}\"", "x 1"), ("${B:-d}", "d"), ("${A:-d}", "1"),
    ("${E:-d}", "d"), ("${E}", ""), ("${B:-}", ""), ("${B:-x y}", "x y"), ("k=${A}", "k=1"),
    ("${A}${A}", "11"), ("\"\\${A}\"", "${A}"), ("${S}", "a b # {"), ("$A", "$A"),
  ])
  func `references to the environment are replaced inside their word`(word: String, text: String) {
    let (lines, report) = Self.lex("n \(word) end", ["A": "1", "E": "", "S": "a b # {"])
    #expect(lines[0].map(\.text) == ["n", text, "end"])
    #expect(!report.hasErrors)
  }

  @Test func `bytes that are not text are refused`() {
    var report = Report()
    let bytes: [UInt8] = Array("name a".utf8) + [0xFF, 0x0A]
    report.files.append(SourceFile(path: "f", bytes: bytes))
    var lexer = Lexer(file: 0, bytes: bytes, environment: [:])
    let lines = lexer.lines(&report)
    #expect(lines[0].allSatisfy { !$0.isSound })
    #expect(report.diagnostics(mainPath: "f").map(\.message) == ["not UTF-8 text"])
  }
}
