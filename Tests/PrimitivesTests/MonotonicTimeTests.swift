import Glibc
import Primitives
import Testing

@Suite struct `Time` {
  @Test func `amounts saturate instead of overflowing`() {
    #expect(TimeAmount.seconds(3).nanoseconds == 3_000_000_000)
    #expect(TimeAmount.milliseconds(-2).nanoseconds == -2_000_000)
    #expect(TimeAmount.seconds(.max).nanoseconds == .max)
    #expect(TimeAmount.seconds(.min).nanoseconds == .min)
    #expect(TimeAmount.milliseconds(.max).nanoseconds == .max)
    #expect(TimeAmount.milliseconds(.min).nanoseconds == .min)
    #expect(TimeAmount.seconds(9_223_372_036).nanoseconds == 9_223_372_036_000_000_000)
    #expect(TimeAmount.seconds(9_223_372_037).nanoseconds == .max)
    #expect(TimeAmount.seconds(1).milliseconds == 1000)
    #expect(TimeAmount(nanoseconds: 1_999_999).milliseconds == 1)
    #expect(TimeAmount.zero < .milliseconds(1) && .milliseconds(-1) < TimeAmount.zero)
  }

  @Test(
    arguments: [
      (0, 0, 0), (5, 3, 8), (5, -3, 2), (5, -5, 0), (5, -6, 0), (0, .min, 0),
      (UInt64.max, 0, .max), (.max, 1, .max), (.max, -1, .max - 1), (1, .max, 1 << 63),
      (1 << 63, .max, .max), (1 << 63, .min, 0), (UInt64.max - 1, 1, .max),
    ] as [(UInt64, Int64, UInt64)])
  func `an instant and an amount give an instant between zero and never`(
    start: UInt64, amount: Int64, sum: UInt64
  ) {
    let time = MonotonicTime(nanoseconds: start) + TimeAmount(nanoseconds: amount)
    #expect(time.nanoseconds == sum)
  }

  @Test(
    arguments: [
      (5, 3, 2), (3, 5, -2), (0, 0, 0), (UInt64.max, 0, Int64.max), (0, .max, -Int64.max),
      (1 << 63, 1, .max), (1, 1 << 63, -Int64.max), (.max, .max, 0),
    ] as [(UInt64, UInt64, Int64)])
  func `the difference of two instants saturates at both ends`(
    later: UInt64, earlier: UInt64, distance: Int64
  ) {
    let found = MonotonicTime(nanoseconds: later) - MonotonicTime(nanoseconds: earlier)
    #expect(found.nanoseconds == distance)
  }

  @Test func `the clock does not go back, and lies between zero and never`() {
    var last = MonotonicTime.zero
    for _ in 0..<100 {
      let now = MonotonicTime.now()
      #expect(now >= last && now > .zero && now < .never)
      last = now
    }
  }

  @Test func `the wall clock is the system's`() {
    let before = time(nil)
    let now = WallClock.now()
    // The C library's clock is a tick coarser.
    #expect(now.seconds >= Int64(before) && now.seconds <= Int64(time(nil)) + 1)
    #expect((0..<1_000_000_000).contains(now.nanoseconds))
  }
}
