import Balancing
import Primitives
import Proxy

/// Directives of an `upstream` block.
extension Directive {
  private static let millisecond = TimeAmount.milliseconds(1)
  private static let day = TimeAmount.seconds(86_400)

  static let upstream: [Directive] =
    [
      balance,
      Directive(
        name: "backend", context: .upstream,
        arguments: [
          Argument(label: "ADDRESS", kind: .backendAddress),
          Argument(
            label: "backup", kind: .word(["backup"], noun: "word"), presence: .optional),
        ],
        options: [
          OptionRow(
            key: "name", kind: .name(more: ":[]"), fallback: "the address as written",
            summary: "Unique in its upstream. State, metrics and the place on the hash ring belong "
              + "to the name: give one where the address will change. The backends of a host name "
              + "are called `NAME@address`."),
          OptionRow(
            key: "weight", kind: .integer(0...256), fallback: "1",
            summary: "Share of the requests; 0 takes no new ones."),
          OptionRow(
            key: "max-requests", kind: .integer(1...1_000_000), fallback: "the upstream's",
            summary: "Requests in flight there at once, of all workers together."),
        ],
        isRepeatable: true,
        summary: "One server; `backup`: used only when no other backend can serve. A host name "
          + "stands for all of its addresses (A and AAAA): each is a backend of its own, and they "
          + "change with DNS (`resolver`). `srv:` names a service instead (SRV): its records bring "
          + "hosts, ports, weights and priorities; those behind the first priority are backups."
      ) { draft, reading in draft.addBackend(reading) },
      .duration(
        "connect-timeout", .upstream, \.upstream.connectTimeout, millisecond...day,
        "Until a connection to a backend is made."),
      .duration(
        "first-byte-timeout", .upstream, \.upstream.firstByteTimeout, millisecond...day,
        "From the end of the request until the response's head is complete: 504."),
      .duration(
        "attempt-timeout", .upstream, orNil: \.upstream.attemptTimeout, millisecond...day,
        fallback: "none",
        "One attempt, from its connect until the response's head is complete; with content, from "
          + "the end of the request. Then it is tried again where `retry` allows, or 504."),
      .duration(
        "idle-timeout", .upstream, \.upstream.idleTimeout, millisecond...day,
        "Between two reads of a response, or two writes of a request."),
      .duration(
        "pool-idle-timeout", .upstream, \.upstream.poolIdleTimeout, millisecond...day,
        "Age at which an unused connection is closed; keep it below the backends' own."),
      .count(
        "pool-size", .upstream, \.upstream.poolSize, 0...65_536,
        "Unused connections kept for each backend and worker."),
      Directive(
        name: "host", context: .upstream,
        arguments: [
          Argument(
            label: "preserve|backend|HOST",
            kind: .either("preserve", .either("backend", .host(allowsPort: true))))
        ],
        fallback: "preserve",
        summary: "The Host field that backends see: the client's, the backend's name or address as "
          + "its line has it, or this."
      ) { draft, reading in
        switch reading.text(0) {
        case "preserve": draft.upstream.host = .preserve
        case "backend": draft.upstream.host = .backend
        default: draft.upstream.host = .literal(reading.text(0))
        }
      },
      .toggle(
        "http2", .upstream, \.upstream.http2,
        "Backends speak HTTP/2, agreed on in TLS (ALPN), or without TLS known beforehand: many "
          + "requests at once over few connections. A backend that does not is no backend: 502."),
      .count(
        "http2-streams", .upstream, \.upstream.http2Streams, 1...10_000,
        "Requests at once on one connection of HTTP/2, where the backend takes as many; beyond "
          + "them another connection is opened."),
      Directive(
        name: "proxy-protocol", context: .upstream,
        arguments: [Argument(label: "VERSION", kind: .word(["v1", "v2"], noun: "version"))],
        fallback: "off",
        summary: "Connections to backends begin with a PROXY header that names the client. Such a "
          + "connection is the client's alone and serves one request: a new one is made for each. "
          + "Checks, and what the cache fetches, speak for weir itself."
      ) { draft, reading in
        draft.upstream.proxyProtocol = reading.text(0) == "v1" ? .v1 : .v2
        draft.proxyProtocolLocation = reading.name.location
      },
      Directive(
        name: "tls", context: .upstream, arguments: [], opens: .upstreamTLS,
        fallback: "plain HTTP",
        summary: "Backends speak TLS; their certificates are verified. Where that fails no octet "
          + "of a request is sent, and the answer is 502."
      ) { _, _ in },
      sticky,
    ] + limits + health + resilience + headLimits(.upstream)

