/// Everything the tidy tests let pass, in one place, so that each exception is seen in review. An
/// entry that nothing needs any more is an error too.
enum AllowList {
  /// Most lines of a source file, and of a function, and most columns of a line.
  static let maxFileLines = 500
  static let maxFunctionLines = 70
  static let maxColumns = 100

  /// Files of `Sources` that may handle raw pointers: the C edge, and one type for each structure
  /// whose documentation says why its uses are safe.
  static let rawPointerFiles: Set<String> = []

  /// Functions that are one table: `path name`.
  static let longFunctions: Set<String> = []

  /// Files whose `@unchecked Sendable` or `nonisolated(unsafe)` is proven in a comment above it.
  static let uncheckedSendableFiles: Set<String> = [
    "Tests/Support/Monitor.swift"
  ]

  /// Modules off the data path, which alone may use Foundation.
  static let foundationModules: Set<String> = ["Admin", "Config", "Daemon", "weir"]

  /// Files that must name what is banned elsewhere.
  static let wordFiles: Set<String> = [
    "Tests/TidyTests/AllowList.swift", "Tests/TidyTests/WordTests.swift",
  ]
}
