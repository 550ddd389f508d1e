import CLinux
import Foundation
import TestSupport
import Testing

/// The daemon's side of sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3), against a
/// manager that is played here.
@Suite(.blocking) struct `The service manager` {
  /// The manager's socket: every datagram, and how many descriptors came with it.
  private final class NotifySocket: Sendable {
    struct Note: Sendable {
      var lines: [String]
      var descriptors: Int
    }

    let path: String
    private let descriptor: Int32
    private let notes = Monitor([Note]())

    init(_ directory: String) throws {
      path = "\(directory)/notify"
      descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
      let bound = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      guard bound == 0 else { throw WireError.system("bind \(path)", errno) }
      Thread.detachNewThread { [descriptor, notes] in
        var octets = [UInt8](repeating: 0, count: 4096)
        var found = [Int32](repeating: -1, count: 128)
        while true {
          var count = found.count
          let length = weir_receive_descriptors(
            descriptor, &octets, octets.count, &found, &count)
          guard length > 0 else { return }
          for index in 0..<count { close(found[index]) }
          let text = String(decoding: octets[..<length], as: UTF8.self)
          notes.update {
            $0.append(
              Note(lines: text.split(separator: "\n").map(String.init), descriptors: count))
          }
        }
      }
    }

    deinit { shutdown(descriptor, Int32(SHUT_RDWR)) }

    var all: [Note] { notes.current }
    var lines: [String] { all.flatMap(\.lines) }

    func wait(_ seconds: Double = 10, for condition: ([String]) -> Bool) -> Bool {
      notes.wait(until: .after(seconds)) { condition($0.flatMap(\.lines)) }
    }
  }

  private func withManaged(
    _ configuration: DaemonConfiguration, _ variables: [String] = [],
    _ body: (DaemonProcess, NotifySocket) throws -> Void
  ) throws {
    let directory = try TemporaryDirectory.make()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let manager = try NotifySocket(directory)
    let daemon = try DaemonProcess(
      configuration, wrapper: ["/usr/bin/env", "NOTIFY_SOCKET=\(manager.path)"] + variables)
    try body(daemon, manager)
    try daemon.stop()
  }

  @Test func `hears of readiness after the first health round, of reloads and of the end`() throws {
    let gate = Monitor(false)
    let origin = try ScriptedOrigin { connection, _ in
      _ = try connection.readHead()
      _ = gate.wait(until: .after(20)) { $0 }
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }
    var configuration = DaemonConfiguration([origin.address])
    configuration.upstream = "health-check http /check interval=60s timeout=20s"
    configuration.blocks = "route /local { \n respond 200 body=here \n }"
    try withManaged(configuration) { (daemon, manager) throws in
      #expect(origin.wait { $0.count == 1 })
      #expect(try daemon.get("/local").status == 200, "it serves already")
      #expect(!manager.lines.contains("READY=1"), "\(manager.lines)")
      gate.update { $0 = true }
      #expect(manager.wait { $0.contains("READY=1") })
      #expect(manager.lines.contains { $0.hasPrefix("STATUS=serving generation 1 on ") })
      #expect(try daemon.reload(configuration).ending == .exit(0))
      let isTold = manager.wait { lines in
        let reload = lines.drop { $0 != "RELOADING=1" }
        return reload.contains("READY=1")
          && reload.contains { $0.hasPrefix("MONOTONIC_USEC=") }
          && reload.contains { $0.hasPrefix("STATUS=serving generation 2") }
      }
      #expect(isTold, "\(manager.lines)")
      daemon.process.kill(SIGTERM)
      #expect(manager.wait { $0.contains("STOPPING=1") }, "\(manager.lines)")
    }
  }

  @Test func `keeps the listening sockets, as many as there are`() throws {
    var configuration = DaemonConfiguration([try HTTPOrigin().address])
    configuration.workers = 2
    let port = Ports.take()
    var more = configuration
    more.listener = "bind 127.0.0.1:\(port)"
    try withManaged(configuration) { (daemon, manager) throws in
      func stored() -> [Int] {
        manager.all.filter { $0.lines.contains("FDSTORE=1") }.map(\.descriptors)
      }
      #expect(manager.wait { $0.contains("READY=1") })
      #expect(stored() == [2])
      #expect(try daemon.reload(configuration).ending == .exit(0))
      #expect(try daemon.reload(more).ending == .exit(0))
      #expect(manager.wait { $0.filter { $0 == "FDSTORE=1" }.count == 2 })
      #expect(stored() == [2, 4], "and not again where nothing changed")
      #expect(manager.lines.contains("FDNAME=weir-listener"))
    }
  }

