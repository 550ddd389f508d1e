/// One fault of a configuration, with its place: what `weir check` prints and a reload reports.
public struct Diagnostic: Sendable, Equatable, Codable {
  public enum Severity: String, Sendable, Codable {
    /// The configuration is not used.
    case error
    /// The configuration is used; it probably does not do what was meant.
    case warning
  }

  public var severity: Severity
  /// As it was named on the command line, or by an `include`.
  public var file: String
  /// From 1; 0 where the fault is of the file as a whole.
  public var line: Int
  /// In characters, from 1.
  public var column: Int
  /// Characters from `column` that are meant; 0 where no place can be shown.
  public var length: Int
  public var message: String
  public var sourceLine: String
  /// What was expected, what may have been meant: one sentence each.
  public var notes: [String]

  enum CodingKeys: String, CodingKey {
    case severity, file, line, column, length, message, notes
    case sourceLine = "source_line"
  }

  /// Columns of a source line that are shown; more is cut on both sides of the fault.
  static let shownColumns = 120

  /// Several lines of text without a newline at the end:
  ///
  ///     proxy.conf:12:13: error: unknown balancing policy 'least_con'
  ///        12 |     balance least_con
  ///           |             ^~~~~~~~~
  ///           = expected one of 'round-robin', 'least-connections'
  ///           = did you mean 'least-connections'?
  ///
  /// Control characters of the file are shown as `·`, so that no file can steer a terminal.
  public func rendered(color: Bool = false) -> String {
    let paint = Paint(isOn: color)
    let place = line > 0 ? "\(file):\(line):\(column)" : file
    let kind =
      severity == .error ? paint.red("error:") : paint.yellow("warning:")
    var lines = [
      "\(paint.bold(Diagnostic.printable(place) + ":")) \(kind) "
        + paint.bold(Diagnostic.printable(message))
    ]
    let number = line > 0 ? String(line) : ""
    let gutter = String(repeating: " ", count: max(5, number.count))
    if line > 0, length > 0 {
      let (shown, start) = window()
      let lead = String(repeating: " ", count: gutter.count - number.count)
      lines.append("\(lead)\(number) | \(String(shown))")
      // Tabs are kept, so that the caret stands under its token at every tab width.
      let indent = String(shown[..<start].map { $0 == "\t" ? "\t" : " " })
      let room = max(1, min(length, shown.count - start))
      let marks = "^" + String(repeating: "~", count: room - 1)
      lines.append("\(gutter) | \(indent)\(paint.red(marks))")
    }
    for note in notes { lines.append("\(gutter) = \(Diagnostic.printable(note))") }
    return lines.joined(separator: "\n")
  }

  /// The part of the source line that is shown, and the fault's index in it.
  private func window() -> (shown: [Character], start: Int) {
    let all = Array(Diagnostic.printable(sourceLine))
    let start = min(column - 1, all.count)
    guard all.count > Diagnostic.shownColumns else { return (all, start) }
    let first = max(0, min(start - Diagnostic.shownColumns / 3, all.count - 1))
    let last = min(all.count, first + Diagnostic.shownColumns)
    return (Array(all[first..<last]), start - first)
  }

  private static func printable(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      let isHarmless = scalar == "\t" || !hasEffect(scalar)
      result.append(isHarmless ? scalar : "\u{B7}")
    }
    return String(result)
  }

  /// Controls of C0 and C1, and those that turn the direction of writing.
  private static func hasEffect(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x00...0x1F, 0x7F...0x9F, 0x202A...0x202E, 0x2066...0x2069: true
    default: false
    }
  }
}

private struct Paint {
  var isOn: Bool

  func bold(_ text: String) -> String { wrap(text, "1") }
  func red(_ text: String) -> String { wrap(text, "1;31") }
  func yellow(_ text: String) -> String { wrap(text, "1;33") }

  private func wrap(_ text: String, _ code: String) -> String {
    isOn ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
  }
}
