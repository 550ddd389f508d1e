import Primitives
import Resilience
import Testing

@Suite struct GRPCTimeoutTests {
  private func read(_ text: String) -> Int64? {
    Array(text.utf8).withByteView { GRPCTimeout.read($0)?.nanoseconds }
  }

  private func written(_ amount: TimeAmount) -> String {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32) { room in
      var sink = unsafe ByteSink(base: room.baseAddress!, capacity: room.count)
      GRPCTimeout.append(amount, to: &sink)
      return sink.view.string
    }
  }

  @Test(
    arguments: [
      ("1n", 1), ("1u", 1000), ("250m", 250_000_000), ("3S", 3_000_000_000),
      ("2M", 120_000_000_000),
      ("1H", 3_600_000_000_000), ("99999999H", .max), ("00000001n", 1),
    ] as [(String, Int64)])
  func `every unit is read`(text: String, nanoseconds: Int64) {
    #expect(read(text) == nanoseconds)
  }

  @Test(arguments: ["", "m", "1", "1s", "1.5S", "-1S", "+1S", " 1S", "1S ", "100000000n", "1 S"])
  func `anything else is no time`(text: String) { #expect(read(text) == nil) }

  @Test func `is written in milliseconds, rounded down, in at most eight digits`() {
    #expect(written(.milliseconds(1500)) == "1500m")
    #expect(written(TimeAmount(nanoseconds: 1_999_999)) == "1m")
    #expect(written(.zero) == "0m" && written(TimeAmount(nanoseconds: -5)) == "0m")
    #expect(written(.milliseconds(99_999_999)) == "99999999m")
    #expect(written(.milliseconds(100_000_000)) == "100000S")
    #expect(written(.max) == "99999999S")
  }
}
