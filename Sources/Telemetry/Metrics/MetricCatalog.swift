/// Name, meaning and labels of a metric: the one place that the exposition and docs/metrics.md
/// are made from.
public struct MetricDescription: Sendable, Equatable {
  public enum Kind: String, Sendable { case counter, gauge, histogram }

  /// Prometheus family name, unit included.
  public var name: String
  public var kind: Kind
  public var help: String
  /// Label names whose values differ by route, backend, …
  public var labels: [String]
  /// A label whose value belongs to this counter: several counters make one family.
  public var fixedLabel: (name: String, value: String)?

  init(
    _ name: String, _ kind: Kind = .counter, _ help: String, labels: [String] = [],
    fixed: (name: String, value: String)? = nil
  ) {
    self.name = name
    self.kind = kind
    self.help = help
    self.labels = labels
    self.fixedLabel = fixed
  }

  public static func == (a: MetricDescription, b: MetricDescription) -> Bool {
    a.name == b.name && a.kind == b.kind && a.help == b.help && a.labels == b.labels
      && a.fixedLabel?.name == b.fixedLabel?.name && a.fixedLabel?.value == b.fixedLabel?.value
  }
}

/// Something that is counted in cells, at the index that is its raw value.
protocol CatalogCounter: CaseIterable, RawRepresentable<Int>, Sendable {
  var metric: MetricDescription { get }
}

/// Counters of a worker as a whole.
public enum ProxyCounter: Int, CaseIterable, Sendable, BitwiseCopyable, CatalogCounter {
  case connectionsAccepted, connectionsClosed
  case rejectedAtLimit, rejectedAtClientLimit, rejectedWithoutDescriptors
  case rejectedWithoutProxyHeader
  case requests, requestOctets, responseOctets
  case badRequests, unroutedRequests, loopsDetected, regexLimitExceeded
  case handshakesFull, handshakesResumed, handshakesFailed, handshakesRefused
  case handshakeTimeouts, headerTimeouts, bodyTimeouts, sendTimeouts, idleTimeouts, clientAborts
  case unsentRetries, replays, statusRetries, retriesDenied, noBackendAvailable
  case requestsQueued, queueOverflows, queueTimeouts
  case stickyKept, stickyElsewhere, stickyBroken
  case tunnels, http2Connections, http2Floods, http2StreamsRefused
  case cacheHits, cacheStaleHits, cacheMisses, cacheCollapsed, cachePasses, cacheBypasses
  case cacheFetches, cacheFetchFailures, cacheRevalidations, cacheInvalidations, cacheTagsDropped
  case logLinesDropped

