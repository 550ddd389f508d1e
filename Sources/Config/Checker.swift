import Primitives
import Proxy
import Routing

/// All rows, by context.
enum DirectiveTable {
  static func rows(_ context: Context) -> [Directive] {
    switch context {
    case .top: Directive.top
    case .listener: Directive.listener
    case .listenerTLS: Directive.listenerTLS
    case .upstream: Directive.upstream
    case .upstreamTLS: Directive.upstreamTLS
    case .route: Directive.route
    }
  }

  static let topLevelBlocks = Set(Directive.top.filter { $0.opens != nil }.map(\.name))

  /// Directives that later versions may have: worth a better answer than "unknown".
  static let planned: Set<String> = [
    "rate-limit", "mirror", "compress", "proxy-protocol",
  ]
}

/// Holds statements against the table and fills the draft.
struct Checker {
  var draft: Draft

  /// Directives of which a block needs one: where one of these is faulty, its absence is not
  /// reported as a second fault.
  private static let members: Set<String> = [
    "bind", "backend", "upstream", "redirect", "respond", "certificate",
  ]

  mutating func check(_ statements: [Statement], in context: Context) {
    var first: [String: Location] = [:]
    for statement in statements {
      guard let row = row(of: statement, in: context) else { continue }
      if !row.isRepeatable {
        if let earlier = first[row.name] {
          let place = draft.report.place(of: earlier, from: statement.name.location)
          draft.report.error(
            "'\(row.name)' is given twice", at: statement.name.location,
            notes: ["first on \(place)"])
          continue
        }
        first[row.name] = statement.name.location
      }
      check(statement, row)
    }
  }

  private mutating func row(of statement: Statement, in context: Context) -> Directive? {
    let name = statement.name
    let rows = DirectiveTable.rows(context)
    if let row = rows.first(where: { $0.name == name.text }), name.isLiteral, name.isSound {
      return row
    }
    // It may have been meant as any directive.
    draft.hasFaultyMember = true
    guard name.isSound else { return nil }
    if !name.isLiteral {
      draft.report.error(
        "the name of a directive is written plainly", at: name.location,
        notes: ["quotes and '${…}' are for values"])
      return nil
    }
    let elsewhere = Context.allCases.filter { other in
      other != context && DirectiveTable.rows(other).contains { $0.name == name.text }
    }
    if !elsewhere.isEmpty {
      let places = elsewhere.map(\.place).joined(separator: " or ")
      draft.report.error(
        "'\(name.text)' does not stand \(context.place)", at: name.location,
        notes: ["it stands \(places)"])
      return nil
    }
    return unknown(statement, rows)
  }

  /// Reports an unknown name; a block is checked as the one that was probably meant, so that its
  /// faults are found in this run and nothing that refers to it is reported.
  private mutating func unknown(_ statement: Statement, _ rows: [Directive]) -> Directive? {
    let name = statement.name
    var notes: [String] = []
    var meant: String?
    if DirectiveTable.planned.contains(name.text) {
      notes = ["this version of weir has no '\(name.text)'"]
    } else {
      meant = Suggestion.closest(to: name.text, among: rows.map(\.name))
      notes = [
        meant.map { "did you mean '\($0)'?" }
          ?? "expected one of " + rows.map { "'\($0.name)'" }.joined(separator: ", ")
      ]
    }
    draft.report.error("unknown directive '\(name.text)'", at: name.location, notes: notes)
    guard statement.block != nil else { return nil }
    return rows.first { $0.name == meant && $0.opens != nil }
  }

  private mutating func check(_ statement: Statement, _ row: Directive) {
    if row.opens == nil, let opening = statement.opening {
      draft.report.error(
        "'\(row.name)' has no block", at: opening, notes: ["expected '\(row.synopsis)'"])
      if Checker.members.contains(row.name) { draft.hasFaultyMember = true }
      return
    }
    let reading = read(statement, row)
    guard let context = row.opens else {
      if let reading {
        row.apply(&draft, reading)
      } else if Checker.members.contains(row.name) {
        draft.hasFaultyMember = true
      }
      return
    }
    guard let block = statement.block else {
      draft.report.error(
        "'\(row.name)' needs a block", at: statement.name.location,
        notes: ["expected '\(row.synopsis)'"])
      draft.markFaulty(context)
      return
    }
    draft.beginBlock(statement, context)
    if let reading { row.apply(&draft, reading) } else { draft.resetBlock(context) }
    check(block, in: context)
    draft.endBlock(context, statement, isSound: reading != nil)
  }

