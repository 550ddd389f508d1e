import Primitives
import Transport

/// Asks every worker now and then whether it still turns, so that one that is stuck is found: while
/// an answer is missing the service manager hears nothing, and in the end restarts the service.
struct Heartbeat {
  let answers = Arrivals()
  private let interval: TimeAmount
  private var asked = 0
  private var due: MonotonicTime

  /// `limit`: within which the manager must hear something.
  init?(limit: TimeAmount?, now: MonotonicTime) {
    guard let limit else { return nil }
    interval = TimeAmount(nanoseconds: limit.nanoseconds / 3)
    due = now
  }

  /// When `beat` must be called.
  var nextDue: MonotonicTime { due }

  /// Asks again where it is time and all have answered before. `workers`: how many are asked.
  mutating func beat(now: MonotonicTime, workers: Int, ask: (Arrivals) -> Void) {
    guard now >= due else { return }
    due = now + interval
    guard answers.collect() == asked else { return }
    asked += workers
    ask(answers)
  }

  /// Whether the last question has been answered by all; to be asked when `answers` is readable.
  func isAnswered() -> Bool { answers.collect() == asked }
}
