/// What all actors of a run share.
struct World {
  /// Virtual nanoseconds.
  var now: UInt64
  var trace: Trace
  var ledger: Ledger
  var largestBody: Int
  /// No faults are put in: every request must be answered by a backend, and no clock is needed.
  let isCalm: Bool
  /// Requests still to be sent, over all clients.
  var requestsLeft: Int
}

/// The targets of requests.
enum Paths {
  static func plain(_ number: Int) -> String { "/p/\(number)" }
  static func object(_ number: Int) -> String { "/c/\(number)" }

  static func object(_ path: Substring) -> Int? {
    path.hasPrefix("/c/") ? Int(path.dropFirst(3).prefix { $0.isNumber }) : nil
  }
}
