import Balancing
import Primitives
import Testing

@Suite struct StickyCookieTests {
  private func written(_ cookie: StickyCookie) -> [UInt8] {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 128) { room in
      var sink = unsafe ByteSink(base: room.baseAddress!, capacity: room.count)
      cookie.append(to: &sink)
      return sink.view.array
    }
  }

  private func read(_ text: [UInt8]) -> StickyCookie? {
    text.withByteView { StickyCookie($0) }
  }

  private let cookie = StickyCookie(
    backend: 0x0123_4567_89AB_CDEF, expires: 1_900_000_000, seal: (1, UInt64.max))

  @Test func `is written and read back`() {
    let text = written(cookie)
    #expect(
      String(decoding: text, as: UTF8.self)
        == "0123456789abcdef.713fb300.0000000000000001ffffffffffffffff")
    #expect(text.count == StickyCookie.count)
    #expect(read(text) == cookie)
  }

  @Test func `has one form: any octet changed, left out or added makes another or none`() {
    let text = written(cookie)
    for index in text.indices {
      for octet in [UInt8(ascii: "A"), UInt8(ascii: "g"), UInt8(ascii: "."), 0x20, 0xFF]
      where octet != text[index] {
        var changed = text
        changed[index] = octet
        #expect(read(changed) == nil, "\(index)")
      }
      #expect(read(Array(text[..<index])) == nil)
    }
    #expect(read(text + [UInt8(ascii: "0")]) == nil)
  }

  @Test func `holds until its second, and is worn from half of its life on`() {
    var options = StickyOptions(cookie: "c")
    options.lifetime = TimeAmount.seconds(100)
    let end: Int64 = 1_900_000_000
    #expect(cookie.isValid(at: end - 1) && !cookie.isValid(at: end))
    #expect(!cookie.isWorn(at: end - 50, options) && cookie.isWorn(at: end - 49, options))
  }
}
