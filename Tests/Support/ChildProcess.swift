import CLinux
import Foundation

/// A program run by a test: its standard output and error are collected, its end is awaited with a
/// deadline, and it never outlives the test process.
public final class ChildProcess: Sendable {
  public enum Ending: Equatable, Sendable {
    case exit(Int32)
    case signal(Int32)
  }

  private struct State: Sendable {
    var output: [UInt8] = []
    var openPipes = 2
    var ending: Ending?
  }

  public let pid: pid_t
  /// Ends this child when our process ends in any way, a crash included.
  private let guardian: Guardian
  private let state = Monitor(State())

  public init(
    _ path: String, _ arguments: [String], environment: [String: String] = [:],
    descriptorLimit: Int? = nil
  ) throws {
    var pipes: [(read: Int32, write: Int32)] = []
    for _ in 0..<2 {
      var ends: [Int32] = [0, 0]
      guard pipe2(&ends, O_CLOEXEC) == 0 else { throw WireError.system("pipe2", errno) }
      pipes.append((ends[0], ends[1]))
    }
    var command = [path] + arguments
    if let descriptorLimit {
      command = ["/bin/sh", "-c", "ulimit -n \(descriptorLimit); exec \"$@\"", "sh"] + command
    }
    var variables = ProcessInfo.processInfo.environment
    // The backtracer of a crash hangs under sanitizers and slows every failure down.
    variables["SWIFT_BACKTRACE"] = "enable=no"
    variables.merge(environment) { $1 }
    pid = try spawn(command, variables, standard: [nil, pipes[0].write, pipes[1].write])
    guardian = try Guardian(of: pid)
    for (read, write) in pipes {
      close(write)
      Thread.detachNewThread { [state] in
        var room = [UInt8](repeating: 0, count: 65536)
        while true {
          let count = Glibc.read(read, &room, room.count)
          if count < 0 && errno == EINTR { continue }
          if count <= 0 { break }
          state.update { $0.output.append(contentsOf: room[..<count]) }
        }
        close(read)
        state.update { $0.openPipes -= 1 }
      }
    }
    Thread.detachNewThread { [pid, state] in
      var status: Int32 = 0
      while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
      let signal = status & 0x7f
      state.update { $0.ending = signal == 0 ? .exit((status >> 8) & 0xff) : .signal(signal) }
    }
  }

  deinit { kill(SIGKILL) }

  /// Standard output and error so far, as they came.
  public var output: String { String(decoding: state.current.output, as: UTF8.self) }
  public var ending: Ending? { state.current.ending }

  public func kill(_ signal: Int32) {
    state.update { if $0.ending == nil { _ = Glibc.kill(pid, signal) } }
  }

  /// Waits until the output satisfies `condition`, or the process has ended.
  public func waitForOutput(
    _ seconds: Double = Deadline.patienceSeconds, _ condition: (String) -> Bool
  ) -> Bool {
    _ = state.wait(until: .after(seconds)) {
      $0.ending != nil || condition(String(decoding: $0.output, as: UTF8.self))
    }
    return condition(output)
  }

  /// How it ended, with all of its output read; `nil` when it still runs after `seconds`.
  public func waitForEnd(_ seconds: Double = Deadline.patienceSeconds) -> Ending? {
    _ = state.wait(until: .after(seconds)) { $0.ending != nil && $0.openPipes == 0 }
    return state.current.ending
  }

  /// Runs a program to its end.
  public static func run(
    _ path: String, _ arguments: [String], seconds: Double = 2 * Deadline.patienceSeconds
  ) throws -> (ending: Ending, output: String) {
    let child = try ChildProcess(path, arguments)
    guard let ending = child.waitForEnd(seconds) else {
      throw TestFailure("\(path) \(arguments) still runs after \(seconds) s: \(child.output)")
    }
    return (ending, child.output)
  }
}

/// A shell that kills `pid` when the pipe from our process breaks, which it also does when we
/// crash.
private final class Guardian: Sendable {
  private let pid: pid_t
  private let lifeline: Int32

  init(of child: pid_t) throws {
    var ends: [Int32] = [0, 0]
    guard pipe2(&ends, O_CLOEXEC) == 0 else { throw WireError.system("pipe2", errno) }
    lifeline = ends[1]
    let script = "read line; kill -9 \(child) 2>/dev/null"
    pid = try spawn(["/bin/sh", "-c", script], [:], standard: [ends[0], nil, nil])
    close(ends[0])
  }

  deinit {
    kill(pid, SIGKILL)
    close(lifeline)
    var status: Int32 = 0
    waitpid(pid, &status, 0)
  }
}

/// posix_spawn with the given standard descriptors; `nil` is /dev/null.
private func spawn(
  _ command: [String], _ variables: [String: String], standard: [Int32?]
) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  for (target, descriptor) in standard.enumerated() {
    if let descriptor {
      posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(target))
    } else {
      posix_spawn_file_actions_addopen(&actions, Int32(target), "/dev/null", O_RDWR, 0)
    }
  }
  let arguments = command.map { strdup($0) } + [nil]
  let environment = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
  defer { for text in arguments + environment { free(text) } }
  var pid: pid_t = 0
  let result = posix_spawnp(&pid, command[0], &actions, nil, arguments, environment)
  guard result == 0 else { throw WireError.system("spawn \(command[0])", result) }
  return pid
}
