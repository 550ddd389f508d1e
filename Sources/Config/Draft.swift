import Primitives
import Proxy
import Resilience
import Routing
import Transport

/// The options being filled, and where in the file each thing stands that has to be checked once
/// all of it is known.
struct Draft: Sendable {
  var proxy = ProxyOptions()
  /// The block that is open; taken into `proxy` when it ends.
  var listener = ListenerOptions(name: "")
  var upstream = UpstreamOptions(name: "")
  var route = RouteOptions(pattern: RoutePattern(), name: "", action: Draft.noAction)
  /// The `tls` block that is open; taken into `listener` or `upstream` when it ends.
  var tlsServer = TLSServerOptions()
  var tlsClient = TLSClientOptions()
  var report = Report()

  /// Never reaches a checked configuration: a route without action is an error.
  static let noAction = RouteAction.respond(status: 404, contentType: "", body: "")

  /// Name and place of a listener, an upstream, an address, a backend.
  struct Named<Key: Sendable>: Sendable {
    var key: Key
    var location: Location
  }

  enum ActionDraft: Sendable {
    case upstream(Token)
    case final(RouteAction)
  }

  struct RouteDraft: Sendable {
    var options: RouteOptions
    var location: Location
    var action: ActionDraft
    /// The name in its `cache` directive.
    var cache: Token?
    /// The name in its `fallback-upstream` directive.
    var fallback: Token?
  }

  /// Reads what `token-file` names; set by the loader.
  var readSecret: @Sendable (Token) -> Result<String, ValueFault> = { _ in
    .failure(ValueFault(message: "no files can be read here"))
  }

  /// Reads a file that a directive names, relative to the file at the location; set by the loader.
  var readFile: @Sendable (String, Location) -> Result<ReadFile, ValueFault> = { _, _ in
    .failure(ValueFault(message: "no files can be read here"))
  }

  // Of the whole file.
  var listenerNames: [Named<String>] = []
  var upstreamNames: [Named<String>] = []
  /// Of `proxy.upstreams`.
  var upstreamLocations: [Location?] = []
  var cacheNames: [Named<String>] = []
  var boundAddresses: [Named<SocketAddress>] = []
  var routes: [RouteDraft] = []
  /// A block whose own faults were reported: what refers to it is not reported again.
  var hasFaultyUpstream = false
  var hasFaultyListener = false
  var hasFaultyRoute = false

  // Of the open block.
  var blockLocation: Location?
  var backends: [Named<String>] = []
  /// Of `health-check`.
  var checkLocation: Location?
  /// Of its `reuse=`.
  var checkReuse: Location?
  var checkFields: [(field: HTTPCheck.Field, name: Token)] = []
  var backlog: (value: Int, token: Token)?
  var proxyProtocolLocation: Location?
  var fileMode: (value: Int, token: Token)?
  var v6Only: (value: Int, token: Token)?
  var reusePort: (value: Int, token: Token)?
  var fastOpen: (value: Int, token: Token)?
  var action: (draft: ActionDraft, location: Location)?
  var pathCondition: Location?
  var methodCondition: Location?
  var redirectLocation: Location?
  var routeCacheName: Token?
  var fallbackName: Token?
  var fallbackPageLocation: Location?
  var queueLocation: Location?
  var panicLocation: Location?
  var tlsLocation: Location?
  /// Of `tlsServer.credentials`.
  var credentialLocations: [Location] = []
  /// `hasFaultyMember` of the block around an open `tls` block.
  var outerHasFaultyMember = false
  /// A directive that would have been the block's action, backend or address was faulty.
  var hasFaultyMember = false

  mutating func fault(_ fault: ValueFault, at location: Location) {
    report.error(fault.message, at: location, notes: fault.notes)
  }
}
