/// `log-level`
public enum LogLevel: Int, Sendable, Comparable, CaseIterable {
  case debug, info, warning, error

  public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
}

/// `access-log TARGET [format=json|combined]`
public struct AccessLogOptions: Sendable, Equatable {
  public enum Format: Sendable, Equatable { case json, combined }
  public enum Target: Sendable, Equatable {
    case off
    case standardOutput
    /// Appended to; opened again on SIGUSR1.
    case file(path: String)
  }

  public var target: Target
  public var format: Format

  public init(target: Target = .off, format: Format = .json) {
    self.target = target
    self.format = format
  }
}
