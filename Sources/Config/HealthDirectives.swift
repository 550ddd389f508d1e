import Primitives
import Proxy
import Resilience

/// `health-check` of an `upstream` block.
extension Directive {
  private static let millisecond = TimeAmount.milliseconds(1)
  private static let hour = TimeAmount.seconds(3600)
  private static let check = HealthCheckOptions(kind: .tcp)

  static let health: [Directive] = [
    Directive(
      name: "health-check", context: .upstream,
      arguments: [
        Argument(
          label: "METHOD|tcp|grpc", kind: .either("tcp", .either("grpc", .token(noun: "method")))),
        Argument(label: "PATH", kind: .absolutePath, presence: .optional),
      ],
      options: [
        OptionRow(
          key: "expect", kind: .text(limit: 256), fallback: "200-399",
          summary: "Statuses that pass: numbers and ranges, with commas between."),
        OptionRow(
          key: "contains", kind: .text(limit: 1024), fallback: "none",
          summary: "What the first 64 KiB of the content must contain."),
        OptionRow(
          key: "host", kind: .host(allowsPort: true),
          fallback: "the upstream's `host`, or the backend's address",
          summary: "The Host field of the check."),
        OptionRow(
          key: "service", kind: .fieldValue, fallback: "the server as a whole",
          summary: "With `grpc`: the service that is asked for, such as `shop.Orders`."),
        OptionRow(
          key: "interval", kind: .duration(TimeAmount.milliseconds(10)...hour),
          fallback: written(check.interval), summary: "From one check's end to the next, ±10 %."),
        OptionRow(
          key: "fast-interval", kind: .duration(TimeAmount.milliseconds(10)...hour),
          fallback: written(check.fastInterval),
          summary: "The same while the backend is down or about to change; at most 100ms while the "
            + "upstream has nobody left."),
        OptionRow(
          key: "timeout", kind: .duration(millisecond...hour), fallback: written(check.timeout),
          summary: "For the connect and the answer together."),
        OptionRow(
          key: "rise", kind: .integer(1...1000), fallback: String(check.rise),
          summary: "Passes in a row until up; one is enough for the first check, and while the "
            + "upstream has nobody left."),
        OptionRow(
          key: "fall", kind: .integer(1...1000), fallback: String(check.fall),
          summary: "Failures in a row until down; one is enough for the first check."),
        OptionRow(
          key: "initial",
          kind: .word(HealthCheckOptions.Initial.allCases.map(\.rawValue), noun: "state"),
          fallback: check.initial.rawValue,
          summary: "Before the first check. `auto`: up when weir starts, down when the backend is "
            + "added by a reload."),
        OptionRow(
          key: "reuse", kind: .word(["on", "off"], noun: "setting"), fallback: "on",
          summary: "While all is well, up to four GET, HEAD or OPTIONS of HTTP/1.1 go over one "
            + "connection, with an `interval` of at most 10s and a `pool-size` above 0. `off`: "
            + "each makes its own."),
      ],
      fallback: "none",
      summary: "Asks every backend whether it is well: an HTTP/1.1 request such as "
        + "`GET /healthz` (HTTP/2 with `http2 on`), with `grpc` a call of "
        + "`grpc.health.v1.Health/Check` that only `SERVING` passes, or with `tcp` only a connect. "
        + "A failed connect of live traffic has the backend checked at once."
    ) { draft, reading in draft.setHealthCheck(reading) },
    Directive(
      name: "health-check-header", context: .upstream,
      arguments: [
        Argument(label: "NAME", kind: .token(noun: "field name")),
        Argument(label: "VALUE", kind: .fieldValue),
      ],
      isRepeatable: true, summary: "A field of the check's request."
    ) { draft, reading in
      draft.checkFields.append((.init(name: reading.text(0), value: reading.text(1)), reading.name))
    },
  ]
}

extension Draft {
  fileprivate mutating func setHealthCheck(_ reading: Reading) {
    checkLocation = reading.name.location
    guard let kind = checkKind(reading) else { return }
    var options = HealthCheckOptions(kind: kind)
    options.interval = reading.optionDuration("interval") ?? options.interval
    options.fastInterval = reading.optionDuration("fast-interval") ?? options.fastInterval
    options.timeout = reading.optionDuration("timeout") ?? options.timeout
    options.rise = reading.optionInteger("rise") ?? options.rise
    options.fall = reading.optionInteger("fall") ?? options.fall
    options.initial =
      reading.optionText("initial").flatMap { .init(rawValue: $0) } ?? options.initial
    if let reuse = reading.optionText("reuse") {
      options.reusesConnections = reuse == "on"
      checkReuse = reading.options["reuse"]?.token.location
    }
    upstream.healthCheck = options
  }

