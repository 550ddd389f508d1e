import Caching
import HTTP
import Proxy
import Telemetry

/// What the admin endpoint answers: one table of paths, pure functions of the state.
public enum AdminRoutes {
  private enum Resource: CaseIterable {
    case metrics, status, upstreams, purge, reload, reloadCertificates, upgrade, live, ready

    var path: String {
      switch self {
      case .metrics: "/metrics"
      case .status: "/v1/status"
      case .upstreams: "/v1/upstreams"
      case .purge: "/v1/purge"
      case .reload: "/v1/reload"
      case .reloadCertificates: "/v1/reload/certificates"
      case .upgrade: "/v1/upgrade"
      case .live: "/live"
      case .ready: "/ready"
      }
    }

    /// For `Allow`; `isAllowed` is the same list as a question.
    var allowedMethods: String { changes ? "POST" : "GET, HEAD" }

    func isAllowed(_ method: Method) -> Bool {
      changes ? method == .post : method == .get || method == .head
    }

    private var changes: Bool {
      [.reload, .reloadCertificates, .upgrade, .purge].contains(self)
    }
  }

  /// Answers a request, or says what the daemon has to do first. The state is made only where the
  /// answer needs it.
  public static func answer(
    _ request: AdminRequest, _ state: @autoclosure () -> AdminState
  ) -> AdminAnswer {
    if let refusal = refusal(request) { return .response(refusal) }
    if let purge = request.purge { return purge.answer }
    if let target = BackendTarget(path: request.path) { return target.answer(request) }
    guard let resource = Resource.allCases.first(where: { $0.path == request.path }) else {
      return .response(.problem(404, "there is nothing at \(request.path)"))
    }
    guard resource.isAllowed(request.method) else {
      var response = AdminResponse.problem(
        405, "\(resource.path) can be asked with \(resource.allowedMethods)")
      response.fields.append(.init(name: "Allow", value: resource.allowedMethods))
      return .response(response)
    }
    switch resource {
    case .metrics: return .response(MetricsAnswer.make(state()))
    case .status: return .response(.json(200, StatusDocument(state())))
    case .upstreams: return .response(.json(200, UpstreamsDocument(state())))
    case .purge: return PurgeBody.answer(request.content)
    case .reload: return .reload
    case .reloadCertificates: return .reloadCertificates
    case .upgrade: return .upgrade
    case .live: return .response(.text(200, "live"))
    case .ready:
      // Fails first when draining, so that a balancer in front looks elsewhere in time.
      return .response(
        state().isDraining ? .problem(503, "draining") : .text(200, "ready"))
    }
  }

  /// The answer to a request without the right token, or `nil`. To be asked before the request's
  /// content is read: strangers cost a head and no more. It does not say what was wrong.
  public static func refusal(_ request: AdminRequest) -> AdminResponse? {
    guard let token = request.requiredToken,
      !BearerToken.isAccepted(request.authorization, token: token)
    else { return nil }
    var response = AdminResponse.problem(401, "this endpoint wants its bearer token")
    response.fields.append(.init(name: "WWW-Authenticate", value: "Bearer realm=\"weir\""))
    return response
  }

  /// Whether the request's content matters; that of others is read and dropped.
  public static func wantsContent(_ request: AdminRequest) -> Bool {
    request.method == .patch || request.path == Resource.purge.path
  }

  /// The answer to a purge, after it was done.
  public static func purged(
    _ order: PurgeOrder, _ result: Result<PurgeResult, PurgeFault>, instance: String
  ) -> AdminResponse {
    switch result {
    case .success(let result): .json(200, PurgeDocument(order, result, instance: instance))
    case .failure(.unknownCache(let name)): .problem(404, PurgeFault.unknownCache(name).text)
    case .failure(let fault): .problem(422, fault.text)
    }
  }

  /// The answer to `PATCH /v1/upstreams/U/backends/B`, after it was done; `isKnown` false: there
  /// is no such backend.
  public static func modeSet(_ change: BackendModeChange, isKnown: Bool) -> AdminResponse {
    guard isKnown else {
      return .problem(404, "there is no backend '\(change.backend)' in '\(change.upstream)'")
    }
    return .json(200, BackendModeDocument(change))
  }

  /// The answer to `POST /v1/upgrade`: 202 where it has begun, 409 where it could not. How it ends
  /// is in the status: of the new process, or of this one.
  public static func upgradeBegun(refusal: String?) -> AdminResponse {
    if let refusal { return .problem(409, refusal) }
    return .text(202, "upgrading")
  }

  /// The answer to `POST /v1/reload`, after it was done or refused.
  public static func reloaded(_ record: ReloadRecord) -> AdminResponse {
    guard record.succeeded else {
      return .problem(
        422, "the configuration was refused; generation \(record.generation) keeps running",
        diagnostics: record.diagnostics)
    }
    return .json(200, ReloadDocument(record))
  }
}
