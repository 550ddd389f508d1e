import Primitives
import Proxy

/// What came of reading a configuration.
public struct LoadResult: Sendable {
  /// `nil` where any diagnostic is an error.
  public var options: ProxyOptions?
  /// The admin endpoints that could be made out, whatever else is at fault: a command that asks
  /// the daemon to look at a faulty file must still find the daemon.
  public var admin: [AdminListenerOptions]
  /// In the order of the text.
  public var diagnostics: [Diagnostic]
  /// Every file read, the main one first.
  public var files: [String]

  public var errorCount: Int { diagnostics.count { $0.severity == .error } }
}

/// Reads a configuration file and everything it includes, and finds all its faults in one run.
public enum ConfigurationLoader {
  static let fileLimitBytes = 16 << 20
  /// Of all files together: a configuration is read into memory.
  static let totalLimitBytes = 64 << 20
  static let fileLimit = 1000
  static let includeDepthLimit = 16

  /// Blocks on file input: for the control thread.
  public static func load(
    path: String, environment: [String: String], files: some ConfigurationFiles
  ) -> LoadResult {
    var assembly = Assembly(files: files, environment: environment)
    let statements = assembly.statements(ofMain: path)
    var draft = Draft()
    let sources = assembly.report.files.map(\.path)
    draft.report = assembly.report
    draft.readSecret = { token in
      readSecret(token.value, from: sources[token.location.file], files)
    }
    draft.readFile = { text, location in
      readFile(text, from: sources[location.file], files)
    }
    if let statements {
      var checker = Checker(draft: draft)
      checker.check(statements, in: .top)
      draft = checker.draft
      draft.checkReferences()
    }
    var seen: Set<String> = []
    return LoadResult(
      options: draft.report.hasErrors ? nil : draft.proxy, admin: draft.proxy.admin,
      diagnostics: draft.report.diagnostics(mainPath: path),
      files: sources.filter { seen.insert($0).inserted })
  }

  /// Certificates and keys; far larger than any.
  static let certificateLimitBytes = 4 << 20

  private static func readFile(
    _ written: String, from source: String, _ files: some ConfigurationFiles
  ) -> Result<ReadFile, ValueFault> {
    let path = FilePath.resolve(written, against: source)
    do {
      return .success(
        ReadFile(path: path, bytes: try files.read(path, limitBytes: certificateLimitBytes)))
    } catch {
      return .failure(ValueFault(message: "'\(path)' cannot be read: \(error.reason)"))
    }
  }

  /// A bearer token (RFC 6750 §2.1): visible ASCII, long enough that nobody guesses it.
  private static func readSecret(
    _ written: String, from source: String, _ files: some ConfigurationFiles
  ) -> Result<String, ValueFault> {
    let path = FilePath.resolve(written, against: source)
    do {
      var bytes = try files.read(path, limitBytes: 64 << 10)[...]
      while let last = bytes.last, last <= 0x20 { bytes.removeLast() }
      guard (16...1024).contains(bytes.count), bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
        return .failure(
          ValueFault(
            message: "'\(path)' holds no token",
            notes: ["expected one line of 16 to 1024 visible ASCII characters"]))
      }
      return .success(String(decoding: bytes, as: UTF8.self))
    } catch {
      return .failure(ValueFault(message: "'\(path)' cannot be read: \(error.reason)"))
    }
  }
}

/// Reads files into one list of statements.
private struct Assembly<Files: ConfigurationFiles> {
  var files: Files
  var environment: [String: String]
  var report = Report()

  mutating func statements(ofMain path: String) -> [Statement]? {
    do {
      return statements(path, try read(path), above: [])
    } catch {
      report.error("cannot be read: \(error.reason)", at: nil)
      return nil
    }
  }

  private mutating func statements(
    _ path: String, _ bytes: [UInt8], above: [String]
  ) -> [Statement] {
    let file = report.files.count
    report.files.append(SourceFile(path: path, bytes: bytes))
    var lexer = Lexer(file: file, bytes: bytes, environment: environment)
    var parser = Parser(topLevelBlocks: DirectiveTable.topLevelBlocks)
    let parsed = parser.parse(lexer.lines(&report), &report)
    let stack = above + [FilePath.normalized(path)]
    return parsed.flatMap { statement in
      guard isInclude(statement) else { return [statement] }
      return include(statement, from: path, stack)
    }
  }

  /// One with faults in its words is left to the checker.
  private func isInclude(_ statement: Statement) -> Bool {
    statement.name.text == "include" && statement.name.isLiteral && statement.name.isSound
      && statement.words.count == 1 && statement.words[0].isSound
      && !statement.words[0].text.isEmpty && statement.block == nil
  }

  private mutating func include(
    _ statement: Statement, from path: String, _ stack: [String]
  ) -> [Statement] {
    let word = statement.words[0]
    let pattern = FilePath.resolve(word.text, against: path)
    let isPattern = pattern.utf8.contains { "*?[".utf8.contains($0) }
    // A pattern that fits nothing is an empty folder; a missing file is a mistake.
    let paths = isPattern ? files.paths(matching: pattern).sorted() : [pattern]
    guard stack.count < ConfigurationLoader.includeDepthLimit else {
      report.error(
        "files include each other more than \(ConfigurationLoader.includeDepthLimit) deep",
        at: word.location)
      return []
    }
    var result: [Statement] = []
    for path in paths {
      if stack.contains(FilePath.normalized(path)) {
        report.error("'\(path)' includes itself", at: word.location, notes: [chain(stack, path)])
      } else if report.files.count >= ConfigurationLoader.fileLimit {
        report.error("more than \(ConfigurationLoader.fileLimit) files", at: word.location)
        return result
      } else {
        do {
          result += statements(path, try read(path), above: stack)
        } catch {
          report.error("'\(path)' cannot be read: \(error.reason)", at: word.location)
        }
      }
    }
    return result
  }

  private func read(_ path: String) throws(FileFault) -> [UInt8] {
    let used = report.files.reduce(0) { $0 + $1.bytes.count }
    guard used < ConfigurationLoader.totalLimitBytes else {
      let limit = written(bytes: ConfigurationLoader.totalLimitBytes)
      throw FileFault("the files together are larger than \(limit)")
    }
    return try files.read(path, limitBytes: ConfigurationLoader.fileLimitBytes)
  }

  private func chain(_ stack: [String], _ path: String) -> String {
    (stack + [FilePath.normalized(path)]).joined(separator: " → ")
  }
}
