import Primitives
import Proxy
import Telemetry

/// Directives of the top level.
extension Directive {
  static let top: [Directive] = [
    Directive(
      name: "include", context: .top,
      arguments: [Argument(label: "GLOB", kind: .path)], isRepeatable: true,
      summary: "Reads the files that fit the pattern, in the order of their names, as if their "
        + "text stood here. Relative to the folder of this file; only at the top level."
    ) { _, _ in },
    Directive(
      name: "name", context: .top,
      arguments: [Argument(label: "NAME", kind: .name(more: ""))],
      fallback: "random for each start",
      summary: "This instance in the fields `Via` and `Proxy-Status`; a request that comes back "
        + "under the same name is a loop."
    ) { draft, reading in draft.proxy.name = reading.text(0) },
    Directive(
      name: "workers", context: .top,
      arguments: [Argument(label: "N|auto", kind: .either("auto", .integer(1...256)))],
      fallback: "auto",
      summary: "Worker threads, each with its own event loop; `auto`: one for each processor."
    ) { draft, reading in
      if case .integer(let count) = reading.values[0] { draft.proxy.workers = count }
    },
    .count(
      "max-connections", .top, \.proxy.maxConnections, 1...10_000_000,
      "Client connections over all workers; at the limit the longest idle one is closed."),
    .switchable(
      "max-connections-per-client", .top, \.proxy.maxConnectionsPerClient,
      .integer(1...10_000_000), "Client connections of one address; of IPv6, of one /64."),
    .count(
      "max-streams", .top, \.proxy.maxStreams, 1...10_000_000,
      "Requests of HTTP/2 clients in progress on each worker. Further streams are refused "
        + "(REFUSED_STREAM): their clients may ask again."),
    .duration(
      "drain-timeout", .top, \.proxy.drainTimeout, .zero...TimeAmount.seconds(86_400),
      "How long a stop waits for requests in flight."),
    Directive(
      name: "log-level", context: .top,
      arguments: [
        Argument(
          label: "LEVEL", kind: .word(LogLevel.allCases.map { "\($0)" }, noun: "log level"))
      ],
      fallback: "\(ProxyOptions().logLevel)",
      summary: "The least important events that are written to the event log."
    ) { draft, reading in
      for level in LogLevel.allCases where "\(level)" == reading.text(0) {
        draft.proxy.logLevel = level
      }
    },
    accessLog,
    Directive(
      name: "trusted-proxies", context: .top,
      arguments: [Argument(label: "NETWORK", kind: .network, presence: .oneOrMore)],
      isRepeatable: true, fallback: "none",
      summary: "Networks whose `X-Forwarded-*` and `Forwarded` fields are believed; from all "
        + "others they are replaced."
    ) { draft, reading in
      for case .network(let network) in reading.values {
        draft.proxy.trustedProxies.append(network)
      }
    },
    resolver,
    admin,
    Directive(
      name: "listener", context: .top,
      arguments: [Argument(label: "NAME", kind: .name(more: ""))], opens: .listener,
      isRepeatable: true, summary: "Addresses where clients connect, and what a client may cost."
    ) { draft, reading in draft.beginListener(reading) },
    Directive(
      name: "upstream", context: .top,
      arguments: [Argument(label: "NAME", kind: .name(more: ""))], opens: .upstream,
      isRepeatable: true, summary: "A group of backends that serve the same."
    ) { draft, reading in draft.beginUpstream(reading) },
    caches,
    Directive(
      name: "route", context: .top,
      arguments: [Argument(label: "PATTERN", kind: .pattern)], opens: .route,
      isRepeatable: true, summary: "What a request must look like, and what is done with it."
    ) { draft, reading in draft.beginRoute(reading) },
  ]

  private static let accessLog = Directive(
    name: "access-log", context: .top,
    arguments: [
      Argument(label: "PATH|stdout|off", kind: .either("off", .either("stdout", .absolutePath)))
    ],
    options: [
      OptionRow(
        key: "format", kind: .word(["json", "combined"], noun: "log format"),
        fallback: "\(AccessLogOptions().format)",
        summary: "One JSON object a line, or the combined format of other servers.")
    ],
    fallback: "off",
    summary: "One line for each request, to a file (opened again on SIGUSR1) or standard output."
  ) { draft, reading in
    let target = reading.text(0)
    switch target {
    case "off": draft.proxy.accessLog.target = .off
    case "stdout": draft.proxy.accessLog.target = .standardOutput
    default: draft.proxy.accessLog.target = .file(path: target)
    }
    if let format = reading.optionText("format") {
      draft.proxy.accessLog.format = format == "json" ? .json : .combined
    }
  }

  private static let admin = Directive(
    name: "admin", context: .top,
    arguments: [Argument(label: "ADDRESS", kind: .adminAddress)],
    options: [
      OptionRow(
        key: "token-file", kind: .path,
        summary: "File with the bearer token that every caller has to send: 16 to 1024 visible "
          + "ASCII characters. Required for TCP addresses.")
    ],
    isRepeatable: true, fallback: "none",
    summary: "Where metrics, status and control are served; never reachable through a listener."
  ) { draft, reading in draft.addAdmin(reading) }
}

extension Draft {
  fileprivate mutating func addAdmin(_ reading: Reading) {
    let address = reading.address(0)
    boundAddresses.append(Named(key: address, location: reading.tokens[0].location))
    var options = AdminListenerOptions(address: address)
    if let token = reading.options["token-file"]?.token {
      switch readSecret(token) {
      case .success(let secret): options.token = secret
      case .failure(let fault): self.fault(fault, at: token.valueLocation)
      }
    } else if case .ip = address {
      report.error(
        "an admin endpoint on a TCP address needs 'token-file='",
        at: reading.tokens[0].location,
        notes: ["anybody who can connect could control the proxy; or use 'unix:/path'"])
    }
    proxy.admin.append(options)
  }
}
