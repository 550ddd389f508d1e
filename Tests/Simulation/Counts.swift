/// What a run had in it, so that a summary shows that the rules were not kept by nothing happening.
public struct Counts: Sendable {
  private var values: [Part: Int] = [:]

  public enum Part: String, CaseIterable, Sendable {
    case calm = "of these runs without any fault"
    case requests = "requests"
    case answered = "answered whole by backends or the cache"
    case ownAnswers = "answered by weir itself"
    case unanswered = "cut off"
    case streams = "requests over HTTP/2"
    case streamsToBackends = "requests to backends over HTTP/2"
    case refused = "streams that backends refused or left out"
    case hits = "answered from the cache"
    case collapsed = "waited for another's fetch"
    case retries = "retries"
    case queued = "waited for a place"
    case noBackend = "found no backend"
    case abortedByClients = "given up by their clients"
    case purges = "purges"
    case reloads = "reloads"
    case modes = "backends set to drain, maint or ready"
    case refusing = "backends that began to refuse"
    case dead = "backends that died"
    case stuck = "backends that became black holes"
    case late = "answers that came late"
    case inPieces = "answers written in pieces"
    case cutShort = "answers cut short"
    case resets = "connections reset instead of an answer"
    case silent = "answers that never came"
    case malformed = "malformed answers"
    case surplus = "answers with octets behind them"
    case early = "answers before the request was read"
    case badStatuses = "answers of 404 and 5xx"
    case closedIdle = "idle connections closed by backends"
    case nonsense = "nonsense from clients"
  }

  public init() {}

  public subscript(_ part: Part) -> Int {
    get { values[part] ?? 0 }
    set { values[part] = newValue }
  }

  public mutating func add(_ more: Counts) {
    for part in Part.allCases { self[part] += more[part] }
  }

  /// A line for each.
  public var lines: [String] { Part.allCases.map { "  \(self[$0]) \($0.rawValue)" } }
}
