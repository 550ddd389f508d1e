import Primitives
import Testing

@testable import Proxy

/// How much names may bring in the life of a process.
@Suite struct NameAdmissionTests {
  private func host(_ number: UInt32) -> ResolvedAddress {
    ResolvedAddress(address: IPAddress(v4: 0x0A00_0000 + number))
  }

  private func service(
    _ number: UInt32 = 1, port: UInt16 = 80, host: String = "a.", weight: Int = 1,
    isBackup: Bool = false
  ) -> ResolvedAddress {
    ResolvedAddress(
      .init(
        address: IPAddress(v4: 0x0A00_0000 + number), port: port, weight: weight,
        isBackup: isBackup, host: host))
  }

  @Test func `what has been met stays, and new ones come while there is room`() {
    var admission = NameAdmission(limit: 3)
    let name = NameQuery.host("a")
    #expect(admission.admit([host(1), host(2)], of: name) == [host(1), host(2)])
    #expect(admission.admit([host(3), host(4), host(1)], of: name) == [host(3), host(1)])
    #expect(admission.admit([host(4)], of: name).isEmpty)
    #expect(admission.admit([host(2)], of: name) == [host(2)])
    // Of another name it is another backend.
    #expect(admission.admit([host(2)], of: .host("b")).isEmpty)
  }

  /// One address is enough to make any number of backends of.
  @Test func `ports and hosts of a service count as addresses do`() {
    let query = NameQuery.service("_a._tcp.test")
    var admission = NameAdmission(limit: 100)
    var admitted = 0
    for number in 0..<500 {
      admitted += admission.admit([service(port: UInt16(1 + number))], of: query).count
    }
    #expect(admitted == 100)
    admission = NameAdmission(limit: 100)
    admitted = 0
    for number in 0..<500 {
      admitted += admission.admit([service(host: "host-\(number).")], of: query).count
    }
    #expect(admitted == 100)
  }

  @Test func `other weights and priorities make no other backend`() {
    let query = NameQuery.service("_a._tcp.test")
    var admission = NameAdmission(limit: 1)
    for weight in 1...256 {
      let found = service(weight: weight, isBackup: weight.isMultiple(of: 2))
      #expect(admission.admit([found], of: query) == [found])
    }
  }
}
