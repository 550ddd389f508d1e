import Primitives
import Proxy
import Telemetry
import Testing

@testable import Admin

@Suite struct MetricsAnswerTests {
  private func page(_ state: AdminState) -> String {
    String(decoding: MetricsAnswer.make(state).body, as: UTF8.self)
  }

  /// The sample with a host name, of which one address is known.
  private func named() throws -> AdminState {
    var sample = try SampleState()
    var options = sample.state.snapshot.options
    options.upstreams[1].names = [
      BackendNameOptions(query: .host("media.internal"), port: 80, name: "media.internal:80")
    ]
    let shared = sample.state.shared
    let found = ResolvedAddress(address: IPAddress(v4: 0x7F00_0009))
    shared.names.remember([.host("media.internal"): [found]])
    sample.state.snapshot = try Snapshot(
      options.resolved(shared.names.addresses), generation: 4, name: "test", shared: shared)
    return sample.state
  }

  @Test func `an address of a name is a backend like any other`() throws {
    let text = page(try named())
    for line in [
      "weir_name_addresses{name=\"media.internal\"} 1",
      "weir_name_stale{name=\"media.internal\"} 0",
      "weir_name_answers_total{name=\"media.internal\",result=\"failed\"} 0",
      "weir_backend_available{upstream=\"media\",backend=\"media.internal:80@127.0.0.9\"} 1",
    ] {
      #expect(text.contains("\n\(line)\n"), "\(line)")
    }
    let document = UpstreamsDocument(try named())
    let name = try #require(document.upstreams[1].names?.first)
    #expect(name.state == "pending" && name.addresses == 1 && name.nextInMs == nil)
    #expect(document.upstreams[1].backends.last?.address == "127.0.0.9:80")
    #expect(document.upstreams[0].names == nil)
  }

  @Test func `everything that docs-metrics.md names is there`() throws {
    let text = page(try named())
    let all =
      GaugeMetric.allCases.map(\.metric) + HistogramMetric.allCases.map(\.metric)
      + ProxyCounter.allCases.map(\.metric) + RouteCounter.allCases.map(\.metric)
      + BackendCounter.allCases.map(\.metric)
    for metric in all {
      #expect(text.contains("\n# TYPE \(metric.name) \(metric.kind)\n"), "\(metric.name)")
    }
  }

  @Test func `gauges say how the daemon is, golden`() throws {
    var sample = try SampleState()
    sample.state.isDraining = true
    let text = page(sample.state)
    for line in [
      "weir_build_info{version=\"1.2.3\"} 1", "weir_start_time_seconds 1700000000",
      "weir_workers 2", "weir_config_generation 3", "weir_config_last_reload_success 1",
      "weir_config_last_reload_time_seconds 1700000000", "weir_draining 1", "weir_connections 3",
      "weir_process_resident_bytes 8388608", "weir_process_open_descriptors 21",
      "weir_process_max_descriptors 1024", "weir_process_cpu_seconds_total 1.5",
      "weir_backend_in_flight{upstream=\"app\",backend=\"127.0.0.1:9001\"} 0",
      "weir_backend_available{upstream=\"app\",backend=\"127.0.0.1:9001\"} 1",
      "weir_backend_available{upstream=\"app\",backend=\"two\"} 0",
      "weir_backend_breaker_state{upstream=\"app\",backend=\"two\"} 0",
      "weir_backend_health{upstream=\"app\",backend=\"two\"} 1",
      "weir_backend_checks_total{upstream=\"app\",backend=\"two\",result=\"failed\"} 0",
      "weir_backend_weight{upstream=\"app\",backend=\"two\"} 0",
      "weir_log_lines_dropped_total 3", "weir_requests_total 10",
    ] {
      #expect(text.contains("\n\(line)\n"), "\(line)")
    }
  }

  @Test func `a refused reload shows`() throws {
    var sample = try SampleState()
    sample.state.lastReload.at = 1_700_000_100
    let refused = page(sample.state)
    #expect(refused.contains("\nweir_config_last_reload_success 0\n"))
    #expect(refused.contains("\nweir_config_last_reload_time_seconds 1700000100\n"))
    sample.state.lastReload.succeeded = true
    #expect(page(sample.state).contains("\nweir_config_last_reload_success 1\n"))
  }

  @Test func `a name is one series, though its backend moved`() throws {
    var sample = try SampleState()
    var options = sample.state.snapshot.options
    options.upstreams[0].backends[0].address = SampleState.address(9009)
    sample.state.snapshot = try Snapshot(
      options, generation: 4, name: "test", shared: sample.state.shared)
    let series = page(sample.state).split(separator: "\n").filter { !$0.hasPrefix("#") }
      .map { $0.prefix { $0 != "}" } }
    #expect(Set(series).count == series.count)
  }
}
