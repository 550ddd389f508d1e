import Primitives
import Proxy
import Testing

@testable import Admin

@Suite struct UpstreamsDocumentTests {
  @Test func `upstreams, golden`() throws {
    let sample = try SampleState()
    let text = String(decoding: AdminJSON.encode(UpstreamsDocument(sample.state)), as: UTF8.self)
    let nothing = """
      "request_bytes":0,"response_bytes":0,\
      "responses":{"1xx":0,"2xx":0,"3xx":0,"4xx":0,"5xx":0},"retried_away":0,"spills":0
      """
    #expect(
      text == """
        {"upstreams":[{"backends":[\
        {"address":"127.0.0.1:9001","attempts":10,"available":true,"backup":false,\
        "breaker":"closed","breaker_openings":0,"checks_failed":0,"checks_passed":0,\
        "connections_opened":0,\
        "connections_reused":0,"failures":{"connection_refused":2},"health":"unchecked",\
        "held":false,"in_flight":0,\
        "latency_ms":{"p50":0.004,"p95":0.004,"p99":0.004},"name":"127.0.0.1:9001",\
        "request_bytes":0,"response_bytes":0,\
        "responses":{"1xx":0,"2xx":8,"3xx":0,"4xx":0,"5xx":0},"retried_away":0,"spills":0,\
        "state":"ready","weight":1,"weight_counted":100},\
        {"address":"127.0.0.1:9002","attempts":0,"available":false,"backup":true,\
        "breaker":"closed","breaker_openings":0,"checks_failed":0,"checks_passed":0,\
        "connections_opened":0,\
        "connections_reused":0,"failures":{},"health":"unchecked",\
        "held":false,"in_flight":0,"name":"two",\
        \(nothing),"state":"ready","weight":0,"weight_counted":100}],\
        "balance":"least-connections","name":"app","panic":false,\
        "queued":0},\
        {"backends":[{"address":"127.0.0.1:9001","attempts":0,"available":true,"backup":false,\
        "breaker":"closed","breaker_openings":0,"checks_failed":0,"checks_passed":0,\
        "connections_opened":0,"connections_reused":0,"failures":{},"health":"unchecked",\
        "held":false,"in_flight":0,\
        "name":"m",\(nothing),"state":"ready","weight":1,"weight_counted":100}],\
        "balance":"hash header x-user bound=1.25",\
        "name":"media","panic":false,"queued":0}]}

        """)
  }

  @Test func `error types are names of their own and come back unchanged`() throws {
    let sample = try SampleState()
    let written = AdminJSON.encode(UpstreamsDocument(sample.state))
    let read = try #require(AdminJSON.decode(UpstreamsDocument.self, written))
    #expect(read.upstreams[0].backends[0].failures == ["connection_refused": 2])
    #expect(AdminJSON.encode(read) == written)
  }

  @Test func `a backend that moved shows its new address and new counters alone`() throws {
    var sample = try SampleState()
    var options = sample.state.snapshot.options
    options.upstreams[0].backends[0].address = SampleState.address(9009)
    sample.state.snapshot = try Snapshot(
      options, generation: 4, name: "test", shared: sample.state.shared)
    let app = UpstreamsDocument(sample.state).upstreams[0]
    #expect(app.backends.map(\.address) == ["127.0.0.1:9009", "127.0.0.1:9002"])
    #expect(app.backends.map(\.attempts) == [0, 0])
  }
}
