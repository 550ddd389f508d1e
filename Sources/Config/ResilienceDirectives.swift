import Balancing
import Primitives
import Proxy
import Resilience

/// Directives of an `upstream` block about backends that fail.
extension Directive {
  fileprivate static let millisecond = TimeAmount.milliseconds(1)
  fileprivate static let hour = TimeAmount.seconds(3600)
  private static let breaker = BreakerOptions()

  static let resilience: [Directive] = [circuitBreaker, retry, slowStart, panic]

  private static let circuitBreaker = Directive(
    name: "circuit-breaker", context: .upstream,
    arguments: [
      Argument(label: "off", kind: .word(["off"], noun: "setting"), presence: .optional)
    ],
    options: [
      OptionRow(
        key: "failures", kind: .either("off", .integer(1...1000)),
        fallback: String(breaker.failures), summary: "Failures in a row that open it."),
      OptionRow(
        key: "error-rate", kind: .either("off", .percentage(1...100)),
        fallback: "\(breaker.errorRate)%",
        summary: "Share of failures within `window` that opens it."),
      OptionRow(
        key: "slow-call", kind: .duration(millisecond...hour), fallback: "none",
        summary: "An answer whose head takes longer counts as slow."),
      OptionRow(
        key: "slow-rate", kind: .percentage(1...100), fallback: "\(breaker.slowRate)%",
        summary: "With `slow-call`: share of slow answers within `window` that opens it."),
      OptionRow(
        key: "window", kind: .duration(TimeAmount.seconds(1)...hour),
        fallback: written(breaker.window), summary: "Time that shares are computed over."),
      OptionRow(
        key: "min-requests", kind: .integer(1...1_000_000),
        fallback: String(breaker.minRequests),
        summary: "Answers within `window` below which no share is computed."),
      OptionRow(
        key: "open", kind: .duration(millisecond...hour), fallback: written(breaker.open),
        summary: "How long it stays open the first time, ±25 %; doubled each further time, until "
          + "it was closed for 5 minutes."),
      OptionRow(
        key: "max-open", kind: .duration(millisecond...hour), fallback: written(breaker.maxOpen),
        summary: "The longest it stays open."),
      OptionRow(
        key: "probes", kind: .integer(1...1000), fallback: String(breaker.probes),
        summary: "Requests let through at once to try the backend out, while half open."),
      OptionRow(
        key: "successes", kind: .integer(1...1000), fallback: String(breaker.successes),
        summary: "Of these, how many must succeed before it closes."),
      OptionRow(
        key: "count", kind: .word(["gateway", "5xx"], noun: "class of failures"),
        fallback: "gateway",
        summary: "`gateway`: failed connects, resets, timeouts, malformed or truncated responses, "
          + "502, 503 and 504. `5xx`: other answers of that class too, but for 501 and 505."),
      OptionRow(
        key: "max-out", kind: .percentage(0...100), fallback: "\(breaker.maxOut)%",
        summary: "Share of the backends that `error-rate` and `slow-rate` may keep out at once; "
          + "never the last one. `failures` has no such limit."),
    ],
    fallback: "on, with these defaults",
    summary: "When a backend gets no more requests, and how it comes back: after a while single "
      + "requests try it out, first those that may be sent twice."
  ) { draft, reading in draft.setBreaker(reading) }
}

extension Directive {
  private static let start = SlowStartOptions(window: .zero)

  private static let panic = Directive(
    name: "panic", context: .upstream,
    arguments: [Argument(label: "P|off", kind: .either("off", .percentage(1...100)))],
    fallback: "off",
    summary: "Where less than this share of the weight can serve, backends that only a health "
      + "check keeps out get requests too: better a backend that is said to be ill than all the "
      + "load on the rest. Circuit breakers, limits and `weir drain|maint` hold all the same; a "
      + "stale copy, where `stale-if-error` allows one, is preferred."
  ) { draft, reading in
    draft.panicLocation = reading.name.location
    if case .integer(let share) = reading.values[0] {
      draft.upstream.panicBelow = share
    } else {
      draft.upstream.panicBelow = 0
    }
  }

  private static let slowStart = Directive(
    name: "slow-start", context: .upstream,
    arguments: [
      Argument(
        label: "DURATION|off",
        kind: .either("off", .duration(TimeAmount.milliseconds(100)...hour)))
    ],
    options: [
      OptionRow(
        key: "floor", kind: .percentage(1...100), fallback: "\(start.floor)%",
        summary: "Share of its weight that counts from the first moment."),
      OptionRow(
        key: "aggression", kind: .number(0.1...10), fallback: written(start.aggression),
        summary: "1: the share grows evenly; above, it grows early: to (age / DURATION) to the "
          + "power of 1 / this."),
    ],
    fallback: "off",
    summary: "A backend that has come (added, `weir ready`, health check up, circuit breaker "
      + "closed) gets its whole share of the requests only after this time; with `hash`, that "
      + "share of its keys. Not at the start, and not where more than half of those that serve "
      + "are new."
  ) { draft, reading in draft.setSlowStart(reading) }
}

