import Balancing
import Caching
import Primitives
import Proxy
import Resilience
import Routing
import Telemetry
import Testing
import Transport

@testable import Config

/// Every directive is accepted, and sets what it says.
@Suite struct DirectiveTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var context: Context
    var line: String
    /// At the top level, where the line refers to it.
    var beside = ""
    var isSet: @Sendable (ProxyOptions) -> Bool
    var testDescription: String { "\(context): \(line)" }

    init(
      _ context: Context, _ line: String, beside: String = "",
      _ isSet: @escaping @Sendable (ProxyOptions) -> Bool
    ) {
      (self.context, self.line, self.beside, self.isSet) = (context, line, beside, isSet)
    }

    var name: String { String(line.split(separator: " ")[0]) }

    var file: String {
      switch context {
      case .top: fileWith(top: line)
      case .listener: fileWith(listener: line)
      case .listenerTLS: fileWith(listenerTLS: line)
      case .upstream: fileWith(upstream: line)
      case .upstreamTLS: fileWith(upstreamTLS: line)
      case .route: fileWith(top: beside, route: line)
      }
    }
  }

  static let top: [Case] = [
    Case(.top, "include other.conf") { $0.name == "from-other" },
    Case(.top, "name edge-1") { $0.name == "edge-1" },
    Case(.top, "workers 4") { $0.workers == 4 },
    Case(.top, "workers auto") { $0.workers == nil },
    Case(.top, "max-connections 500") { $0.maxConnections == 500 },
    Case(.top, "max-connections-per-client 20") { $0.maxConnectionsPerClient == 20 },
    Case(.top, "max-streams 500") { $0.maxStreams == 500 },
    Case(.top, "max-connections-per-client off") { $0.maxConnectionsPerClient == 0 },
    Case(.top, "resolver system min-ttl=5s max-ttl=1m") {
      $0.resolver == ResolverOptions() && $0.namePolicy.minTTL == .seconds(5)
        && $0.namePolicy.maxTTL == .seconds(60)
    },
    Case(
      .top,
      "resolver 10.0.0.2 [::1]:5353 ::2 timeout=1s tries=3 max-addresses=8 keep-absent=1m"
    ) {
      $0.resolver.servers.map(\.description) == ["10.0.0.2:53", "[::1]:5353", "[::2]:53"]
        && $0.resolver.timeout == .seconds(1) && $0.resolver.tries == 3
        && $0.namePolicy.maxAddresses == 8 && $0.namePolicy.keepAbsent == .seconds(60)
    },
    Case(.top, "drain-timeout 5m") { $0.drainTimeout == .seconds(300) },
    Case(.top, "log-level debug") { $0.logLevel == .debug },
    Case(.top, "access-log off") { $0.accessLog == AccessLogOptions() },
    Case(.top, "access-log stdout format=combined") {
      $0.accessLog == AccessLogOptions(target: .standardOutput, format: .combined)
    },
    Case(.top, "access-log /var/log/a=b.log format=json") {
      $0.accessLog == AccessLogOptions(target: .file(path: "/var/log/a=b.log"), format: .json)
    },
    Case(.top, "trusted-proxies 10.0.0.0/8 2001:db8::/32\ntrusted-proxies 192.0.2.1") {
      $0.trustedProxies == ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"].map { IPNetwork($0) }
    },
    Case(.top, "admin unix:/run/a.sock") {
      $0.admin == [AdminListenerOptions(address: .unix(path: "/run/a.sock"))]
    },
    Case(.top, "admin [::1]:9901 token-file=secret\nadmin unix:/run/a.sock") { options in
      options.admin.count == 2 && options.admin[0].token == "0123456789abcdef"
    },
    Case(.top, "listener two {\nbind 127.0.0.1:81\n}") {
      $0.listeners.map(\.name) == ["two", "web"]
    },
    Case(.top, "upstream b {\nbackend [::1]:81\n}\nroute /b {\nupstream b\n}") { options in
      options.upstreams.map(\.name) == ["b", "app"] && options.routes[0].action == .upstream(0)
        && options.routes[1].action == .upstream(1)
    },
    Case(
      .top,
      "cache main memory=8MiB max-object=64KiB max-variants=4 huge-pages=off\n"
        + "route /c {\nupstream app\ncache main\n}"
    ) { options in
      options.caches.map(\.memoryBytes) == [8 << 20]
        && options.caches[0].objectLimitBytes == 64 << 10 && options.caches[0].maxVariants == 4
        && !options.caches[0].usesHugePages
        && options.routes[0].cache?.cache == 0 && options.routes[0].cache?.rule == CacheRule()
    },
    Case(.top, "route www.Example.com/a%62c/* {\nupstream app\n}") { options in
      options.routes[0].name == "www.Example.com/a%62c/*"
        && options.routes[0].pattern
          == RoutePattern(host: .exact("www.example.com"), path: .prefix("/abc"))
    },
  ]

  static let listener: [Case] = [
    Case(.listener, "bind 127.0.0.1:81 backlog=77\nbind [::1]:82") { options in
      options.listeners[0].bind.map { "\($0)" } == ["[::]:8080", "127.0.0.1:81", "[::1]:82"]
        && options.listeners[0].backlog == 77
    },
    Case(.listener, "header-timeout 250ms") { $0.listeners[0].headerTimeout == .milliseconds(250) },
    Case(.listener, "keep-alive-timeout 7s") { $0.listeners[0].keepAliveTimeout == .seconds(7) },
    Case(.listener, "keep-alive-requests 7") { $0.listeners[0].keepAliveRequests == 7 },
    Case(.listener, "keep-alive-time 2h") { $0.listeners[0].keepAliveTime == .seconds(7200) },
    Case(.listener, "body-timeout 1d") { $0.listeners[0].bodyTimeout == .seconds(86_400) },
    Case(.listener, "min-body-rate 2KiB") { $0.listeners[0].minBodyRate == 2048 },
    Case(.listener, "min-body-rate off") { $0.listeners[0].minBodyRate == 0 },
    Case(.listener, "send-timeout 7s") { $0.listeners[0].sendTimeout == .seconds(7) },
    Case(.listener, "max-header-size 8KiB") { $0.listeners[0].limits.maxBytes == 8192 },
    Case(.listener, "max-header-field 4KiB") { $0.listeners[0].limits.maxFieldBytes == 4096 },
    Case(.listener, "max-header-fields 50") { $0.listeners[0].limits.maxFields == 50 },
    Case(.listener, "max-target 2KiB") { $0.listeners[0].limits.maxTargetBytes == 2048 },
    Case(.listener, "default-host Example.COM") { $0.listeners[0].defaultHost == "example.com" },
    Case(.listener, "bind [::1]:82 v6only=on reuseport=off fastopen=100 backlog=9") { options in
      let listener = options.listeners[0]
      return listener.v6Only && !listener.sharesPort && listener.fastOpen == 100
    },
    Case(.upstream, "proxy-protocol v2") { $0.upstreams[0].proxyProtocol == .v2 },
    Case(.listener, "proxy-protocol 10.0.0.0/8 127.0.0.1") {
      $0.listeners[0].proxies.count == 2
    },
    Case(.listener, "strict-path on") { $0.listeners[0].strictPath },
    Case(.listener, "http2 off") { !$0.listeners[0].http2 },
    Case(.listener, "name-backends off") { !$0.listeners[0].namesBackends },
  ]

  static let listenerTLS: [Case] = [
    Case(.listener, "tls {\ncertificate v.pem\n}") {
      $0.listeners[0].tls?.credentials.map(\.keyKind) == [.rsa]
    },
    Case(.listener, "redirect-to-https 302 port=8443") {
      $0.listeners[0].redirectToHTTPS?.status == 302
        && $0.listeners[0].redirectToHTTPS?.port == 8443
    },
    Case(.listener, "redirect-to-https") {
      $0.listeners[0].redirectToHTTPS == RedirectToHTTPS()
    },
    Case(.listenerTLS, "certificate v.pem chain=ca.pem") {
      $0.listeners[0].tls?.credentials.map(\.names) == [["www.example.com"], ["v.example.com"]]
    },
    Case(.listenerTLS, "client-certificate required ca=ca.pem") {
      $0.listeners[0].tls?.clientCertificates == .required
        && $0.listeners[0].tls?.clientAuthorities?.path == "ca.pem"
    },
    Case(.listenerTLS, "session-tickets off") { $0.listeners[0].tls?.sessionTickets == false },
    Case(.listenerTLS, "hsts 1h preload") {
      $0.listeners[0].transportSecurity == "max-age=3600; preload"
    },
    Case(.listenerTLS, "handshake-timeout 7s") {
      $0.listeners[0].tls?.handshakeTimeout == .seconds(7)
    },
    Case(.listenerTLS, "min-version 1.3") { server($0)?.minVersion == .tls13 },
    Case(.listenerTLS, "ciphers AESGCM") { server($0)?.ciphers == "AESGCM" },
    Case(.listenerTLS, "cipher-suites TLS_AES_128_GCM_SHA256") {
      server($0)?.cipherSuites == "TLS_AES_128_GCM_SHA256"
    },
    Case(.listenerTLS, "groups P-256") { server($0)?.groups == "P-256" },
    Case(.upstream, "tls {\n}") { $0.upstreams[0].tls == TLSClientOptions() },
    Case(.upstreamTLS, "server-name API.internal") {
      $0.upstreams[0].tls?.serverName == "api.internal"
    },
    Case(.upstreamTLS, "ca ca.pem") { $0.upstreams[0].tls?.authorities?.path == "ca.pem" },
    Case(.upstreamTLS, "ca system") { $0.upstreams[0].tls?.authorities == nil },
    Case(.upstreamTLS, "certificate w.pem key=w.key") {
      $0.upstreams[0].tls?.credential?.names == ["www.example.com"]
    },
    Case(.upstreamTLS, "verify on") { $0.upstreams[0].tls?.verifies == true },
    Case(.upstreamTLS, "handshake-timeout 7s") {
      $0.upstreams[0].tls?.handshakeTimeout == .seconds(7)
    },
    Case(.upstreamTLS, "min-version 1.3") { client($0)?.minVersion == .tls13 },
    Case(.upstreamTLS, "ciphers AESGCM") { client($0)?.ciphers == "AESGCM" },
    Case(.upstreamTLS, "cipher-suites TLS_AES_128_GCM_SHA256") {
      client($0)?.cipherSuites == "TLS_AES_128_GCM_SHA256"
    },
    Case(.upstreamTLS, "groups P-256") { client($0)?.groups == "P-256" },
  ]

  static func server(_ options: ProxyOptions) -> TLSParameters? {
    options.listeners[0].tls?.parameters
  }

  static func client(_ options: ProxyOptions) -> TLSParameters? {
    options.upstreams[0].tls?.parameters
  }

  static let upstream: [Case] = [
    Case(.upstream, "max-requests 50") { $0.upstreams[0].maxRequests == 50 },
    Case(.upstream, "max-requests off") { $0.upstreams[0].maxRequests == nil },
    Case(.upstream, "backend 10.0.0.9:80 max-requests=7") {
      $0.upstreams[0].backends.last?.maxRequests == 7
    },
    Case(.upstream, "queue 100 timeout=250ms\nmax-requests 5") {
      $0.upstreams[0].queueSize == 100 && $0.upstreams[0].queueTimeout == .milliseconds(250)
    },
    Case(.upstream, "slow-start 30s floor=20% aggression=2") {
      var wanted = SlowStartOptions(window: .seconds(30))
      wanted.floor = 20
      wanted.aggression = 2
      return $0.upstreams[0].slowStart == wanted
    },
    Case(.upstream, "sticky cookie srv ttl=8h key-file=secret") {
      var wanted = StickyOptions(cookie: "srv")
      wanted.lifetime = .seconds(8 * 3600)
      wanted.key = Array("0123456789abcdef".utf8)
      return $0.upstreams[0].sticky == wanted
    },
    Case(.upstream, "slow-start off") { $0.upstreams[0].slowStart == nil },
    Case(.upstream, "panic 50%\nhealth-check tcp") { $0.upstreams[0].panicBelow == 50 },
    Case(.upstream, "panic off") { $0.upstreams[0].panicBelow == 0 },
    Case(.upstream, "queue off") { $0.upstreams[0].queueSize == 0 },
    Case(.upstream, "balance round-robin") { $0.upstreams[0].balance == .roundRobin },
    Case(.upstream, "balance least-connections") { $0.upstreams[0].balance == .leastConnections },
    Case(.upstream, "balance two-choices") { $0.upstreams[0].balance == .twoChoices },
    Case(.upstream, "balance hash path bound=1.25 points=512") { options in
      var hash = HashOptions(key: .path, bound: 1.25)
      hash.pointsPerWeight = 512
      return options.upstreams[0].balance == .hash(hash)
    },
    Case(.upstream, "balance hash url") { hash($0) == .url },
    Case(.upstream, "balance hash client-address") { hash($0) == .clientAddress },
    Case(.upstream, "balance hash header X-User") { hash($0) == .header("x-user") },
    Case(.upstream, "balance hash cookie Session") { hash($0) == .cookie("Session") },
    Case(.upstream, "balance hash query id") { hash($0) == .query("id") },
    Case(.upstream, "backend [2001:db8::1]:81 backup name=b2 weight=0") { options in
      let backend = options.upstreams[0].backends[1]
      return backend.isBackup && backend.name == "b2" && backend.weight == 0
        && "\(backend.address)" == "[2001:db8::1]:81"
    },
    Case(.upstream, "backend App.Internal.:8080 backup weight=3 max-requests=9") { options in
      var named = BackendNameOptions(
        query: .host("app.internal."), port: 8080, name: "App.Internal.:8080")
      (named.weight, named.isBackup, named.maxRequests) = (3, true, 9)
      return options.upstreams[0].names == [named] && options.upstreams[0].backends.count == 1
    },
    Case(.upstream, "backend srv:_http._tcp.App.internal name=app backup max-requests=9") {
      var named = BackendNameOptions(
        query: .service("_http._tcp.app.internal"), port: 0, name: "app")
      (named.isBackup, named.maxRequests) = (true, 9)
      return $0.upstreams[0].names == [named]
    },
    Case(.upstream, "backend 10.0.0.2:80") { options in
      options.upstreams[0].backends[1].spec() == BackendSpec(name: "10.0.0.2:80")
    },
    Case(.upstream, "connect-timeout 7s") { $0.upstreams[0].connectTimeout == .seconds(7) },
    Case(.upstream, "first-byte-timeout 7s") { $0.upstreams[0].firstByteTimeout == .seconds(7) },
    Case(.upstream, "idle-timeout 7s") { $0.upstreams[0].idleTimeout == .seconds(7) },
    Case(.upstream, "pool-idle-timeout 7s") { $0.upstreams[0].poolIdleTimeout == .seconds(7) },
    Case(.upstream, "http2 on") { $0.upstreams[0].http2 },
    Case(.upstream, "http2-streams 7") { $0.upstreams[0].http2Streams == 7 },
    Case(.upstream, "pool-size 0") { $0.upstreams[0].poolSize == 0 },
    Case(.upstream, "attempt-timeout 7s") { $0.upstreams[0].attemptTimeout == .seconds(7) },
    Case(.upstream, "retry off") { $0.upstreams[0].retry.attempts == 1 },
    Case(.upstream, "retry attempts=8 on=reset,500 backoff=1s max-backoff=2s budget=5%") {
      let retry = $0.upstreams[0].retry
      return retry.attempts == 8 && retry.conditions == [.reset, .status500]
        && retry.backoff == .seconds(1) && retry.maxBackoff == .seconds(2) && retry.budget == 5
    },
    Case(.upstream, "health-check tcp interval=2s timeout=3s initial=down") { options in
      var check = HealthCheckOptions(kind: .tcp)
      (check.interval, check.timeout, check.initial) = (.seconds(2), .seconds(3), .down)
      return options.upstreams[0].healthCheck == check
    },
    Case(
      .upstream,
      "health-check-header X-A b\nhealth-check GET /h?a=b expect=200-299,404 contains=ok host=A.b"
    ) { options in
      var check = HTTPCheck(method: "GET", path: "/h?a=b")
      check.expected = [200...299, 404...404]
      (check.contains, check.host) = ("ok", "a.b")
      check.fields = [.init(name: "X-A", value: "b")]
      return options.upstreams[0].healthCheck == HealthCheckOptions(kind: .http(check))
    },
    Case(.upstream, "health-check grpc service=shop.Orders host=a.b\nhttp2 on") { options in
      var call = GRPCCheck(service: "shop.Orders")
      call.host = "a.b"
      return options.upstreams[0].healthCheck == HealthCheckOptions(kind: .grpc(call))
    },
    Case(.upstream, "health-check-header X-A b\nhealth-check grpc\nhttp2 on") { options in
      var call = GRPCCheck()
      call.fields = [.init(name: "X-A", value: "b")]
      return options.upstreams[0].healthCheck == HealthCheckOptions(kind: .grpc(call))
    },
    Case(.upstream, "health-check HEAD / rise=3 fall=4 fast-interval=50ms") { options in
      let check = options.upstreams[0].healthCheck
      return check?.rise == 3 && check?.fall == 4 && check?.fastInterval == .milliseconds(50)
    },
    Case(.upstream, "health-check GET / reuse=off") { options in
      options.upstreams[0].healthCheck?.reusesConnections == false
    },
    Case(.upstream, "health-check GET / reuse=on") { options in
      options.upstreams[0].healthCheck?.reusesConnections == true
    },
    Case(.upstream, "circuit-breaker off") { options in
      let breaker = options.upstreams[0].breaker
      return breaker.failures == 0 && breaker.errorRate == 0 && breaker.slowCall == nil
    },
    Case(.upstream, "circuit-breaker failures=9 error-rate=off max-out=10%") { options in
      let breaker = options.upstreams[0].breaker
      return breaker.failures == 9 && breaker.errorRate == 0 && breaker.maxOut == 10
    },
    Case(.upstream, "circuit-breaker failures=off error-rate=7% window=20s min-requests=9") {
      let breaker = $0.upstreams[0].breaker
      return breaker.failures == 0 && breaker.errorRate == 7 && breaker.window == .seconds(20)
        && breaker.minRequests == 9
    },
    Case(.upstream, "circuit-breaker open=2s max-open=9s probes=2 successes=4 count=5xx") {
      let breaker = $0.upstreams[0].breaker
      return breaker.open == .seconds(2) && breaker.maxOpen == .seconds(9) && breaker.probes == 2
        && breaker.successes == 4 && breaker.countsServerErrors
    },
    Case(.upstream, "circuit-breaker slow-call=300ms slow-rate=60%") {
      let breaker = $0.upstreams[0].breaker
      return breaker.slowCall == .milliseconds(300) && breaker.slowRate == 60
    },
    Case(.upstream, "host preserve") { $0.upstreams[0].host == .preserve },
    Case(.upstream, "host backend") { $0.upstreams[0].host == .backend },
    Case(.upstream, "host API.example:8443") {
      $0.upstreams[0].host == .literal("api.example:8443")
    },
    Case(.upstream, "max-header-size 8KiB") { $0.upstreams[0].limits.maxBytes == 8192 },
    Case(.upstream, "max-header-field 4KiB") { $0.upstreams[0].limits.maxFieldBytes == 4096 },
    Case(.upstream, "max-header-fields 256") { $0.upstreams[0].limits.maxFields == 256 },
  ]

  static func hash(_ options: ProxyOptions) -> HashKey? {
    guard case .hash(let hash) = options.upstreams[0].balance else { return nil }
    return hash.key
  }

  static let route: [Case] = [
    Case(
      .route,
      "cache main ttl=10m status-ttl=404:10s,503:1s stale-while-revalidate=30s "
        + "stale-if-error=1h heuristic=10% query=drop:utm_*,ref sort-query=on key-headers=x-a,x-b "
        + "key-cookies=lang bypass=header:x-preview,cookie:session,query:nocache "
        + "tag-headers=xkey expose-tags=on surrogate-control=on request-directives=on "
        + "store-set-cookie=on ttl-overrides=on",
      beside: "cache other\ncache main\n"
        + "route /o {\nupstream app\ncache other\n}"
    ) { options in
      var rule = CacheRule()
      rule.ttl = .seconds(600)
      rule.ttlOverrides = true
      rule.statusTTLs = [
        .init(status: 404, ttl: .seconds(10)), .init(status: 503, ttl: .seconds(1)),
      ]
      rule.staleWhileRevalidate = .seconds(30)
      rule.staleIfError = .seconds(3600)
      rule.heuristicPercent = 10
      rule.query = .drop(["utm_*", "ref"])
      rule.sortsQuery = true
      rule.keyHeaders = ["x-a", "x-b"]
      rule.keyCookies = ["lang"]
      rule.bypass = [.header("x-preview"), .cookie("session"), .query("nocache")]
      rule.tagHeaders = ["xkey"]
      rule.exposesTags = true
      rule.obeysSurrogateControl = true
      rule.obeysRequestDirectives = true
      rule.storesSetCookie = true
      let route = options.routes.first { $0.name == "*" }
      return route?.cache?.rule == rule && route?.cache?.cache == 1
    },
    Case(.route, "when path ~ ^/[a-z]{2}/\\d+$") {
      $0.routes[0].pattern.path == .regex("^/[a-z]{2}/\\d+$")
    },
    Case(.route, "when method GET PURGE") {
      $0.routes[0].pattern.conditions == [.method(["GET", "PURGE"])]
    },
    Case(.route, "when header X-A\nwhen header X-B \"b c\"") {
      $0.routes[0].pattern.conditions
        == [.header(name: "x-a", value: nil), .header(name: "x-b", value: "b c")]
    },
    Case(.route, "when query a\nwhen query b=c \"\"") {
      $0.routes[0].pattern.conditions
        == [.query(name: "a", value: nil), .query(name: "b=c", value: "")]
    },
    Case(.route, "request-timeout 7s") { $0.routes[0].requestTimeout == .seconds(7) },
    Case(.route, "connect-timeout 7s") { $0.routes[0].connectTimeout == .seconds(7) },
    Case(.route, "first-byte-timeout 7s") { $0.routes[0].firstByteTimeout == .seconds(7) },
    Case(.route, "attempt-timeout 7s") { $0.routes[0].attemptTimeout == .seconds(7) },
    Case(.route, "idempotency-key on") { $0.routes[0].trustsIdempotencyKey },
    Case(.route, "idle-timeout 7s") { $0.routes[0].idleTimeout == .seconds(7) },
    Case(.route, "max-body-size 10MiB") { $0.routes[0].maxBodyBytes == 10 << 20 },
    Case(.route, "max-body-size off") { $0.routes[0].maxBodyBytes == 0 },
    Case(.route, "request-header set X-A a=b\nrequest-header remove Cookie") {
      $0.routes[0].requestHeaderEdits
        == [.set(name: "X-A", value: "a=b"), .remove(name: "Cookie")]
    },
    Case(.route, "response-header add Link \"</a>; rel=preload\"") {
      $0.routes[0].responseHeaderEdits == [.add(name: "Link", value: "</a>; rel=preload")]
    },
    Case(
      .route, "fallback-upstream spare", beside: "upstream spare {\nbackend 10.0.0.2:80\n}"
    ) {
      let upstream = $0.routes[0].fallbackUpstream ?? 0
      return $0.upstreams[upstream].name == "spare"
    },
    Case(.route, "fallback-page 503 body=no content-type=text/html") {
      $0.routes[0].fallbackPage
        == FallbackPageOptions(status: 503, contentType: "text/html", body: Array("no".utf8))
    },
    Case(.route, "fallback-page 500 file=secret") {
      $0.routes[0].fallbackPage?.body == Array("0123456789abcdef\n".utf8)
    },
    Case(.route, "pass-deadline on") { $0.routes[0].passesDeadline },
    Case(.route, "upgrade off") { $0.routes[0].upgrades.isEmpty },
    Case(.route, "upgrade WebSocket irc/6.9 websocket") {
      $0.routes[0].upgrades == ["websocket", "irc/6.9"]
    },
    Case(.route, "tunnel-timeout 7s") { $0.routes[0].tunnelTimeout == .seconds(7) },
    Case(.route, "early-hints on") { $0.routes[0].earlyHints },
    Case(.route, "trailers off") { !$0.routes[0].trailers },
  ]

  /// Actions stand in a route of their own.
  static let actions: [Case] = [
    action("upstream app", .upstream(0)),
    action(
      "redirect 308 https://$host$request-uri",
      .redirect(status: 308, location: "https://$host$request-uri")),
    action("redirect 302 /new$path?$query", .redirect(status: 302, location: "/new$path?$query")),
    action(
      "respond 404", .respond(status: 404, contentType: "text/plain; charset=utf-8", body: "")),
    action(
      "respond 200 content-type=application/json body=\"{\\\"a\\\": 1}\"",
      .respond(status: 200, contentType: "application/json", body: "{\"a\": 1}")),
  ]

  static func action(_ line: String, _ action: RouteAction) -> Case {
    Case(.top, "route /action {\n\(line)\n}") { $0.routes[0].action == action }
  }

  @Test(arguments: top + listener + listenerTLS + upstream + route + actions)
  func `a directive sets what it says`(_ sample: Case) throws {
    let result = load(
      sample.file, others: ["other.conf": "name from-other\n", "secret": "0123456789abcdef\n"])
    #expect(rendered(result) == "")
    let options = try #require(result.options)
    #expect(sample.isSet(options))
  }

  @Test func `every row of the table has a case`() {
    let cases = Self.top + Self.listener + Self.listenerTLS + Self.upstream + Self.route
    for context in Context.allCases {
      let covered = Set(cases.filter { $0.context == context }.map(\.name))
      let actions: Set = ["upstream", "redirect", "respond"]
      let names = Set(DirectiveTable.rows(context).map(\.name))
      #expect(names.subtracting(covered).subtracting(context == .route ? actions : []).isEmpty)
      #expect(names.count == DirectiveTable.rows(context).count, "a name stands twice")
    }
  }

  @Test func `a file without settings gives the options' own defaults`() throws {
    let options = try #require(load(fileWith()).options)
    var expected = ProxyOptions()
    var listener = ListenerOptions(name: "web")
    listener.bind = [.ip(IPAddress(high: 0, low: 0), port: 8080)]
    var upstream = UpstreamOptions(name: "app")
    upstream.backends = [
      BackendOptions(
        address: .ip(IPAddress(v4: 0x0A00_0001), port: 80), name: "10.0.0.1:80")
    ]
    expected.listeners = [listener]
    expected.upstreams = [upstream]
    expected.routes = [RouteOptions(pattern: RoutePattern(), name: "*", action: .upstream(0))]
    #expect(options == expected)
  }
}
