import Balancing
import Caching
import HTTP
import Primitives
import Resilience
import Routing
import Telemetry
import Transport

/// A checked configuration: what `Config` fills in, `Daemon` compiles into a `Snapshot`, and the
/// data plane obeys. Every default here is the documented default of its directive.
public struct ProxyOptions: Sendable, Equatable {
  /// Instance name in `Via` and `Proxy-Status`; `nil`: random for each start.
  public var name: String?
  /// Worker threads; `nil`: one for each processor.
  public var workers: Int?
  /// Client connections over all workers.
  public var maxConnections = 10_000
  /// Client connections of one address; 0: no limit.
  public var maxConnectionsPerClient = 0
  /// Requests of HTTP/2 clients in progress on each worker: beyond, their streams are refused.
  public var maxStreams = 10_000
  public var drainTimeout = TimeAmount.seconds(30)
  public var logLevel = LogLevel.info
  public var accessLog = AccessLogOptions()
  public var admin: [AdminListenerOptions] = []
  /// Networks whose forwarding fields are believed.
  public var trustedProxies: [IPNetwork] = []
  public var listeners: [ListenerOptions] = []
  public var upstreams: [UpstreamOptions] = []
  /// Where backends are named instead of numbered.
  public var resolver = ResolverOptions()
  public var namePolicy = NamePolicy()
  public var caches: [CacheOptions] = []
  /// In file order; the route table decides which one a request takes.
  public var routes: [RouteOptions] = []

  public init() {}
}

/// `admin unix:PATH` or `admin ADDRESS token-file=PATH`
public struct AdminListenerOptions: Sendable, Equatable {
  public var address: SocketAddress
  /// Bearer token wanted from every caller; read from its file when the configuration is loaded.
  public var token: String?

  public init(address: SocketAddress, token: String? = nil) {
    self.address = address
    self.token = token
  }
}

/// `listener NAME { … }`: addresses, and what clients there may cost.
public struct ListenerOptions: Sendable, Equatable {
  public var name: String
  public var bind: [SocketAddress] = []
  /// Once configured, and no longer: its sockets are closed, and its connections end in order.
  public var isRemoved = false
  public var backlog = 1024
  /// A socket for each worker (SO_REUSEPORT), where the address is one of TCP.
  public var sharesPort = true
  /// IPv6 addresses take no IPv4 clients.
  public var v6Only = false
  /// Connections whose first octets come with their first packet (RFC 7413), at most so many that
  /// are not accepted yet; 0: none.
  public var fastOpen = 0
  /// Who may connect to the files of its unix sockets, as `chmod` takes it.
  public var fileMode = 0o660
  public var limits = HeadLimits()
  /// Request head complete, counted from accept and from its first octet (rule 37): 408.
  public var headerTimeout = TimeAmount.seconds(10)
  public var keepAliveTimeout = TimeAmount.seconds(15)
  public var keepAliveRequests = 1000
  public var keepAliveTime = TimeAmount.seconds(3600)
  /// No octet of a request's content arrives (rule 39): 408.
  public var bodyTimeout = TimeAmount.seconds(10)
  /// Octets a second a request's content must average after 5 s; 0: no minimum.
  public var minBodyRate = 1024
  /// The client takes no octet of a response (rule 40): reset.
  public var sendTimeout = TimeAmount.seconds(30)
  /// Host of HTTP/1.0 requests that name none; `nil`: such a request matches only `*`.
  public var defaultHost: String?
  /// Refuse `%2F`, `%5C` and `//` in paths.
  public var strictPath = false
  /// HTTP/2 where a client asks for it.
  public var http2 = true
  /// `nil`: plain HTTP.
  public var tls: TLSServerOptions?
  /// Value of `Strict-Transport-Security`; `nil`: none is sent.
  public var transportSecurity: String?
  public var redirectToHTTPS: RedirectToHTTPS?
  /// Proxies that say by the PROXY protocol who the client is; empty: clients connect themselves.
  public var proxies: [IPNetwork] = []
  /// Say in `Proxy-Status` which backend failed.
  public var namesBackends = true

  public init(name: String) { self.name = name }
}

/// `redirect-to-https [STATUS] [port=N]`
public struct RedirectToHTTPS: Sendable, Equatable {
  public var status = 308
  public var port: UInt16 = 443

  public init() {}
}

