import HTTP
import Proxy

/// A request on the admin endpoint, content included: small, read whole, and off the data path.
public struct AdminRequest: Sendable {
  public var method: Method
  /// Without the query, unreserved octets decoded.
  public var path: String
  /// Values of all `Authorization` fields.
  public var authorization: [String]
  /// Of methods that say something in their content (`AdminRoutes.wantsContent`).
  public var content: [UInt8] = []
  /// Of the method PURGE, which scripts of other caches speak.
  public var purge: PurgeHead?
  /// The bearer token that this listener wants; `nil`: being able to connect is enough.
  public var requiredToken: String?

  public init(
    method: Method, path: String, authorization: [String] = [], requiredToken: String? = nil
  ) {
    self.method = method
    self.path = path
    self.authorization = authorization
    self.requiredToken = requiredToken
  }
}

/// What a request comes to: most are answered from what is known, some need the daemon to act
/// first ("Admin asks, Daemon acts").
public enum AdminAnswer: Sendable {
  case response(AdminResponse)
  /// Reload, then answer with `AdminRoutes.reloaded(_:)`.
  case reload
  /// Read the certificates again, then the same.
  case reloadCertificates
  /// Begin to hand over to a new process, then answer with `AdminRoutes.upgradeBegun(_:)`.
  case upgrade
  /// Set what people want of a backend, then answer with `AdminRoutes.modeSet(_:)`.
  case setMode(BackendModeChange)
  /// Purge, then answer with `AdminRoutes.purged(_:_:)`.
  case purge(PurgeOrder)
}

/// `PATCH /v1/upstreams/U/backends/B`
public struct BackendModeChange: Sendable, Equatable {
  public var upstream: String
  public var backend: String
  public var mode: BackendMode

  public init(upstream: String, backend: String, mode: BackendMode) {
    self.upstream = upstream
    self.backend = backend
    self.mode = mode
  }
}

/// A whole response; the server adds what belongs to the connection.
public struct AdminResponse: Sendable, Equatable {
  public struct Field: Sendable, Equatable {
    public var name: String
    public var value: String

    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  public var status: Int
  public var contentType: String
  /// Beside `Content-Type`, `Content-Length`, `Cache-Control` and those of the connection.
  public var fields: [Field] = []
  public var body: [UInt8]

  public init(status: Int, contentType: String, body: [UInt8]) {
    self.status = status
    self.contentType = contentType
    self.body = body
  }

  static func text(_ status: Int, _ line: String) -> AdminResponse {
    AdminResponse(
      status: status, contentType: "text/plain; charset=utf-8", body: Array("\(line)\n".utf8))
  }

  static func json(_ status: Int, _ document: some Encodable) -> AdminResponse {
    AdminResponse(
      status: status, contentType: "application/json", body: AdminJSON.encode(document))
  }

  /// A problem document (RFC 9457) of no type but its status.
  public static func problem(
    _ status: Int, _ detail: String, diagnostics: [String]? = nil
  ) -> AdminResponse {
    let document = ProblemDocument(
      status: status, title: "\(StatusText.reason(status))", detail: detail,
      diagnostics: diagnostics)
    return AdminResponse(
      status: status, contentType: "application/problem+json", body: AdminJSON.encode(document))
  }
}

/// RFC 9457 §3.1. Without `type`, which then means `about:blank`: the status says it all.
public struct ProblemDocument: Codable, Sendable {
  public var status: Int
  public var title: String
  public var detail: String
  /// Of a refused configuration.
  public var diagnostics: [String]?
}
