import Glibc
import HTTP
import Primitives
import Testing

@Suite struct `An HTTP date` {
  private func text(_ seconds: Int64) -> String {
    var bytes = [UInt8](repeating: 0, count: 29)
    return bytes.withByteSink { sink in
      HTTPDate.append(seconds, to: &sink)
      return sink.overflowed ? "" : sink.view.string
    }
  }

  @Test(arguments: [
    (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
    (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
    (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
    (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
    (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
    (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
    (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
    (2_147_483_648, "Tue, 19 Jan 2038 03:14:08 GMT"),
    (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
  ])
  func `is the known one`(seconds: Int64, expected: String) {
    #expect(text(seconds) == expected)
  }

  @Test func `is what gmtime says, for random seconds and around every new year`() {
    var random = SeededRandom(seed: 1994)
    var all = (0..<4000).map { _ in Int64(random.next() % 253_402_300_800) }
    for year in 1970..<2200 {
      var start = tm()
      start.tm_year = Int32(year - 1900)
      start.tm_mday = 1
      let second = Int64(timegm(&start))
      all += [max(0, second - 1), second, second + 59 * 86_400]
    }
    for seconds in all {
      var time = time_t(seconds)
      var parts = tm()
      gmtime_r(&time, &parts)
      var expected = [CChar](repeating: 0, count: 64)
      let length = strftime(&expected, 64, "%a, %d %b %Y %H:%M:%S GMT", &parts)
      let bytes = expected[..<length].map { UInt8(bitPattern: $0) }
      let found = text(seconds)
      if Array(found.utf8) != bytes { Issue.record("\(seconds): \(found)") }
    }
  }
}
