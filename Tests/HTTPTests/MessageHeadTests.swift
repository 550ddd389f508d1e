import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A request head` {
  @Test func `without a host takes the assumed one, until the next request`() {
    var head = RequestHead()
    let held = HeldText("GET / HTTP/1.0\r\n\r\n")
    head.reset(held.view)
    #expect(head.host.isEmpty && head.authority.isEmpty)
    head.assumeHost(Array("default.example".utf8))
    #expect(head.host.string == "default.example")
    #expect(head.authority.string == "default.example")
    head.reset(held.view)
    #expect(head.host.isEmpty && head.authority.isEmpty)
  }

  @Test func `assumed hosts up to 255 octets are kept whole`() {
    var head = RequestHead()
    head.reset(.empty)
    head.assumeHost([UInt8](repeating: 97, count: 255))
    #expect(head.host.count == 255)
  }
}
