import Testing

/// Where the compiler's proof ends, a list begins.
@Suite struct `Unsafe code` {
  let rawPointer =
    #/\bUnsafe(Mutable)?(Raw)?(Buffer)?Pointer\b|\bUnmanaged\b|\bOpaquePointer\b|\bunsafeBitCast\b/#
  let unchecked = #/@unchecked\s+Sendable|nonisolated\(unsafe\)/#

  @Test func `raw pointers stand only in the files that are listed for them`() {
    let found = Set(
      SourceTree.sources.filter { $0.isSwift && $0.text.code.contains(rawPointer) }
        .map(\.path))
    #expect(found.subtracting(AllowList.rawPointerFiles).sorted() == [])
    #expect(AllowList.rawPointerFiles.subtracting(found).sorted() == [], "no longer needed")
  }

  @Test
  func `what is declared Sendable without proof by the compiler is listed, and proven in words`() {
    let files = SourceTree.swift.filter {
      !$0.path.hasPrefix("Tests/TidyTests/") && $0.text.code.contains(unchecked)
    }
    let found = Set(files.map(\.path))
    #expect(found.subtracting(AllowList.uncheckedSendableFiles).sorted() == [])
    #expect(AllowList.uncheckedSendableFiles.subtracting(found).sorted() == [], "no longer needed")
    for file in files {
      for (number, line) in file.lines.enumerated() where String(line).code.contains(unchecked) {
        let above = file.lines[max(0, number - 15)..<number].filter { $0.contains("//") }
        let isProven = above.contains {
          $0.contains("Sendable") || $0.contains("nonisolated(unsafe)") || $0.contains("thread")
        }
        #expect(isProven, "\(file.path):\(number + 1) says nothing about why")
      }
    }
  }

  @Test func `locks are of the type that the thread sanitizer build sees through`() {
    let lock = "Sources/Primitives/Sharing/Lock.swift"
    for file in SourceTree.sources where file.isSwift && file.path != lock {
      #expect(!file.text.code.contains(#/\bMutex\b/#), "\(file.path): use Lock")
    }
  }

  @Test func `pure modules keep strict memory safety on`() {
    let package = SourceTree.file("Package.swift")?.text ?? ""
    #expect(package.contains("let pure: [SwiftSetting] = [.strictMemorySafety()"))
    for name in [
      "Primitives", "HTTP", "HTTP1", "Caching", "Balancing", "Resilience", "Telemetry",
    ] {
      let target = package.split(separator: "name: \"\(name)\"").dropFirst().first ?? ""
      let settings = target.split(separator: "swiftSettings: ").dropFirst().first ?? ""
      #expect(settings.hasPrefix("pure"), "\(name)")
    }
  }
}
