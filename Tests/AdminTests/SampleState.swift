import Balancing
import Caching
import Foundation
import Primitives
import Proxy
import Routing
import Telemetry
import TestSupport
import Transport

@testable import Admin

/// A daemon with two workers, two upstreams and two routes that has served a little.
struct SampleState {
  var state: AdminState
  let workers = [WorkerMetrics(), WorkerMetrics()]

  init() throws {
    var options = ProxyOptions()
    options.maxConnections = 500
    var listener = ListenerOptions(name: "web")
    listener.bind = [.ip(IPAddress(v4: 0x7F00_0001), port: 8080)]
    options.listeners = [listener, try SampleState.secureListener()]
    var app = UpstreamOptions(name: "app")
    app.backends = [
      BackendOptions(address: SampleState.address(9001), name: "127.0.0.1:9001"),
      BackendOptions(address: SampleState.address(9002), name: "two"),
    ]
    app.backends[1].weight = 0
    app.backends[1].isBackup = true
    var media = UpstreamOptions(name: "media")
    var hash = HashOptions(key: .header("x-user"))
    hash.bound = 1.25
    media.balance = .hash(hash)
    media.backends = [BackendOptions(address: SampleState.address(9001), name: "m")]
    options.upstreams = [app, media]
    options.routes = [
      RouteOptions(
        pattern: RoutePattern(path: .prefix("/media")), name: "/media/*", action: .upstream(1)),
      RouteOptions(pattern: RoutePattern(), name: "*", action: .upstream(0)),
    ]
    options.caches = [CacheOptions(name: "main")]
    let shared = SharedState(seed: 1)
    let snapshot = try Snapshot(options, generation: 3, name: "test", shared: shared)
    SampleState.count(workers, shared)
    state = AdminState(
      version: "1.2.3", instance: "test", processID: 4711, workers: workers, snapshot: snapshot,
      shared: shared, lastReload: ReloadRecord(), isDraining: false, startedAt: 1_700_000_000,
      uptime: .seconds(90), now: MonotonicTime(nanoseconds: 1_000_000_000), droppedLogLines: 2,
      usage: {
        ProcessUsage(
          residentBytes: 8_388_608, openDescriptors: 21, maxDescriptors: 1024, cpuSeconds: 1.5)
      })
  }

  private static let certificates = Result { try TestCertificates() }
  private static let pair = Result { try certificates.get().issue(["www.example.com"]) }

  private static func secureListener() throws -> ListenerOptions {
    let pair = try pair.get()
    func read(_ path: String) throws -> [UInt8] {
      Array(try String(contentsOfFile: path, encoding: .utf8).utf8)
    }
    var tls = TLSServerOptions()
    tls.credentials = [
      try Credential(
        files: .init(certificate: "/etc/www.pem", key: "/etc/www.key", chain: nil),
        certificatePEM: read(pair.certificate), keyPEM: read(pair.key), chainPEM: nil)
    ]
    var listener = ListenerOptions(name: "secure")
    listener.bind = [.ip(IPAddress(v4: 0x7F00_0001), port: 8443)]
    listener.tls = tls
    return listener
  }

  static func address(_ port: UInt16) -> SocketAddress {
    .ip(IPAddress(v4: 0x7F00_0001), port: port)
  }

  private static func count(_ workers: [WorkerMetrics], _ shared: SharedState) {
    let route = shared.routeNames().first { $0.name == "*" }?.id ?? -1
    for worker in workers {
      worker.add(.requests, 5)
      worker.add(.connectionsAccepted, 2)
      worker.route(route).add(.responses(status: 200), 4)
      worker.route(route).add(.responses(status: 503), 1)
      worker.route(route).latency.record(microseconds: 7)
      worker.backend(0).add(.attempts, 5)
      worker.backend(0).add(.responses(status: 200), 4)
      worker.backend(0).add(.connectRefused, 1)
      worker.backend(0).latency.record(microseconds: 4)
    }
    workers[1].add(.rejectedAtLimit)
    workers[1].add(.logLinesDropped)
    shared.connections.store(3, ordering: .relaxed)
  }
}
