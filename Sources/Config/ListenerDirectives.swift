import HTTP
import Primitives
import Proxy

/// Directives of a `listener` block.
extension Directive {
  private static let longest = TimeAmount.seconds(86_400)
  private static let tenth = TimeAmount.milliseconds(100)

  static let listener: [Directive] =
    [
      Directive(
        name: "bind", context: .listener,
        arguments: [Argument(label: "ADDRESS", kind: .bindAddress)],
        options: [
          OptionRow(
            key: "backlog", kind: .integer(1...65_535),
            fallback: String(ListenerOptions(name: "").backlog),
            summary: "Connections the kernel keeps until they are accepted; one value for each "
              + "listener."),
          OptionRow(
            key: "mode", kind: .word(["0600", "0660", "0666"], noun: "mode"), fallback: "0660",
            summary: "Who may connect to a unix socket's file; one value for each listener."),
          OptionRow(
            key: "v6only", kind: .word(["on", "off"], noun: "word"), fallback: "off",
            summary: "An IPv6 address takes no IPv4 clients; `:PORT` then means IPv6 alone. One "
              + "value for each listener."),
          OptionRow(
            key: "reuseport", kind: .word(["on", "off"], noun: "word"), fallback: "on",
            summary: "A socket for each worker (SO_REUSEPORT); `off`: the workers share one, which "
              + "costs more and spreads connections less evenly. One value for each listener."),
          OptionRow(
            key: "fastopen", kind: .integer(1...65_535), fallback: "off",
            summary: "TCP Fast Open (RFC 7413) for so many connections that are not accepted yet. "
              + "The network may repeat a first packet, and with it a request without TLS. One "
              + "value for each listener."),
        ],
        isRepeatable: true,
        summary: "An address to listen on; `:PORT` is every IPv4 and IPv6 address, `unix:/PATH` a "
          + "socket file, whose clients all count as `127.0.0.1`."
      ) { draft, reading in draft.bind(reading) },
      .duration(
        "header-timeout", .listener, \.listener.headerTimeout, tenth...longest,
        "Until the head of a request is complete, from its first octet and from accept: 408."),
      .duration(
        "keep-alive-timeout", .listener, \.listener.keepAliveTimeout, tenth...longest,
        "How long a connection may wait for its next request."),
      .count(
        "keep-alive-requests", .listener, \.listener.keepAliveRequests, 1...1_000_000_000,
        "Requests on one connection, after which it is closed."),
      .duration(
        "keep-alive-time", .listener, \.listener.keepAliveTime,
        TimeAmount.seconds(1)...TimeAmount.seconds(30 * 86_400),
        "Age at which a connection is closed after its current request."),
      .duration(
        "body-timeout", .listener, \.listener.bodyTimeout, tenth...longest,
        "Between two reads of a request's content: 408."),
      .switchable(
        "min-body-rate", .listener, \.listener.minBodyRate, .size(1...(1 << 30)),
        "What a request's content must average in a second, after 5 seconds of grace: 408."),
      .duration(
        "send-timeout", .listener, \.listener.sendTimeout, tenth...longest,
        "How long a client may take nothing of a response before the connection is reset."),
    ] + headLimits(.listener) + [
      .size(
        "max-target", .listener, \.listener.limits.maxTargetBytes, 128...(16 << 10),
        "Length of a request target: 414."),
      Directive(
        name: "default-host", context: .listener,
        arguments: [Argument(label: "HOST", kind: .host(allowsPort: false))], fallback: "none",
        summary: "Host of HTTP/1.0 requests that name none; without it such a request fits only "
          + "routes for any host."
      ) { draft, reading in draft.listener.defaultHost = reading.text(0) },
      Directive(
        name: "tls", context: .listener, arguments: [], opens: .listenerTLS,
        fallback: "plain HTTP", summary: "Clients speak TLS to this listener."
      ) { _, _ in },
      Directive(
        name: "redirect-to-https", context: .listener,
        arguments: [
          Argument(
            label: "STATUS",
            kind: .word(["301", "302", "307", "308"], noun: "redirection status"),
            presence: .optional)
        ],
        options: [
          OptionRow(
            key: "port", kind: .integer(1...65_535), fallback: "443",
            summary: "Where HTTPS is served.")
        ],
        fallback: "off; with the directive, status 308",
        summary: "Sends every request to the same URL with `https`, but for those below "
          + "`/.well-known/acme-challenge/`, by which certificates are renewed, and those that a "
          + "trusted proxy got over TLS."
      ) { draft, reading in draft.setRedirectToHTTPS(reading) },
      Directive(
        name: "proxy-protocol", context: .listener,
        arguments: [Argument(label: "NETWORK", kind: .network, presence: .oneOrMore)],
        isRepeatable: true, fallback: "clients connect themselves",
        summary: "Connections begin with a PROXY header, version 1 or 2, which names the client, "
          + "and come from these networks; others are closed. Through a unix socket: `127.0.0.1`."
      ) { draft, reading in
        for case .network(let network) in reading.values {
          draft.listener.proxies.append(network)
        }
      },
      .toggle(
        "strict-path", .listener, \.listener.strictPath,
        "Refuse paths with `%2F`, `%5C` or `//`: 400."),
      .toggle(
        "http2", .listener, \.listener.http2,
        "Serve HTTP/2 to clients that ask for it, in TLS or by its preface."),
      .toggle(
        "name-backends", .listener, \.listener.namesBackends,
        "Say in `Proxy-Status`, as `next-hop`, which backend failed. `off` where clients should "
          + "not learn the backends' names, which are addresses unless given by `name=`."),
    ]