  public var metric: MetricDescription {
    switch self {
    case .connectionsAccepted:
      .init("weir_connections_accepted_total", .counter, "Client connections accepted.")
    case .connectionsClosed:
      .init("weir_connections_closed_total", .counter, "Client connections closed.")
    case .rejectedAtLimit: ProxyCounter.rejected("limit")
    case .rejectedAtClientLimit: ProxyCounter.rejected("client_limit")
    case .rejectedWithoutDescriptors: ProxyCounter.rejected("descriptors")
    case .rejectedWithoutProxyHeader: ProxyCounter.rejected("proxy_header")
    case .requests: .init("weir_requests_total", .counter, "Requests whose head was complete.")
    case .requestOctets:
      .init("weir_request_bytes_total", .counter, "Content received from clients.")
    case .responseOctets:
      .init("weir_response_bytes_total", .counter, "Content sent to clients.")
    case .badRequests:
      .init("weir_bad_requests_total", .counter, "Requests refused because of their form.")
    case .unroutedRequests:
      .init("weir_unrouted_requests_total", .counter, "Requests that no route matched.")
    case .loopsDetected:
      .init("weir_loops_detected_total", .counter, "Requests that had passed here before.")
    case .regexLimitExceeded:
      .init(
        "weir_regex_limit_exceeded_total", .counter,
        "Requests refused because a route's expression took too long to match.")
    case .handshakesFull: ProxyCounter.handshake("full")
    case .handshakesResumed: ProxyCounter.handshake("resumed")
    case .handshakesFailed: ProxyCounter.handshake("failed")
    case .handshakesRefused: ProxyCounter.handshake("certificate_refused")
    case .handshakeTimeouts: ProxyCounter.timeout("handshake")
    case .headerTimeouts: ProxyCounter.timeout("header")
    case .bodyTimeouts: ProxyCounter.timeout("body")
    case .sendTimeouts: ProxyCounter.timeout("send")
    case .idleTimeouts: ProxyCounter.timeout("idle")
    case .clientAborts:
      .init(
        "weir_client_aborts_total", .counter,
        "Exchanges that ended because the client went away.")
    case .unsentRetries:
      .init(
        "weir_retries_total", .counter, "Further attempts, by why they were allowed.",
        fixed: ("kind", "unsent"))
    case .replays:
      .init(
        "weir_retries_total", .counter, "Further attempts, by why they were allowed.",
        fixed: ("kind", "replay"))
    case .statusRetries:
      .init(
        "weir_retries_total", .counter, "Further attempts, by why they were allowed.",
        fixed: ("kind", "status"))
    case .retriesDenied:
      .init(
        "weir_retries_denied_total", .counter,
        "Further attempts that an upstream's budget did not allow.")
    case .noBackendAvailable:
      .init(
        "weir_no_backend_available_total", .counter,
        "Requests answered 503 because no backend could serve.")
    case .requestsQueued:
      .init(
        "weir_requests_queued_total", .counter,
        "Requests that had to wait for a place at a backend.")
    case .queueOverflows:
      .init(
        "weir_queue_overflows_total", .counter,
        "Requests answered 503 because every backend was full, and the queue, if there is one.")
    case .queueTimeouts:
      .init(
        "weir_queue_timeouts_total", .counter,
        "Requests answered 503 because no place became free in time.")
    case .stickyKept: ProxyCounter.sticky("kept")
    case .stickyElsewhere: ProxyCounter.sticky("elsewhere")
    case .stickyBroken: ProxyCounter.sticky("broken")
    case .tunnels:
      .init("weir_tunnels_total", .counter, "Connections that became tunnels (upgrades).")
    case .http2Connections:
      .init("weir_http2_connections_total", .counter, "Client connections that spoke HTTP/2.")
    case .http2Floods:
      .init(
        "weir_http2_floods_total", .counter,
        "HTTP/2 connections, of clients and backends, cut because of abusive frames.")
    case .http2StreamsRefused:
      .init(
        "weir_http2_streams_refused_total", .counter,
        "Streams of clients refused because of `max-streams`.")
    case .cacheHits: ProxyCounter.cache("hit")
    case .cacheStaleHits: ProxyCounter.cache("stale")
    case .cacheMisses: ProxyCounter.cache("miss")
    case .cacheCollapsed: ProxyCounter.cache("collapsed")
    case .cachePasses: ProxyCounter.cache("pass")
    case .cacheBypasses: ProxyCounter.cache("bypass")
    case .cacheFetches:
      .init("weir_cache_fetches_total", .counter, "Fetches begun for a cache.")
    case .cacheFetchFailures:
      .init(
        "weir_cache_fetch_failures_total", .counter,
        "Fetches that brought no response, or only a part of one.")
    case .cacheRevalidations:
      .init(
        "weir_cache_revalidations_total", .counter,
        "Stored responses that a backend has confirmed (304).")
    case .cacheInvalidations:
      .init(
        "weir_cache_invalidations_total", .counter,
        "Stored responses removed because an unsafe request succeeded.")
    case .cacheTagsDropped:
      .init(
        "weir_cache_tags_dropped_total", .counter,
        "Tags of responses that were too long or too many, and so purge nothing.")
    case .logLinesDropped:
      .init(
        "weir_log_lines_dropped_total", .counter,
        "Access log lines lost because the log could not take them.")
    }
  }

  private static func rejected(_ reason: String) -> MetricDescription {
    .init(
      "weir_connections_rejected_total", .counter, "Client connections refused, by reason.",
      fixed: ("reason", reason))
  }

  private static func handshake(_ result: String) -> MetricDescription {
    .init(
      "weir_tls_handshakes_total", .counter,
      "TLS handshakes with clients, by how they ended: with a signature, by a session, or not.",
      fixed: ("result", result))
  }

  private static func sticky(_ result: String) -> MetricDescription {
    .init(
      "weir_sticky_requests_total", .counter,
      "Requests whose cookie names a backend: kept there, sent elsewhere this once (full, breaker "
        + "open), or for good (down, in maintenance, gone).",
      fixed: ("result", result))
  }

  private static func cache(_ result: String) -> MetricDescription {
    .init(
      "weir_cache_requests_total", .counter,
      "Requests on routes with a cache, by what it could do for them.",
      fixed: ("result", result))
  }

  private static func timeout(_ phase: String) -> MetricDescription {
    .init(
      "weir_client_timeouts_total", .counter,
      "Client connections ended for being slow, by what they were slow at.",
      fixed: ("phase", phase))
  }
}

/// Counters of one route on one worker.
public enum RouteCounter: Int, CaseIterable, Sendable, BitwiseCopyable, CatalogCounter {
  case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
  case requestOctets, responseOctets, truncatedResponses
  case fallbacksToBackend, fallbacksToCopy, fallbacksToUpstream, fallbacksToPage

  /// Of a final status or of an upgrade, 100–599.
  @inline(__always)
  public static func responses(status: Int) -> RouteCounter {
    if status < 300 { return status < 200 ? .responses1xx : .responses2xx }
    return status < 400 ? .responses3xx : status < 500 ? .responses4xx : .responses5xx
  }

