import Primitives
import Testing

@testable import Config

/// Whatever stands in a file, loading it ends with options or with errors, and what is printed
/// about it is text of one line for each line of it.
@Suite struct MutationTests {
  static let valid: String = {
    let routes = DirectiveTests.route.map(\.line).filter {
      !$0.hasPrefix("when method") && !$0.contains("file=")
    }
    return fileWith(
      top: """
        name ${NAME:-edge}
        workers auto
        access-log /var/log/weir.log format=json
        trusted-proxies 10.0.0.0/8
        admin unix:/run/weir/admin.sock
        include conf.d/*.conf
        cache main
        upstream spare {
          backend 10.0.0.3:80
        }
        """,
      listener: "header-timeout 10s\nbind [::1]:81 backlog=9\nmax-header-size 16KiB",
      upstream: "balance hash header X-A bound=1.5 points=16\nbackend 10.0.0.2:80 weight=3 backup",
      route: routes.filter { !$0.contains("off") }.joined(separator: "\n"))
  }()

  static let fragments = [
    "{", "}", "\"", "\n", " ", "\\", "${", "${X}", "${X:-", "#", "=", "\u{0}", "\u{FF}", "*", "/",
    "route", "upstream", "listener x {", "9999999999999999999999", "-1", "0", "KiB", "ms", "\t",
    "include a.conf\n", "name=", ":", "[", "]", "é", "(", "when path ~ ((((", "\r",
  ]

  static func mutated(_ bytes: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
    var result = bytes
    for _ in 0...random.below(4) {
      let place = random.below(result.count + 1)
      switch random.below(5) {
      case 0:
        result.insert(contentsOf: Array(fragments[random.below(fragments.count)].utf8), at: place)
      case 1:
        result.removeSubrange(place..<min(result.count, place + random.below(20)))
      case 2 where place < result.count:
        result[place] = UInt8(truncatingIfNeeded: random.next())
      case 3:
        let end = min(result.count, place + random.below(60))
        result.insert(contentsOf: Array(result[place..<end]), at: random.below(result.count + 1))
      default:
        result.removeSubrange(place...)
        if random.below(2) == 0 { result = bytes }
      }
    }
    return result
  }

  @Test(arguments: 0..<8)
  func `a damaged file gives options or errors`(round: Int) {
    var random = SeededRandom(seed: UInt64(round))
    let bytes = Array(Self.valid.utf8)
    var accepted = 0
    for turn in 0..<150 {
      var files = MemoryFiles(["a.conf": "workers 1\n"])
      files.contents["proxy.conf"] = Self.mutated(bytes, &random)
      let result = ConfigurationLoader.load(
        path: "proxy.conf", environment: [:], files: files)
      #expect((result.options != nil) == (result.errorCount == 0), "round \(round), turn \(turn)")
      if result.options != nil { accepted += 1 }
      for diagnostic in result.diagnostics {
        let lines = diagnostic.rendered().split(separator: "\n", omittingEmptySubsequences: false)
        let shown = diagnostic.line > 0 ? 3 : 1
        #expect(lines.count == shown + diagnostic.notes.count, "round \(round), turn \(turn)")
      }
    }
    // Some damage lies in comments and names: the test would be idle if none or all were refused.
    #expect(accepted > 0 && accepted < 150)
  }

  @Test func `the file that is damaged is in order`() {
    #expect(rendered(load(Self.valid)) == "")
  }

  @Test func `a file of many faults is reported to the limit and no further`() {
    let result = load(String(repeating: "nonsense\n", count: 3000))
    #expect(result.diagnostics.count == Report.findingLimit)
    #expect(result.options == nil)
  }
}
