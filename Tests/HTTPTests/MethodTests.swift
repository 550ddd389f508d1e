import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A method` {
  private static let names: [(String, Method)] = [
    ("GET", .get), ("HEAD", .head), ("POST", .post), ("PUT", .put), ("DELETE", .delete),
    ("OPTIONS", .options), ("PATCH", .patch), ("CONNECT", .connect), ("TRACE", .trace),
  ]

  @Test(arguments: names)
  func `is known by its exact name only`(name: String, method: Method) {
    #expect(HeldText(name).read { Method($0) } == method)
    let bytes = Array(name.utf8)
    #expect(HeldText(name.lowercased()).read { Method($0) } == .other)
    #expect(HeldText(bytes + [65]).read { Method($0) } == .other)
    #expect(HeldText(bytes.dropLast()).read { Method($0) } == .other)
    for place in bytes.indices {
      for value in 0...255 where UInt8(value) != bytes[place] {
        var changed = bytes
        changed[place] = UInt8(value)
        let found = HeldText(changed).read { Method($0) }
        if found != .other { Issue.record("\(changed) is \(found)") }
      }
    }
  }

  @Test func `is idempotent and safe as RFC 9110 has it`() {
    let idempotent: Set<Method> = [.get, .head, .options, .put, .delete, .trace]
    let safe: Set<Method> = [.get, .head, .options, .trace]
    for method in Method.allCases {
      #expect(method.isIdempotent == idempotent.contains(method), "\(method)")
      #expect(method.isSafe == safe.contains(method), "\(method)")
    }
    #expect(Method(.empty) == .other)
  }
}
