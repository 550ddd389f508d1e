import Caching
import Primitives
import Proxy
import Resilience
import Telemetry

/// `GET /metrics`: everything of the catalogue that has a value.
enum MetricsAnswer {
  static func make(_ state: AdminState) -> AdminResponse {
    var page = PrometheusText()
    let upstreams = zip(state.snapshot.options.upstreams, state.liveBackends())
    let backends = upstreams.flatMap { upstream, backends in
      backends.map { (label: [upstream.name, $0.options.name], backend: $0) }
    }
    page.append(
      state.sums, routes: state.routeLabels(),
      backends: backends.map {
        BackendLabel(id: $0.backend.id, upstream: $0.label[0], name: $0.label[1])
      }, droppedLogLines: state.droppedLogLines)
    appendProcess(state, to: &page)
    // One file at one listener is one series, however often it is written.
    var seen: Set<[String]> = []
    for listener in state.snapshot.options.listeners where !listener.isRemoved {
      for credential in listener.tls?.credentials ?? [] {
        let labels = [listener.name, credential.files.certificate]
        guard seen.insert(labels).inserted else { continue }
        page.sample(
          GaugeMetric.certificateExpiry.metric, values: labels,
          UInt64(max(0, credential.notAfter)))
      }
    }
    for (labels, backend) in backends {
      page.sample(
        GaugeMetric.backendInFlight.metric, values: labels, UInt64(backend.inFlight))
    }
    for (labels, backend) in backends {
      page.sample(
        GaugeMetric.backendAvailable.metric, values: labels, backend.isAvailable ? 1 : 0)
    }
    for (labels, backend) in backends {
      page.sample(
        GaugeMetric.backendWeight.metric, values: labels, UInt64(backend.options.weight))
    }
    for (labels, backend) in backends {
      page.sample(GaugeMetric.backendShare.metric, values: labels, real: backend.countedPart)
    }
    for (upstream, known) in zip(state.snapshot.options.upstreams, state.snapshot.upstreamStates) {
      page.sample(
        GaugeMetric.upstreamPanic.metric, values: [upstream.name], known.isPanicking ? 1 : 0)
    }
    appendHealth(backends, to: &page)
    appendBreakers(backends, to: &page)
    appendNames(state, to: &page)
    appendCaches(state, to: &page)
    return AdminResponse(
      status: 200, contentType: PrometheusText.contentType, body: Array(page.text.utf8))
  }

  private static func appendHealth(
    _ backends: [(label: [String], backend: LiveBackend)], to page: inout PrometheusText
  ) {
    for (labels, backend) in backends {
      page.sample(
        GaugeMetric.backendHealth.metric, values: labels, backend.view?.isUp == false ? 0 : 1)
    }
    for (labels, backend) in backends {
      let metric = GaugeMetric.backendChecks.metric
      page.sample(metric, values: labels + ["passed"], backend.tally.checksPassed)
      page.sample(metric, values: labels + ["failed"], backend.tally.checksFailed)
    }
  }

  private static func appendBreakers(
    _ backends: [(label: [String], backend: LiveBackend)], to page: inout PrometheusText
  ) {
    for (labels, backend) in backends {
      page.sample(
        GaugeMetric.backendBreaker.metric, values: labels, UInt64(backend.breaker.rawValue))
    }
    for (labels, backend) in backends {
      for reason in CircuitBreaker.Reason.allCases {
        page.sample(
          GaugeMetric.backendBreakerOpenings.metric, values: labels + ["\(reason.text)"],
          backend.tally.openings(reason))
      }
    }
  }

  private static func appendNames(_ state: AdminState, to page: inout PrometheusText) {
    let names = state.snapshot.options.nameQueries.map {
      (label: $0.text, status: state.shared.names.status($0) ?? NameStatus())
    }
    for name in names {
      page.sample(
        GaugeMetric.nameAddresses.metric, values: [name.label],
        UInt64(name.status.addresses.count))
    }
    for name in names {
      page.sample(
        GaugeMetric.nameStale.metric, values: [name.label], name.status.isStale ? 1 : 0)
    }
    for name in names {
      let wait = name.status.nextDue == .never ? .zero : name.status.nextDue - state.now
      page.sample(
        GaugeMetric.nameNext.metric, values: [name.label],
        real: Double(max(0, wait.milliseconds)) / 1000)
    }
    for name in names {
      let metric = GaugeMetric.nameAnswers.metric
      page.sample(metric, values: [name.label, "addresses"], name.status.counts.addresses)
      page.sample(metric, values: [name.label, "absent"], name.status.counts.absent)
      page.sample(metric, values: [name.label, "failed"], name.status.counts.failed)
    }
  }

  private static func appendCaches(_ state: AdminState, to page: inout PrometheusText) {
    let caches = state.snapshot.stores.map { (label: [$0.name], store: $0, usage: $0.usage) }
    let samples: [(metric: GaugeMetric, value: (CacheStore, CacheUsage) -> UInt64)] = [
      (.cacheObjects, { _, usage in UInt64(usage.objects) }),
      (.cacheBytes, { _, usage in UInt64(usage.bytes) }),
      (.cacheMemory, { store, _ in UInt64(store.options.memoryBytes) }),
      (.cacheInFlight, { _, usage in UInt64(usage.fetches) }),
      (.cacheEvictions, { _, usage in usage.evicted }),
      (.cachePurged, { _, usage in usage.purged }),
    ]
    for sample in samples {
      for cache in caches {
        page.sample(
          sample.metric.metric, values: cache.label, sample.value(cache.store, cache.usage))
      }
    }
  }

  private static func appendProcess(_ state: AdminState, to page: inout PrometheusText) {
    let usage = state.usage()
    let reload = state.lastReload
    page.sample(GaugeMetric.buildVersion.metric, values: [state.version], 1)
    page.sample(GaugeMetric.startTime.metric, UInt64(max(0, state.startedAt)))
    page.sample(GaugeMetric.workers.metric, UInt64(state.workers.count))
    page.sample(GaugeMetric.configurationGeneration.metric, state.snapshot.generation)
    // What runs now was loaded with success, if only at the start.
    let isGood = reload.at == 0 || reload.succeeded
    page.sample(GaugeMetric.lastReloadSuccess.metric, isGood ? 1 : 0)
    page.sample(
      GaugeMetric.lastReloadTime.metric,
      UInt64(max(0, reload.at == 0 ? state.startedAt : reload.at)))
    page.sample(GaugeMetric.draining.metric, state.isDraining ? 1 : 0)
    page.sample(
      GaugeMetric.clientConnections.metric,
      UInt64(max(0, state.shared.connections.load(ordering: .relaxed))))
    page.sample(GaugeMetric.residentMemory.metric, UInt64(max(0, usage.residentBytes)))
    page.sample(GaugeMetric.openDescriptors.metric, UInt64(max(0, usage.openDescriptors)))
    page.sample(GaugeMetric.maxDescriptors.metric, UInt64(max(0, usage.maxDescriptors)))
    page.sample(GaugeMetric.processorTime.metric, real: usage.cpuSeconds)
  }
}
