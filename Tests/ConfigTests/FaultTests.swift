import Testing

@testable import Config

/// One fault each: exactly one diagnostic, at its place.
@Suite struct FaultTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var text: String
    /// `line:column: message`
    var expected: String
    var testDescription: String { expected }

    init(_ text: String, _ expected: String) { (self.text, self.expected) = (text, expected) }
  }

  static let syntax: [Case] = [
    Case(fileWith() + "}\n", "14:1: '}' closes no block"),
    Case(fileWith() + "{\n}\n", "14:1: '{' has no directive before it"),
    Case(fileWith(top: "name \"a"), "1:6: the quote is not closed on its line"),
    Case(fileWith(top: "name \"a\"b"), "1:9: a closing quote ends its word"),
    Case(fileWith(top: "name \"\\a\""), "1:7: unknown escape"),
    Case(fileWith(top: "name a\u{1}b"), "1:7: control character 0x1"),
    Case(fileWith(top: "\"name\" a"), "1:1: the name of a directive is written plainly"),
    Case(fileWith(top: "${X:-name} a"), "1:1: the name of a directive is written plainly"),
    Case(fileWith(top: "name ${NONE}"), "1:6: the environment variable 'NONE' is not set"),
    Case(fileWith(top: "name ${NONE"), "1:6: '${' is not closed on its line"),
    Case(fileWith(top: "name ${1}"), "1:6: '${1}' names no environment variable"),
    Case(fileWith(top: "name ${A-b}"), "1:6: '${A-b}' names no environment variable"),
    Case(
      fileWith(top: "listener b { bind :81 }"),
      "1:14: a block's directives stand on lines of their own"),
    Case(fileWith(top: "listener b{\nbind :81\n}"), "1:11: '{' needs a space before it"),
    Case(
      fileWith(listener: "strict-path on }\nlistener b {\nbind :81"),
      "4:16: '}' stands on a line of its own"),
    Case(fileWith(top: "listener b {\nbind :81"), "1:12: the block of 'listener' is not closed"),
    Case(fileWith() + "listener b {\nbind :81\n", "14:12: the block of 'listener' is not closed"),
    Case(
      fileWith(route: "} trailers off\nroute /b {\nupstream app"),
      "12:3: nothing may follow '}' on its line"),
  ]

  static let words: [Case] = [
    Case(fileWith(top: "worker 1"), "1:1: unknown directive 'worker'"),
    Case(fileWith(top: "bind :80"), "1:1: 'bind' does not stand at the top level"),
    Case(
      fileWith(route: "backend 10.0.0.1:80"),
      "12:1: 'backend' does not stand in a 'route' block"),
    Case(fileWith(route: "include a.conf"), "12:1: 'include' does not stand in a 'route' block"),
    Case(fileWith(top: "workers 1 2"), "1:11: unexpected argument '2'"),
    Case(fileWith(top: "workers"), "1:1: 'workers' needs N|auto"),
    Case(fileWith(top: "workers {\n}"), "1:9: 'workers' has no block"),
    Case(fileWith(top: "listener b"), "1:1: 'listener' needs a block"),
    Case(fileWith(top: "workers 1\nworkers 1"), "2:1: 'workers' is given twice"),
    Case(fileWith(top: "workers 1 x=1"), "1:11: 'workers' has no options"),
    Case(fileWith(listener: "bind :81 backlogg=1"), "4:10: 'bind' has no option 'backlogg'"),
    Case(fileWith(listener: "bind :81 backlog=1 backlog=1"), "4:20: 'backlog=' is given twice"),
    Case(
      fileWith(listener: "bind :81 v6only=on\nbind :82 v6only=off"),
      "5:17: a listener has one v6only"),
    Case(
      fileWith(upstream: "proxy-protocol v1\nhttp2 on"),
      "8:1: a connection of HTTP/2 is shared by clients, and 'proxy-protocol' names one"),
    Case(
      fileWith(listener: "bind :81 mode=0666"), "4:10: only a unix socket has a mode"),
    Case(fileWith(listener: "bind :81 backlog=0"), "4:18: 0 is out of range"),
    Case(
      fileWith(listener: "bind :81 backlog=9\nbind :82 backlog=10"),
      "5:18: a listener has one backlog"),
    Case(fileWith(listener: "bind 81"), "4:6: '81' is not an address"),
    Case(fileWith(listener: "bind 10.0.0.1"), "4:6: '10.0.0.1' has no port"),
    Case(fileWith(listener: "bind :0"), "4:6: ':0' is not an address with a port of 1 to 65535"),
    Case(
      fileWith(upstream: "backend unix:/run/app.sock\ntls {\n}"),
      "8:9: a certificate cannot be checked for a unix socket"),
    Case(fileWith(listener: "bind unix:a"), "4:6: 'unix:a' is not a socket path"),
    Case(fileWith(listener: "default-host a:80"), "4:14: 'a:80' is not a host name"),
    Case(fileWith(top: "access-log log"), "1:12: 'log' is not an absolute path"),
    Case(
      fileWith(top: "trusted-proxies 10.0.0.0/33"),
      "1:17: '10.0.0.0/33' is not a network"),
    Case(
      fileWith(top: "admin 127.0.0.1:99"),
      "1:7: an admin endpoint on a TCP address needs 'token-file='"),
    Case(
      fileWith(top: "admin 127.0.0.1:99 token-file=none"),
      "1:31: 'none' cannot be read: no such file or directory"),
    Case(
      fileWith(top: "admin 127.0.0.1:99 token-file=proxy.conf"),
      "1:31: 'proxy.conf' holds no token"),
    Case(fileWith(top: "admin unix:a.sock"), "1:7: 'unix:a.sock' is not a socket path"),
    Case(
      fileWith(top: "include none.conf"),
      "1:9: 'none.conf' cannot be read: no such file or directory"),
    Case(fileWith(top: "include"), "1:1: 'include' needs GLOB"),
    Case(fileWith(top: "include proxy.conf"), "1:9: 'proxy.conf' includes itself"),
    Case(fileWith(top: "name a/b"), "1:6: 'a/b' is not a name"),
  ]

  static let upstreams: [Case] = [
    Case(
      fileWith(upstream: "backend app"),
      "8:9: 'app' has no port"),
    Case(fileWith(upstream: "backend 10.0.0.2"), "8:9: '10.0.0.2' has no port"),
    Case(
      fileWith(upstream: "backend srv:_http._tcp.app:80"),
      "8:9: '_http._tcp.app:80' is not the name of a service"),
    Case(fileWith(upstream: "backend srv:app"), "8:9: 'app' is not the name of a service"),
    Case(
      fileWith(upstream: "backend srv:_http._tcp.app weight=2"),
      "8:28: the records of a service have weights of their own"),
    Case(
      fileWith(upstream: "backend srv:_http._tcp.app\ntls {\n}"),
      "8:9: a certificate cannot be checked for what DNS says"),
    Case(fileWith(upstream: "backend app:0"), "8:9: '0' is not a port"),
    Case(fileWith(upstream: "backend app:http"), "8:9: 'http' is not a port"),
    Case(
      fileWith(upstream: "backend 10.0.0.256:80"),
      "8:9: '10.0.0.256:80' is not an address with a port of 1 to 65535"),
    Case(
      fileWith(upstream: "backend http://app:80"),
      "8:9: 'http://app:80' is not an address with a port of 1 to 65535"),
    Case(
      fileWith(upstream: "backend app:80\nbackend app:80"),
      "9:9: the backend name 'app:80' is taken"),
    Case(
      fileWith(upstream: "backend app:80 weight=32\nbalance hash path"),
      "6:1: the hash ring may have 2097408 points"),
    Case(
      fileWith(top: "resolver 10.0.0.2 system"), "1:1: 'system' stands alone"),
    Case(
      fileWith(top: "resolver ns.internal"),
      "1:10: 'ns.internal' is not the address of a name server"),
    Case(
      fileWith(top: "resolver system min-ttl=10s max-ttl=5s"),
      "1:17: 'min-ttl=' is more than 'max-ttl='"),
    Case(
      fileWith(
        top: "resolver " + (1...8).map { "10.0.0.\($0)" }.joined(separator: " ") + " ::1"),
      "1:82: more than 8 name servers"),
    Case(fileWith(upstream: "backend :80"), "8:9: ':80' is no address to connect to"),
    Case(
      fileWith(upstream: "backend 10.0.0.1:80"),
      "8:9: the backend name '10.0.0.1:80' is taken"),
    Case(
      fileWith(upstream: "backend 10.0.0.2:80 name=10.0.0.1:80"),
      "8:26: the backend name '10.0.0.1:80' is taken"),
    Case(fileWith(upstream: "backend 10.0.0.2:80 bakup"), "8:21: unknown word 'bakup'"),
    Case(fileWith(upstream: "balance hash"), "8:9: 'hash' needs a key"),
    Case(fileWith(upstream: "balance hash cookie"), "8:14: 'cookie' needs a name"),
    Case(fileWith(upstream: "balance hash path x"), "8:19: 'path' takes no name"),
    Case(fileWith(upstream: "balance two-choices path"), "8:21: 'two-choices' takes no key"),
    Case(
      fileWith(upstream: "balance round-robin points=9"),
      "8:21: 'points=' belongs to 'hash', not to 'round-robin'"),
    Case(
      fileWith(upstream: "backend 10.0.0.2:80 weight=256\nbalance hash path points=4096"),
      "6:1: the hash ring has 1052672 points"),
    Case(fileWith(upstream: "retry off attempts=2"), "8:7: 'off' stands alone"),
    Case(fileWith(upstream: "retry on=reset,501"), "8:10: unknown kind of failure '501'"),
    Case(fileWith(upstream: "health-check GET"), "8:14: 'GET' needs a path"),
    Case(fileWith(upstream: "health-check GET healthz"), "8:18: 'healthz' is not an absolute path"),
    Case(fileWith(upstream: "health-check tcp /a"), "8:18: 'tcp' takes no path"),
    Case(
      fileWith(upstream: "health-check tcp expect=200"),
      "8:18: 'expect=' belongs to a request, not to 'tcp'"),
    Case(
      fileWith(upstream: "http2 on\nhealth-check grpc /a"), "9:19: 'grpc' takes no path"),
    Case(
      fileWith(upstream: "http2 on\nhealth-check grpc contains=ok"),
      "9:19: 'contains=' belongs to a request, not to 'grpc'"),
    Case(
      fileWith(upstream: "health-check tcp service=a"),
      "8:18: 'service=' belongs to 'grpc', not to 'tcp'"),
    Case(
      fileWith(upstream: "health-check GET / service=a"), "8:20: 'service=' belongs to 'grpc'"),
    Case(
      fileWith(upstream: "health-check tcp reuse=on"),
      "8:18: 'reuse=' belongs to a request, not to 'tcp'"),
    Case(
      fileWith(upstream: "health-check GET / reuse=off\nhttp2 on"),
      "8:20: 'reuse=' is of HTTP/1.1: a check in HTTP/2 makes a connection of its own"),
    Case(
      fileWith(upstream: "health-check grpc"),
      "8:1: 'health-check grpc' needs 'http2 on': gRPC is spoken over HTTP/2 alone"),
    Case(
      fileWith(upstream: "http2 on\nhealth-check grpc\nhealth-check-header grpc-timeout 1S"),
      "10:1: 'grpc-timeout' of a check cannot be set"),
    Case(
      fileWith(upstream: "health-check GET / expect=200-"), "8:27: '200-' is no list of statuses"),
    Case(
      fileWith(upstream: "health-check GET / expect=100"), "8:27: '100' is no list of statuses"),
    Case(
      fileWith(upstream: "health-check TRACE /"), "8:14: TRACE cannot be a health check"),
    Case(
      fileWith(upstream: "health-check-header A b"),
      "8:1: 'health-check-header' needs a 'health-check' with a request"),
    Case(
      fileWith(upstream: "health-check GET /\nhealth-check-header Host b"),
      "9:1: 'Host' of a check cannot be set"),
    Case(
      fileWith(upstream: "circuit-breaker off failures=1"), "8:17: 'off' stands alone"),
    Case(
      fileWith(upstream: "circuit-breaker slow-rate=1%"),
      "8:17: 'slow-rate=' needs 'slow-call='"),
    Case(
      fileWith(upstream: "circuit-breaker count=4xx"),
      "8:23: unknown class of failures '4xx'"),
    Case(fileWith(upstream: "host a:b"), "8:6: 'b' is not a port"),
    Case(
      fileWith(top: "upstream b {\n}\nroute /b {\nupstream b\n}"),
      "1:1: the upstream has no backend"),
    Case(
      fileWith(top: "upstream app {\nbackend 10.0.0.1:80\n}"),
      "8:10: the upstream name 'app' is taken"),
    Case(fileWith(top: "listener web {\nbind :81\n}"), "4:10: the listener name 'web' is taken"),
    Case(fileWith(top: "listener b {\n}"), "1:1: the listener has no address"),
    Case(
      fileWith(listener: "bind 0.0.0.0:8080"),
      "4:6: the address 0.0.0.0:8080 is bound already"),
    Case("route * {\nrespond 200\n}\n", "0:0: no listener"),
  ]

  static let routes: [Case] = [
    Case(fileWith(route: "respond 200"), "12:1: the route has an action already"),
    Case(fileWith(route: "upstream app"), "12:1: 'upstream' is given twice"),
    Case(fileWith(top: "route /a {\n}"), "1:1: the route has no action"),
    Case(fileWith(top: "route /a {\nupstream b\n}"), "2:10: unknown upstream 'b'"),
    Case(
      fileWith(top: "route */* {\nrespond 200\n}"),
      "12:7: the route on line 1 has the same host, path and conditions"),
    Case(action("redirect 300 /"), "2:10: unknown redirection status '300'"),
    Case(action("redirect 301 /$hots"), "2:14: unknown variable '$hots'"),
    Case(action("redirect 301 /$"), "2:14: unknown variable '$'"),
    Case(
      action("redirect 301 www.example.com"),
      "2:14: 'www.example.com' is neither a URL nor a path"),
    Case(action("redirect 301 \"/a b\""), "2:14: a URL consists of visible ASCII characters"),
    Case(action("respond 100"), "2:9: 100 is out of range"),
    Case(action("respond 204 body=x"), "2:13: a 204 answer has no body"),
    Case(
      action("respond 200 body=" + String(repeating: "x", count: 32 << 10 + 1)),
      "2:18: the text is longer than 32KiB"),
    Case(action("respond 200 type=x"), "2:13: 'respond' has no option 'type'"),
    Case(
      action("respond 200 content-type=\"a\\nb\""),
      "2:26: a field value must not contain control characters"),
    Case(fileWith(route: "when path ^/a"), "12:11: expected 'when path ~ REGEX'"),
    Case(
      fileWith(route: "when path ~ /a(b"),
      "12:13: the expression is faulty: missing closing parenthesis"),
    Case(
      fileWith(route: "when path ~ /a)b"),
      "12:15: the expression is faulty: unmatched closing parenthesis"),
    Case(action("when path ~ b\nrespond 200"), "2:6: the route's pattern names a path already"),
    Case(
      fileWith(route: "when path ~ a\nwhen path ~ b"),
      "13:6: the route has a condition on the path already"),
    Case(
      fileWith(route: "when method GET\nwhen method GET"),
      "13:6: the route has a condition on the method already"),
    Case(fileWith(route: "when method G/T"), "12:13: 'G/T' is not a method"),
    Case(fileWith(route: "when header A:B"), "12:13: 'A:B' is not a field name"),
    Case(fileWith(route: "when header A b c"), "12:17: unexpected argument 'c'"),
    Case(fileWith(route: "when cookie a"), "12:6: unknown condition 'cookie'"),
    Case(fileWith(route: "upgrade off websocket"), "12:9: 'off' stands alone"),
    Case(fileWith(route: "upgrade h2c"), "12:9: 'h2c' is never passed on by Upgrade"),
    Case(fileWith(route: "request-header set Host a"), "12:20: 'Host' cannot be edited"),
    Case(
      fileWith(route: "response-header add content-length 1"),
      "12:21: 'content-length' cannot be edited"),
    Case(fileWith(route: "request-header remove A b"), "12:25: 'remove' takes no value"),
    Case(fileWith(route: "request-header set A"), "12:20: 'set' needs a value"),
    Case(fileWith(route: "request-header set A: b"), "12:20: 'A:' is not a field name"),
    Case(
      fileWith(route: "request-header set A \"b\\r\\nC: d\""),
      "12:22: a field value must not contain control characters"),
    Case(
      fileWith(route: "request-header set A \" b\""),
      "12:22: a field value does not begin or end with white space"),
  ]

  static func action(_ line: String) -> String { fileWith(top: "route /a {\n\(line)\n}") }

  @Test(arguments: syntax + words + upstreams + routes)
  func `a fault is reported once, at its place`(_ sample: Case) {
    let result = load(sample.text)
    let found = result.diagnostics.map { "\($0.line):\($0.column): \($0.message)" }
    #expect(found == [sample.expected], "\(rendered(result))")
    #expect(result.options == nil)
  }

  @Test(arguments: [
    (
      fileWith(route: "when method get"),
      "12:13: methods are case-sensitive: 'get' is not 'GET'"
    ),
    (
      fileWith(route: "when method TRACE"),
      "12:13: TRACE is refused with 405 before any route is looked for"
    ),
    (
      fileWith(top: "upstream b {\nbackend 10.0.0.1:80\n}"),
      "1:10: no route leads to the upstream 'b'"
    ),
    (
      fileWith(upstream: "balance hash path").replacing(":80\n", with: ":80 weight=0\n"),
      "6:1: every backend has weight 0: none takes a request"
    ),
    (
      fileWith(
        top: "route * {\nwhen path ~ ^/m/\\d\nrespond 200\n}\nroute /m/* {\nrespond 200\n}"),
      "1:7: no request can reach this route"
    ),
    (
      fileWith(top: sticky("b", "s", "a.example") + sticky("c", "s", "*")),
      "8:10: two upstreams of one site make clients stick by the cookie 's'"
    ),
    ("listener web {\nbind :80\n}\n", "0:0: no route: every request is answered with 404"),
  ])
  func `a warning does not refuse the file`(text: String, expected: String) {
    let result = load(text)
    let found = result.diagnostics.map { "\($0.line):\($0.column): \($0.message)" }
    #expect(found == [expected])
    #expect(result.diagnostics.allSatisfy { $0.severity == .warning })
    #expect(result.options != nil)
  }

  /// An upstream and a route to it.
  private static func sticky(_ name: String, _ cookie: String, _ host: String) -> String {
    "upstream \(name) {\nbackend 10.0.0.1:80\nsticky cookie \(cookie)\n}\n"
      + "route \(host)/\(name) {\nupstream \(name)\n}\n"
  }

  @Test(arguments: [
    sticky("b", "s", "a.example") + sticky("c", "t", "a.example"),
    sticky("b", "s", "a.example") + sticky("c", "s", "b.example"),
    sticky("b", "s", "a.example") + "route a.example/more {\nupstream b\n}\n",
  ])
  func `sticky cookies that do not meet are no fault`(top: String) {
    #expect(load(fileWith(top: top)).diagnostics.isEmpty)
  }

  @Test(arguments: [
    ("upsteam b {\nbackend 10.0.0.1\n}\nroute /b {\nupstream b\n}", [1, 2]),
    ("upstream b {\nbackend bad\n}\nroute /b {\nupstream b\n}", [2]),
    ("upstream b/b {\nbackend 10.0.0.1:80\n}\nroute /b {\nupstream b\n}", [1]),
    ("listener b {\nbind bad\n}\nlistener c {\nbnd :81\n}", [2, 5]),
    ("route /b {\nupstrem app\n}", [2]),
    ("route /b {\nrequest-timeout 5\n}", [1, 2]),
    ("route bad* {\nidle-timeout 5\n}", [1, 1, 2]),
  ])
  func `a fault causes no second one elsewhere`(text: String, lines: [Int]) {
    let result = load(fileWith(top: text))
    #expect(result.diagnostics.map(\.line) == lines, "\(rendered(result))")
  }

  /// A cache, and a route with this line.
  private static func route(_ line: String) -> String {
    "cache main\nroute /cached {\nupstream app\n\(line)\n}"
  }

  @Test(arguments: [
    ("wrokers 1", "did you mean 'workers'?"), ("Workers 1", "did you mean 'workers'?"),
    ("max_connections 1", "did you mean 'max-connections'?"),
    ("mirror on", "this version of weir has no 'mirror'"),
    ("log-level warn", "did you mean 'warning'?"),
    ("log-level trace", "expected one of 'debug', 'info', 'warning', 'error'"),
    ("bind :80", "it stands in a 'listener' block"),
    ("idle-timeout 1s", "it stands in an 'upstream' block or in a 'route' block"),
    ("access-log stdout fromat=json", "did you mean 'format='?"),
    (
      "cache main memory=8MiB max-object=2MiB",
      "expected at most 1MiB, or more 'memory='"
    ),
    (
      "upstream q {\nbackend 10.0.0.1:80\nqueue 5\n}\nroute /q {\nupstream q\n}",
      "expected 'max-requests' in the upstream, or 'max-requests=' at its backends"
    ),
    (route("cache mian"), "expected one of 'main'"),
    (route("cache mian"), "did you mean 'main'?"),
    (
      route("cache main status-ttl=206:1s"),
      "expected one such as '404:10s', of 200 to 599 but for 206 and 304"
    ),
    (
      route("cache main query=only:a"),
      "expected 'all', 'none', 'keep:NAME,…' or 'drop:NAME,…'"
    ),
    (
      route("cache main bypass=preview"),
      "expected 'header:NAME', 'cookie:NAME' or 'query:NAME'"
    ),
    (route("cache main key-headers=a,,b"), "expected words with single commas between"),
    (route("cache main ttl-overrides=on"), "expected 'ttl=' or 'status-ttl=' beside it"),
    ("cache main\nroute /r {\nrespond 204\ncache main\n}", "'cache' goes with 'upstream'"),
  ])
  func `a note says what may have been meant`(line: String, note: String) {
    let notes = load(fileWith(top: line)).diagnostics.flatMap(\.notes)
    #expect(notes.contains(note), "\(notes)")
  }
}