  private static let limits: [Directive] = [
    Directive(
      name: "max-requests", context: .upstream,
      arguments: [
        Argument(label: "N|off", kind: .either("off", .integer(1...1_000_000)))
      ],
      fallback: "off",
      summary: "Requests in flight at once at each backend, of all workers together. Where all "
        + "are full: `queue`, else 503 at once. Backups do not stand in for full backends."
    ) { draft, reading in
      if case .integer(let limit) = reading.values[0] {
        draft.upstream.maxRequests = limit
      } else {
        draft.upstream.maxRequests = nil
      }
    },
    Directive(
      name: "queue", context: .upstream,
      arguments: [
        Argument(label: "SIZE|off", kind: .either("off", .integer(1...100_000)))
      ],
      options: [
        OptionRow(
          key: "timeout", kind: .duration(millisecond...day),
          fallback: written(UpstreamOptions(name: "").queueTimeout),
          summary: "The longest wait: 503.")
      ],
      fallback: "off",
      summary: "Requests that may wait for a place, where every backend is full; first come, "
        + "first served. Where it is full too: 503 at once, with `Retry-After`."
    ) { draft, reading in
      draft.queueLocation = reading.name.location
      if case .integer(let size) = reading.values[0] {
        draft.upstream.queueSize = size
      } else {
        draft.upstream.queueSize = 0
      }
      draft.upstream.queueTimeout =
        reading.optionDuration("timeout") ?? draft.upstream.queueTimeout
    },
  ]

  private static let stickyOptions = StickyOptions(cookie: "")

  private static let sticky = Directive(
    name: "sticky", context: .upstream,
    arguments: [
      Argument(label: "cookie", kind: .word(["cookie"], noun: "kind of stickiness")),
      Argument(label: "NAME", kind: .token(noun: "cookie name")),
    ],
    options: [
      OptionRow(
        key: "ttl", kind: .duration(TimeAmount.seconds(1)...TimeAmount.seconds(365 * 86_400)),
        fallback: written(stickyOptions.lifetime),
        summary: "How long a cookie holds; it is renewed from half of that on."),
      OptionRow(
        key: "key-file", kind: .path, fallback: "a key made at each start",
        summary: "Signs the cookies: 16 to 1024 visible characters. Needed where they are to hold "
          + "across restarts, or at several weirs."),
    ],
    fallback: "off",
    summary: "A client's requests go to the backend that had its first one, by a signed cookie "
      + "(HttpOnly, SameSite=Lax, Secure over TLS). `weir drain` keeps such clients; a backend "
      + "that is down, in `maint` or gone loses them; where it is full or its circuit breaker "
      + "open, a request goes elsewhere once. Upstreams of one site need cookies of their own "
      + "names."
  ) { draft, reading in draft.setSticky(reading) }

  static let hashKeys = ["path", "url", "client-address", "header", "cookie", "query"]

  private static let balance = Directive(
    name: "balance", context: .upstream,
    arguments: [
      Argument(
        label: "POLICY",
        kind: .word(
          ["round-robin", "least-connections", "two-choices", "hash"], noun: "balancing policy")),
      Argument(label: "KEY", kind: .word(hashKeys, noun: "hash key"), presence: .optional),
      Argument(label: "NAME", kind: .token(noun: "name"), presence: .optional),
    ],
    options: [
      OptionRow(
        key: "bound", kind: .number(1.01...10), fallback: "none",
        summary: "With `hash`: the most a backend may have in flight, as a multiple of its fair "
          + "share; a key whose backend is full goes to the next one on the ring."),
      OptionRow(
        key: "points", kind: .integer(1...65_536),
        fallback: String(HashOptions(key: .path).pointsPerWeight),
        summary: "With `hash`: ring points for each unit of weight; at most "
          + "\(UpstreamOptions.ringPointLimit) in one upstream."),
    ],
    fallback: "least-connections",
    summary: "How a request's backend is chosen. `hash` takes a KEY: `path`, `url`, "
      + "`client-address`, or `header`, `cookie`, `query` and a NAME."
  ) { draft, reading in draft.setBalance(reading) }
}

extension UpstreamOptions {
  /// Points of one hash ring (docs/decisions/0101-configuration-language.md).
  static let ringPointLimit = 1_048_576
}

extension Draft {
  mutating func beginUpstream(_ reading: Reading) {
    upstream = UpstreamOptions(name: reading.text(0))
    queueLocation = nil
    panicLocation = nil
    upstreamNames.append(Named(key: reading.text(0), location: reading.tokens[0].location))
  }

