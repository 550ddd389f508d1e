import Caching
import Primitives
import Testing

/// The table of docs/CACHING.md, and what has to stay true of it.
@Suite struct `Eviction beside LRU and the optimum` {
  struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var trace: [Int]
    var room: Int
    /// Hundredths of the requests that weir finds at least more than LRU; negative where what is
    /// popular changes so fast that recency is all there is to know.
    var lead: Double

    var testDescription: String { name }
  }

  static let rows = [
    Row(
      name: "Zipf 1.0, room for 1 in 100",
      trace: Traces.zipf(objects: 20_000, count: 80_000, exponent: 1.0, seed: 1), room: 200,
      lead: 5),
    Row(
      name: "Zipf 1.0, room for 1 in 10",
      trace: Traces.zipf(objects: 20_000, count: 80_000, exponent: 1.0, seed: 2), room: 2_000,
      lead: 1.5),
    Row(
      name: "Zipf 0.8, room for 1 in 10",
      trace: Traces.zipf(objects: 20_000, count: 80_000, exponent: 0.8, seed: 3), room: 2_000,
      lead: 2),
    Row(
      name: "Zipf 0.9 with scans",
      trace: Traces.scans(objects: 10_000, count: 50_000, run: 2_000, seed: 4), room: 1_000,
      lead: 4),
    Row(
      name: "Zipf 0.9 that shifts",
      trace: Traces.shifting(objects: 10_000, count: 80_000, shifts: 8, seed: 5), room: 1_000,
      lead: -2),
    Row(
      name: "loop, room for 8 in 10",
      trace: Traces.loop(objects: 2_500, count: 60_000), room: 2_000, lead: 50),
    Row(
      name: "loop, room for 3 in 10",
      trace: Traces.loop(objects: 6_000, count: 60_000), room: 1_800, lead: 0),
  ]

  @Test(arguments: rows)
  func `finds more than LRU as far as the row says, and no more than the optimum`(row: Row) {
    let share = 100 / Double(row.trace.count)
    let weir = Double(HitCount.ofWeir(row.trace, room: row.room)) * share
    let lru = Double(HitCount.ofLRU(row.trace, room: row.room)) * share
    let optimum = Double(HitCount.ofOptimum(row.trace, room: row.room)) * share
    #expect(weir >= lru + row.lead, "weir \(weir) LRU \(lru)")
    #expect(weir <= optimum && lru <= optimum, "weir \(weir) optimum \(optimum)")
  }

  @Test func `finds more than LRU where objects differ in size`() {
    let size: (Int) -> Int = { 1 + Int((UInt64($0) &* 0x9E37_79B9_7F4A_7C15) >> 58) }
    let trace = Traces.zipf(objects: 20_000, count: 80_000, exponent: 0.9, seed: 6)
    let share = 100 / Double(trace.count)
    let weir = Double(HitCount.ofWeir(trace, room: 65_000, size: size)) * share
    let lru = Double(HitCount.ofLRU(trace, room: 65_000, size: size)) * share
    #expect(weir >= lru + 1.5, "weir \(weir) LRU \(lru)")
  }
}
