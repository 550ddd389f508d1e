/// A route as metrics name it.
public struct RouteLabel: Sendable {
  /// As in `WorkerMetrics.route`.
  public var id: Int
  /// The route's pattern as written.
  public var name: String

  public init(id: Int, name: String) {
    self.id = id
    self.name = name
  }
}

/// A backend as metrics name it.
public struct BackendLabel: Sendable {
  /// As in `WorkerMetrics.backend`.
  public var id: Int
  public var upstream: String
  public var name: String

  public init(id: Int, upstream: String, name: String) {
    self.id = id
    self.upstream = upstream
    self.name = name
  }
}

/// What all workers counted, summed over them. Read on any thread while they go on counting.
public struct MetricsSums {
  private let workers: [WorkerMetrics]

  public init(workers: [WorkerMetrics]) { self.workers = workers }

  public func count(_ counter: ProxyCounter) -> UInt64 {
    workers.reduce(0) { $0 &+ $1.count(counter) }
  }

  public func count(_ counter: RouteCounter, route id: Int) -> UInt64 {
    workers.reduce(0) { $0 &+ ($1.routeIfUsed(id)?.count(counter) ?? 0) }
  }

  public func count(_ counter: BackendCounter, backend id: Int) -> UInt64 {
    workers.reduce(0) { $0 &+ ($1.backendIfUsed(id)?.count(counter) ?? 0) }
  }

  public func latency(route id: Int) -> HistogramSnapshot {
    var sum = HistogramSnapshot()
    for worker in workers {
      if let cells = worker.routeIfUsed(id) { sum.add(cells.latency) }
    }
    return sum
  }

  public func latency(backend id: Int) -> HistogramSnapshot {
    var sum = HistogramSnapshot()
    for worker in workers {
      if let cells = worker.backendIfUsed(id) { sum.add(cells.latency) }
    }
    return sum
  }

  fileprivate func isUsed(route id: Int) -> Bool { workers.contains { $0.routeIfUsed(id) != nil } }
}

extension PrometheusText {
  /// Every counter and histogram of the catalogue. A route appears once it has been used; a
  /// backend always does, so that an alert on it has something to look at.
  ///
  /// `droppedLogLines` are those the log's writer lost, beside what workers counted.
  public mutating func append(
    _ sums: MetricsSums, routes: [RouteLabel], backends: [BackendLabel], droppedLogLines: UInt64
  ) {
    for counter in ProxyCounter.allCases {
      let extra = counter == .logLinesDropped ? droppedLogLines : 0
      sample(counter.metric, sums.count(counter) &+ extra)
    }
    let used = routes.filter { sums.isUsed(route: $0.id) }
    for family in families(RouteCounter.allCases) {
      for route in used {
        for (counter, metric) in family {
          sample(metric, values: [route.name], sums.count(counter, route: route.id))
        }
      }
    }
    let routeLatency = HistogramMetric.routeLatency.metric
    for route in used {
      histogram(
        routeLatency, values: [route.name], sums.latency(route: route.id))
    }
    for family in families(BackendCounter.allCases) {
      for backend in backends {
        for (counter, metric) in family {
          sample(
            metric, values: [backend.upstream, backend.name],
            sums.count(counter, backend: backend.id))
        }
      }
    }
    let backendLatency = HistogramMetric.backendLatency.metric
    for backend in backends {
      histogram(
        backendLatency, values: [backend.upstream, backend.name],
        sums.latency(backend: backend.id))
    }
  }

  /// Counters of the same family together: their samples must not be scattered. Descriptions are
  /// made once for a page, not for every sample of it.
  private func families<Counter: CatalogCounter>(
    _ counters: [Counter]
  ) -> [[(counter: Counter, metric: MetricDescription)]] {
    var result: [[(counter: Counter, metric: MetricDescription)]] = []
    for counter in counters {
      let metric = counter.metric
      if let last = result.last?.last, last.metric.name == metric.name {
        result[result.count - 1].append((counter, metric))
      } else {
        result.append([(counter, metric)])
      }
    }
    return result
  }
}