  @Test func `is told that weir is alive while every worker turns`() throws {
    var configuration = DaemonConfiguration([try HTTPOrigin().address])
    configuration.workers = 2
    try withManaged(configuration, ["WATCHDOG_USEC=150000"]) { (daemon, manager) throws in
      #expect(manager.wait { $0.filter { $0 == "WATCHDOG=1" }.count >= 4 })
      // Stopped as a whole it can say nothing; afterwards it goes on.
      daemon.process.kill(SIGSTOP)
      #expect(
        Poll.until(.after(10)) {
          let stat = try? String(contentsOfFile: "/proc/\(daemon.pid)/stat", encoding: .utf8)
          return stat?.contains(") T ") == true
        })
      let count = manager.lines.filter { $0 == "WATCHDOG=1" }.count
      daemon.process.kill(SIGCONT)
      #expect(manager.wait { $0.filter { $0 == "WATCHDOG=1" }.count >= count + 4 })
    }
  }

  /// One thread alone is held up, at the end of its wait for events; all others turn.
  @Test func `hears nothing any more once a single worker is stuck`() throws {
    var configuration = DaemonConfiguration([try HTTPOrigin().address])
    configuration.workers = 2
    try withManaged(configuration, ["WATCHDOG_USEC=150000"]) { (daemon, manager) throws in
      func count() -> Int { manager.lines.count { $0 == "WATCHDOG=1" } }
      #expect(manager.wait { $0.count { $0 == "WATCHDOG=1" } >= 4 })
      let tasks = "/proc/\(daemon.pid)/task"
      let worker = try FileManager.default.contentsOfDirectory(atPath: tasks).first {
        try String(contentsOfFile: "\(tasks)/\($0)/comm", encoding: .utf8) == "weir-worker-1\n"
      }
      let tracer = try ChildProcess(
        "strace",
        [
          "-p", try #require(worker), "-e", "trace=epoll_wait", "-e",
          "inject=epoll_wait:delay_exit=60000000",
        ])
      #expect(tracer.waitForOutput { $0.contains("epoll_wait") })
      let before = count()
      #expect(!manager.wait(1.5) { $0.count { $0 == "WATCHDOG=1" } >= before + 3 })
      tracer.kill(SIGKILL)
      _ = tracer.waitForEnd()
      let after = count()
      #expect(manager.wait { $0.count { $0 == "WATCHDOG=1" } >= after + 4 })
    }
  }

  @Test func `is asked for no watchdog where it means another process`() throws {
    let configuration = DaemonConfiguration([try HTTPOrigin().address])
    let ofOther = ["WATCHDOG_USEC=50000", "WATCHDOG_PID=1"]
    try withManaged(configuration, ofOther) { (daemon, manager) throws in
      #expect(manager.wait { $0.contains("READY=1") })
      #expect(try daemon.reload(configuration).ending == .exit(0))
      #expect(!manager.lines.contains("WATCHDOG=1"))
    }
  }

  /// What systemd does for a socket unit and for stored descriptors: it holds the socket, and gives
  /// it to each process that it starts. The second is started after the first was killed.
  @Test func `holds the socket over a crash, and connections made meanwhile are served`() throws {
    let origin = try HTTPOrigin()
    let port = Ports.take()
    let script = """
      import os, signal, socket, subprocess, sys
      held = socket.socket()
      held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      held.bind(("127.0.0.1", \(port)))
      held.listen(64)
      def start():
          child = os.fork()
          if child: return child
          os.dup2(held.fileno(), 3)
          os.set_inheritable(3, True)
          os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
          os.execv(sys.argv[1], sys.argv[1:])
      child = start()
      print("child", child, flush=True)
      os.waitpid(child, 0)
      print("gone", flush=True)
      os.kill(os.getpid(), signal.SIGSTOP)
      child = start()
      signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
      signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
      status = os.waitpid(child, 0)[1]
      sys.exit(os.waitstatus_to_exitcode(status))
      """
    var configuration = DaemonConfiguration([origin.address])
    configuration.workers = 2
    configuration.listener = "bind 127.0.0.1:\(port)"
    let directory = try TemporaryDirectory.make()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try script.write(toFile: "\(directory)/manager.py", atomically: true, encoding: .utf8)
    let daemon = try DaemonProcess(
      configuration, wrapper: ["/usr/bin/python3", "\(directory)/manager.py"])
    func request() throws -> WireConnection {
      let client = try WireConnection.connect(port: port)
      try client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      return client
    }
    for _ in 0..<8 { #expect(try request().readResponse().status == 200) }
    let first = daemon.process.output.components(separatedBy: "child ").last.flatMap {
      pid_t($0.prefix { $0.isNumber })
    }
    kill(try #require(first), SIGKILL)
    #expect(daemon.process.waitForOutput { $0.contains("gone") })
    // Nobody accepts; the kernel keeps them.
    let waiting = try (0..<8).map { _ in try request() }
    #expect(
      Poll.until(.after(10)) {
        let stat = try? String(contentsOfFile: "/proc/\(daemon.pid)/stat", encoding: .utf8)
        return stat?.contains(") T ") == true
      })
    daemon.process.kill(SIGCONT)
    for client in waiting { #expect(try client.readResponse().status == 200) }
    try daemon.stop()
  }
}
