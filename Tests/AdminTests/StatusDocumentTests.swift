import Testing

@testable import Admin

@Suite struct StatusDocumentTests {
  @Test func `status, golden`() throws {
    let sample = try SampleState()
    var document = StatusDocument(sample.state)
    // A new certificate each time.
    #expect(document.certificates.map(\.names) == [["www.example.com"]])
    #expect(document.certificates.map(\.file) == ["/etc/www.pem"])
    #expect(document.certificates.map(\.listener) == ["secure"])
    #expect((18...20).contains(document.certificates[0].daysLeft))
    document.certificates[0].daysLeft = 19
    document.certificates[0].expires = "2030-01-01T00:00:00Z"
    document.certificates[0].fingerprint = "ab"
    let text = String(decoding: AdminJSON.encode(document), as: UTF8.self)
    #expect(
      text == """
        {"caches":[{"bytes":1441792,"evictions":0,"fetches_in_flight":0,\
        "memory_bytes":67108864,"name":"main","objects":0,"purged":0}],\
        "certificates":[{"days_left":19,"expires":"2030-01-01T00:00:00Z",\
        "file":"/etc/www.pem","fingerprint":"ab","key":"ecdsa","listener":"secure",\
        "names":["www.example.com"]}],\
        "connections":{"accepted":4,"limit":500,"open":3,"rejected":1},"draining":false,\
        "generation":3,"instance":"test",\
        "listeners":[{"addresses":["127.0.0.1:8080"],"name":"web"},\
        {"addresses":["127.0.0.1:8443"],"name":"secure"}],"pid":4711,\
        "process":{"cpu_seconds":1.5,"max_descriptors":1024,"open_descriptors":21,\
        "resident_bytes":8388608},\
        "routes":[{"name":"/media/*","responses":{"1xx":0,"2xx":0,"3xx":0,"4xx":0,"5xx":0},\
        "truncated_responses":0},\
        {"latency_ms":{"p50":0.007,"p95":0.007,"p99":0.007},"name":"*",\
        "responses":{"1xx":0,"2xx":8,"3xx":0,"4xx":0,"5xx":2},"truncated_responses":0}],\
        "started_at":"2023-11-14T22:13:20Z",\
        "totals":{"bad_requests":0,"cache_hits":0,"cache_misses":0,\
        "client_aborts":0,"client_timeouts":0,"log_lines_dropped":3,\
        "no_backend_available":0,"replays":0,"request_bytes":0,"requests":10,"response_bytes":0,\
        "tunnels":0,"unrouted_requests":0,"unsent_retries":0},\
        "upgrading":false,"uptime_seconds":90,"version":"1.2.3","workers":2}

        """)
  }

  @Test func `a refused reload is shown with its diagnostics`() throws {
    var sample = try SampleState()
    sample.state.lastReload.at = 1_700_000_001
    sample.state.lastReload.generation = 3
    sample.state.lastReload.diagnostics = ["a", "b"]
    let document = StatusDocument(sample.state)
    #expect(document.lastReload?.succeeded == false)
    #expect(document.lastReload?.at == "2023-11-14T22:13:21Z")
    #expect(document.lastReload?.diagnostics == ["a", "b"])
  }

  @Test func `clients read back what was written`() throws {
    let sample = try SampleState()
    let written = AdminJSON.encode(StatusDocument(sample.state))
    let read = try #require(AdminJSON.decode(StatusDocument.self, written))
    #expect(AdminJSON.encode(read) == written)
    #expect(AdminJSON.decode(StatusDocument.self, Array("{}".utf8)) == nil)
  }
}
