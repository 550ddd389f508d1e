import Primitives
import Proxy
import Routing

/// `when …`, `request-header …` and `response-header …`.
extension Draft {
  mutating func addCondition(_ reading: Reading) {
    switch reading.text(0) {
    case "path": addPathCondition(reading)
    case "method": addMethodCondition(reading)
    default: addNamedCondition(reading)
    }
  }

  /// Refuses a second condition of a kind that makes sense once.
  private mutating func isFirst(_ earlier: Location?, _ reading: Reading, _ advice: String) -> Bool
  {
    guard let earlier else { return true }
    let place = report.place(of: earlier, from: reading.name.location)
    report.error(
      "the route has a condition on the \(reading.text(0)) already", at: reading.tokens[0].location,
      notes: ["on \(place)", advice])
    return false
  }

  private mutating func addPathCondition(_ reading: Reading) {
    let tokens = reading.tokens
    guard tokens.count == 3, tokens[1].text == "~" else {
      report.error(
        "expected 'when path ~ REGEX'", at: tokens[min(1, tokens.count - 1)].location,
        notes: ["put an expression with blanks in quotes"])
      return
    }
    guard isFirst(pathCondition, reading, "one expression can say both, with '|'") else { return }
    pathCondition = tokens[0].location
    guard route.pattern.path == .any else {
      report.error(
        "the route's pattern names a path already", at: tokens[0].location,
        notes: ["an expression needs a pattern without path, such as 'route www.example.com'"])
      return
    }
    do {
      try RouteTable.check(regex: reading.text(2))
      route.pattern.path = .regex(reading.text(2))
    } catch {
      var place = tokens[2].location
      if tokens[2].isLiteral, error.offset < place.length {
        place.offset += error.offset
        place.length = 1
      }
      report.error("the expression is faulty: \(error.message)", at: place)
    }
  }

  private mutating func addMethodCondition(_ reading: Reading) {
    guard isFirst(methodCondition, reading, "list all methods on one line") else { return }
    methodCondition = reading.tokens[0].location
    var methods: [String] = []
    for (index, token) in reading.tokens.enumerated().dropFirst() {
      let name = reading.text(index)
      guard ValueReader.isToken(name), name.utf8.count <= 32 else {
        report.error("'\(name)' is not a method", at: token.location)
        return
      }
      if name != name.uppercased() {
        report.warning(
          "methods are case-sensitive: '\(name)' is not '\(name.uppercased())'",
          at: token.location)
      }
      if name == "CONNECT" || name == "TRACE" {
        report.warning(
          "\(name) is refused with 405 before any route is looked for", at: token.location)
      }
      methods.append(name)
    }
    route.pattern.conditions.append(.method(methods))
  }

  private mutating func addNamedCondition(_ reading: Reading) {
    guard reading.values.count <= 3 else {
      report.error(
        "unexpected argument '\(reading.tokens[3].text)'", at: reading.tokens[3].location,
        notes: [
          "expected 'when \(reading.text(0)) NAME [VALUE]'; put a value with blanks in quotes"
        ])
      return
    }
    let name = reading.text(1)
    let value = reading.values.count > 2 ? reading.text(2) : nil
    if reading.text(0) == "query" {
      guard !name.isEmpty else {
        report.error("a query argument has a name", at: reading.tokens[1].location)
        return
      }
      route.pattern.conditions.append(.query(name: name, value: value))
      return
    }
    do {
      _ = try ValueReader.token(name, "field name")
      if let value { _ = try ValueReader.fieldValue(value) }
    } catch {
      fault(error, at: reading.tokens[ValueReader.isToken(name) ? 2 : 1].location)
      return
    }
    route.pattern.conditions.append(.header(name: name.lowercased(), value: value))
  }

  // MARK: Header edits

  /// Fields by which a message is framed, or a connection run: they belong to the hop, and weir
  /// writes them itself (safety rules 1–7 and 16).
  private static let framingFields: Set<String> = [
    "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer",
    "keep-alive", "proxy-connection", "http2-settings",
  ]

  mutating func addHeaderEdit(_ reading: Reading) {
    let isRequest = reading.name.text == "request-header"
    let edit = reading.text(0)
    let name = reading.text(1)
    if Draft.framingFields.contains(name.lowercased()) {
      report.error(
        "'\(name)' cannot be edited", at: reading.tokens[1].location,
        notes: ["it belongs to the connection, and weir writes it itself"])
      return
    }
    if isRequest, name.lowercased() == "host" {
      report.error(
        "'\(name)' cannot be edited", at: reading.tokens[1].location,
        notes: ["use 'host' in the upstream"])
      return
    }
    let isRemoval = edit == "remove"
    if isRemoval, reading.values.count > 2 {
      report.error("'remove' takes no value", at: reading.tokens[2].location)
      return
    }
    if !isRemoval, reading.values.count < 3 {
      report.error(
        "'\(edit)' needs a value", at: reading.tokens[1].location,
        notes: ["expected '\(reading.name.text) \(edit) \(name) VALUE'"])
      return
    }
    let result: HeaderEdit =
      switch edit {
      case "set": .set(name: name, value: reading.text(2))
      case "add": .add(name: name, value: reading.text(2))
      default: .remove(name: name)
      }
    if isRequest {
      route.requestHeaderEdits.append(result)
    } else {
      route.responseHeaderEdits.append(result)
    }
  }
}
