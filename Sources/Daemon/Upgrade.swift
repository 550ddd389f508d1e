import Admin
import CLinux
import Glibc
import Primitives
import Proxy
import Telemetry
import Transport

/// Another binary takes over, without a moment in which nobody listens: it gets the listening
/// sockets, checks its configuration and its backends, and says that it is ready; only then does
/// this process drain. A binary that does not get that far changes nothing.
///
/// The side of the process that is replaced.
struct Upgrade {
  /// For the new process to be ready; the slowest health check's timeout belongs in it.
  static let limit = TimeAmount.seconds(60)

  /// How an upgrade that came to nothing ended.
  private(set) var failure: String?
  private var child: pid_t = 0
  private var channel: HandoverChannel?
  private(set) var deadline = MonotonicTime.never

  var isRunning: Bool { channel != nil }
  /// What the control loop polls while one is running.
  var descriptor: Int32? { channel?.descriptor }

  /// Starts the program and gives it everything. Returns its process id; `nil`: see `failure`.
  mutating func begin(
    _ program: String, _ arguments: [String], _ environment: [String: String],
    _ letter: HandoverLetter, _ sockets: [Listener], now: MonotonicTime
  ) -> pid_t? {
    failure = nil
    guard let (mine, theirs) = HandoverChannel.pair() else {
      failure = "no descriptor left"
      return nil
    }
    var variables = environment
    // Of this process alone: what systemd gave it, and whom the watchdog means.
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
      variables[name] = nil
    }
    variables[HandoverChannel.variable] = "\(HandoverChannel.descriptorInChild)"
    let started = Upgrade.spawn(program, arguments, variables, theirs)
    SocketCalls.close(theirs)
    guard started > 0 else {
      mine.close()
      failure = "\(program): \(String(cString: strerror(-started)))"
      return nil
    }
    child = started
    channel = mine
    deadline = now + Upgrade.limit
    guard mine.give(letter, sockets) else {
      fail("it did not take the listening sockets")
      return nil
    }
    return started
  }

  private static func spawn(
    _ program: String, _ arguments: [String], _ environment: [String: String], _ channel: Int32
  ) -> Int32 {
    var words = arguments.map { strdup($0) } + [nil]
    var variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in words + variables { free(text) } }
    return weir_spawn(program, &words, &variables, channel, HandoverChannel.descriptorInChild)
  }

  /// To be called when `descriptor` is readable. The new process's id once it is ready, and to be
  /// told by `complete`.
  mutating func advance() -> pid_t? {
    guard let channel else { return nil }
    if channel.receive() == .ready { return child }
    fail("the new process ended before it was ready; its output says why")
    return nil
  }

  /// Tells the new process that it is the service now.
  mutating func complete() {
    _ = channel?.send(.go)
    channel?.close()
    channel = nil
    deadline = .never
  }

  mutating func fail(_ reason: String) {
    failure = reason
    channel?.close()
    channel = nil
    deadline = .never
    // What it may have begun is undone by its end: it serves nobody before it is told to.
    kill(child, SIGKILL)
    waitpid(child, nil, 0)
  }
}

extension Daemon {
  /// SIGUSR2 and `POST /v1/upgrade`. Returns what is in the way, or `nil` once it has begun.
  func beginUpgrade() -> String? {
    if isDraining { return "weir is stopping" }
    if upgrade.isRunning { return "an upgrade is under way" }
    if getpid() == 1 { return "this weir is process 1, and its end would be the container's" }
    guard let program else { return "this weir was not started by 'weir run'" }
    let letter = HandoverLetter(
      instance: instance, modes: snapshot.modesOfPeople, addresses: shared.names.addresses)
    let started = upgrade.begin(
      program, CommandLine.arguments, environment, letter, sockets.all + admin.sockets,
      now: MonotonicTime.now())
    guard let started, let descriptor = upgrade.descriptor else {
      log.error("upgrade refused: \(upgrade.failure ?? "")")
      return upgrade.failure
    }
    log.info("upgrade: \(program) started as process \(started)")
    watchUpgrade(descriptor)
    return nil
  }

  /// The new process has said something, or is gone.
  func upgradeAdvanced() {
    guard let process = upgrade.advance() else { return reportUpgradeFailure() }
    log.info("upgrade: process \(process) is ready and serves from now on")
    notifier.mainProcess(process)
    notifier.resign()
    isReplaced = true
    admin.handOver()
    upgrade.complete()
    drain()
  }

  func upgradeTimedOut() {
    upgrade.fail("the new process was not ready after \(Upgrade.limit.milliseconds / 1000) s")
    reportUpgradeFailure()
  }

  private func reportUpgradeFailure() {
    guard let failure = upgrade.failure else { return }
    log.error("upgrade failed: \(failure); this process goes on")
  }
}

/// The side of the process that takes over.
struct Predecessor {
  private let channel: HandoverChannel
  let letter: HandoverLetter
  let sockets: [Listener]

  /// `nil` where this process replaces none. Throws where the old one did not say all.
  init?(_ environment: [String: String]) throws(HandoverFault) {
    guard let channel = HandoverChannel(environment) else { return nil }
    guard let (letter, sockets) = channel.take() else { throw HandoverFault() }
    self.channel = channel
    self.letter = letter
    self.sockets = sockets
  }

  /// What the control loop polls until the old process gives way.
  var descriptor: Int32 { channel.descriptor }

  func announce() { _ = channel.send(.ready) }

  /// To be called when `descriptor` is readable: the old process has given way, or is gone. Either
  /// way this one is the service.
  func takeOver() {
    _ = channel.receive()
    channel.close()
  }
}

struct HandoverFault: Error {}
