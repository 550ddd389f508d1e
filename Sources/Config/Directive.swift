import Primitives
import Proxy

/// Where a directive may stand.
enum Context: String, Sendable, CaseIterable {
  case top, listener, listenerTLS, upstream, upstreamTLS, route

  /// "at the top level", "in a 'route' block".
  var place: String {
    switch self {
    case .top: "at the top level"
    case .listener, .route: "in a '\(rawValue)' block"
    case .upstream: "in an 'upstream' block"
    case .listenerTLS: "in the 'tls' block of a listener"
    case .upstreamTLS: "in the 'tls' block of an upstream"
    }
  }
}

/// One positional argument of a directive.
struct Argument: Sendable {
  enum Presence: Sendable { case required, optional, oneOrMore }

  /// As shown in the reference: `ADDRESS`.
  var label: String
  var kind: ValueKind
  var presence = Presence.required
}

/// One `key=value` of a directive.
struct OptionRow: Sendable {
  var key: String
  var kind: ValueKind
  /// As the reference prints it; empty: none.
  var fallback = ""
  var summary: String
}

/// A row of the table of directives: the same row parses, checks, documents and suggests.
struct Directive: Sendable {
  var name: String
  var context: Context
  var arguments: [Argument]
  var options: [OptionRow] = []
  /// The context inside its braces; `nil`: it has none.
  var opens: Context?
  /// May stand more than once in one block.
  var isRepeatable = false
  /// As the reference prints it; empty: none.
  var fallback = ""
  var summary: String
  /// Puts the values, all of which were read without fault, into the draft.
  var apply: @Sendable (inout Draft, Reading) -> Void

  /// `bind ADDRESS [backlog=N]`
  var synopsis: String {
    var parts = [name]
    for argument in arguments {
      switch argument.presence {
      case .required: parts.append(argument.label)
      case .optional: parts.append("[\(argument.label)]")
      case .oneOrMore: parts.append("\(argument.label)…")
      }
    }
    parts += options.map { "[\($0.key)=…]" }
    if opens != nil { parts.append("{ … }") }
    return parts.joined(separator: " ")
  }
}

/// The values of one statement, read by its row.
struct Reading: Sendable {
  var name: Token
  /// As many as were written.
  var values: [Value]
  var tokens: [Token]
  var options: [String: (value: Value, token: Token)]

  /// The argument at `index` where the row says that it is a text; the row's kinds make any other
  /// case a fault of the table.
  func text(_ index: Int) -> String {
    guard case .text(let text) = values[index] else { preconditionFailure("no text: \(name.text)") }
    return text
  }

  func integer(_ index: Int) -> Int {
    guard case .integer(let value) = values[index] else {
      preconditionFailure("no integer: \(name.text)")
    }
    return value
  }

  func address(_ index: Int) -> SocketAddress {
    guard case .address(let value) = values[index] else {
      preconditionFailure("no address: \(name.text)")
    }
    return value
  }

  func optionText(_ key: String) -> String? {
    guard case .text(let text)? = options[key]?.value else { return nil }
    return text
  }

  func optionDuration(_ key: String) -> TimeAmount? {
    guard case .duration(let value)? = options[key]?.value else { return nil }
    return value
  }

  func optionInteger(_ key: String) -> Int? {
    guard case .integer(let value)? = options[key]?.value else { return nil }
    return value
  }
}

typealias DraftPath<Value> = any WritableKeyPath<Draft, Value> & Sendable

/// Rows that only set one value: the default the reference prints is the one the options type
/// starts with.
extension Directive {
  static func duration(
    _ name: String, _ context: Context, _ path: DraftPath<TimeAmount>,
    _ range: ClosedRange<TimeAmount>, _ summary: String
  ) -> Directive {
    Directive(
      name: name, context: context,
      arguments: [Argument(label: "DURATION", kind: .duration(range))],
      fallback: written(Draft()[keyPath: path]), summary: summary
    ) { draft, reading in
      if case .duration(let amount) = reading.values[0] { draft[keyPath: path] = amount }
    }
  }

  /// `fallback` says in words what holds where the directive is absent.
  static func duration(
    _ name: String, _ context: Context, orNil path: DraftPath<TimeAmount?>,
    _ range: ClosedRange<TimeAmount>, fallback: String, _ summary: String
  ) -> Directive {
    Directive(
      name: name, context: context,
      arguments: [Argument(label: "DURATION", kind: .duration(range))],
      fallback: fallback, summary: summary
    ) { draft, reading in
      if case .duration(let amount) = reading.values[0] { draft[keyPath: path] = amount }
    }
  }

  static func count(
    _ name: String, _ context: Context, _ path: DraftPath<Int>, _ range: ClosedRange<Int>,
    _ summary: String
  ) -> Directive {
    Directive(
      name: name, context: context, arguments: [Argument(label: "N", kind: .integer(range))],
      fallback: String(Draft()[keyPath: path]), summary: summary
    ) { draft, reading in draft[keyPath: path] = reading.integer(0) }
  }

  static func size(
    _ name: String, _ context: Context, _ path: DraftPath<Int>, _ range: ClosedRange<Int>,
    _ summary: String
  ) -> Directive {
    Directive(
      name: name, context: context, arguments: [Argument(label: "SIZE", kind: .size(range))],
      fallback: written(bytes: Draft()[keyPath: path]), summary: summary
    ) { draft, reading in draft[keyPath: path] = reading.integer(0) }
  }

  /// A count or size that `off` sets to 0.
  static func switchable(
    _ name: String, _ context: Context, _ path: DraftPath<Int>, _ kind: ValueKind,
    _ summary: String
  ) -> Directive {
    var label = "N"
    var fallback = String(Draft()[keyPath: path])
    if case .size = kind {
      label = "SIZE"
      fallback = written(bytes: Draft()[keyPath: path])
    }
    if Draft()[keyPath: path] == 0 { fallback = "off" }
    return Directive(
      name: name, context: context,
      arguments: [Argument(label: "\(label)|off", kind: .either("off", kind))],
      fallback: fallback, summary: summary
    ) { draft, reading in
      if case .integer(let value) = reading.values[0] {
        draft[keyPath: path] = value
      } else {
        draft[keyPath: path] = 0
      }
    }
  }

  static func toggle(
    _ name: String, _ context: Context, _ path: DraftPath<Bool>, _ summary: String
  ) -> Directive {
    Directive(
      name: name, context: context,
      arguments: [Argument(label: "on|off", kind: .word(["on", "off"], noun: "setting"))],
      fallback: Draft()[keyPath: path] ? "on" : "off", summary: summary
    ) { draft, reading in draft[keyPath: path] = reading.text(0) == "on" }
  }
}