/// `upstream NAME { … }`
public struct UpstreamOptions: Sendable, Equatable {
  public var name: String
  public var balance = BalancePolicy.leastConnections
  public var backends: [BackendOptions] = []
  /// What becomes backends when DNS has been asked (`ProxyOptions.resolved`).
  public var names: [BackendNameOptions] = []
  public var connectTimeout = TimeAmount.seconds(1)
  /// Request sent until the response head is complete: 504.
  public var firstByteTimeout = TimeAmount.seconds(60)
  /// Between two reads of a response, or two writes of a request.
  public var idleTimeout = TimeAmount.seconds(60)
  /// An unused pooled connection is closed after this.
  public var poolIdleTimeout = TimeAmount.seconds(30)
  /// Unused connections kept for each backend and worker.
  public var poolSize = 256
  /// Say by the PROXY protocol who the client is.
  public var proxyProtocol: ProxyProtocolHeader.Version?
  /// HTTP/2, agreed on in TLS or, without, known beforehand.
  public var http2 = false
  /// Requests at once on one connection, where the backend takes as many.
  public var http2Streams = 100
  public var retry = RetryOptions()
  /// Requests in flight at once at each backend; `nil`: no limit.
  public var maxRequests: Int?
  /// Requests that wait for a place at a backend; 0: none does.
  public var queueSize = 0
  public var queueTimeout = TimeAmount.seconds(1)
  /// One attempt, until the response's head: tried again, or 504. `nil`: no limit of its own.
  public var attemptTimeout: TimeAmount?
  public var breaker = BreakerOptions()
  public var healthCheck: HealthCheckOptions?
  /// `nil`: every request goes to any backend.
  public var sticky: StickyOptions?
  /// Per cent of the weight below which health checks are ignored; 0: never.
  public var panicBelow = 0
  /// `nil`: a backend that comes gets its whole share at once.
  public var slowStart: SlowStartOptions?
  public var host = HostPolicy.preserve
  public var limits = HeadLimits()
  /// `nil`: plain HTTP.
  public var tls: TLSClientOptions?

  public init(name: String) { self.name = name }
}

/// `backend ADDRESS [name=] [weight=] [backup]`
public struct BackendOptions: Sendable, Equatable {
  public var address: SocketAddress
  /// As written, unless `name=` says otherwise.
  public var name: String
  public var weight = 1
  public var isBackup = false
  /// Requests in flight at once; `nil`: as the upstream says.
  public var maxRequests: Int?
  /// For `host backend`.
  public var authority: String
  /// Wanted in its certificate where the upstream names nobody; `nil`: its IP address.
  public var serverName: String?
  /// The name that it is an address of.
  public var query: NameQuery?

  public init(address: SocketAddress, name: String) {
    self.address = address
    self.name = name
    authority = address.authority
  }

  /// Live state belongs to this: the backend keeps it as long as all of it stays.
  public func key(of upstream: String) -> String {
    "\(upstream)\n\(name)\n\(address)\n\(authority)"
  }

  /// `limit`: the upstream's, for backends without one of their own.
  public func spec(limit: Int? = nil) -> BackendSpec {
    BackendSpec(
      name: name, weight: weight, isBackup: isBackup, maxRequests: maxRequests ?? limit)
  }
}

/// `host preserve|backend|NAME`: the Host field that backends see.
public enum HostPolicy: Sendable, Equatable {
  case preserve
  /// The backend's address as written.
  case backend
  case literal(String)
}

/// `route PATTERN { … }`
public struct RouteOptions: Sendable, Equatable {
  public var pattern: RoutePattern
  /// The pattern as written; the route's name in metrics and logs.
  public var name: String
  public var action: RouteAction
  /// Whole request, from its head to the last octet of the answer: 504. `nil`: no limit.
  public var requestTimeout: TimeAmount?
  /// Overrides of the upstream's.
  public var connectTimeout: TimeAmount?
  public var firstByteTimeout: TimeAmount?
  public var attemptTimeout: TimeAmount?
  /// Backends are told how much time is left.
  public var passesDeadline = false
  /// A request that carries `Idempotency-Key` may be sent twice, whatever its method.
  public var trustsIdempotencyKey = false
  public var idleTimeout: TimeAmount?
  /// Octets of a request's content: 413. 0: no limit.
  public var maxBodyBytes = 0
  public var requestHeaderEdits: [HeaderEdit] = []
  public var responseHeaderEdits: [HeaderEdit] = []
  /// Lower-case protocol names that `Upgrade` may ask for.
  public var upgrades: [String] = ["websocket"]
  /// A tunnel without traffic in either direction.
  public var tunnelTimeout = TimeAmount.seconds(3600)
  /// Pass 103 (Early Hints) on to HTTP/1.1 clients.
  public var earlyHints = false
  /// Pass trailer fields on where the client sent `TE: trailers`.
  public var trailers = true
  /// `nil`: nothing is stored.
  public var cache: RouteCache?
  /// Index of the upstream to ask where the action's cannot answer.
  public var fallbackUpstream: Int?
  /// Instead of weir's own error page.
  public var fallbackPage: FallbackPageOptions?

  public init(pattern: RoutePattern, name: String, action: RouteAction) {
    self.pattern = pattern
    self.name = name
    self.action = action
  }
}

/// `fallback-page STATUS [body=|file=] [content-type=]`
public struct FallbackPageOptions: Sendable, Equatable {
  public var status: Int
  public var contentType: String
  public var body: [UInt8]

  public init(status: Int, contentType: String, body: [UInt8]) {
    self.status = status
    self.contentType = contentType
    self.body = body
  }
}

public enum RouteAction: Sendable, Equatable {
  /// Index into `ProxyOptions.upstreams`.
  case upstream(Int)
  /// `redirect STATUS URL`; `$host`, `$path`, `$query` and `$request-uri` are replaced.
  case redirect(status: Int, location: String)
  /// `respond STATUS [body=] [content-type=]`
  case respond(status: Int, contentType: String, body: String)
}

/// `request-header|response-header set|add|remove NAME [VALUE]`
public enum HeaderEdit: Sendable, Equatable {
  /// Replaces every field of that name.
  case set(name: String, value: String)
  case add(name: String, value: String)
  case remove(name: String)
}
