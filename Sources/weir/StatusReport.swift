import Admin

/// `weir status` for people.
enum StatusReport {
  static func text(_ status: StatusDocument, _ known: UpstreamsDocument) -> String {
    var text = summary(status)
    var routes = Table(["ROUTE", "REQUESTS", "5XX", "P50 MS", "P95 MS", "P99 MS"])
    for route in status.routes {
      routes.append(
        [route.name, "\(route.responses.total)", "\(route.responses.serverError)"]
          + quantiles(route.latencyMs))
    }
    text += "\n" + routes.text
    for upstream in known.upstreams {
      var table = Table([
        "UPSTREAM \(upstream.name)", "STATE", "IN FLIGHT", "REQUESTS", "FAILED", "5XX", "P50 MS",
        "P95 MS", "P99 MS",
      ])
      for backend in upstream.backends {
        let failures = backend.failures.values.reduce(0, +)
        table.append(
          [
            label(backend), state(backend), "\(backend.inFlight)", "\(backend.attempts)",
            "\(failures)", "\(backend.responses.serverError)",
          ] + quantiles(backend.latencyMs))
      }
      text += "\n" + table.text + "  balance \(upstream.balance)\n"
      for backend in upstream.backends where backend.health == "down" {
        guard let reason = backend.healthReason else { continue }
        text += "  down \(label(backend)): \(reason)\n"
      }
      for name in upstream.names ?? [] {
        text += "  name \(name.name): \(name.state)\(name.reason.map { " (\($0))" } ?? ""), "
        text += "\(name.addresses) address\(name.addresses == 1 ? "" : "es")\n"
      }
      if upstream.panic { text += "  PANIC: too few can serve, health checks are ignored\n" }
    }
    return text
  }

  private static func summary(_ status: StatusDocument) -> String {
    let state = status.draining ? "draining" : "up \(duration(status.uptimeSeconds))"
    let connections = status.connections
    let listeners = status.listeners.map {
      "\($0.name) (\($0.addresses.joined(separator: ", ")))"
    }
    var reload = "generation \(status.generation)"
    if let last = status.lastReload {
      reload += last.succeeded ? ", reloaded \(last.at)" : "; reload refused \(last.at)"
    }
    var lines = [
      "weir \(status.version) \(status.instance), \(state), pid \(status.pid), "
        + "\(status.workers) worker\(status.workers == 1 ? "" : "s")",
      "configuration  \(reload)",
      "listeners      \(listeners.joined(separator: "; "))",
      "connections    \(connections.open) open of \(connections.limit), "
        + "\(connections.accepted) accepted, \(connections.rejected) rejected",
      "requests       \(status.totals.requests), \(status.totals.badRequests) malformed, "
        + "\(status.totals.noBackendAvailable) without a backend",
    ]
    let asked = status.totals.cacheHits + status.totals.cacheMisses
    if asked > 0 {
      lines.append(
        "cache          \(status.totals.cacheHits * 100 / asked) % of \(asked) requests answered "
          + "from it")
    }
    for cache in status.caches {
      lines.append(
        "cache \(cache.name): \(cache.objects) responses, \(cache.bytes >> 20) of "
          + "\(cache.memoryBytes >> 20) MiB, \(cache.evictions) evicted, \(cache.purged) purged")
    }
    for item in status.certificates {
      let left = item.daysLeft < 0 ? "EXPIRED" : "\(item.daysLeft) days left"
      lines.append(
        "certificate    \(item.listener): \(item.file), expires \(item.expires) (\(left))")
    }
    if let last = status.lastReload, !last.succeeded {
      lines += last.diagnostics.flatMap { $0.split(separator: "\n") }.map { "  \($0)" }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func label(_ backend: UpstreamsDocument.Backend) -> String {
    backend.name == backend.address ? backend.name : "\(backend.name) (\(backend.address))"
  }

  private static func state(_ backend: UpstreamsDocument.Backend) -> String {
    if backend.weight == 0 { return "weight 0" }
    if backend.state != "ready" { return backend.state }
    if backend.health == "down" { return "down" }
    if backend.breaker == "open" { return "broken" }
    if backend.breaker == "half_open" { return "trying" }
    if backend.held { return "held" }
    if backend.weightCounted < 100 { return "at \(backend.weightCounted) %" }
    return backend.backup ? "backup" : "ready"
  }

  private static func quantiles(_ quantiles: Quantiles?) -> [String] {
    guard let quantiles else { return ["-", "-", "-"] }
    return [quantiles.p50, quantiles.p95, quantiles.p99].map(milliseconds)
  }

  /// Three digits: no more are measured.
  private static func milliseconds(_ value: Double) -> String {
    if value >= 100 { return "\(Int(value.rounded()))" }
    if value >= 10 { return "\((value * 10).rounded() / 10)" }
    return "\((value * 100).rounded() / 100)"
  }

  static func duration(_ seconds: Int64) -> String {
    switch seconds {
    case ..<60: "\(seconds)s"
    case ..<3600: "\(seconds / 60)m \(seconds % 60)s"
    case ..<86_400: "\(seconds / 3600)h \(seconds / 60 % 60)m"
    default: "\(seconds / 86_400)d \(seconds / 3600 % 24)h"
    }
  }
}

/// Columns as wide as their widest cell: the first to the left, the others to the right.
struct Table {
  private var rows: [[String]]

  init(_ header: [String]) { rows = [header] }

  mutating func append(_ cells: [String]) { rows.append(cells) }

  var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        let gap = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + gap : gap + cell
      }
      return cells.joined(separator: "  ") + "\n"
    }.joined()
  }
}
