import ArgumentParser
import Daemon
import Glibc
import Primitives
import Transport

/// `weir demo`
struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Serve a ready configuration before three sample backends, to try things out.",
    discussion: """
      Everything happens in this one process; its configuration is a file that you can edit and \
      reload. Nothing is left behind.
      """)

  @Option(help: ArgumentHelp("The port that the proxy listens on.", valueName: "port"))
  var port: UInt16 = 8080

  func run() throws {
    DemoCommand.holdSignals()
    let address = try listenAddress()
    guard let folder = DemoFolder() else {
      throw DemoCommand.failure("no folder for temporary files can be made")
    }
    defer { folder.remove() }
    let backends: [SampleBackend]
    do throws(ListenError) {
      backends = try ["one", "two", "three"].map { (name) throws(ListenError) in
        try SampleBackend(name: name)
      }
    } catch { throw DemoCommand.failure(error.message) }
    let text = DemoCommand.configurationText(address, backends, folder.path)
    guard folder.write(text, to: "proxy.conf") else {
      throw DemoCommand.failure("\(folder.path)/proxy.conf cannot be written")
    }
    let environment = ProcessEnvironment.variables
    guard let daemon = Daemon(path: "\(folder.path)/proxy.conf", environment: environment) else {
      throw ExitCode(Daemon.ExitStatus.failure)
    }
    for backend in backends { backend.start() }
    print(instructions(folder.path, backends))
    fflush(nil)
    let status = daemon.run()
    if status != Daemon.ExitStatus.success { throw ExitCode(status) }
  }

  private static func failure(_ message: String) -> ExitCode {
    StandardError.write("weir: \(message)")
    return ExitCode(Daemon.ExitStatus.failure)
  }

  /// From here on a signal waits for the daemon, which ends in order: no thread and no folder is
  /// left behind, however early Ctrl-C comes.
  private static func holdSignals() {
    var set = sigset_t()
    sigemptyset(&set)
    for number in [SIGTERM, SIGINT, SIGHUP, SIGUSR1] { sigaddset(&set, number) }
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// Asks for the port without sharing it: the daemon's own sockets are shared between workers,
  /// and would be with another weir that listens there.
  private func listenAddress() throws -> String {
    let any = IPAddress(high: 0, low: 0)
    let choices = [
      (":\(port)", any), ("0.0.0.0:\(port)", IPAddress(v4: 0)),
    ]
    var fault: ListenError?
    for (text, address) in choices {
      do throws(ListenError) {
        try Listener(Endpoint(.ip(address, port: port)), backlog: 1, sharesPort: false).close()
        return text
      } catch { fault = fault ?? error }
      // A machine without IPv6 still has the other one.
      if let code = fault?.code, code != EAFNOSUPPORT, code != EADDRNOTAVAIL { break }
    }
    if fault?.code == EADDRINUSE {
      throw DemoCommand.failure(
        "port \(port) is in use; choose another one: weir demo --port PORT")
    }
    throw DemoCommand.failure(fault?.message ?? "port \(port) cannot be listened on")
  }

  private static func configurationText(
    _ address: String, _ backends: [SampleBackend], _ folder: String
  ) -> String {
    func lines(_ prefix: String) -> String {
      backends.map { "    backend 127.0.0.1:\($0.port) name=\(prefix)\($0.name)" }
        .joined(separator: "\n")
    }
    return """
      # The demo's configuration. Change it, then run:
      #   weir reload --admin unix:\(folder)/admin.sock

      access-log stdout format=combined
      admin unix:\(folder)/admin.sock

      listener web {
          bind \(address)
      }

      cache main memory=64MiB

      # Who has the fewest requests in flight gets the next one.
      upstream app {
          balance least-connections
      \(lines(""))
      }

      # The same path always goes to the same backend, as long as that one can serve.
      upstream media {
          balance hash path bound=1.25
      \(lines("media-"))
      }

      # The most specific route takes a request, whatever the order in this file.
      route /media/* {
          upstream media
          response-header set X-Content-Type-Options nosniff
      }

      # Answers are kept for a minute; then the old one is served while a new one is fetched.
      route /cached/* {
          upstream app
          cache main ttl=60s stale-while-revalidate=30s stale-if-error=10m
      }

      route /robots.txt {
          respond 200 body="User-agent: *\\nDisallow:\\n"
      }

      route * {
          upstream app
      }

      """
  }

  private func instructions(_ folder: String, _ backends: [SampleBackend]) -> String {
    let program = CommandLine.arguments[0]
    let admin = "unix:\(folder)/admin.sock"
    return """

      A proxy on http://localhost:\(port) before three sample backends:
        \(backends.map { "\($0.name) on 127.0.0.1:\($0.port)" }.joined(separator: ", "))

      To try, in another terminal:

        curl -i localhost:\(port)/                   who answers, and what it was sent
        curl localhost:\(port)/media/logo.png        always the same backend for the same path
        curl 'localhost:\(port)/slow?ms=3000' &      least connections goes around the busy one
        curl -i 'localhost:\(port)/fail?status=503'  an error of a backend's
        curl 'localhost:\(port)/bytes?n=1000000000' | wc -c
        curl -T FILE localhost:\(port)/upload

        curl -i localhost:\(port)/cached/page         twice: the second time Cache-Status says hit
        \(program) purge --url http://localhost:\(port)/cached/page --admin \(admin)

        \(program) status --admin \(admin)
        curl --unix-socket \(folder)/admin.sock http://weir/metrics

      Take a backend out of the file, or break it, and reload:

        $EDITOR \(folder)/proxy.conf
        \(program) reload --admin \(admin)

      Ctrl-C ends it and removes \(folder). Requests are logged here:

      """
  }
}
