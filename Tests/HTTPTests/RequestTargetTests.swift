import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A request target` {
  struct Parts: Equatable, Sendable {
    var form: TargetForm
    var host: String
    var sent: String
    var path: String
    var query: String
    var routing: String
  }

  /// What `resolveTarget` makes of the target, or the status it refuses it with.
  private func resolve(
    _ target: String, method: Method = .get, strict: Bool = false
  ) -> Result<Parts, HeadFault> {
    var head = RequestHead()
    let held = HeldText(target)
    head.reset(held.view)
    head.method = method
    head.targetRange = ByteRange(0, held.view.count)
    do throws(HeadFault) {
      try head.resolveTarget(strictPath: strict)
    } catch { return .failure(error) }
    return .success(
      Parts(
        form: head.targetForm, host: head.host.string,
        sent: head.bytes.slice(head.pathAndQueryRange).string, path: head.path.string,
        query: head.query.string, routing: head.routingPath.string))
  }

  private func status(_ result: Result<Parts, HeadFault>) -> Int {
    if case .failure(let fault) = result { fault.status } else { 200 }
  }

  /// Target, path, query, and the path that routes match on.
  @Test(arguments: [
    ("/", "/", "", "/"), ("/a", "/a", "", "/a"), ("/a?b", "/a", "b", "/a"), ("/?", "/", "", "/"),
    ("/a?b?c", "/a", "b?c", "/a"), ("/a?../b", "/a", "../b", "/a"),
    ("/a?%00%zz", "/a", "%00%zz", "/a"),
    ("//a//b", "//a//b", "", "//a//b"), ("/%41%7e", "/%41%7e", "", "/A~"),
    ("/%2f", "/%2f", "", "/%2F"),
    ("/%5C", "/%5C", "", "/%5C"), ("/a%2Fb", "/a%2Fb", "", "/a%2Fb"),
    ("/%c3%a9", "/%c3%a9", "", "/%C3%A9"),
    ("/...", "/...", "", "/..."), ("/..a", "/..a", "", "/..a"), ("/a..", "/a..", "", "/a.."),
    ("/.a/b.", "/.a/b.", "", "/.a/b."), ("/a.b/..c", "/a.b/..c", "", "/a.b/..c"),
    ("/.../", "/.../", "", "/.../"),
    ("/%2541", "/%2541", "", "/%2541"), ("/a:b@c", "/a:b@c", "", "/a:b@c"), ("/*", "/*", "", "/*"),
    ("/%25%32%65/x", "/%25%32%65/x", "", "/%252e/x"),
    ("/a..%2fb", "/a..%2fb", "", "/a..%2Fb"), ("/a%2F..b", "/a%2F..b", "", "/a%2F..b"),
    ("/a%2F...%5c", "/a%2F...%5c", "", "/a%2F...%5C"), ("/a;..", "/a;..", "", "/a;.."),
    ("/..%252Fb", "/..%252Fb", "", "/..%252Fb"), ("/...;a", "/...;a", "", "/...;a"),
    ("/;a/..=", "/;a/..=", "", "/;a/..="), ("/..%3Fa", "/..%3Fa", "", "/..%3Fa"),
    ("/%2F/%5C", "/%2F/%5C", "", "/%2F/%5C"),
  ])
  func `in origin form is split, and its unreserved octets decoded for routing`(
    target: String, path: String, query: String, routing: String
  ) {
    let parts = Parts(
      form: .origin, host: "", sent: target, path: path, query: query, routing: routing)
    #expect(resolve(target) == .success(parts))
  }

  @Test(arguments: [
    "/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "/%2e", "/%2E%2e", "/.%2e/a",
    "/%2e./a", "/a/%2e%2E", "/a/..%2Fb", "/a/..%2fb", "/a%2f../b", "/a%2F..", "/a%2F%2e%2e%2Fb",
    "/..%5cb", "/a%5C..", "/a%5c.%5Cb", "/.%2F", "/%2f.", "/%5c..%2f", "/..;/b", "/..;a=b/c",
    "/a/.;", "/%2e%2e;x/b", "/a/..%3bx/b", "/a%2F..%3B", "/..?q", "//..", "/a//../b", "/%00",
    "/a%00b", "/%", "/%4", "/%4g", "/%g4", "/a%", "/%%41", "/%u0041", "/%+1", "*", "*a", "a", "a/b",
    "?", "?a", "http:", "http:/",
    "http://", "http:///a", "https://", "ftp://a/", "http//a", "example.com:80", "http://u@a/",
    "http://u:p@a/", "http://a:0/", "http://a:/", "http://a:70000/", "http://a b/", "http://a/..",
    "http://a/%2e%2e/", "http://?a", "http://a;b/", "file:///etc/passwd",
  ])
  func `is refused with 400 where it could be read in two ways`(target: String) {
    #expect(status(resolve(target)) == 400)
    #expect(status(resolve(target, strict: true)) == 400)
  }

  @Test(arguments: [
    ("http://A.com/b?c", "a.com", "/b?c", "/b", "c", "/b"),
    ("HTTPS://a:8443", "a", "", "", "", "/"), ("http://a?q", "a", "?q", "", "q", "/"),
    ("hTTp://a.:1/%41", "a", "/%41", "/%41", "", "/A"),
    ("http://[2001:DB8::1]:80/", "[2001:db8::1]", "/", "/", "", "/"),
    ("https://h", "h", "", "", "", "/"),
    ("http://a/http://b/", "a", "/http://b/", "/http://b/", "", "/http://b/"),
  ])
  func `in absolute form gives its authority and what follows it`(
    target: String, host: String, sent: String, path: String, query: String, routing: String
  ) {
    let parts = Parts(
      form: .absolute, host: host, sent: sent, path: path, query: query, routing: routing)
    #expect(resolve(target) == .success(parts))
  }

  @Test func `of an asterisk is for OPTIONS only`() {
    let parts = Parts(form: .asterisk, host: "", sent: "*", path: "*", query: "", routing: "*")
    #expect(resolve("*", method: .options) == .success(parts))
    for method in Method.allCases where method != .options {
      #expect(status(resolve("*", method: method)) == 400)
    }
  }

  @Test(arguments: ["//", "/a//b", "/a//", "/%2f", "/%2F/", "/a%5cb", "/%5C", "http://a//b"])
  func `with an empty segment or an encoded slash is refused by strict-path alone`(target: String) {
    #expect(status(resolve(target)) == 200)
    #expect(status(resolve(target, strict: true)) == 400)
  }

  @Test func `agrees with a plain decoder on random paths`() {
    var random = SeededRandom(seed: 3986)
    let pieces = [
      "/", ".", "..", "a", "%2e", "%2E", "%2f", "%41", "%25", "%", "%4", "//", "~", "%7E", "%5c",
      ";", "%3B",
    ]
    for _ in 0..<5000 {
      let path =
        "/" + (0..<random.below(7)).map { _ in pieces[random.below(pieces.count)] }.joined()
      let found = resolve(path)
      if let routing = Self.decoded(path) {
        let parts = Parts(
          form: .origin, host: "", sent: path, path: path, query: "", routing: routing)
        #expect(found == .success(parts), "\(path)")
      } else {
        #expect(status(found) == 400, "\(path)")
      }
    }
  }

  private static func decoded(_ path: String) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(path.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      let digits = String(decoding: rest.prefix(2), as: UTF8.self)
      guard digits.utf8.count == 2, digits.allSatisfy(\.isHexDigit),
        let value = UInt8(digits, radix: 16), value != 0
      else { return nil }
      rest = rest.dropFirst(2)
      bytes += ASCII.isUnreserved(value) ? [value] : Array("%\(digits.uppercased())".utf8)
    }
    let text = String(decoding: bytes, as: UTF8.self)
    // The most that any backend decodes, and where it may end a segment.
    let most = text.replacing("%2F", with: "/").replacing("%5C", with: "/")
      .replacing("%3B", with: ";")
    let segments = most.split(separator: "/", omittingEmptySubsequences: false)
      .map { $0.prefix { $0 != ";" } }
    return segments.contains(".") || segments.contains("..") ? nil : text
  }
}

extension HeadFault: Equatable {
  public static func == (a: HeadFault, b: HeadFault) -> Bool { a.status == b.status }
}
