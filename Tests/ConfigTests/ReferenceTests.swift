import Config
import Foundation
import Testing

@Suite struct ReferenceTests {
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// With `WEIR_UPDATE_GENERATED=1` in the environment the page is written instead.
  @Test func `docs-configuration is what the table of directives says`() throws {
    let page = Self.root.appendingPathComponent("docs/configuration.md")
    if ProcessInfo.processInfo.environment["WEIR_UPDATE_GENERATED"] == "1" {
      try configurationReference().write(to: page, atomically: true, encoding: .utf8)
    }
    let current = try String(contentsOf: page, encoding: .utf8)
    #expect(
      current == configurationReference(),
      "run: WEIR_UPDATE_GENERATED=1 swift test --filter ReferenceTests")
  }

  @Test func `the example file has no fault and no warning`() {
    let path = Self.root.appendingPathComponent("proxy.conf.example").path
    let result = ConfigurationLoader.load(path: path, environment: [:], files: DiskFiles())
    #expect(rendered(result) == "")
    #expect(result.options?.upstreams.map(\.name) == ["app", "media"])
    #expect(result.options?.upstreams.map(\.backends.count) == [3, 3])
    #expect(result.options?.routes.count == 3)
    #expect(result.files == [path])
  }
}
