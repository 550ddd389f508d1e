import Config
import Foundation
import Testing

@Suite struct DiagnosticTests {
  @Test func `eight mistakes give eight exact diagnostics`() {
    let text = """
      workers none
      listener web {
          bind :8080
          header-timeout 10
      }
      upstream app {
          balance least_con
          backend 10.0.0.11:8080
          backend app.internal
      }
      route /media/* {
          upstream ap
      }
      route * {
      \trequest-header set Connection close
          when method GET
      }
      mirror on
      """
    let result = load(text)
    #expect(result.errorCount == 8)
    #expect(result.options == nil)
    #expect(
      rendered(result) == """
        proxy.conf:1:9: error: 'none' is not a whole number
            1 | workers none
              |         ^~~~
              = expected 1 to 256
              = or 'auto'
        proxy.conf:4:20: error: expected a duration such as '10s', not '10'
            4 |     header-timeout 10
              |                    ^~
              = a whole number with one of the units ms, s, m, h, d
        proxy.conf:7:13: error: unknown balancing policy 'least_con'
            7 |     balance least_con
              |             ^~~~~~~~~
              = expected one of 'round-robin', 'least-connections', 'two-choices', 'hash'
              = did you mean 'least-connections'?
        proxy.conf:9:13: error: 'app.internal' has no port
            9 |     backend app.internal
              |             ^~~~~~~~~~~~
              = expected 'app.internal:PORT'
        proxy.conf:12:14: error: unknown upstream 'ap'
           12 |     upstream ap
              |              ^~
              = expected 'app'
              = did you mean 'app'?
        proxy.conf:14:1: error: the route has no action
           14 | route * {
              | ^~~~~
              = expected one of 'upstream', 'redirect', 'respond'
        proxy.conf:15:21: error: 'Connection' cannot be edited
           15 | \trequest-header set Connection close
              | \t                   ^~~~~~~~~~
              = it belongs to the connection, and weir writes it itself
        proxy.conf:18:1: error: unknown directive 'mirror'
           18 | mirror on
              | ^~~~~~
              = this version of weir has no 'mirror'

        """)
  }

  @Test func `a file that cannot be read is one diagnostic without a line`() {
    let result = ConfigurationLoader.load(
      path: "none.conf", environment: [:], files: MemoryFiles([:]))
    #expect(rendered(result) == "none.conf: error: cannot be read: no such file or directory\n")
    #expect(result.options == nil && result.files.isEmpty)
  }

  @Test func `control characters never reach the terminal`() {
    let result = load("workers \u{1B}[31m\nname \"\u{202E}x\"\n")
    let text = rendered(result)
    #expect(!text.unicodeScalars.contains { $0 == "\u{1B}" || $0 == "\u{202E}" })
    #expect(text.contains("workers ·[31m"))
  }

  @Test func `a long line is cut around the fault`() {
    let padding = String(repeating: "x", count: 500)
    let result = load("name ok \(padding) \(padding)\n")
    let lines = rendered(result).split(separator: "\n")
    #expect(lines.allSatisfy { $0.count <= 600 })
    #expect(lines[1].count <= 128)
  }

  @Test func `color frames the words and changes no other character`() {
    let diagnostic = load(fileWith(top: "workers none")).diagnostics[0]
    let colored = diagnostic.rendered(color: true)
    #expect(colored.contains("\u{1B}[1;31merror:\u{1B}[0m"))
    var plain = colored
    while let start = plain.range(of: "\u{1B}["),
      let end = plain.range(of: "m", range: start.upperBound..<plain.endIndex)
    {
      plain.removeSubrange(start.lowerBound..<end.upperBound)
    }
    #expect(plain == diagnostic.rendered())
  }

  @Test func `a word of any length is cut in the message`() throws {
    let diagnostic = try #require(load(String(repeating: "é", count: 9000)).diagnostics.first)
    #expect((250...300).contains(diagnostic.message.count))
    #expect(diagnostic.message.hasPrefix("unknown directive 'éé"))
    #expect(diagnostic.message.hasSuffix("é'"))
  }

  @Test func `a diagnostic survives JSON`() throws {
    let diagnostics = load("workers none\n").diagnostics
    let json = try JSONEncoder().encode(diagnostics)
    #expect(try JSONDecoder().decode([Diagnostic].self, from: json) == diagnostics)
    #expect(String(decoding: json, as: UTF8.self).contains("\"source_line\":\"workers none\""))
  }

  @Test func `columns count characters and a caret covers its token`() throws {
    let diagnostic = try #require(
      load(fileWith(route: "request-header set X-Ü \"é\"")).diagnostics.first)
    #expect(diagnostic.column == 20)
    #expect(diagnostic.length == 3)
  }

  @Test func `faults come in the order of the text whatever pass finds them`() {
    let respond = "route /a {\nrespond 200\n}\n"
    let text = "route /a {\nupstream none\n}\n" + respond + respond
    let lines = load(text + "workers 0\n").diagnostics.map(\.line)
    #expect(lines == [2, 4, 7, 10, 0])
  }
}
