import Caching
import Primitives
import Proxy
import Routing

/// Directives of a `route` block.
extension Directive {
  private static let millisecond = TimeAmount.milliseconds(1)
  private static let day = TimeAmount.seconds(86_400)

  static let route: [Directive] = [
    when,
    Directive(
      name: "upstream", context: .route,
      arguments: [Argument(label: "NAME", kind: .name(more: ""))],
      summary: "Action: pass the request to a backend of this upstream."
    ) { draft, reading in draft.setAction(.upstream(reading.tokens[0]), reading) },
    Directive(
      name: "redirect", context: .route,
      arguments: [
        Argument(
          label: "STATUS",
          kind: .word(["301", "302", "303", "307", "308"], noun: "redirection status")),
        Argument(label: "URL", kind: .redirectTarget),
      ],
      summary: "Action: send the client elsewhere. `$host`, `$path` (as received), `$query` "
        + "(without `?`) and `$request-uri` (path and query) are replaced."
    ) { draft, reading in
      let status = Int(reading.text(0)) ?? 0
      let action = RouteAction.redirect(status: status, location: reading.text(1))
      draft.setAction(.final(action), reading)
    },
    Directive(
      name: "respond", context: .route,
      arguments: [Argument(label: "STATUS", kind: .integer(200...599))],
      options: [
        OptionRow(
          key: "content-type", kind: .fieldValue, fallback: defaultContentType,
          summary: "Media type of the body."),
        // Rendered with its head in the worker's 64 KiB.
        OptionRow(key: "body", kind: .text(limit: 32 << 10), summary: "Content of the answer."),
      ],
      summary: "Action: answer without asking anybody."
    ) { draft, reading in draft.setResponse(reading) },
    routeCache,
    fallbackUpstream,
    fallbackPage,
    .duration(
      "request-timeout", .route, orNil: \.route.requestTimeout, millisecond...day,
      fallback: "no limit", "The whole request, to the last octet of its answer: 504."),
    .duration(
      "connect-timeout", .route, orNil: \.route.connectTimeout, millisecond...day,
      fallback: "the upstream's", "As in `upstream`, for this route."),
    .duration(
      "first-byte-timeout", .route, orNil: \.route.firstByteTimeout, millisecond...day,
      fallback: "the upstream's", "As in `upstream`, for this route."),
    .duration(
      "attempt-timeout", .route, orNil: \.route.attemptTimeout, millisecond...day,
      fallback: "the upstream's", "As in `upstream`, for this route."),
    .toggle(
      "pass-deadline", .route, \.route.passesDeadline,
      "Tell backends how much time is left, the least of `request-timeout` and `attempt-timeout`: "
        + "in `weir-deadline-ms`, or for gRPC in `grpc-timeout`, where the client's own counts "
        + "too."),
    .toggle(
      "idempotency-key", .route, \.route.trustsIdempotencyKey,
      "A request that carries an `Idempotency-Key` field may be sent twice, whatever its method: "
        + "its backends must know what they did already."),
    .duration(
      "idle-timeout", .route, orNil: \.route.idleTimeout, millisecond...day,
      fallback: "the upstream's", "As in `upstream`, for this route."),
    .switchable(
      "max-body-size", .route, \.route.maxBodyBytes, .size(1...(1 << 40)),
      "Content of a request: 413."),
    headerEdit("request-header", "request that is passed on"),
    headerEdit("response-header", "response"),
    Directive(
      name: "upgrade", context: .route,
      arguments: [
        Argument(
          label: "PROTOCOL|off", kind: .either("off", .protocolName), presence: .oneOrMore)
      ],
      fallback: defaultRoute.upgrades.joined(separator: " "),
      summary:
        "Protocols that `Upgrade` may ask for, or an extended CONNECT of HTTP/2 (RFC 8441); others "
        + "are not passed on, and of a CONNECT answered with 501."
    ) { draft, reading in draft.setUpgrades(reading) },
    .duration(
      "tunnel-timeout", .route, \.route.tunnelTimeout,
      TimeAmount.seconds(1)...TimeAmount.seconds(30 * 86_400),
      "An upgraded connection without traffic in either direction."),
    .toggle(
      "early-hints", .route, \.route.earlyHints,
      "Pass 103 (Early Hints) on to HTTP/1.1 clients; some take it for the answer."),
    .toggle(
      "trailers", .route, \.route.trailers,
      "Pass trailer fields on where the client sent `TE: trailers`."),
  ]

  private static let fallbackUpstream = Directive(
    name: "fallback-upstream", context: .route,
    arguments: [Argument(label: "NAME", kind: .name(more: ""))],
    fallback: "none",
    summary: "Asked where the route's own upstream cannot answer: all of its backends fail, are "
      + "out or full, or answer 502, 503 or 504, and there is no stale copy. Only what may be sent "
      + "again, or was not sent yet."
  ) { draft, reading in draft.fallbackName = reading.tokens[0] }

  private static let fallbackPage = Directive(
    name: "fallback-page", context: .route,
    arguments: [Argument(label: "STATUS", kind: .integer(200...599))],
    options: [
      OptionRow(
        key: "content-type", kind: .fieldValue, fallback: defaultContentType,
        summary: "Media type of the page."),
      OptionRow(key: "body", kind: .text(limit: 32 << 10), summary: "The page."),
      OptionRow(
        key: "file", kind: .path, summary: "The page, of at most 32KiB; read at start and reload."),
    ],
    fallback: "a line that names the error",
    summary: "Answered where nothing else can: instead of weir's own 502, 503 or 504."
  ) { draft, reading in draft.setFallbackPage(reading) }