  public var metric: MetricDescription {
    switch self {
    case .responses1xx: RouteCounter.responses("1xx")
    case .responses2xx: RouteCounter.responses("2xx")
    case .responses3xx: RouteCounter.responses("3xx")
    case .responses4xx: RouteCounter.responses("4xx")
    case .responses5xx: RouteCounter.responses("5xx")
    case .requestOctets:
      .init(
        "weir_route_request_bytes_total", .counter, "Content received from clients.",
        labels: ["route"])
    case .responseOctets:
      .init(
        "weir_route_response_bytes_total", .counter, "Content sent to clients.",
        labels: ["route"])
    case .truncatedResponses:
      .init(
        "weir_route_truncated_responses_total", .counter,
        "Responses cut off after their head was sent.", labels: ["route"])
    case .fallbacksToBackend: RouteCounter.fallbacks("other_backend")
    case .fallbacksToCopy: RouteCounter.fallbacks("stale_copy")
    case .fallbacksToUpstream: RouteCounter.fallbacks("upstream")
    case .fallbacksToPage: RouteCounter.fallbacks("page")
    }
  }

  private static func fallbacks(_ rung: String) -> MetricDescription {
    .init(
      "weir_route_fallbacks_total", .counter,
      "Requests for which something stood in where the first attempt gave no answer, by the rung "
        + "of the ladder (`other_backend`: on routes with a fallback).",
      labels: ["route"], fixed: ("rung", rung))
  }

  private static func responses(_ code: String) -> MetricDescription {
    .init(
      "weir_route_responses_total", .counter, "Responses sent to clients, by class of status.",
      labels: ["route"], fixed: ("code", code))
  }
}

/// Counters of one backend on one worker.
public enum BackendCounter: Int, CaseIterable, Sendable, BitwiseCopyable, CatalogCounter {
  case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
  case attempts, connectionsReused, responseOctets
  // Up to here those that most requests count: one cache line.
  case requestOctets, retriedAway, spills, connectionsOpened
  case connectRefused, connectTimeouts, connectFailures
  case certificatesRefused, handshakesFailed
  case resets, responseTimeouts, invalidResponses, incompleteResponses

  @inline(__always)
  public static func responses(status: Int) -> BackendCounter {
    if status < 300 { return status < 200 ? .responses1xx : .responses2xx }
    return status < 400 ? .responses3xx : status < 500 ? .responses4xx : .responses5xx
  }

  public var metric: MetricDescription {
    switch self {
    case .responses1xx: BackendCounter.responses("1xx")
    case .responses2xx: BackendCounter.responses("2xx")
    case .responses3xx: BackendCounter.responses("3xx")
    case .responses4xx: BackendCounter.responses("4xx")
    case .responses5xx: BackendCounter.responses("5xx")
    case .attempts: BackendCounter.counter("attempts", "Attempts made at the backend.")
    case .retriedAway:
      BackendCounter.counter("retried_away", "Failed attempts that went on at another backend.")
    case .spills:
      BackendCounter.counter(
        "spills", "Requests that came here because the backend of their hash was full.")
    case .connectionsOpened:
      BackendCounter.counter("connections_opened", "Connections established.")
    case .connectionsReused:
      BackendCounter.counter("connections_reused", "Attempts on a connection already open.")
    case .connectRefused: BackendCounter.failure("connection_refused")
    case .connectTimeouts: BackendCounter.failure("connection_timeout")
    case .connectFailures: BackendCounter.failure("destination_unavailable")
    case .certificatesRefused: BackendCounter.failure("tls_certificate_error")
    case .handshakesFailed: BackendCounter.failure("tls_protocol_error")
    case .resets: BackendCounter.failure("connection_terminated")
    case .responseTimeouts: BackendCounter.failure("http_response_timeout")
    case .invalidResponses: BackendCounter.failure("http_protocol_error")
    case .incompleteResponses: BackendCounter.failure("http_response_incomplete")
    case .requestOctets:
      BackendCounter.counter("request_bytes", "Content sent to the backend.")
    case .responseOctets:
      BackendCounter.counter("response_bytes", "Content received from the backend.")
    }
  }

  static let labels = ["upstream", "backend"]

  private static func counter(_ name: String, _ help: String) -> MetricDescription {
    .init("weir_backend_\(name)_total", .counter, help, labels: labels)
  }

  private static func responses(_ code: String) -> MetricDescription {
    .init(
      "weir_backend_responses_total", .counter, "Responses of the backend, by class of status.",
      labels: labels, fixed: ("code", code))
  }

  private static func failure(_ error: String) -> MetricDescription {
    .init(
      "weir_backend_failures_total", .counter,
      "Failed attempts, by the error type that RFC 9209 gives them.", labels: labels,
      fixed: ("error", error))
  }
}
