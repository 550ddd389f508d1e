/// A run of bytes in one of the files read.
struct Location: Sendable, Equatable {
  /// Index into `Report.files`.
  var file: Int
  var offset: Int
  var length: Int
}

struct SourceFile: Sendable {
  var path: String
  var bytes: [UInt8]

  /// Bounds of the line that holds `offset`, without its end of line.
  func line(around offset: Int) -> Range<Int> {
    var start = min(offset, bytes.count)
    while start > 0, bytes[start - 1] != UInt8(ascii: "\n") { start -= 1 }
    var end = min(offset, bytes.count)
    while end < bytes.count, bytes[end] != UInt8(ascii: "\n") { end += 1 }
    if end > start, bytes[end - 1] == UInt8(ascii: "\r") { end -= 1 }
    return start..<end
  }

  /// From 1.
  func lineNumber(of offset: Int) -> Int {
    var number = 1
    for byte in bytes[..<min(offset, bytes.count)] where byte == UInt8(ascii: "\n") { number += 1 }
    return number
  }
}

/// Everything found wrong so far, and the files it was found in.
struct Report: Sendable {
  private struct Finding {
    var severity: Diagnostic.Severity
    var location: Location?
    var message: String
    var notes: [String]
  }

  /// More than this tells an operator nothing new.
  static let findingLimit = 1000

  /// Characters of a message; a file that is no configuration may have any word.
  static let messageLimit = 300

  var files: [SourceFile] = []
  private var findings: [Finding] = []
  private(set) var hasErrors = false
  private var isFull: Bool { findings.count >= Report.findingLimit }

  /// Without a location the fault is of the first file as a whole.
  mutating func error(_ message: String, at location: Location?, notes: [String] = []) {
    hasErrors = true
    guard !isFull else { return }
    findings.append(
      Finding(severity: .error, location: location, message: cut(message), notes: notes))
  }

  mutating func warning(_ message: String, at location: Location?, notes: [String] = []) {
    guard !isFull else { return }
    findings.append(
      Finding(severity: .warning, location: location, message: cut(message), notes: notes))
  }

  private func cut(_ message: String) -> String {
    guard message.count > Report.messageLimit else { return message }
    return "\(message.prefix(Report.messageLimit - 50)) … \(message.suffix(40))"
  }

  /// "line 3", or "line 3 of other.conf" where `other` is in another file.
  func place(of location: Location, from other: Location) -> String {
    let number = files[location.file].lineNumber(of: location.offset)
    return location.file == other.file
      ? "line \(number)" : "line \(number) of \(files[location.file].path)"
  }

  /// By file in the order read, then by place; faults of a whole file come after its others.
  func diagnostics(mainPath: String) -> [Diagnostic] {
    func key(_ finding: Finding) -> (Int, Int) {
      finding.location.map { ($0.file, $0.offset) } ?? (0, Int.max)
    }
    let ordered = findings.enumerated().sorted { a, b in
      let (left, right) = (key(a.element), key(b.element))
      return left == right ? a.offset < b.offset : left < right
    }
    return ordered.map { diagnostic($0.element, mainPath) }
  }

  private func diagnostic(_ finding: Finding, _ mainPath: String) -> Diagnostic {
    var result = Diagnostic(
      severity: finding.severity, file: mainPath, line: 0, column: 0, length: 0,
      message: finding.message, sourceLine: "", notes: finding.notes)
    guard let location = finding.location else { return result }
    let file = files[location.file]
    let line = file.line(around: location.offset)
    let start = min(location.offset, line.upperBound)
    let end = min(start + location.length, line.upperBound)
    func text(_ range: Range<Int>) -> String {
      String(decoding: file.bytes[range], as: UTF8.self)
    }
    result.file = file.path
    result.line = file.lineNumber(of: location.offset)
    result.column = text(line.lowerBound..<start).count + 1
    result.length = max(1, text(start..<end).count)
    result.sourceLine = text(line)
    return result
  }
}
