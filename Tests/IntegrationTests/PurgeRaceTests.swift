import Foundation
import TestSupport
import Testing

/// What readers and purgers of the race know of each other, and what they found.
struct RaceState: Sendable {
  /// By key: what a request that is sent now must have at least.
  var required = [Int](repeating: 0, count: VersionedOrigin.keys)
  /// The same, but for responses that say that they are stale.
  var preferred = [Int](repeating: 0, count: VersionedOrigin.keys)
  var purges = 0
  var responses = 0
  /// Responses by what `Cache-Status` says.
  var kinds: [String: Int] = [:]
  var errors = 0
  /// Connections that ended in an answer, or before it.
  var cuts = 0
  var stale: [String] = []
  var wrong: [String] = []
  var failures: [String] = []
  var running = 0
}

/// Purges while content changes, and reads by all means.
final class Race: Sendable {
  let state = Monitor(RaceState())
  let origin: VersionedOrigin
  let daemon: DaemonProcess
  let end: Deadline

  init(_ origin: VersionedOrigin, _ daemon: DaemonProcess, seconds: Double) {
    (self.origin, self.daemon) = (origin, daemon)
    end = .after(seconds)
  }

  var isOver: Bool { end.secondsLeft <= 0 }

  func run(_ body: @escaping @Sendable (Race) throws -> Void) {
    state.update { $0.running += 1 }
    Thread.detachNewThread { [self] in
      do { try body(self) } catch { state.update { $0.failures.append("\(error)") } }
      state.update { $0.running -= 1 }
    }
  }

  // MARK: Purging

  /// Changes, purges, and when that is acknowledged asks for the change of everybody.
  func purge(seed: UInt64) throws {
    var dice = Dice(seed: seed)
    let admin = try WireConnection.connect(path: daemon.adminPath)
    while !isOver {
      let key = dice.below(VersionedOrigin.keys)
      let keys = (0..<VersionedOrigin.keys).filter {
        VersionedOrigin.group($0) == VersionedOrigin.group(key)
      }
      switch dice.below(20) {
      case 0: try purge(Array(0..<VersionedOrigin.keys), "\"all\":true", admin)
      case 1, 2: try purge(keys, "\"tags\":[\"g\(VersionedOrigin.group(key))\"]", admin)
      case 3, 4:
        try purge(
          keys, "\"prefix\":\"http://a/g\(VersionedOrigin.group(key))/\"", admin)
      case 5: try post(key)
      case 6..<12:
        try purge([key], "\"urls\":[\"http://a\(VersionedOrigin.path(key))\"]", admin)
      default: try purge([key], "\"tags\":[\"k\(key)\"]", admin)
      }
      var time = timespec(tv_sec: 0, tv_nsec: dice.below(20) * 1_000_000)
      nanosleep(&time, nil)
    }
  }

