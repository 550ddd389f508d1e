import Foundation
import Telemetry
import Testing

@Suite struct PrometheusTextTests {
  private func page(_ workers: [WorkerMetrics]) -> String {
    var page = PrometheusText()
    page.append(
      MetricsSums(workers: workers), routes: [RouteLabel(id: 0, name: "www.example.com/a\"\\b")],
      backends: [BackendLabel(id: 7, upstream: "app", name: "10.0.0.1:80")], droppedLogLines: 3)
    return page.text
  }

  @Test func `counters of all workers are summed, and families are together`() {
    let workers = [WorkerMetrics(), WorkerMetrics()]
    workers[0].add(.requests, 5)
    workers[1].add(.requests, 6)
    workers[1].add(.rejectedAtClientLimit)
    workers[0].add(.logLinesDropped)
    workers[0].route(0).add(.responses(status: 204), 2)
    workers[1].route(0).add(.responses(status: 503))
    workers[1].backend(7).add(.connectRefused, 4)
    let text = page(workers)
    for line in [
      "weir_requests_total 11", "weir_connections_rejected_total{reason=\"client_limit\"} 1",
      "weir_log_lines_dropped_total 4",
      "weir_route_responses_total{route=\"www.example.com/a\\\"\\\\b\",code=\"2xx\"} 2",
      "weir_route_responses_total{route=\"www.example.com/a\\\"\\\\b\",code=\"5xx\"} 1",
      "weir_backend_failures_total{upstream=\"app\",backend=\"10.0.0.1:80\","
        + "error=\"connection_refused\"} 4",
    ] {
      #expect(text.contains("\n\(line)\n"), "\(line)")
    }
    var families: [String] = []
    for line in text.split(separator: "\n") where !line.hasPrefix("#") {
      var name = String(line.prefix { $0 != "{" && $0 != " " })
      for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix("_seconds" + suffix) {
        name.removeLast(suffix.count)
      }
      if families.last != name { families.append(name) }
    }
    #expect(Set(families).count == families.count, "a family is scattered")
    #expect(text.components(separatedBy: "# TYPE").count - 1 == families.count)
  }

  @Test func `a histogram, golden`() {
    let worker = WorkerMetrics()
    for value in [100, 200, 1_000_000, 90_000_000] as [UInt64] {
      worker.route(0).latency.record(microseconds: value)
    }
    var page = PrometheusText()
    page.histogram(
      HistogramMetric.routeLatency.metric, values: ["*"], worker.route(0).latency.snapshot())
    let lines = page.text.split(separator: "\n").map(String.init)
    #expect(lines.count == 2 + 20 + 1 + 2)
    #expect(
      lines[0]
        == "# HELP weir_route_duration_seconds "
        + "From a request's complete head to the last octet of its answer.")
    #expect(lines[1] == "# TYPE weir_route_duration_seconds histogram")
    #expect(lines[2] == "weir_route_duration_seconds_bucket{route=\"*\",le=\"0.000128\"} 1")
    #expect(lines[3] == "weir_route_duration_seconds_bucket{route=\"*\",le=\"0.000256\"} 2")
    #expect(lines[15] == "weir_route_duration_seconds_bucket{route=\"*\",le=\"1.048576\"} 3")
    #expect(lines[21] == "weir_route_duration_seconds_bucket{route=\"*\",le=\"67.108864\"} 3")
    #expect(lines[22] == "weir_route_duration_seconds_bucket{route=\"*\",le=\"+Inf\"} 4")
    #expect(lines[23] == "weir_route_duration_seconds_sum{route=\"*\"} 91.0003")
    #expect(lines[24] == "weir_route_duration_seconds_count{route=\"*\"} 4")
  }

  @Test func `gauges may be real, and a label value escapes its line feed`() {
    var page = PrometheusText()
    page.sample(GaugeMetric.buildVersion.metric, values: ["1\n2"], 1)
    page.sample(GaugeMetric.startTime.metric, real: 1.5)
    #expect(page.text.contains("weir_build_info{version=\"1\\n2\"} 1\n"))
    #expect(page.text.contains("weir_start_time_seconds 1.5\n"))
  }

  @Test func `names, helps and labels are what Prometheus accepts and agree within a family`() {
    let metrics =
      ProxyCounter.allCases.map(\.metric) + RouteCounter.allCases.map(\.metric)
      + BackendCounter.allCases.map(\.metric) + GaugeMetric.allCases.map(\.metric)
      + HistogramMetric.allCases.map(\.metric)
    var families: [String: MetricDescription] = [:]
    for metric in metrics {
      #expect(metric.name.hasPrefix("weir_"))
      #expect(metric.name.hasSuffix("_total") == (metric.kind == .counter))
      let letters = metric.name.utf8
      #expect(
        letters.allSatisfy {
          (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F
        })
      #expect(metric.help.hasSuffix("."))
      if let known = families[metric.name] {
        #expect(known.help == metric.help && known.labels == metric.labels)
        #expect(known.fixedLabel?.name == metric.fixedLabel?.name)
        #expect(known.fixedLabel?.value != metric.fixedLabel?.value)
      }
      families[metric.name] = metric
    }
  }

  @Test func `docs-metrics.md is what the catalogue says`() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let page = root.appendingPathComponent("docs/metrics.md")
    if ProcessInfo.processInfo.environment["WEIR_UPDATE_DOCS"] != nil {
      try Data(metricsReference().utf8).write(to: page)
    }
    let text = try String(contentsOf: page, encoding: .utf8)
    #expect(text == metricsReference(), "run the tests with WEIR_UPDATE_DOCS=1 to renew it")
  }
}
