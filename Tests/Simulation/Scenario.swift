/// What a seed stands for: a configuration, actors, and what goes wrong.
struct Scenario {
  static let clientPath = "client"
  /// In runs with faults: how long a backend may be silent.
  static let firstByteSeconds = 3

  var draw: Draw
  let seed: UInt64
  let isCalm: Bool
  let workers: Int
  let clients: Int
  /// How many of them speak HTTP/2.
  let streamClients: Int
  let backends: Int
  /// Those of the upstream `app`, known beforehand.
  let speakHTTP2: Bool
  /// How many things there are that may be stored.
  let objects: Int
  let hasCache: Bool
  /// Nothing stale is served, so that a soft purge binds as a hard one does.
  let isNeverStale: Bool
  let hasSpare: Bool
  let mostRequests: Int
  let attempts: Int
  let isTight: Bool
  /// The drain comes while requests are in flight.
  let drainsAtOnce: Bool
  let faults: Faults
  let requests: Int
  let largestBody: Int
  private let fixed: String

  init(seed: UInt64) {
    self.seed = seed
    var draw = Draw(seed: seed &* 0x9E37_79B9 &+ 1)
    isCalm = draw.chance(40)
    workers = draw.one(of: [1, 1, 2, 2, 3])
    clients = draw.from(1, to: 6)
    streamClients = draw.chance(50) ? draw.from(0, to: clients) : 0
    backends = draw.from(1, to: 4)
    speakHTTP2 = draw.chance(30)
    objects = draw.one(of: [1, 2, 4])
    hasCache = draw.chance(60)
    isNeverStale = draw.chance(40)
    hasSpare = !isCalm && draw.chance(25)
    mostRequests = draw.chance(50) ? draw.from(1, to: 3) : 0
    attempts = draw.from(1, to: 4)
    isTight = draw.chance(40)
    drainsAtOnce = !isCalm && draw.chance(30)
    requests = draw.from(5, to: 60)
    largestBody = draw.one(of: [100, 3000, 70_000, 300_000])
    var faults = Faults()
    if !isCalm {
      faults.badAnswers = draw.one(of: [0, 5, 20, 60])
      faults.badClients = draw.one(of: [0, 5, 30])
      faults.flapping = draw.one(of: [0, 0, 5, 20])
      faults.closedIdle = draw.one(of: [0, 0, 10, 100])
    }
    self.faults = faults
    var fixed = Scenario.options(isCalm: isCalm, mostRequests, attempts, &draw)
    if speakHTTP2 { fixed += "\n    http2 on\n    http2-streams \(draw.from(1, to: 8))" }
    self.fixed = fixed
    self.draw = draw
  }

  /// Of every request, the spare upstream's included.
  var mostAttempts: Int { attempts * (hasSpare ? 2 : 1) }

  /// What a reload does not change.
  private static func options(
    isCalm: Bool, _ mostRequests: Int, _ attempts: Int, _ draw: inout Draw
  ) -> String {
    var lines: [String] = []
    if mostRequests > 0 {
      lines.append("max-requests \(mostRequests)")
      if isCalm {
        lines.append("queue 1000 timeout=1h")
      } else if draw.chance(70) {
        lines.append("queue \(draw.from(1, to: 8)) timeout=\(draw.from(1, to: 2000))ms")
      }
    }
    if draw.chance(30) { lines.append("sticky cookie where key-file=key") }
    if draw.chance(40) {
      lines.append(
        "health-check \(draw.chance(50) ? "tcp" : "GET /healthz") interval=500ms timeout=200ms")
    }
    if isCalm {
      lines += [
        "first-byte-timeout 1h", "idle-timeout 1h", "circuit-breaker off",
        "retry \(attempts == 1 ? "off" : "attempts=\(attempts)")",
      ]
      return lines.joined(separator: "\n    ")
    }
    lines += ["first-byte-timeout \(firstByteSeconds)s", "idle-timeout 2s", "pool-idle-timeout 3s"]
    if draw.chance(50) { lines.append("attempt-timeout \(draw.from(20, to: 1500))ms") }
    if draw.chance(20) { lines.append("panic 50%") }
    if draw.chance(20) { lines.append("slow-start 1s") }
    lines.append(
      attempts == 1 ? "retry off" : "retry attempts=\(attempts) on=\(retried) budget=100%")
    if draw.chance(30) {
      lines.append("circuit-breaker off")
    } else {
      let failures = draw.from(1, to: 5)
      lines.append("circuit-breaker failures=\(failures) open=\(draw.from(1, to: 900))ms")
    }
    return lines.joined(separator: "\n    ")
  }

  private static let retried = "connect-failure,reset,timeout,500,502,503,504"

  /// The configuration, in one of the forms that reloads change between.
  mutating func configuration(folder: String) -> String {
    let balance = draw.one(
      of: ["round-robin", "least-connections", "two-choices", "hash path", "hash path bound=1.25"])
    let pool = draw.one(of: [0, 1, 256])
    // A calm run loses no backend: who is asked for what is queued there.
    let count = isCalm ? backends : draw.from(1, to: backends)
    let listed = (0..<count).map {
      "backend unix:\(folder)/b\($0) name=b\($0) weight=\(draw.from(1, to: 3))"
    }
    let action = """
      upstream app
        \(isCalm ? "" : "request-timeout 20s")
        \(hasSpare ? "fallback-upstream spare" : "")
      """
    let spare = """
      upstream spare {
          backend unix:\(folder)/spare name=spare
          \(mostRequests > 0 ? "max-requests 1\n          queue 8 timeout=2s" : "")
          first-byte-timeout \(Scenario.firstByteSeconds)s
          idle-timeout 2s
          \(attempts == 1 ? "retry off" : "retry attempts=\(attempts) budget=100%")
      }
      """
    let isForErrors = draw.chance(50)
    let stale =
      isNeverStale ? "" : isForErrors ? "stale-if-error=1m" : "stale-while-revalidate=2s"
    return """
      name sim
      workers \(workers)
      listener web {
          bind unix:\(folder)/\(Scenario.clientPath)
          keep-alive-timeout \(isCalm ? "1d" : "5s")
          header-timeout \(isCalm ? "1d" : "4s")
          body-timeout \(isCalm ? "1d" : "4s")
          send-timeout \(isCalm ? "1d" : "6s")
          \(isCalm ? "min-body-rate off" : "")
      }
      upstream app {
          balance \(balance)
          pool-size \(pool)
          \(listed.joined(separator: "\n    "))
          \(fixed)
      }
      \(hasSpare ? spare : "")
      \(hasCache ? "cache main memory=2MiB" : "")
      route /p/* {
          \(action)
      }
      route /c/* {
          \(action)
          \(hasCache ? "cache main \(stale)" : "")
      }
      """
  }
}
