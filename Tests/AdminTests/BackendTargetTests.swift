import Primitives
import Proxy
import Testing

@testable import Admin

@Suite struct BackendTargetTests {
  @Test(arguments: [
    ("/v1/upstreams/app/backends/a", "app", "a"),
    ("/v1/upstreams/a%2fb/backends/10.0.0.1:80", "a/b", "10.0.0.1:80"),
    ("/v1/upstreams/a/backends/%5B::1%5D:80", "a", "[::1]:80"),
    ("/v1/upstreams/a/backends/100%", "a", "100%"), ("/v1/upstreams/a/backends/%zz", "a", "%zz"),
  ])
  func `names are found in the path, decoded`(path: String, upstream: String, backend: String) {
    let target = BackendTarget(path: path)
    #expect(target?.upstream == upstream && target?.backend == backend)
  }

  @Test(arguments: [
    "/v1/upstreams", "/v1/upstreams/a/backends", "/v1/upstreams/a/backends/",
    "/v1/upstreams//backends/b", "/v1/upstreams/a/backends/b/c", "/v1/upstreams/a/routes/b", "",
  ])
  func `other paths are none`(path: String) { #expect(BackendTarget(path: path) == nil) }

  @Test(arguments: [
    ("{\"state\":\"drain\"}", BackendMode.drain), ("{\"state\":\"maint\"}", .maint),
    ("{\"state\":\"ready\"}", .ready),
  ])
  func `a state is asked of the daemon`(content: String, mode: BackendMode) throws {
    var request = AdminRequest(method: .patch, path: "/v1/upstreams/app/backends/two")
    request.content = Array(content.utf8)
    let state = try SampleState().state
    guard case .setMode(let change) = AdminRoutes.answer(request, state) else {
      Issue.record("not asked")
      return
    }
    #expect(change == BackendModeChange(upstream: "app", backend: "two", mode: mode))
    #expect(AdminRoutes.modeSet(change, isKnown: true).status == 200)
    #expect(AdminRoutes.modeSet(change, isKnown: false).status == 404)
  }
}
