import HTTP
import HTTP1
import Primitives
import TestUnitSupport
import Testing

@testable import Proxy

@Suite struct `Compiled edits` {
  @Test func `are finished lines and lower-case names`() {
    let edits = CompiledEdits([
      .add(name: "A", value: "1"), .set(name: "B-C", value: "2"), .remove(name: "D"),
    ])
    #expect(edits.added.view.string == "A: 1\r\nB-C: 2\r\n")
    #expect(edits.dropped == [Array("b-c".utf8), Array("d".utf8)] && !edits.isEmpty)
    #expect(CompiledEdits([]).isEmpty && CompiledEdits([]).added.isEmpty)
  }

  @Test func `mark every line of a name, known or not, and no other`() {
    let edits = CompiledEdits([.remove(name: "X-A"), .set(name: "Via", value: "v")])
    HeldText("x-a: 1\r\nVIA: 2\r\nX-AB: 3\r\nX-: 4\r\nvia: 5\r\nX-A: 6\r\n\r\n").read { view in
      var fields = Fields()
      let length = try? HeadParser.parseTrailers(view, into: &fields, limits: HeadLimits())
      #expect(length == view.count)
      var mask = FieldMask()
      edits.mark(fields, view, in: &mask)
      #expect((0..<6).filter { mask.contains($0) } == [0, 1, 4, 5])
    }
  }
}

@Suite struct `A redirect template` {
  private func text(_ template: RedirectTemplate) -> [String] {
    template.parts.map { part in
      switch part {
      case .literal(let bytes): String(decoding: bytes, as: UTF8.self)
      case .host: "<host>"
      case .path: "<path>"
      case .query: "<query>"
      case .requestURI: "<request-uri>"
      }
    }
  }

  @Test(
    arguments: [
      ("", []), ("/a", ["/a"]), ("$host", ["<host>"]), ("a$path", ["a", "<path>"]),
      ("$host$path$query$request-uri", ["<host>", "<path>", "<query>", "<request-uri>"]),
      ("$querystring", ["<query>", "string"]), ("é$path", ["é", "<path>"]),
    ] as [(String, [String])])
  func `finds its variables`(location: String, parts: [String]) {
    #expect(text(RedirectTemplate(status: 302, location: location)) == parts)
  }

  /// A dollar that begins no variable stands for itself, and those behind it are still found.
  @Test func `keeps a dollar that means nothing`() {
    let parts = text(RedirectTemplate(status: 302, location: "/$5/$path"))
    #expect(parts.joined() == "/$5/<path>")
  }
}