  // MARK: Arguments and options

  /// `nil` where a word is missing, superfluous or faulty, which has been reported.
  private mutating func read(_ statement: Statement, _ row: Directive) -> Reading? {
    var isSound = true
    var positional: [Token] = []
    var reading = Reading(name: statement.name, values: [], tokens: [], options: [:])
    for word in statement.words {
      if word.key != nil, !row.options.isEmpty {
        if !readOption(word, row, &reading) { isSound = false }
      } else {
        positional.append(word)
      }
    }
    for (index, word) in positional.enumerated() {
      guard let argument = argument(index, of: row) else {
        let isOption = word.key != nil
        draft.report.error(
          isOption
            ? "'\(row.name)' has no options" : "unexpected argument '\(word.text)'",
          at: word.location, notes: ["expected '\(row.synopsis)'"])
        return nil
      }
      if let value = read(word, at: word.location, argument.kind, word.text) {
        reading.values.append(value)
        reading.tokens.append(word)
      } else {
        isSound = false
      }
    }
    let wanted = row.arguments.count { $0.presence != .optional }
    if positional.count < wanted {
      draft.report.error(
        "'\(row.name)' needs \(row.arguments[positional.count].label)",
        at: statement.name.location, notes: ["expected '\(row.synopsis)'"])
      return nil
    }
    return isSound ? reading : nil
  }

  private func argument(_ index: Int, of row: Directive) -> Argument? {
    if index < row.arguments.count { return row.arguments[index] }
    guard let last = row.arguments.last, last.presence == .oneOrMore else { return nil }
    return last
  }

  private mutating func readOption(
    _ word: Token, _ row: Directive, _ reading: inout Reading
  ) -> Bool {
    guard word.isSound, let key = word.key else { return false }
    guard let option = row.options.first(where: { $0.key == key }) else {
      let keys = row.options.map(\.key)
      let list = keys.map { "'\($0)='" }.joined(separator: ", ")
      let expected = keys.count == 1 ? "expected \(list)" : "expected one of \(list)"
      let meant = Suggestion.closest(to: key, among: keys)
      var place = word.location
      place.length = key.utf8.count
      draft.report.error(
        "'\(row.name)' has no option '\(key)'", at: place,
        notes: [expected] + (meant.map { ["did you mean '\($0)='?"] } ?? []))
      return false
    }
    if reading.options[key] != nil {
      draft.report.error("'\(key)=' is given twice", at: word.location)
      return false
    }
    guard let value = read(word, at: word.valueLocation, option.kind, word.value) else {
      return false
    }
    reading.options[key] = (value, word)
    return true
  }

  private mutating func read(
    _ word: Token, at location: Location, _ kind: ValueKind, _ text: String
  ) -> Value? {
    guard word.isSound else { return nil }
    do {
      return try kind.read(text)
    } catch {
      draft.fault(error, at: location)
      return nil
    }
  }
}

extension Draft {
  mutating func beginBlock(_ statement: Statement, _ context: Context) {
    // The block around it is still open.
    if context == .listenerTLS || context == .upstreamTLS { return beginTLS(context, statement) }
    blockLocation = statement.name.location
    hasFaultyMember = false
    backends = []
    backlog = nil
    fileMode = nil
    v6Only = nil
    reusePort = nil
    fastOpen = nil
    action = nil
    pathCondition = nil
    methodCondition = nil
  }

  /// An empty block to check directives against whose own head was faulty.
  mutating func resetBlock(_ context: Context) {
    switch context {
    case .top, .listenerTLS, .upstreamTLS: break
    case .listener: listener = ListenerOptions(name: "")
    case .upstream: upstream = UpstreamOptions(name: "")
    case .route:
      route = RouteOptions(pattern: RoutePattern(), name: "", action: Draft.noAction)
    }
  }

  mutating func endBlock(_ context: Context, _ statement: Statement, isSound: Bool) {
    switch context {
    case .top: break
    case .listener: endListener(isSound)
    case .listenerTLS, .upstreamTLS: endTLS(context)
    case .upstream: endUpstream(isSound)
    case .route: endRoute(isSound, at: statement.words.first?.location)
    }
  }

  mutating func markFaulty(_ context: Context) {
    switch context {
    case .top: break
    case .listener, .listenerTLS: hasFaultyListener = true
    case .upstream, .upstreamTLS: hasFaultyUpstream = true
    case .route: hasFaultyRoute = true
    }
  }
}
