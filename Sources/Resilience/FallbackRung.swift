/// What stood in where a request's first attempt gave no answer: the rungs of a route's ladder,
/// from the best to the last.
public enum FallbackRung: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  case none
  case otherBackend
  case staleCopy
  case upstream
  case page

  /// As in `Proxy-Status`.
  public var text: StaticString {
    switch self {
    case .none: ""
    case .otherBackend: "fallback: other backend"
    case .staleCopy: "fallback: stale copy"
    case .upstream: "fallback: other upstream"
    case .page: "fallback: page"
    }
  }
}

extension Termination {
  /// Whether a fallback may stand in: the backends failed, or none may be asked. What is the
  /// client's fault, or says that there is nothing to answer, is answered as it is.
  public var mayFallBack: Bool {
    switch side {
    case .client: false
    case .backend: true
    case .weir:
      switch reason {
      case .noBackend, .nameUnresolved, .limitReached, .timedOut: true
      default: false
      }
    }
  }
}