  private mutating func checkKind(_ reading: Reading) -> HealthCheckOptions.Kind? {
    let method = reading.text(0)
    if method == "tcp" {
      refuseRequestParts(reading, ["expect", "contains", "host", "service", "reuse"])
      return .tcp
    }
    if method == "grpc" {
      refuseRequestParts(reading, ["expect", "contains", "reuse"])
      var call = GRPCCheck(service: reading.optionText("service") ?? "")
      call.host = reading.optionText("host")
      return .grpc(call)
    }
    if let option = reading.options["service"] {
      report.error("'service=' belongs to 'grpc'", at: option.token.location)
    }
    guard !["CONNECT", "TRACE"].contains(method) else {
      report.error("\(method) cannot be a health check", at: reading.tokens[0].location)
      return nil
    }
    guard reading.values.count > 1 else {
      report.error(
        "'\(method)' needs a path", at: reading.tokens[0].location,
        notes: [
          "expected 'health-check \(method) /healthz', 'health-check tcp' or 'health-check grpc'"
        ])
      return nil
    }
    guard reading.text(1).utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      report.error(
        "a path consists of visible ASCII characters", at: reading.tokens[1].location,
        notes: ["percent-encode the others"])
      return nil
    }
    var check = HTTPCheck(method: method, path: reading.text(1))
    check.host = reading.optionText("host")
    check.contains = reading.optionText("contains")
    if let expected = reading.options["expect"] {
      guard let ranges = Draft.statusRanges(reading.optionText("expect") ?? "") else {
        report.error(
          "'\(reading.optionText("expect") ?? "")' is no list of statuses",
          at: expected.token.valueLocation, notes: ["expected one such as '200-299,404'"])
        return nil
      }
      check.expected = ranges
    }
    return .http(check)
  }

  /// What a check that is no request of HTTP does not have.
  private mutating func refuseRequestParts(_ reading: Reading, _ keys: [String]) {
    let word = reading.text(0)
    if reading.values.count > 1 {
      report.error("'\(word)' takes no path", at: reading.tokens[1].location)
    }
    for key in keys {
      guard let option = reading.options[key] else { continue }
      let owner = key == "service" ? "'grpc'" : "a request"
      report.error("'\(key)=' belongs to \(owner), not to '\(word)'", at: option.token.location)
    }
  }

  /// `200-299,404`; `nil` where it is none.
  static func statusRanges(_ text: String) -> [ClosedRange<Int>]? {
    var ranges: [ClosedRange<Int>] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { end in
        end.utf8.count == 3 && end.utf8.allSatisfy(ASCII.isDigit) ? Int(end) ?? 0 : 0
      }
      guard (1...2).contains(ends.count), let low = ends.first, let high = ends.last,
        low >= 200, high <= 599, low <= high
      else { return nil }
      ranges.append(low...high)
    }
    return ranges
  }

  /// The fields stand on lines of their own, before or behind the check.
  mutating func finishHealthCheck() {
    defer { (checkFields, checkReuse) = ([], nil) }
    if let checkReuse, upstream.http2, !hasFaultyMember {
      report.error(
        "'reuse=' is of HTTP/1.1: a check in HTTP/2 makes a connection of its own", at: checkReuse)
    }
    if case .grpc = upstream.healthCheck?.kind, !upstream.http2, !hasFaultyMember {
      report.error(
        "'health-check grpc' needs 'http2 on': gRPC is spoken over HTTP/2 alone",
        at: checkLocation)
    }
    guard let first = checkFields.first else { return }
    switch upstream.healthCheck?.kind {
    case .http(var check):
      check.fields = takeCheckFields([])
      upstream.healthCheck?.kind = .http(check)
    case .grpc(var call):
      call.fields = takeCheckFields(["content-type", "grpc-timeout", "grpc-encoding"])
      upstream.healthCheck?.kind = .grpc(call)
    case .tcp, nil:
      guard !hasFaultyMember else { return }
      report.error(
        "'health-check-header' needs a 'health-check' with a request", at: first.name.location)
    }
  }

  private mutating func takeCheckFields(_ reserved: [String]) -> [HTTPCheck.Field] {
    let framing = ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te"]
    for (field, name) in checkFields where (framing + reserved).contains(field.name.lowercased()) {
      report.error("'\(field.name)' of a check cannot be set", at: name.location)
    }
    return checkFields.map(\.field)
  }
}