  /// The limits of a message head, the same for requests and responses. A connection's buffer
  /// holds 32 KiB, of which 16 KiB are kept for content.
  static func headLimits(_ context: Context) -> [Directive] {
    let limits: DraftPath<HeadLimits> =
      context == .listener ? \.listener.limits : \.upstream.limits
    let status = context == .listener ? "a request: 431" : "a response: 502"
    let fallback = Draft()[keyPath: limits]
    return [
      Directive(
        name: "max-header-size", context: context,
        arguments: [Argument(label: "SIZE", kind: .size(1024...(16 << 10)))],
        fallback: written(bytes: fallback.maxBytes), summary: "The whole head of \(status)."
      ) { draft, reading in draft[keyPath: limits].maxBytes = reading.integer(0) },
      Directive(
        name: "max-header-field", context: context,
        arguments: [Argument(label: "SIZE", kind: .size(128...(16 << 10)))],
        fallback: written(bytes: fallback.maxFieldBytes),
        summary: "One field line in the head of \(status)."
      ) { draft, reading in draft[keyPath: limits].maxFieldBytes = reading.integer(0) },
      Directive(
        name: "max-header-fields", context: context,
        arguments: [Argument(label: "N", kind: .integer(8...Fields.hardLimit))],
        fallback: String(fallback.maxFields), summary: "Field lines in the head of \(status)."
      ) { draft, reading in draft[keyPath: limits].maxFields = reading.integer(0) },
    ]
  }
}

extension Draft {
  mutating func beginListener(_ reading: Reading) {
    listener = ListenerOptions(name: reading.text(0))
    listenerNames.append(Named(key: reading.text(0), location: reading.tokens[0].location))
  }

  fileprivate mutating func bind(_ reading: Reading) {
    listener.bind.append(reading.address(0))
    boundAddresses.append(
      Named(key: reading.address(0), location: reading.tokens[0].location))
    setSocketOptions(reading)
    if let option = reading.options["backlog"], let value = reading.optionInteger("backlog") {
      requireOne("backlog", \.backlog, value, option.token)
      listener.backlog = value
    }
    if let option = reading.options["mode"], let text = reading.optionText("mode"),
      let mode = Int(text, radix: 8)
    {
      if case .unix = reading.address(0) {
        requireOne("mode", \.fileMode, mode, option.token)
        listener.fileMode = mode
      } else {
        report.error("only a unix socket has a mode", at: option.token.location)
      }
    }
  }

  /// How the kernel is to treat the listener's TCP sockets.
  private mutating func setSocketOptions(_ reading: Reading) {
    if let option = reading.options["v6only"], let text = reading.optionText("v6only") {
      requireOne("v6only", \.v6Only, text == "on" ? 1 : 0, option.token)
      listener.v6Only = text == "on"
    }
    if let option = reading.options["reuseport"], let text = reading.optionText("reuseport") {
      requireOne("reuseport", \.reusePort, text == "on" ? 1 : 0, option.token)
      listener.sharesPort = text == "on"
    }
    if let option = reading.options["fastopen"], let count = reading.optionInteger("fastopen") {
      requireOne("fastopen", \.fastOpen, count, option.token)
      listener.fastOpen = count
    }
  }

  private mutating func requireOne(
    _ what: String, _ place: WritableKeyPath<Draft, (value: Int, token: Token)?>, _ value: Int,
    _ token: Token
  ) {
    if let known = self[keyPath: place], known.value != value {
      let other = report.place(of: known.token.location, from: token.location)
      report.error(
        "a listener has one \(what)", at: token.valueLocation,
        notes: ["\(known.value) on \(other)"])
    }
    self[keyPath: place] = (value, token)
  }

  fileprivate mutating func setRedirectToHTTPS(_ reading: Reading) {
    var redirect = RedirectToHTTPS()
    if !reading.values.isEmpty { redirect.status = Int(reading.text(0)) ?? redirect.status }
    if let port = reading.optionInteger("port") { redirect.port = UInt16(port) }
    listener.redirectToHTTPS = redirect
    redirectLocation = reading.name.location
  }

  mutating func endListener(_ isSound: Bool) {
    if listener.bind.isEmpty, !hasFaultyMember {
      report.error("the listener has no address", at: blockLocation, notes: ["expected 'bind'"])
    }
    if listener.tls != nil, listener.redirectToHTTPS != nil {
      report.error(
        "this listener speaks TLS: there is nothing to redirect", at: redirectLocation,
        notes: ["'redirect-to-https' belongs to the listener that speaks plain HTTP"])
    }
    if isSound { proxy.listeners.append(listener) } else { hasFaultyListener = true }
  }
}
