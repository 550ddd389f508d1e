import HTTP
import Primitives
import TestUnitSupport
import Testing

@testable import Caching

@Suite struct `Cache-Control` {
  private func parse(_ lines: [String]) -> CacheControl {
    var control = CacheControl()
    for line in lines { HeldText(line).read { control.add($0) } }
    return control
  }

  private func parse(_ line: String) -> CacheControl { parse([line]) }

  @Test(
    arguments: [
      ("no-store", CacheControl.Flags.noStore), ("No-Store", .noStore), ("NO-CACHE", .noCache),
      ("no-cache=\"set-cookie\"", .noCache), ("no-cache=set-cookie", .noCache),
      ("private", .isPrivate), ("private=\"a, b\"", .isPrivate), ("public", .isPublic),
      ("must-revalidate", .mustRevalidate), ("proxy-revalidate", .proxyRevalidate),
      ("must-understand", .mustUnderstand), ("immutable", .immutable),
      ("only-if-cached", .onlyIfCached), ("x, ,no-store ,", .noStore), ("\t no-store\t", .noStore),
      ("foo=\"a\\\"b, private\", no-store", .noStore), ("foo=\"no-store\"", []),
      ("no-stores", []), ("no-stor", []), ("xno-store", []), ("=no-store", []), ("", []),
      ("foo=\"bar, no-store", .noStore), ("foo=\"", []), ("foo=\"\\", []), ("\"no-store\"", []),
      ("max-age=\"1, no-store", .noStore), ("no-store=1", .noStore), ("no-store;x", .noStore),
    ] as [(String, CacheControl.Flags)])
  func `flags are found in any case and dress`(line: String, flags: CacheControl.Flags) {
    #expect(parse(line).flags == flags)
  }

  @Test(arguments: [
    ("max-age=0", 0), ("max-age=60", 60), ("MAX-AGE=60", 60), ("max-age=\"60\"", 60),
    ("max-age=2147483647", 2_147_483_647), ("max-age=2147483648", 2_147_483_648),
    ("max-age=2147483649", 2_147_483_648), ("max-age=99999999999999999999999999", 2_147_483_648),
    ("max-age=007", 7), ("max-age", 0), ("max-age=", 0), ("max-age=-1", 0), ("max-age=+1", 0),
    ("max-age=1.5", 0), ("max-age=1 2", 0), ("max-age=x", 0), ("max-age='60'", 0),
    ("max-age =60", 0), ("max-age= 60", 60), ("max-age=\"60\"x", 0), ("max-age=60;a", 0),
    ("max-age=60, max-age=30", 30), ("max-age=30, max-age=60", 30), ("max-age=60, max-age=x", 0),
    ("max-age=60, s-maxage=5", 60), ("s-maxage=5", nil), ("xmax-age=5", nil),
    ("a=b, max-age=60,c", 60), ("a=\"max-age=1\", max-age=60", 60),
  ])
  func `a lifetime is its digits, the least of several, and nothing where it is malformed`(
    line: String, seconds: Int?
  ) {
    #expect(parse(line).maxAge == seconds)
    #expect(parse(line.replacing("max-age", with: "s-maxage")).sMaxAge != 60 || seconds == 60)
  }

  @Test func `each directive with seconds has its own place`() {
    let control = parse(
      "max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4, min-fresh=5, max-stale=6")
    #expect(control.maxAge == 1 && control.sMaxAge == 2 && control.staleWhileRevalidate == 3)
    #expect(control.staleIfError == 4 && control.minFresh == 5 && control.maxStale == 6)
    #expect(parse("max-stale").maxStale == CacheControl.mostSeconds)
    #expect(parse("max-stale, max-stale=5").maxStale == 5)
    #expect(parse("max-stale=x").maxStale == 0)
    #expect(parse("min-fresh=5, min-fresh=9").minFresh == 9)
    #expect(parse("min-fresh=x").minFresh == CacheControl.mostSeconds)
    #expect(parse("stale-if-error=x").staleIfError == 0)
  }

  @Test func `means the same on one line and split at any comma over several`() {
    let members = [
      "max-age=60", "private=\"x\"", "no-cache", "s-maxage=7", "foo=\"a\\\"\"", "max-age=50",
      "stale-if-error=8", "immutable", "",
    ]
    let whole = parse(members.joined(separator: ", "))
    for cut in 0...members.count {
      let lines = [members[..<cut], members[cut...]].map { $0.joined(separator: ",") }
      #expect(parse(lines) == whole)
    }
    #expect(parse(members) == whole)
    #expect(parse(Array(members.reversed())) == whole)
  }

