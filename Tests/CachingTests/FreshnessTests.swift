import Primitives
import Testing

@testable import Caching

@Suite struct `A stored response` {
  private func state(
    _ freshness: Freshness, at seconds: Double,
    _ change: (inout RequestConstraints) -> Void = { _ in }
  ) -> FreshnessState {
    var constraints = RequestConstraints()
    change(&constraints)
    let resident = TimeAmount(nanoseconds: Int64(seconds * 1e9))
    return freshness.state(resident: resident, constraints)
  }

  /// Age 2 on arrival, lifetime 10, windows of 5 and 20.
  private func sample(_ flags: Freshness.Flags = []) -> Freshness {
    Freshness(
      initialAge: .seconds(2), lifetime: 10, staleWhileRevalidate: 5, staleIfError: 20,
      flags: flags)
  }

  @Test(arguments: [
    (0.0, FreshnessState.fresh), (7.999999, .fresh), (8, .staleWhileRevalidate),
    (12.999999, .staleWhileRevalidate), (13, .staleIfError), (27.999999, .staleIfError),
    (28, .dead), (1e9, .dead),
  ])
  func `ends each window exactly at its end`(resident: Double, expected: FreshnessState) {
    #expect(state(sample(), at: resident) == expected)
  }

  @Test func `is fresh by the short question where it is by the long one`() {
    for bits in UInt8(0)..<16 {
      for seconds in [0, 7.999999, 8, 12, 13, 28, 1e9] {
        let freshness = sample(Freshness.Flags(rawValue: bits))
        let resident = TimeAmount(nanoseconds: Int64(seconds * 1e9))
        #expect(
          freshness.isFresh(resident: resident) == (freshness.state(resident: resident) == .fresh))
      }
    }
  }

  @Test(arguments: [
    (0.0, FreshnessState.fresh), (8, .mustRevalidate), (27.9, .mustRevalidate), (28, .dead),
  ])
  func `with must-revalidate is never served stale`(resident: Double, expected: FreshnessState) {
    #expect(state(sample(.mustRevalidate), at: resident) == expected)
  }

  @Test(arguments: [0.0, 5, 8, 20])
  func `with no-cache is confirmed at every use`(resident: Double) {
    #expect(state(sample(.noCache), at: resident) == .mustRevalidate)
    #expect(state(sample([.noCache, .immutable]), at: resident) == .mustRevalidate)
    #expect(state(sample(), at: resident) { $0.noCache = true } == .mustRevalidate)
    #expect(state(sample(.immutable), at: resident) { $0.noCache = true } == .mustRevalidate)
  }

  @Test func `obeys the age that a request allows`() {
    #expect(state(sample(), at: 3) { $0.maxAge = 5 } == .fresh)
    #expect(state(sample(), at: 3.000001) { $0.maxAge = 5 } == .mustRevalidate)
    #expect(state(sample(), at: 0) { $0.maxAge = 0 } == .mustRevalidate)
    #expect(state(sample(), at: 9) { $0.maxAge = 5 } == .mustRevalidate)
    #expect(state(sample(), at: 9) { $0.maxAge = 20 } == .staleWhileRevalidate)
    // RFC 8246 §2: a reload does not make an immutable response stale.
    #expect(state(sample(.immutable), at: 3) { $0.maxAge = 0 } == .fresh)
    #expect(state(sample(.immutable), at: 9) { $0.maxAge = 0 } == .mustRevalidate)
  }

  @Test func `obeys the remaining lifetime that a request wants`() {
    #expect(state(sample(), at: 3) { $0.minFresh = 5 } == .fresh)
    #expect(state(sample(), at: 3.000001) { $0.minFresh = 5 } == .mustRevalidate)
    #expect(state(sample(.immutable), at: 7) { $0.minFresh = 5 } == .fresh)
    #expect(state(sample(), at: 9) { $0.minFresh = 1 } == .staleIfError)
  }

  @Test func `obeys the staleness that a request bears, unless the response forbids it`() {
    #expect(state(sample(), at: 18) { $0.maxStale = 10 } == .staleWhileRevalidate)
    #expect(state(sample(), at: 18.000001) { $0.maxStale = 10 } == .staleIfError)
    #expect(state(sample(.mustRevalidate), at: 9) { $0.maxStale = 10 } == .mustRevalidate)
    #expect(state(sample(), at: 1e6) { $0.maxStale = 1 << 31 } == .staleWhileRevalidate)
  }

  @Test func `counts age in whole seconds and what is left downwards`() {
    let rows: [(Double, Int, Int)] = [
      (0, 2, 8), (0.999, 2, 7), (1, 3, 7), (7.5, 9, 0), (8, 10, 0), (8.5, 10, -1), (9, 11, -1),
    ]
    for (resident, age, ttl) in rows {
      let amount = TimeAmount(nanoseconds: Int64(resident * 1e9))
      #expect(sample().age(resident: amount) == age, "\(resident)")
      #expect(sample().ttl(resident: amount) == ttl, "\(resident)")
    }
    #expect(sample().age(resident: .seconds(-5)) == 2)
  }

  @Test func `saturates at every extreme`() {
    let most = UInt32(1) << 31
    let endless = Freshness(
      initialAge: .seconds(1 << 31), lifetime: most, staleWhileRevalidate: most,
      staleIfError: most)
    #expect(endless.age(resident: .max) == 1 << 31)
    #expect(endless.ttl(resident: .max) < 0)
    #expect(endless.state(resident: .max) == .dead)
    #expect(endless.state(resident: .zero) == .staleWhileRevalidate)
    let stale = Freshness(initialAge: .max, lifetime: most)
    #expect(stale.state(resident: .max) == .dead && stale.age(resident: .max) == 1 << 31)
  }

  @Test func `ended by a soft purge is stale at once, and its windows begin there`() {
    var freshness = sample()
    freshness.expire(resident: .seconds(3))
    #expect(freshness.state(resident: .seconds(3)) == .staleWhileRevalidate)
    #expect(freshness.state(resident: .seconds(8)) == .staleIfError)
    #expect(freshness.state(resident: .seconds(23)) == .dead)
    #expect(freshness.state(resident: .zero) == .staleWhileRevalidate)
    // A second one does not give it more time, nor does one after its end.
    freshness.expire(resident: .seconds(7))
    #expect(freshness.state(resident: .seconds(8)) == .staleIfError)
    var late = sample()
    late.expire(resident: .seconds(20))
    #expect(late.state(resident: .seconds(27)) == .staleIfError)
    #expect(late.state(resident: .seconds(28)) == .dead)
    var strict = sample(.immutable)
    strict.flags.insert(.mustRevalidate)
    strict.expire(resident: .zero)
    #expect(strict.state(resident: .zero) == .mustRevalidate)
    #expect(freshness.state(resident: .seconds(4), patient) == .staleWhileRevalidate)
    #expect(freshness.state(resident: .seconds(9), patient) == .staleIfError)
  }

  /// A request that bears any staleness does not bear what was purged.
  private var patient: RequestConstraints {
    var constraints = RequestConstraints()
    constraints.maxStale = 1 << 31
    return constraints
  }

  @Test func `grows only staler with time, for random values and requests`() {
    var random = SeededRandom(seed: 42)
    let order: [FreshnessState: Int] = [
      .fresh: 0, .staleWhileRevalidate: 1, .staleIfError: 2, .mustRevalidate: 3, .dead: 4,
    ]
    for _ in 0..<3000 {
      let freshness = Freshness(
        initialAge: .seconds(Int64(random.below(20))), lifetime: UInt32(random.below(20)),
        staleWhileRevalidate: UInt32(random.below(20)), staleIfError: UInt32(random.below(20)),
        flags: Freshness.Flags(rawValue: UInt8(random.below(4)) & 1))
      var last = 0
      for resident in 0..<80 {
        let found = freshness.state(resident: .seconds(Int64(resident)))
        var rank = order[found]!
        // Under must-revalidate there is nothing between.
        if found == .mustRevalidate { rank = 2 }
        if rank < last { Issue.record("\(freshness) at \(resident): \(found)") }
        last = rank
      }
      #expect(last == 4)
    }
  }
}
