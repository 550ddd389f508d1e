import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `An authority` {
  /// As received, as normalised, and its host.
  @Test(arguments: [
    ("example.com", "example.com", "example.com"),
    ("EXAMPLE.Com:80", "example.com:80", "example.com"),
    ("a", "a", "a"), ("a.", "a.", "a"), ("a.:443", "a.:443", "a"), ("a:1", "a:1", "a"),
    ("a:65535", "a:65535", "a"), ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1"),
    ("x_y.a-b.c~d", "x_y.a-b.c~d", "x_y.a-b.c~d"), ("[::1]", "[::1]", "[::1]"),
    ("[::1]:80", "[::1]:80", "[::1]"), ("[2001:DB8::A]:1", "[2001:db8::a]:1", "[2001:db8::a]"),
    ("[::FFFF:1.2.3.4]", "[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]"), ("-", "-", "-"),
  ])
  func `is made lower case, and its host found`(text: String, normal: String, host: String) throws {
    let held = HeldText(text)
    let range = try Authority.normalize(held.view)
    #expect(held.view.string == normal)
    #expect(held.view.slice(range).string == host)
    // The head may be parsed again for a second attempt.
    #expect(try Authority.normalize(held.view) == range)
  }

  @Test(arguments: [
    "", ".", "..", "a..", ".a", "a..b", ":80", "a:", "a:0", "a:65536", "a:99999", "a:100000",
    "a:000080", "a:+1", "a:-1", "a:8a", "a: 80", "a:80 ", "a:80:80", "u@a", "u:p@a", "a/b", "a?b",
    "a b", "a,b", "a\"", "a'", "a%41", "a;b", "a\\b", "a#b", "a\u{0}", "a\t", "a\u{7F}", "é",
    "a!b", "a$b", "a&b", "a*b", "*", "(a)", "[", "]", "[]", "[:]x", "[::1", "::1", "[::1]]",
    "[12]", "[::::]", "[1.2.3.4]", "[::1]80", "[::1]:", "[::1]:0", "[::1%eth0]",
    "[v1.a]", "[::g]", "[::1].", "a[::1]", "[1..2]",
    "{a}", "a|b", "a^b", "`a`", "<a>", "a=b",
  ])
  func `is refused with 400 unless it is plainly one host`(text: String) {
    let fault = #expect(throws: HeadFault.self) {
      try HeldText(text).read { _ = try Authority.normalize($0) }
    }
    #expect(fault?.status == 400)
  }

  @Test func `with any byte in it is accepted only for bytes of host names`() {
    let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~".utf8)
    for value in 0...255 {
      let held = HeldText([97, UInt8(value), 98])
      let isAccepted = (try? Authority.normalize(held.view)) != nil
      #expect(isAccepted == allowed.contains(UInt8(value)), "\(value)")
    }
  }
}