extension Directive {
  private static let again = RetryOptions()
  fileprivate static let retryConditions: [(word: String, condition: RetryConditions)] = [
    ("connect-failure", .connectFailure), ("reset", .reset), ("timeout", .timeout),
    ("500", .status500), ("502", .status502), ("503", .status503), ("504", .status504),
  ]

  fileprivate static let retry = Directive(
    name: "retry", context: .upstream,
    arguments: [
      Argument(label: "off", kind: .word(["off"], noun: "setting"), presence: .optional)
    ],
    options: [
      OptionRow(
        key: "attempts", kind: .integer(1...8), fallback: String(again.attempts),
        summary: "Attempts of one request in all, the first included."),
      OptionRow(
        key: "on", kind: .text(limit: 128),
        fallback: retryConditions.filter { again.conditions.contains($0.condition) }.map(\.word)
          .joined(separator: ","),
        summary: "Failures after which another backend is tried, with commas between: "
          + retryConditions.map { "`\($0.word)`" }.joined(separator: ", ") + "."),
      OptionRow(
        key: "backoff", kind: .duration(millisecond...hour), fallback: written(again.backoff),
        summary: "The first retry goes to another backend at once; each further one waits for a "
          + "random time up to this, doubled each time."),
      OptionRow(
        key: "max-backoff", kind: .duration(millisecond...hour),
        fallback: written(again.maxBackoff), summary: "The longest such wait."),
      OptionRow(
        key: "budget", kind: .percentage(0...100), fallback: "\(again.budget)%",
        summary: "Retries allowed, as a share of the upstream's requests in the last 10 s, beside "
          + "\(RetryBudget.floorPerSecond) a second."),
    ],
    fallback: "on, with these defaults",
    summary:
      "What is tried again. What has not been sent goes to another backend, any method; what "
      + "has been sent, only with a method that may be sent twice (GET, HEAD, OPTIONS, PUT, "
      + "DELETE), no content or less than 64 KiB of known length, and before anything of an answer "
      + "has reached the client."
  ) { draft, reading in draft.setRetry(reading) }
}

extension Draft {
  fileprivate mutating func setSlowStart(_ reading: Reading) {
    guard case .duration(let window) = reading.values[0] else {
      for option in reading.options.values {
        report.error("'off' stands alone", at: option.token.location)
      }
      upstream.slowStart = nil
      return
    }
    var options = SlowStartOptions(window: window)
    options.floor = reading.optionInteger("floor") ?? options.floor
    if case .number(let aggression)? = reading.options["aggression"]?.value {
      options.aggression = aggression
    }
    upstream.slowStart = options
  }

  fileprivate mutating func setRetry(_ reading: Reading) {
    var options = RetryOptions()
    if let off = reading.tokens.first {
      if !reading.options.isEmpty { report.error("'off' stands alone", at: off.location) }
      options.attempts = 1
      upstream.retry = options
      return
    }
    options.attempts = reading.optionInteger("attempts") ?? options.attempts
    options.backoff = reading.optionDuration("backoff") ?? options.backoff
    options.maxBackoff =
      reading.optionDuration("max-backoff") ?? max(options.maxBackoff, options.backoff)
    options.budget = reading.optionInteger("budget") ?? options.budget
    if let on = reading.options["on"], let text = reading.optionText("on") {
      options.conditions = []
      for word in text.split(separator: ",", omittingEmptySubsequences: false) {
        let known = Directive.retryConditions
        guard let found = known.first(where: { $0.word == word }) else {
          let list = known.map { "'\($0.word)'" }.joined(separator: ", ")
          report.error(
            "unknown kind of failure '\(word)'", at: on.token.valueLocation,
            notes: ["expected one of \(list)"])
          return
        }
        options.conditions.formUnion(found.condition)
      }
    }
    upstream.retry = options
  }

  fileprivate mutating func setBreaker(_ reading: Reading) {
    var options = BreakerOptions()
    if let off = reading.tokens.first {
      if !reading.options.isEmpty { report.error("'off' stands alone", at: off.location) }
      options.failures = 0
      options.errorRate = 0
      upstream.breaker = options
      return
    }
    func count(_ key: String, _ known: Int) -> Int {
      reading.optionText(key) == "off" ? 0 : reading.optionInteger(key) ?? known
    }
    options.failures = count("failures", options.failures)
    options.errorRate = count("error-rate", options.errorRate)
    options.slowCall = reading.optionDuration("slow-call")
    options.slowRate = count("slow-rate", options.slowRate)
    options.window = reading.optionDuration("window") ?? options.window
    options.minRequests = count("min-requests", options.minRequests)
    options.open = reading.optionDuration("open") ?? options.open
    options.maxOpen = reading.optionDuration("max-open") ?? max(options.maxOpen, options.open)
    options.probes = count("probes", options.probes)
    options.successes = count("successes", options.successes)
    options.countsServerErrors = reading.optionText("count") == "5xx"
    options.maxOut = count("max-out", options.maxOut)
    if let slow = reading.options["slow-rate"], options.slowCall == nil {
      report.error("'slow-rate=' needs 'slow-call='", at: slow.token.location)
    }
    upstream.breaker = options
  }
}
