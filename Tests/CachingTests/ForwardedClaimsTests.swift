import Primitives
import TestUnitSupport
import Testing

@testable import Caching

@Suite struct `What Forwarded says of a request` {
  @Test(arguments: [
    ("", true), ("for=192.0.2.1", true), ("for=192.0.2.1;host=example.com;proto=http", true),
    ("FOR=a; Host=\"EXAMPLE.com\" ;proto=HTTP", true), ("for=a, for=b;host=example.com", true),
    ("for=\"[2001:db8::1]:80\", , ;by=x", true), ("host=evil.example", false),
    ("for=a;host=example.com, for=b;host=evil.example", false), ("proto=https", false),
    ("for=a;host=example.com:81", false), ("host=\"evil.example\"", false),
    // Commas and names within a quoted value are no pairs; an escape may stand for anything.
    ("for=\"a;host=evil.example\"", true), ("host=\"ex\\ample.com\"", false),
    // What does not parse may be read as something by others.
    ("host=\"example.com", false), ("host", false), ("=example.com", false),
    ("host=example.com x", false), ("host=example.com\"evil\"", false),
    ("host=\"example.com\"evil", false), ("for=\"a\" host=evil.example", false), ("host=", false),
  ])
  func `agrees with the key, or does not`(field: String, agrees: Bool) {
    let field = HeldText(field)
    let authority = HeldText("example.com")
    #expect(
      ForwardedClaims.agree(field.view, authority: authority.view, scheme: "http") == agrees)
  }
}