  static let defaultContentType = "text/plain; charset=utf-8"
  private static var defaultRoute: RouteOptions { Draft().route }

  private static let when = Directive(
    name: "when", context: .route,
    arguments: [
      Argument(
        label: "path|method|header|query",
        kind: .word(["path", "method", "header", "query"], noun: "condition")),
      Argument(label: "ARGUMENT", kind: .text(limit: 8 << 10), presence: .oneOrMore),
    ],
    isRepeatable: true,
    summary: "A condition; all of a route's must hold. `when path ~ REGEX` (only where the "
      + "pattern names no path; searched anywhere unless anchored by `^` and `$`), "
      + "`when method NAME…`, `when header NAME [VALUE]`, `when query NAME [VALUE]`."
  ) { draft, reading in draft.addCondition(reading) }

  private static func headerEdit(_ name: String, _ message: String) -> Directive {
    Directive(
      name: name, context: .route,
      arguments: [
        Argument(label: "set|add|remove", kind: .word(["set", "add", "remove"], noun: "edit")),
        Argument(label: "NAME", kind: .token(noun: "field name")),
        Argument(label: "VALUE", kind: .fieldValue, presence: .optional),
      ],
      isRepeatable: true,
      summary: "Sets (instead of every field of that name), adds or removes a field of the "
        + "\(message). In the order written."
    ) { draft, reading in draft.addHeaderEdit(reading) }
  }
}

extension Draft {
  mutating func beginRoute(_ reading: Reading) {
    guard case .pattern(let pattern) = reading.values[0] else { return }
    routeCacheName = nil
    fallbackName = nil
    fallbackPageLocation = nil
    route = RouteOptions(pattern: pattern, name: reading.tokens[0].text, action: Draft.noAction)
  }

  mutating func endRoute(_ isSound: Bool, at pattern: Location?) {
    if action == nil, !hasFaultyMember {
      report.error(
        "the route has no action", at: blockLocation,
        notes: ["expected one of 'upstream', 'redirect', 'respond'"])
    }
    guard isSound, let action, let pattern else {
      hasFaultyRoute = true
      return
    }
    if let cache = routeCacheName, case .final = action.draft {
      report.error(
        "what weir answers by itself is not stored", at: cache.location,
        notes: ["'cache' goes with 'upstream'"])
    }
    if let place = fallbackName?.location ?? fallbackPageLocation, case .final = action.draft {
      report.error(
        "what weir answers by itself has no fallback", at: place,
        notes: ["'fallback-upstream' and 'fallback-page' go with 'upstream'"])
    }
    route.cache?.rule.routeMark = Draft.cacheMark(route.pattern.conditions)
    routes.append(
      RouteDraft(
        options: route, location: pattern, action: action.draft, cache: routeCacheName,
        fallback: fallbackName))
  }

  /// What a key needs besides the URL so that routes which take the same URLs by fields or
  /// parameters never answer for each other; methods need nothing, since all that is stored is of
  /// GET.
  private static func cacheMark(_ conditions: [RouteCondition]) -> String {
    let marks = conditions.compactMap { condition -> String? in
      switch condition {
      case .method: nil
      case .header(let name, let value): "header \(name) \(value.map { "=\($0)" } ?? "")"
      case .query(let name, let value): "query \(name) \(value.map { "=\($0)" } ?? "")"
      }
    }
    return marks.joined(separator: "\n")
  }

  fileprivate mutating func setAction(_ new: ActionDraft, _ reading: Reading) {
    if let action {
      report.error(
        "the route has an action already", at: reading.name.location,
        notes: ["on \(report.place(of: action.location, from: reading.name.location))"])
      return
    }
    action = (new, reading.name.location)
  }

  fileprivate mutating func setResponse(_ reading: Reading) {
    let status = reading.integer(0)
    let body = reading.optionText("body") ?? ""
    if [204, 205, 304].contains(status), let option = reading.options["body"], !body.isEmpty {
      report.error("a \(status) answer has no body", at: option.token.location)
    }
    let type = reading.optionText("content-type") ?? Directive.defaultContentType
    setAction(.final(.respond(status: status, contentType: type, body: body)), reading)
  }

  fileprivate mutating func setFallbackPage(_ reading: Reading) {
    fallbackPageLocation = reading.name.location
    var body = Array((reading.optionText("body") ?? "").utf8)
    if let file = reading.options["file"] {
      if let text = reading.options["body"] {
        report.error("'body=' and 'file=' exclude each other", at: text.token.location)
      }
      switch readFile(file.token.value, file.token.location) {
      case .success(let read): body = read.bytes
      case .failure(let fault): self.fault(fault, at: file.token.valueLocation)
      }
      if body.count > 32 << 10 {
        report.error("the page is longer than 32KiB", at: file.token.valueLocation)
      }
    }
    if [204, 205, 304].contains(reading.integer(0)) {
      report.error("a \(reading.integer(0)) answer has no page", at: reading.tokens[0].location)
    }
    route.fallbackPage = FallbackPageOptions(
      status: reading.integer(0),
      contentType: reading.optionText("content-type") ?? Directive.defaultContentType, body: body)
  }

  fileprivate mutating func setUpgrades(_ reading: Reading) {
    var names: [String] = []
    for (index, token) in reading.tokens.enumerated() {
      let name = reading.text(index)
      if name == "off" {
        if reading.tokens.count > 1 { report.error("'off' stands alone", at: token.location) }
      } else if !names.contains(name) {
        names.append(name)
      }
    }
    route.upgrades = names
  }
}
