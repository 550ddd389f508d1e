import Primitives
import Testing

@testable import Telemetry

@Suite struct HistogramTests {
  @Test func `every value falls into the bucket whose bounds hold it`() {
    var random = SeededRandom(seed: 1)
    var values: [UInt64] = (0..<5000).map { $0 }
    for shift in 0..<32 as Range<UInt64> {
      values += [1 << shift, (1 << shift) - 1, (1 << shift) + 1]
      values += (0..<50).map { _ in (1 << shift) + random.next() % (1 << shift) }
    }
    for value in values where value <= HistogramScale.largest {
      let bucket = HistogramScale.bucket(of: value)
      #expect(HistogramScale.lowerBound(of: bucket) <= value)
      #expect(HistogramScale.lowerBound(of: bucket + 1) > value)
      let estimate = Double(HistogramScale.representative(of: bucket))
      #expect(abs(estimate - Double(value)) <= 0.06 * Double(value))
    }
    #expect(HistogramScale.bucket(of: .max) == HistogramScale.bucketCount - 1)
  }

  @Test func `quantiles of known durations are within 6 %`() throws {
    let metrics = WorkerMetrics()
    let latency = metrics.route(3).latency
    for value in 1...10_000 as ClosedRange<UInt64> { latency.record(microseconds: value) }
    let snapshot = latency.snapshot()
    #expect(snapshot.count == 10_000)
    #expect(snapshot.sumMicroseconds == 50_005_000)
    for (share, expected) in [(0.5, 5000.0), (0.95, 9500), (0.99, 9900), (1, 10_000), (0, 1)] {
      let found = Double(try #require(snapshot.quantile(share)))
      #expect(abs(found - expected) <= 0.06 * expected, "quantile \(share) is \(found)")
    }
    #expect(HistogramSnapshot().quantile(0.5) == nil)
  }

  @Test func `merging is the same as recording everything in one`() {
    let metrics = WorkerMetrics()
    var random = SeededRandom(seed: 2)
    for _ in 0..<1000 {
      let value = random.next() >> UInt64(random.below(60))
      metrics.route(1 + random.below(2)).latency.record(microseconds: value)
      metrics.route(0).latency.record(microseconds: value)
    }
    var merged = metrics.route(1).latency.snapshot()
    merged.add(metrics.route(2).latency.snapshot())
    #expect(merged == metrics.route(0).latency.snapshot())
  }

  @Test func `counts below the exported bounds are exact`() {
    // Handles to cells are good only as long as the metrics that own them.
    let metrics = WorkerMetrics()
    let latency = metrics.route(0)
    for value in [0, 127, 128, 129, 255, 256, 1023, 1024, 1 << 26, 1 << 40] as [UInt64] {
      latency.latency.record(microseconds: value)
    }
    let below = latency.latency.snapshot().countsBelowBounds()
    #expect(Array(below.prefix(5)) == [2, 5, 6, 7, 8])
    #expect(below.last == 8)
    withExtendedLifetime(metrics) {}
  }
}
