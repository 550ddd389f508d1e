import Testing

/// docs/ARCHITECTURE.md's layers = Package.swift = the imports of the files.
@Suite struct `Layers` {
  struct Target: Sendable {
    var name: String
    var layer: Int
    var dependencies: Set<String>
  }

  /// Targets under the `// Layer N` comments of Package.swift.
  private func targets() -> [Target] {
    guard let package = SourceTree.file("Package.swift") else { return [] }
    let layered = package.text.split(separator: "// Layer ").dropFirst()
    let target = #/\.(target|systemLibrary|executableTarget|testTarget)\(/#
    var found: [Target] = []
    for section in layered {
      let layer = Int(section.prefix { $0.isNumber }) ?? -1
      for part in section.split(separator: target) where part.contains("name: \"") {
        let names = part.matches(of: #/"([A-Za-z0-9_-]+)"/#).map { String($0.output.1) }
        let isTest =
          names[0].hasSuffix("Tests") || names[0].hasPrefix("Test")
          || names[0].hasPrefix("test")
        guard !isTest else { continue }
        let own = part.contains("dependencies:") ? part : ""
        let list = own.split(separator: "dependencies:").last.map { $0.prefix { $0 != "]" } } ?? ""
        let dependencies = list.matches(of: #/"([A-Za-z0-9_-]+)"/#).map { String($0.output.1) }
        found.append(Target(name: names[0], layer: layer, dependencies: Set(dependencies)))
      }
    }
    return found
  }

  private func imports(of target: String) -> [String: String] {
    var found: [String: String] = [:]
    for file in SourceTree.sources where file.isSwift && file.target == target {
      for match in file.text.matches(
        of:
          #/(?m)^(?:@\w+ |public |internal |private )*import (?:struct |func |class |enum )?(\w+)/#)
      {
        found[String(match.output.1)] = file.path
      }
    }
    return found
  }

  @Test func `dependencies point down`() {
    let all = targets()
    #expect(all.count >= 15, "\(all.map(\.name))")
    let layers = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0.layer) })
    for target in all {
      for dependency in target.dependencies {
        guard let lower = layers[dependency] else { continue }
        #expect(lower < target.layer, "\(target.name) → \(dependency)")
      }
    }
  }

  @Test func `every import is a declared dependency, every dependency is imported`() {
    let all = targets()
    let names = Set(all.map(\.name))
    for target in all where target.layer > 0 {
      let imported = imports(of: target.name)
      for (module, path) in imported where names.contains(module) {
        #expect(target.dependencies.contains(module), "\(path) imports \(module)")
      }
      for dependency in target.dependencies where names.contains(dependency) {
        #expect(imported[dependency] != nil, "\(target.name) never imports \(dependency)")
      }
    }
  }

  @Test func `Foundation stays off the data path`() {
    for file in SourceTree.sources where file.isSwift && file.text.contains("import Foundation") {
      #expect(AllowList.foundationModules.contains(file.target ?? ""), "\(file.path)")
    }
  }

  @Test func `each folder of Sources and Tests is a target of Package.swift, and the reverse`() {
    let package = SourceTree.file("Package.swift")?.text ?? ""
    let folders = Set(
      SourceTree.files.compactMap { file -> String? in
        let parts = file.path.split(separator: "/")
        return parts.count > 2 && ["Sources", "Tests"].contains(parts[0])
          ? "\(parts[0])/\(parts[1])" : nil
      })
    // Programs that the Makefile or a test starts.
    let programs = ["Tests/Benchmarks", "Tests/Clients", "Tests/Planted", "Tests/Scenarios"]
    for folder in folders where !programs.contains(folder) {
      let name = folder.split(separator: "/")[1]
      let isKnown = package.contains("name: \"\(name)\"") || package.contains("path: \"\(folder)\"")
      #expect(isKnown, "\(folder) belongs to no target")
    }
    for target in targets() {
      #expect(folders.contains("Sources/\(target.name)"), "\(target.name) has no folder")
    }
  }
}
