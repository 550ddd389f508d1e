import Foundation

/// The files of this repository as a clone has them, without build products.
struct SourceFile: Sendable {
  /// From the root of the repository, with `/`.
  var path: String
  var text: String

  var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
  var name: String { path.split(separator: "/").last.map(String.init) ?? path }
  var isSwift: Bool { path.hasSuffix(".swift") }
  var isC: Bool { path.hasSuffix(".c") || path.hasSuffix(".h") }
  /// `Sources/X/…` belongs to target X.
  var target: String? {
    let parts = path.split(separator: "/")
    return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
  }
}

enum SourceTree {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path

  static let files: [SourceFile] = {
    var found: [SourceFile] = []
    let kinds = ["swift", "c", "h", "py", "md", "modulemap", "conf", "cfg", "service", "example"]
    let keeper = FileManager.default
    let enumerator = keeper.enumerator(atPath: root)
    while let path = enumerator?.nextObject() as? String {
      if path.hasPrefix(".build") || path.hasPrefix(".git/") {
        enumerator?.skipDescendants()
        continue
      }
      let isNamed = ["Makefile", ".ci/run", ".swift-format"].contains(path)
      let kind = path.split(separator: ".").last.map(String.init) ?? ""
      guard isNamed || kinds.contains(kind),
        let text = try? String(contentsOfFile: "\(root)/\(path)", encoding: .utf8)
      else { continue }
      found.append(SourceFile(path: path, text: text))
    }
    return found.sorted { $0.path < $1.path }
  }()

  static func file(_ path: String) -> SourceFile? { files.first { $0.path == path } }

  static var sources: [SourceFile] { files.filter { $0.path.hasPrefix("Sources/") } }
  static var swift: [SourceFile] { files.filter(\.isSwift) }
}

extension String {
  /// Without line comments: what the compiler reads, nearly (a `//` in a string ends it as well,
  /// which these tests can live with).
  var code: String {
    split(separator: "\n", omittingEmptySubsequences: false)
      .map { line in
        guard let slash = line.range(of: "//") else { return String(line) }
        return String(line[..<slash.lowerBound])
      }.joined(separator: "\n")
  }
}