  private func purge(_ keys: [Int], _ what: String, _ admin: WireConnection) throws {
    let isSoft = keys.count == 1 && VersionedOrigin.kind(keys[0]) == .soft
    let changed = origin.bump(keys)
    let body = "{\(what)\(isSoft ? ",\"soft\":true" : "")}"
    try admin.send(
      "POST /v1/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
    let answer = try admin.readResponse(to: "POST")
    guard answer.status == 200 else { throw TestFailure("purge: \(answer.status) \(answer.text)") }
    demand(changed, isSoft: isSoft)
  }

  private func demand(_ changed: [(key: Int, version: Int)], isSoft: Bool) {
    state.update { state in
      state.purges += 1
      for (key, version) in changed {
        state.preferred[key] = max(state.preferred[key], version)
        if !isSoft { state.required[key] = max(state.required[key], version) }
      }
    }
  }

  /// An unsafe request changes the version itself; its answer is the acknowledgement.
  private func post(_ key: Int) throws {
    let changed = origin.bump([key])
    let answer = try daemon.get(
      VersionedOrigin.path(key), host: "a", fields: "Content-Length: 0\r\n", method: "POST")
    if answer.status == 204 { demand(changed, isSoft: false) }
  }

  // MARK: Judging

  struct Asked {
    let key: Int
    let required: Int
    let preferred: Int
  }

  func ask(_ key: Int) -> Asked {
    state.update { Asked(key: key, required: $0.required[key], preferred: $0.preferred[key]) }
  }

  /// `version`: of what came; `nil` where it was not the key's content, whole and of one version.
  func judge(_ asked: Asked, _ version: Int?, _ cacheStatus: String?, _ what: String) {
    let status = cacheStatus ?? "none"
    let isMarked = status.contains("detail=swr") || status.contains("detail=sie")
    state.update { state in
      state.responses += 1
      let kind = status.split(separator: ";").dropFirst().filter { !$0.contains("ttl") }
        .joined(separator: ";")
      state.kinds[kind, default: 0] += 1
      guard let version else { return state.wrong.append("\(what) \(asked.key): \(status)") }
      if version < asked.required || (version < asked.preferred && !isMarked) {
        state.stale.append(
          "\(what) \(VersionedOrigin.path(asked.key)): version \(version), required "
            + "\(asked.required), preferred \(asked.preferred); \(status)")
      }
    }
  }

  static func version(ofTag tag: String?, _ key: Int) -> Int? {
    guard let parts = tag?.split(whereSeparator: { "\"-".contains($0) }), parts.count == 2,
      Int(parts[0]) == key
    else { return nil }
    return Int(parts[1])
  }
}

/// A purge is true against everything that is in flight (semantics.md 19).
@Suite(.blocking) struct `The race with purges` {
  static let isSoak = ProcessInfo.processInfo.environment["WEIR_SOAK"] != nil

  /// With room for everything, and with so little that all is pushed out and much does not fit.
  @Test(arguments: [(4, "memory=8MiB"), (2, "memory=1MiB max-object=32KiB")])
  func `is lost by no purge, on any worker, whatever is in flight`(workers: Int, cache: String)
    throws
  {
    let origin = try VersionedOrigin()
    var configuration = DaemonConfiguration([origin.address])
    configuration.top = "cache main \(cache)"
    configuration.route = "  cache main request-directives=on"
    configuration.workers = workers
    configuration.listener = "  keep-alive-requests 1000000"
    try withDaemon(configuration) { daemon in
      let bytes = try daemon.sum("weir_cache_bytes")
      let race = Race(origin, daemon, seconds: Self.isSoak ? 60 : 5)
      for seed in 0..<8 { race.run { try $0.readHTTP1(seed: UInt64(seed)) } }
      for seed in 10..<12 { race.run { try $0.readHTTP2(seed: UInt64(seed)) } }
      for seed in 20..<22 { race.run { try $0.purge(seed: UInt64(seed)) } }
      let haveEnded = race.state.wait(until: .after(Self.isSoak ? 180 : 120)) { $0.running == 0 }
      #expect(haveEnded)
      let found = race.state.current
      print(
        "race: \(workers) workers, \(found.purges) purges, \(found.responses) responses "
          + "(\(found.errors) errors, \(found.cuts) cuts): \(found.stale.count) stale, "
          + "\(found.wrong.count) wrong; \(found.kinds.sorted { $0.value > $1.value })")
      #expect(found.stale.isEmpty, "\(found.stale.count): \(found.stale.prefix(3))")
      #expect(found.wrong.isEmpty, "\(found.wrong.count): \(found.wrong.prefix(3))")
      #expect(found.failures.isEmpty, "\(found.failures.prefix(3))")
      #expect(found.purges > 20 && found.responses > 100)
      let rests = try `Fetches for a cache`.comesToRest(daemon)
      #expect(rests)
      let admin = try WireConnection.connect(path: daemon.adminPath)
      let body = "{\"all\":true}"
      try admin.send(
        "POST /v1/purge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
          + "Content-Length: \(body.count)\r\n\r\n\(body)")
      #expect(try admin.readResponse(to: "POST").status == 200)
      let left = try daemon.sum("weir_cache_bytes")
      #expect(left == bytes)
    }
    origin.stop()
  }
}
