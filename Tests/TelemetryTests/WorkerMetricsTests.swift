import Foundation
import Primitives
import Telemetry
import Testing

@Suite struct WorkerMetricsTests {
  @Test func `cells appear at the first use, at any id, and are found again`() {
    let metrics = WorkerMetrics()
    let ids = [0, 1, 511, 512, 513, 100_000, WorkerMetrics.idLimit - 1]
    for id in ids {
      #expect(metrics.routeIfUsed(id) == nil)
      metrics.route(id).add(.requestOctets, UInt64(id))
      metrics.backend(id).add(.attempts)
    }
    for id in ids {
      #expect(metrics.routeIfUsed(id)?.count(.requestOctets) == UInt64(id))
      #expect(metrics.backendIfUsed(id)?.count(.attempts) == 1)
      #expect(metrics.backendIfUsed(id)?.latency.snapshot().count == 0)
    }
    #expect(metrics.routeIfUsed(2) == nil)
  }

  @Test func `an id out of range shares the last one's cells`() {
    let metrics = WorkerMetrics()
    metrics.route(WorkerMetrics.idLimit + 5).add(.responses2xx)
    #expect(metrics.route(WorkerMetrics.idLimit - 1).count(.responses2xx) == 1)
    metrics.route(-1).add(.responses2xx)
    #expect(metrics.route(0).count(.responses2xx) == 1)
  }

  @Test func `statuses fall into their classes`() {
    let classes = [100, 101, 200, 299, 304, 404, 499, 500, 599].map {
      RouteCounter.responses(status: $0)
    }
    #expect(
      classes == [
        .responses1xx, .responses1xx, .responses2xx, .responses2xx, .responses3xx,
        .responses4xx, .responses4xx, .responses5xx, .responses5xx,
      ])
    #expect(BackendCounter.responses(status: 302) == .responses3xx)
  }

  @Test func `a reader sees growing cells whole while the owner counts`() {
    let metrics = WorkerMetrics()
    let rounds = 2000
    let owner = Thread {
      for id in 0..<rounds {
        let cells = metrics.backend(id)
        cells.latency.record(microseconds: 1000)
        cells.add(.attempts, 3)
        metrics.add(.requests)
      }
    }
    owner.start()
    while metrics.count(.requests) < UInt64(rounds) {
      for id in stride(from: 0, to: rounds, by: 97) {
        guard let cells = metrics.backendIfUsed(id) else { continue }
        let attempts = cells.count(.attempts)
        #expect(attempts == 0 || attempts == 3)
        #expect(cells.latency.snapshot().count <= 1)
      }
    }
    for id in 0..<rounds { #expect(metrics.backendIfUsed(id)?.count(.attempts) == 3) }
  }
}
