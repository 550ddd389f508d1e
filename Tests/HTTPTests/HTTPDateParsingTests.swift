import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `Reading an HTTP date` {
  private let now: Int64 = 1_764_100_000

  private func parse(_ text: String) -> Int64? {
    HeldText(text).read { HTTPDate.parse($0, now: now) }
  }

  @Test(arguments: [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777), ("Sun Nov  6 08:49:37 1994", 784_111_777),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
    ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
    ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
    ("Mon, 06 Nov 1994 08:49:37 GMT", 784_111_777),
    ("Wed Nov 16 08:49:37 1994", 784_975_777),
    ("Friday, 01-Jan-75 00:00:00 GMT", 3_313_526_400),
    ("Saturday, 01-Jan-76 00:00:00 GMT", 189_302_400),
  ])
  func `understands the three forms`(text: String, seconds: Int64) {
    #expect(parse(text) == seconds)
  }

  @Test(arguments: [
    "", "0", "-1", "Sun", "Sun,", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 08:49:37 GMT ", "sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 29 Feb 1900 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
    "Sun, 06 Nov 1994 08:49:61 GMT", "Sun,06 Nov 1994 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994", "Sun Nov  6 08:49:37 1994 ", "Sun Nov 06  8:49:37 1994",
    "Someday, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT", "784111777",
    "Sun, +6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov -994 08:49:37 GMT",
  ])
  func `takes nothing else`(text: String) { #expect(parse(text) == nil) }

  @Test func `reads back what is written, and nothing after any one octet is taken away`() {
    var random = SeededRandom(seed: 1123)
    for _ in 0..<3000 {
      let seconds = Int64(random.next() % 253_402_300_800)
      var octets = [UInt8](repeating: 0, count: 29)
      octets.withByteSink { HTTPDate.append(seconds, to: &$0) }
      #expect(HeldText(octets).read { HTTPDate.parse($0, now: now) } == seconds)
      let place = random.below(29)
      var shorter = octets
      shorter.remove(at: place)
      #expect(HeldText(shorter).read { HTTPDate.parse($0, now: now) } == nil)
      #expect(HeldText(octets[..<place]).read { HTTPDate.parse($0, now: now) } == nil)
    }
  }
}
