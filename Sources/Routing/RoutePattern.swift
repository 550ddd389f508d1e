/// What a request must look like to take a route. Checked when the configuration is parsed; made
/// into a `RouteTable` when a snapshot is built.
public struct RoutePattern: Sendable, Equatable {
  public enum Host: Sendable, Hashable {
    case any
    /// Lower case, without port.
    case exact(String)
    /// `*.example.com`: any host that ends in `.example.com`; the value is `example.com`.
    case wildcard(String)
  }

  public enum Path: Sendable, Hashable {
    case any
    case exact(String)
    /// `/media/*`: paths that begin with `/media/`, and `/media` itself; the value is `/media`.
    case prefix(String)
    /// PCRE2, searched for in the path as safety rule 10a gives it: unanchored unless it says
    /// `^` or `$`.
    case regex(String)
  }

  public var host: Host
  public var path: Path
  public var conditions: [RouteCondition]

  public init(host: Host = .any, path: Path = .any, conditions: [RouteCondition] = []) {
    self.host = host
    self.path = path
    self.conditions = conditions
  }
}

/// `when …` inside a route: all conditions of a route must hold.
public enum RouteCondition: Sendable, Hashable {
  /// One of these methods, as sent.
  case method([String])
  /// A field of this lower-case name is present; with a value, one of its lines is exactly that.
  case header(name: String, value: String?)
  /// A query argument of this name is present; with a value, one of that name is exactly that.
  /// Names and values of the request are compared percent-decoded, with `+` as a space.
  case query(name: String, value: String?)
}
