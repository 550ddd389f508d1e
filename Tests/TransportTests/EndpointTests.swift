import Glibc
import Primitives
import Testing

@testable import Transport

@Suite struct EndpointTests {
  private let both = ["10.0.0.1", "2001:db8::1"].compactMap { IPAddress($0) }

  /// A process that has no descriptor left has not lost its way to anybody.
  @Test(arguments: [EMFILE, ENFILE, ENOBUFS, ENOMEM])
  func `without a descriptor to look with, no address is unreachable`(code: Int32) {
    #expect(Endpoint.routable(both, probe: -code) == both)
  }

  @Test func `where there is no IPv6 at all, those addresses are left out`() {
    #expect(Endpoint.routable(both, probe: -EAFNOSUPPORT) == [both[0]])
    #expect(Endpoint.routable([both[0]]) == [both[0]])
  }

  @Test func `one's own addresses can be reached`() {
    let own = [IPAddress(v4: 0x7F00_0001)] + (Endpoint.hasIPv6 ? [IPAddress("::1")!] : [])
    #expect(Endpoint.routable(own) == own)
  }
}
