import HTTP
import Testing

@testable import Admin

@Suite struct AdminRoutesTests {
  private func answer(
    _ method: Method, _ path: String, _ sample: SampleState
  ) throws -> AdminResponse {
    let answer = AdminRoutes.answer(AdminRequest(method: method, path: path), sample.state)
    guard case .response(let response) = answer else {
      throw UnexpectedReload()
    }
    return response
  }

  struct UnexpectedReload: Error {}

  @Test(arguments: [
    (Method.get, "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
    (.head, "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
    (.get, "/v1/status", 200, "application/json"),
    (.get, "/v1/upstreams", 200, "application/json"),
    (.get, "/live", 200, "text/plain; charset=utf-8"),
    (.get, "/ready", 200, "text/plain; charset=utf-8"),
    (.get, "/", 404, "application/problem+json"),
    (.get, "/metrics/", 404, "application/problem+json"),
    (.get, "/v1/Status", 404, "application/problem+json"),
    (.get, "", 404, "application/problem+json"),
    (.post, "/metrics", 405, "application/problem+json"),
    (.get, "/v1/reload", 405, "application/problem+json"),
    (.head, "/v1/reload", 405, "application/problem+json"),
    (.delete, "/live", 405, "application/problem+json"),
    (.other, "/v1/upstreams", 405, "application/problem+json"),
  ])
  func `each path has its methods, and everything else is a problem document`(
    method: Method, path: String, status: Int, type: String
  ) throws {
    let response = try answer(method, path, SampleState())
    #expect(response.status == status)
    #expect(response.contentType == type)
    let allow = response.fields.first { $0.name == "Allow" }?.value
    #expect(allow == (status == 405 ? (path == "/v1/reload" ? "POST" : "GET, HEAD") : nil))
    if status >= 400 {
      let problem = try #require(AdminJSON.decode(ProblemDocument.self, response.body))
      #expect(problem.status == status && !problem.title.isEmpty && !problem.detail.isEmpty)
    }
  }

  @Test func `only POST reloads, and what the daemon then did is the answer`() throws {
    let request = AdminRequest(method: .post, path: "/v1/reload")
    let state = try SampleState().state
    guard case .reload = AdminRoutes.answer(request, state) else {
      Issue.record("no reload")
      return
    }
    var record = ReloadRecord()
    record.at = 1_700_000_000
    record.generation = 4
    record.diagnostics = ["proxy.conf:1:2: error: no"]
    let refused = AdminRoutes.reloaded(record)
    #expect(refused.status == 422)
    #expect(refused.contentType == "application/problem+json")
    #expect(
      String(decoding: refused.body, as: UTF8.self) == """
        {"detail":"the configuration was refused; generation 4 keeps running",\
        "diagnostics":["proxy.conf:1:2: error: no"],"status":422,"title":"Unprocessable Content"}

        """)
    record.succeeded = true
    record.diagnostics = []
    record.changes = ["listener web added"]
    let done = AdminRoutes.reloaded(record)
    #expect(done.status == 200)
    #expect(
      String(decoding: done.body, as: UTF8.self) == """
        {"at":"2023-11-14T22:13:20Z","changes":["listener web added"],"diagnostics":[],\
        "generation":4,"succeeded":true}

        """)
  }

  @Test func `ready fails while draining, live does not`() throws {
    var sample = try SampleState()
    sample.state.isDraining = true
    #expect(try answer(.get, "/ready", sample).status == 503)
    #expect(try answer(.head, "/ready", sample).status == 503)
    #expect(try answer(.get, "/live", sample).status == 200)
  }

  @Test func `without the token there is one answer, whatever was asked`() throws {
    let state = try SampleState().state
    for path in ["/metrics", "/v1/reload", "/live", "/nothing"] {
      let request = AdminRequest(method: .post, path: path, requiredToken: "0123456789abcdef")
      guard case .response(let response) = AdminRoutes.answer(request, state) else {
        Issue.record("\(path) was let in")
        continue
      }
      #expect(response.status == 401)
      #expect(response.fields == [.init(name: "WWW-Authenticate", value: "Bearer realm=\"weir\"")])
      #expect(!String(decoding: response.body, as: UTF8.self).contains("0123"))
    }
  }

  @Test func `the state is not even made for those who are turned away`() throws {
    let sample = try SampleState()
    var timesMade = 0
    func state() -> AdminState {
      timesMade += 1
      return sample.state
    }
    for (token, times) in [("0123456789abcdef", 0), (nil, 1)] {
      let request = AdminRequest(method: .get, path: "/metrics", requiredToken: token)
      _ = AdminRoutes.answer(request, state())
      #expect(timesMade == times)
    }
  }
}