  @Test func `a further member never takes back what a line forbids`() {
    var random = SeededRandom(seed: 9111)
    let pieces = [
      "max-age=10", "max-age", "no-cache", "a=\"", "\"", "\\", ",", "=", " ", "s-maxage=3", "no-",
      "store", "b=\"x,y\"", "\t", "é", "max-stale", "private",
    ]
    for _ in 0..<20_000 {
      let noise = (0..<random.below(8)).map { _ in pieces[random.below(pieces.count)] }.joined()
      let before = parse(noise + ",no-store,max-age=5")
      // Nothing before it hides it, unless a quote is open that its own closing quote ends.
      if noise.filter({ $0 == "\"" }).count == 0 {
        if !before.flags.contains(.noStore) || before.maxAge ?? 99 > 5 {
          Issue.record("\(noise)")
        }
      }
      let after = parse("no-store,max-age=5," + noise)
      if !after.flags.contains(.noStore) || after.maxAge ?? 99 > 5 { Issue.record("\(noise)") }
    }
  }
}

@Suite struct `A targeted field` {
  private func parse(_ value: String) -> CacheControl? {
    HeldText(value).read { CacheControl(dictionary: $0) }
  }

  @Test(arguments: [
    ("max-age=60", 60), ("  max-age=60", 60), ("a, max-age=60 , b", 60),
    ("max-age=60;x;y=1", 60), ("max-age=60, max-age=5", 5), ("max-age=5, max-age=60", 60),
    ("max-age=-1", 0), ("max-age=1.5", 0), ("max-age=\"60\"", 0), ("max-age", 0),
    ("max-age=?1", 0), ("max-age=(1 2)", 0), ("max-age=abc", 0),
    ("max-age=999999999999999", 1 << 31),
    ("a=(1 \"x\" y;z=1);q, max-age=60", 60), ("a=:YQ==:, max-age=60", 60), ("a=@5, max-age=60", 60),
    ("a=%\"f%c3\", max-age=60", 60), ("*a=*b/c:d, max-age=60", 60), ("a=(), max-age=60", 60),
    ("a=-0.125, max-age=60", 60),
  ])
  func `is a dictionary whose last member of a name holds`(value: String, seconds: Int) {
    #expect(parse(value)?.maxAge == seconds)
  }

  @Test(arguments: [
    "", " ", ",", "max-age=60,", "max-age=60, ,b", "max-age=60 b", "Max-Age=60", "max-age=",
    "max-age=1234567890123456", "max-age=60;", "max-age=60;=1", "max-age=60; X", "a=\"x",
    "a=\"x\\n\"", "a=?2", "a=?", "a=:b", "a=:b_:", "a=(1", "a=(1,2)", "a=1.", "a=1.1234",
    "a=1234567890123.1", "a=--1", "a=@1.5", "a=%x", "a=%\"%C3\"", "a=\u{7f}", "1=a", "-a", "a=é",
    "a=(1\"x\")", "max-age=60\u{b}", "max-age=60;a=", "a=\"é\"", "=1", "a==1", "max-age=60 ;b",
  ])
  func `that does not parse is void`(value: String) {
    #expect(parse("max-age=9, \(value)") == nil || value.isEmpty || value == " ")
    #expect(parse(value) == nil)
  }

  @Test(
    arguments: [
      ("no-store", CacheControl.Flags.noStore), ("no-store=?1", .noStore), ("no-store=?0", []),
      ("no-store=5", .noStore), ("private=\"x\"", .isPrivate), ("no-cache=(a)", .noCache),
      ("public", .isPublic), ("public=?0", []), ("public=1", []), ("must-understand=1", []),
      ("immutable, must-revalidate;a=1", [.immutable, .mustRevalidate]),
      ("no-store, no-store=?0", []), ("proxy-revalidate", .proxyRevalidate), ("x=no-store", []),
    ] as [(String, CacheControl.Flags)])
  func `sets flags by truth, and by their mere presence where that forbids more`(
    value: String, flags: CacheControl.Flags
  ) {
    #expect(parse(value)?.flags == flags)
  }

  @Test func `mutated at random never reads beyond its end nor ends without an answer`() {
    var random = SeededRandom(seed: 9213)
    let start = Array("max-age=60;a=\"b\", x=(1 ?0 :YQ==:), no-store, t=a/b:c, d=-1.5".utf8)
    let alphabet = Array("=;,()\":?-*@% \\a1.é\t".utf8)
    var parsed = 0
    for _ in 0..<15_000 {
      var value = start
      for _ in 0..<random.below(4) {
        let octet = alphabet[random.below(alphabet.count)]
        switch random.below(3) {
        case 0: value[random.below(value.count)] = octet
        case 1: value.insert(octet, at: random.below(value.count + 1))
        default: value.removeSubrange(random.below(value.count)...)
        }
        if value.isEmpty { break }
      }
      let control = HeldText(value).read { CacheControl(dictionary: $0) }
      if control != nil { parsed += 1 }
    }
    #expect(parsed > 2_000 && parsed < 13_000)
  }
}
