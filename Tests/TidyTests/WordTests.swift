import Testing

/// Words that say nothing, and words that promise something for later.
@Suite struct `Words` {
  @Test func `no type or file is called by what it could be anything`() {
    let ending = #/(Manager|Helpers?|Utils|Utility|Impl|Base|Misc|Common)$/#
    let type = #/\b(class|struct|enum|protocol|actor|typealias)\s+(\w+)/#
    for file in SourceTree.swift where !AllowList.wordFiles.contains(file.path) {
      for match in file.text.code.matches(of: type) where match.output.2.contains(ending) {
        Issue.record("\(file.path): \(match.output.2)")
      }
      let stem = file.name.dropLast(".swift".count)
      for word in ["Manager", "Helper", "Helpers", "Utils", "Impl", "Misc"] {
        #expect(!stem.hasSuffix(word), "\(file.path)")
      }
    }
  }

  /// The whole of Foundation is 44 MB in a binary of 18: its essentials are enough.
  @Test func `the program takes the essentials of Foundation, and no more`() {
    for file in SourceTree.sources where file.isSwift {
      #expect(!file.lines.contains("import Foundation"), "\(file.path)")
    }
  }

  @Test func `no value is called data or info`() {
    let name = #/\b(let|var)\s+(data|info)\b/#
    for file in SourceTree.swift where !AllowList.wordFiles.contains(file.path) {
      for match in file.text.code.matches(of: name) {
        Issue.record("\(file.path): \(match.output.0)")
      }
    }
  }

  @Test func `nothing is put off`() {
    let later = #/\b(TODO|FIXME|XXX|HACK)\b|\bplaceholder\b|\bunimplemented\b/#
    for file in SourceTree.files
    where !AllowList.wordFiles.contains(file.path) && !file.path.hasSuffix(".md") {
      for (number, line) in file.lines.enumerated() where line.contains(later) {
        Issue.record("\(file.path):\(number + 1): \(line)")
      }
    }
  }

  @Test func `no path of one machine is written down`() {
    let path = #/(^|[\s"'`=(])\/(home|work|root|Users)\//#
    for file in SourceTree.files where !AllowList.wordFiles.contains(file.path) {
      for (number, line) in file.lines.enumerated() where line.contains(path) {
        Issue.record("\(file.path):\(number + 1): \(line)")
      }
    }
  }

  /// The last column of its tables names tests.
  @Test func `every test that docs-HTTP2 names exists`() throws {
    let page = try #require(SourceTree.files.first { $0.path == "docs/HTTP2.md" })
    let tests = SourceTree.swift.filter { $0.path.hasPrefix("Tests/") }.map(\.text)
    var named = Set<String>()
    for line in page.lines where line.hasPrefix("| ") {
      let column = String(line.split(separator: "|").last ?? "")
      for match in column.matches(of: #/`([^`]+)`/#) { named.insert(String(match.output.1)) }
    }
    #expect(named.count > 30)
    for name in named.sorted() {
      #expect(tests.contains { $0.contains("func `\(name)`") }, "\(name)")
    }
  }

  @Test func `no file is dead`() {
    for file in SourceTree.swift {
      let code = file.text.code.split(separator: "\n")
        .filter { !$0.allSatisfy(\.isWhitespace) && !$0.hasPrefix("import ") }
      let isEntry = ["main.swift", "Package.swift"].contains(file.name)
      #expect(isEntry ? !code.isEmpty : code.count >= 3, "\(file.path) declares nothing")
    }
    let pages = SourceTree.files.filter { $0.path.hasSuffix(".md") }
    for page in pages where page.path.hasPrefix("docs/") {
      let folder = page.path.hasPrefix("docs/decisions/") ? "docs/decisions" : page.name
      let isLinked = pages.contains {
        $0.path != page.path && ($0.text.contains(page.name) || $0.text.contains(folder))
      }
      #expect(isLinked, "no page mentions \(page.path)")
    }
  }
}
