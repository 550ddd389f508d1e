/// Metrics that are not counted in cells but asked of their owner when the page is made.
public enum GaugeMetric: CaseIterable, Sendable {
  case buildVersion, startTime, workers
  case configurationGeneration, lastReloadSuccess, lastReloadTime, draining
  case clientConnections
  case residentMemory, openDescriptors, maxDescriptors, processorTime
  case certificateExpiry
  case backendInFlight, backendAvailable, backendWeight, backendShare, upstreamPanic
  case backendHealth, backendChecks, backendBreaker, backendBreakerOpenings
  case nameAddresses, nameStale, nameNext, nameAnswers
  case cacheObjects, cacheBytes, cacheMemory, cacheInFlight, cacheEvictions, cachePurged

  public var metric: MetricDescription {
    switch self {
    case .buildVersion:
      .init("weir_build_info", .gauge, "Always 1; the version is a label.", labels: ["version"])
    case .startTime:
      .init(
        "weir_start_time_seconds", .gauge, "When the process started, in seconds since 1970.")
    case .workers: .init("weir_workers", .gauge, "Worker threads.")
    case .configurationGeneration:
      .init(
        "weir_config_generation", .gauge,
        "Number of the configuration in use; it grows with each successful reload.")
    case .lastReloadSuccess:
      .init(
        "weir_config_last_reload_success", .gauge,
        "1 if the last reload took effect, 0 if it was refused.")
    case .lastReloadTime:
      .init(
        "weir_config_last_reload_time_seconds", .gauge,
        "When the configuration was last reloaded, or the reload refused; at first, the start.")
    case .draining:
      .init("weir_draining", .gauge, "1 while the process finishes its work in order to end.")
    case .clientConnections:
      .init("weir_connections", .gauge, "Client connections open.")
    case .residentMemory:
      .init(
        "weir_process_resident_bytes", .gauge, "Memory of the process that is in RAM.")
    case .openDescriptors:
      .init("weir_process_open_descriptors", .gauge, "File descriptors in use.")
    case .maxDescriptors:
      .init(
        "weir_process_max_descriptors", .gauge, "File descriptors the process may have open.")
    case .processorTime:
      .init(
        "weir_process_cpu_seconds_total", .counter,
        "Processor time that all threads have used, user and system.")
    case .certificateExpiry:
      .init(
        "weir_certificate_expiry_seconds", .gauge,
        "When a certificate that clients get expires, in seconds since 1970.",
        labels: ["listener", "file"])
    case .backendInFlight:
      .init(
        "weir_backend_in_flight", .gauge, "Requests in flight at the backend.",
        labels: BackendCounter.labels)
    case .backendAvailable:
      .init(
        "weir_backend_available", .gauge, "1 if the backend may get new requests, else 0.",
        labels: BackendCounter.labels)
    case .backendWeight:
      .init(
        "weir_backend_weight", .gauge, "Configured weight, 0 to 256.",
        labels: BackendCounter.labels)
    case .backendShare:
      .init(
        "weir_backend_weight_counted_ratio", .gauge,
        "Part of the weight that counts: below 1 while the backend starts slowly.",
        labels: BackendCounter.labels)
    case .upstreamPanic:
      .init(
        "weir_upstream_panic", .gauge,
        "1 while so few backends can serve that health checks are ignored.", labels: ["upstream"])
    case .backendHealth:
      .init(
        "weir_backend_health", .gauge, "0 if the health check says down, else 1.",
        labels: BackendCounter.labels)
    case .backendChecks:
      .init(
        "weir_backend_checks_total", .counter, "Health checks, `passed` and `failed`.",
        labels: BackendCounter.labels + ["result"])
    case .backendBreaker:
      .init(
        "weir_backend_breaker_state", .gauge, "Circuit breaker: 0 closed, 1 half open, 2 open.",
        labels: BackendCounter.labels)
    case .backendBreakerOpenings:
      .init(
        "weir_backend_breaker_openings_total", .counter,
        "How often the circuit breaker opened, by why: `failures_in_a_row`, `error_rate`, "
          + "`slow_rate`, `probe_failed`.",
        labels: BackendCounter.labels + ["reason"])
    case .nameAddresses:
      .init(
        "weir_name_addresses", .gauge, "Backends that the host name stands for.",
        labels: ["name"])
    case .nameStale:
      .init(
        "weir_name_stale", .gauge,
        "1 while DNS fails for the host name or knows no address: the last ones are kept, if "
          + "there were any.", labels: ["name"])
    case .nameNext:
      .init(
        "weir_name_next_query_seconds", .gauge,
        "Until the host name is asked again; 0 while it is being asked.", labels: ["name"])
    case .nameAnswers:
      .init(
        "weir_name_answers_total", .counter,
        "Answers of DNS for the host name: `addresses`, `absent` (there are none), `failed`. A "
          + "and AAAA are asked apart.", labels: ["name", "result"])
    case .cacheObjects: GaugeMetric.cache("objects", .gauge, "Responses stored.")
    case .cacheBytes:
      GaugeMetric.cache("bytes", .gauge, "Memory that they take, with the cache's tables.")
    case .cacheMemory:
      GaugeMetric.cache("memory_bytes", .gauge, "Memory that the cache may take.")
    case .cacheInFlight:
      GaugeMetric.cache("fetches_in_flight", .gauge, "Fetches that others can join.")
    case .cacheEvictions:
      GaugeMetric.cache("evictions_total", .counter, "Responses dropped to make room.")
    case .cachePurged:
      GaugeMetric.cache(
        "purged_total", .counter, "Responses purged, by people or by unsafe requests.")
    }
  }

