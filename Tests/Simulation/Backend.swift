import Glibc

/// One backend: it reads requests, remembers what it saw, and answers well or badly, as the seed
/// has it.
final class Backend {
  enum Mode: CaseIterable {
    /// Accepts and serves.
    case serving
    /// Nobody listens: connects are refused. Connections there are go on.
    case refusing
    /// As a process that was killed: nobody listens, and every connection is gone.
    case dead
    /// Connects are taken by the kernel, and nobody ever reads.
    case stuck
  }

  let name: String
  private let path: String
  private(set) var mode = Mode.serving
  private var listener: Int32 = -1
  private var connections: [any Answering] = []
  private var random: Draw
  private let faults: Faults
  private let mostRequests: Int
  private let speaksHTTP2: Bool

  /// `mostRequests`: at once; 0: any number.
  init(_ role: Role, mostRequests: Int, speaksHTTP2: Bool) {
    (name, path, faults, random) = (role.name, role.path, role.faults, role.random)
    self.mostRequests = mostRequests
    self.speaksHTTP2 = speaksHTTP2
    open()
  }

  private func open() { listener = Sockets.listen(path, backlog: 16) }

  private func stopListening() {
    if listener >= 0 { close(listener) }
    listener = -1
  }

  func become(_ next: Mode, _ world: inout World) {
    world.trace.say("backend \(name) becomes \(next)")
    world.trace.note(Mode.allCases.firstIndex(of: next) ?? 0)
    if next == .dead { for connection in connections { connection.end(&world) } }
    connections.removeAll { $0.isClosed }
    switch next {
    case .refusing, .dead: stopListening()
    case .serving, .stuck: if listener < 0 { open() }
    }
    switch next {
    case .serving: break
    case .refusing: world.ledger.counts[.refusing] += 1
    case .dead: world.ledger.counts[.dead] += 1
    case .stuck: world.ledger.counts[.stuck] += 1
    }
    mode = next
  }

  func finish(_ world: inout World) {
    for connection in connections { connection.end(&world) }
    stopListening()
    unlink(path)
  }

  /// When an answer that waits is due.
  var nextDue: UInt64 { connections.reduce(.max) { min($0, $1.dueAt) } }

  /// Since when the one who waits longest for what will never come has done so.
  var silentSince: UInt64 {
    // Who reads nothing does not know what was taken back.
    mode == .stuck && speaksHTTP2 ? .max : connections.reduce(.max) { min($0, $1.silentSince) }
  }

  /// False where there was nothing to do.
  func step(_ world: inout World) -> Bool {
    guard mode != .stuck else { return false }
    var hadWork = false
    while listener >= 0 {
      let accepted = Sockets.accept(listener)
      guard accepted >= 0 else { break }
      hadWork = true
      let random = random.split()
      let largest = world.largestBody
      connections.append(
        speaksHTTP2
          ? StreamBackendConnection(
            accepted, backend: name, faults: faults, largestBody: largest, random: random)
          : BackendConnection(
            accepted, backend: name, faults: faults, largestBody: largest, random: random))
    }
    for connection in connections where connection.step(&world) { hadWork = true }
    connections.removeAll { $0.isClosed }
    if mostRequests > 0 { countRequests(&world) }
    return hadWork
  }

  private func countRequests(_ world: inout World) {
    let count = connections.count(where: \.isBusy)
    if count > mostRequests {
      world.ledger.violated("backend \(name): \(count) requests at once, allowed \(mostRequests)")
    }
  }
}

/// What may go wrong, in per cent of the requests.
struct Faults {
  /// Answers that are cut short, connections that are reset, requests that are never answered, …
  var badAnswers = 0
  /// Clients that go away, stop reading, or send what is no request.
  var badClients = 0
  /// Backends change their mode at one step in a thousand times this.
  var flapping = 0
  /// Idle connections that a backend closes without a word.
  var closedIdle = 0
}