  fileprivate mutating func addBackend(_ reading: Reading) {
    let token = reading.options["name"]?.token
    let name = reading.optionText("name") ?? reading.tokens[0].text
    let location = token?.valueLocation ?? reading.tokens[0].location
    if let first = backends.first(where: { $0.key == name }) {
      let isNamed = token != nil
      report.error(
        "the backend name '\(name)' is taken", at: location,
        notes: [
          "first on \(report.place(of: first.location, from: location))",
          isNamed ? "names are unique in an upstream" : "tell them apart with 'name='",
        ])
      return
    }
    backends.append(Named(key: name, location: location))
    let query: (NameQuery, port: UInt16)? =
      switch reading.values[0] {
      case .host(let host, let port): (.host(host), port)
      case .service(let service): (.service(service), 0)
      default: nil
      }
    if let query {
      var named = BackendNameOptions(query: query.0, port: query.port, name: name)
      if case .service = query.0, let weight = reading.options["weight"]?.token {
        report.error(
          "the records of a service have weights of their own", at: weight.location)
      }
      named.weight = reading.optionInteger("weight") ?? named.weight
      named.isBackup = reading.values.count > 1
      named.maxRequests = reading.optionInteger("max-requests")
      upstream.names.append(named)
      return
    }
    var backend = BackendOptions(address: reading.address(0), name: name)
    backend.weight = reading.optionInteger("weight") ?? backend.weight
    backend.isBackup = reading.values.count > 1
    backend.maxRequests = reading.optionInteger("max-requests")
    upstream.backends.append(backend)
  }

  fileprivate mutating func setSticky(_ reading: Reading) {
    var options = StickyOptions(cookie: String(reading.text(1).prefix(64)))
    if reading.text(1).utf8.count > 64 {
      report.error("a cookie's name has at most 64 characters", at: reading.tokens[1].location)
    }
    options.lifetime = reading.optionDuration("ttl") ?? options.lifetime
    if let token = reading.options["key-file"]?.token {
      switch readSecret(token) {
      case .success(let secret): options.key = Array(secret.utf8)
      case .failure(let fault): self.fault(fault, at: token.valueLocation)
      }
    }
    upstream.sticky = options
  }

  fileprivate mutating func setBalance(_ reading: Reading) {
    let policy = reading.text(0)
    guard policy == "hash" else {
      if reading.values.count > 1 {
        report.error(
          "'\(policy)' takes no key", at: reading.tokens[1].location,
          notes: ["keys belong to 'hash'"])
      }
      for key in ["bound", "points"] {
        guard let option = reading.options[key] else { continue }
        report.error(
          "'\(key)=' belongs to 'hash', not to '\(policy)'", at: option.token.location)
      }
      upstream.balance =
        switch policy {
        case "round-robin": .roundRobin
        case "two-choices": .twoChoices
        default: .leastConnections
        }
      return
    }
    guard let key = hashKey(reading) else { return }
    var options = HashOptions(key: key)
    if case .number(let bound)? = reading.options["bound"]?.value { options.bound = bound }
    options.pointsPerWeight = reading.optionInteger("points") ?? options.pointsPerWeight
    upstream.balance = .hash(options)
  }

  private mutating func hashKey(_ reading: Reading) -> HashKey? {
    guard reading.values.count > 1 else {
      let keys = Directive.hashKeys.map { "'\($0)'" }.joined(separator: ", ")
      report.error(
        "'hash' needs a key", at: reading.tokens[0].location, notes: ["expected one of \(keys)"])
      return nil
    }
    let word = reading.text(1)
    let isNamed = ["header", "cookie", "query"].contains(word)
    if isNamed != (reading.values.count > 2) {
      report.error(
        isNamed ? "'\(word)' needs a name" : "'\(word)' takes no name",
        at: reading.tokens[isNamed ? 1 : 2].location)
      return nil
    }
    switch word {
    case "path": return .path
    case "url": return .url
    case "client-address": return .clientAddress
    case "header": return .header(reading.text(2).lowercased())
    case "cookie": return .cookie(reading.text(2))
    default: return .query(reading.text(2))
    }
  }

  mutating func endUpstream(_ isSound: Bool) {
    finishHealthCheck()
    if upstream.proxyProtocol != nil, upstream.http2 {
      report.error(
        "a connection of HTTP/2 is shared by clients, and 'proxy-protocol' names one",
        at: proxyProtocolLocation)
    }
    if backends.isEmpty, !hasFaultyMember {
      report.error(
        "the upstream has no backend", at: blockLocation,
        notes: ["expected one such as 'backend 10.0.0.11:8080'"])
    }
    let weights = upstream.backends.map(\.weight) + upstream.names.map(\.weight)
    if !weights.isEmpty, weights.allSatisfy({ $0 == 0 }) {
      report.warning(
        "every backend has weight 0: none takes a request", at: blockLocation)
    }
    let hasLimit =
      upstream.maxRequests != nil || upstream.backends.contains { $0.maxRequests != nil }
      || upstream.names.contains { $0.maxRequests != nil }
    if upstream.queueSize > 0, !hasLimit {
      report.warning(
        "nothing to wait for: no backend has a limit", at: queueLocation ?? blockLocation,
        notes: ["expected 'max-requests' in the upstream, or 'max-requests=' at its backends"])
    }
    if upstream.panicBelow > 0, upstream.healthCheck == nil {
      report.warning(
        "nothing to ignore: the upstream has no health check",
        at: panicLocation ?? blockLocation)
    }
    completeUpstreamTLS()
    if isSound {
      proxy.upstreams.append(upstream)
      upstreamLocations.append(blockLocation)
    } else {
      hasFaultyUpstream = true
    }
  }
}