  private static func cache(
    _ name: String, _ kind: MetricDescription.Kind, _ help: String
  ) -> MetricDescription {
    .init("weir_cache_\(name)", kind, help, labels: ["cache"])
  }
}

/// Durations, as classic histograms.
public enum HistogramMetric: CaseIterable, Sendable {
  case routeLatency, backendLatency

  public var metric: MetricDescription {
    switch self {
    case .routeLatency:
      .init(
        "weir_route_duration_seconds", .histogram,
        "From a request's complete head to the last octet of its answer.", labels: ["route"])
    case .backendLatency:
      .init(
        "weir_backend_duration_seconds", .histogram,
        "From the first octet of an attempt to the head of its response.",
        labels: BackendCounter.labels)
    }
  }
}

/// docs/metrics.md: every metric of the catalogue, made from it.
public func metricsReference() -> String {
  let metrics =
    ProxyCounter.allCases.map(\.metric) + RouteCounter.allCases.map(\.metric)
    + BackendCounter.allCases.map(\.metric) + HistogramMetric.allCases.map(\.metric)
    + GaugeMetric.allCases.map(\.metric)
  var text = """
    # Metrics

    Generated from the tables in `Sources/Telemetry/Metrics`; a test keeps this page current.
    `GET /metrics` on the admin listener gives them in Prometheus' text format. Counters begin at
    0 when the process starts and survive reloads. Routes are named by their pattern as written.

    | metric | type | labels | meaning |
    | --- | --- | --- | --- |

    """
  var rows: [(metric: MetricDescription, values: [String])] = []
  for metric in metrics {
    let value = metric.fixedLabel.map { [$0.value] } ?? []
    if let known = rows.firstIndex(where: { $0.metric.name == metric.name }) {
      rows[known].values += value
    } else {
      rows.append((metric, value))
    }
  }
  for row in rows {
    var labels = row.metric.labels.map { "`\($0)`" }
    if let fixed = row.metric.fixedLabel {
      labels.append("`\(fixed.name)`: " + row.values.map { "`\($0)`" }.joined(separator: ", "))
    }
    text += "| `\(row.metric.name)` | \(row.metric.kind.rawValue) | "
    text += "\(labels.joined(separator: "; ")) | \(row.metric.help) |\n"
  }
  return text
}
