/// One directive as written, with the block it opens.
struct Statement: Sendable {
  var name: Token
  /// Arguments and options, in the order written.
  var words: [Token]
  var block: [Statement]?
  /// Where its `{` stands.
  var opening: Location?
}

/// Builds the tree of statements of one file from its lines.
///
/// A fault is reported and parsing goes on with the next line, so that one run finds them all; a
/// block that is not closed ends where a directive that opens a top-level block begins.
struct Parser {
  private struct Frame {
    /// `nil` for the file itself, and for a `{` without a directive.
    var statement: Statement?
    var statements: [Statement] = []
    var opening: Location?
  }

  private var frames = [Frame()]
  private let topLevelBlocks: Set<String>

  init(topLevelBlocks: Set<String>) { self.topLevelBlocks = topLevelBlocks }

  mutating func parse(_ lines: [[Token]], _ report: inout Report) -> [Statement] {
    for line in lines { parse(line, &report) }
    while frames.count > 1 {
      reportUnclosed("add a line with '}' at the end of the block", &report)
      closeFrame()
    }
    return frames[0].statements
  }

  private mutating func parse(_ line: [Token], _ report: inout Report) {
    var words = line
    guard let first = words.first else { return }
    if first.kind == .close {
      if words.count > 1 {
        report.error("nothing may follow '}' on its line", at: words[1].location)
      }
      close(first, &report)
      return
    }
    if first.kind == .open {
      report.error("'{' has no directive before it", at: first.location)
      frames.append(Frame(opening: first.location))
      return
    }
    if frames.count > 1, words.last?.kind == .open, topLevelBlocks.contains(first.text) {
      endUnclosedFrames(before: first, &report)
    }
    words.removeFirst()
    let brace = words.firstIndex { $0.kind != .word }
    let statement = Statement(name: first, words: Array(words[..<(brace ?? words.count)]))
    guard let brace else {
      frames[frames.count - 1].statements.append(statement)
      return
    }
    finish(statement, at: words[brace], followedBy: words[(brace + 1)...], &report)
  }

  /// The rest of a line from its first brace on; only `{` as its end is in order.
  private mutating func finish(
    _ statement: Statement, at brace: Token, followedBy rest: ArraySlice<Token>,
    _ report: inout Report
  ) {
    if brace.kind == .close {
      report.error("'}' stands on a line of its own", at: brace.location)
      frames[frames.count - 1].statements.append(statement)
      close(brace, &report)
      return
    }
    frames.append(Frame(statement: statement, opening: brace.location))
    guard let next = rest.first else { return }
    report.error(
      "a block's directives stand on lines of their own", at: next.location,
      notes: ["begin a new line after '{'"])
    // What was meant is plain: the rest is one directive of the block.
    let words = rest.prefix { $0.kind == .word }
    if let name = words.first {
      frames[frames.count - 1].statements.append(
        Statement(name: name, words: Array(words.dropFirst())))
    }
    if rest.last?.kind == .close { closeFrame() }
  }

  private mutating func close(_ brace: Token, _ report: inout Report) {
    guard frames.count > 1 else {
      report.error("'}' closes no block", at: brace.location)
      return
    }
    closeFrame()
  }

  private mutating func closeFrame() {
    let frame = frames.removeLast()
    guard var statement = frame.statement else { return }
    statement.block = frame.statements
    statement.opening = frame.opening
    frames[frames.count - 1].statements.append(statement)
  }

  private mutating func endUnclosedFrames(before next: Token, _ report: inout Report) {
    while frames.count > 1 {
      guard let opening = frames[frames.count - 1].opening else { return }
      let place = report.place(of: next.location, from: opening)
      reportUnclosed("add a line with '}' before \(place)", &report)
      closeFrame()
    }
  }

  private func reportUnclosed(_ advice: String, _ report: inout Report) {
    guard let frame = frames.last else { return }
    let name = frame.statement.map { " of '\($0.name.text)'" } ?? ""
    report.error("the block\(name) is not closed", at: frame.opening, notes: [advice])
  }
}
