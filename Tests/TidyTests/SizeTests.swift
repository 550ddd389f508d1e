import Testing

/// Files, functions and lines stay as small as docs/STYLE.md says.
@Suite struct `Sizes` {
  @Test func `no file is longer than its limit`() {
    #expect(SourceTree.swift.count > 20, "the tree was not found at \(SourceTree.root)")
    for file in SourceTree.files where file.isSwift || file.isC || file.path.hasSuffix(".py") {
      #expect(file.lines.count <= AllowList.maxFileLines + 1, "\(file.path): \(file.lines.count)")
    }
  }

  @Test func `no line is wider than its limit, none ends in a blank`() {
    for file in SourceTree.files where file.isSwift || file.isC || file.path.hasSuffix(".py") {
      for (number, line) in file.lines.enumerated() {
        // A string that cannot be broken (a known log line, a URL) stands alone on its line.
        #expect(line.count <= AllowList.maxColumns, "\(file.path):\(number + 1)")
        #expect(line.last != " " && line.last != "\t", "\(file.path):\(number + 1) ends in a blank")
      }
    }
  }

  @Test func `no function is longer than its limit`() {
    var long = Set<String>()
    for file in SourceTree.swift {
      for (name, line, count) in functions(of: file) where count > AllowList.maxFunctionLines {
        long.insert("\(file.path) \(name)")
        let isListed = AllowList.longFunctions.contains("\(file.path) \(name)")
        #expect(isListed, "\(file.path):\(line): \(name) has \(count) lines")
      }
    }
    #expect(AllowList.longFunctions.subtracting(long).sorted() == [], "no longer needed")
  }

  @Test func `the function finder finds functions`() {
    let file = SourceFile(
      path: "x.swift",
      text:
        "struct A {\n  func b() {\n    c {\n    }\n  }\n\n  public init(a: Int,\n"
        + "    b: Int\n  ) {\n  }\n}\n"
    )
    #expect(functions(of: file).map(\.count) == [4, 4])
  }

  /// From a declaration to the closing brace in its own column, which the formatter guarantees.
  private func functions(of file: SourceFile) -> [(name: String, line: Int, count: Int)] {
    let lines = file.lines
    let declaration =
      #/^(\s*)(?:(?:[a-z]+|@\w+(?:\([^)]*\))?)\s+)*(?:func\s+([^\s(<]+)|init|deinit|subscript)\b.*/#
    var found: [(String, Int, Int)] = []
    for (index, line) in lines.enumerated() {
      guard let match = line.wholeMatch(of: declaration) else { continue }
      let closing = "\(match.output.1)}"
      let isOneLine = line.hasSuffix("}") && line.contains("{")
      guard !isOneLine,
        let end = lines[index...].firstIndex(where: { $0 == closing || $0.hasPrefix(closing + " ") }
        )
      else { continue }
      found.append((String(match.output.2 ?? "init"), index + 1, end - index + 1))
    }
    return found
  }
}
