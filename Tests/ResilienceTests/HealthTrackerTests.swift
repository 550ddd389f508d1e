import Primitives
import Resilience
import Testing

/// Feeds results written as `+` and `-`; what each led to: `u`p, `d`own, `r`ecovered or `.`.
private func trace(
  _ results: String, isUp: Bool, isUrgent: Bool = false, rise: Int = 2, fall: Int = 2
) -> String {
  var options = HealthCheckOptions(kind: .tcp)
  (options.rise, options.fall) = (rise, fall)
  var tracker = HealthTracker(options, isUp: isUp)
  return String(
    results.map { result in
      switch tracker.checked(passed: result == "+", isUrgent: isUrgent) {
      case .cameUp: "u"
      case .wentDown: "d"
      case .recovered: "r"
      case nil: "."
      }
    })
}

@Suite struct `A health tracker` {
  @Test(arguments: [
    // The first result decides at once.
    ("+", true, "."), ("-", true, "d"), ("+", false, "u"), ("-", false, "."),
    // Two failures take it down, two passes bring it up.
    ("+--", true, "..d"), ("+-+-+-", true, "......"), ("--++", true, "d..u"),
    ("--+-++", true, "d....u"), ("++--++--", true, "...d.u.d"),
    // A failure that was not enough is made good by as many passes as bring it up.
    ("+-++", true, "...r"), ("+-+-++", true, ".....r"), ("+-+++", true, "...r."),
  ])
  func `takes its turns`(results: String, isUp: Bool, expected: String) {
    #expect(trace(results, isUp: isUp) == expected)
  }

  @Test func `needs one pass where nobody else can serve`() {
    #expect(trace("--+--+", isUp: true, isUrgent: true) == "d.u.du")
  }

  @Test func `obeys rise and fall`() {
    #expect(trace("+---+++", isUp: true, rise: 3, fall: 3) == "...d..u")
    #expect(trace("+-+", isUp: true, rise: 1, fall: 1) == ".du")
  }

  @Test func `is checked sooner while it changes, and soonest where it is missed`() {
    let options = HealthCheckOptions(kind: .tcp)
    var random = SeededRandom(seed: 1)
    func around(_ tracker: HealthTracker, _ isUrgent: Bool, _ milliseconds: Int64) {
      let wanted = milliseconds * 1_000_000
      var distinct: Set<Int64> = []
      for _ in 0..<200 {
        let time = tracker.delay(isUrgent: isUrgent, random: &random).nanoseconds
        #expect(time >= wanted * 9 / 10 && time <= wanted * 11 / 10)
        distinct.insert(time)
      }
      #expect(distinct.count > 150, "no jitter")
    }
    var tracker = HealthTracker(options, isUp: true)
    _ = tracker.checked(passed: true, isUrgent: false)
    around(tracker, false, 1000)
    around(tracker, true, 1000)
    _ = tracker.checked(passed: false, isUrgent: false)
    around(tracker, false, 200)
    _ = tracker.checked(passed: false, isUrgent: false)
    around(tracker, false, 200)
    around(tracker, true, 100)
    for _ in 0..<2 { _ = tracker.checked(passed: true, isUrgent: false) }
    around(tracker, false, 1000)
  }
}
