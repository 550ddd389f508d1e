import Balancing
import HTTP
import HTTP1
import Primitives
import Telemetry
import Transport

/// `sticky` of an upstream, with what signs its cookies.
struct StickyPlan: Sendable {
  let options: StickyOptions
  let name: [UInt8]
  private let seal: MessageSeal
  private let upstream: [UInt8]

  /// `key`: of the process, for upstreams without one of their own.
  init(_ options: StickyOptions, upstream: String, key: [UInt8]) {
    self.options = options
    name = Array(options.cookie.utf8)
    seal = MessageSeal(key: options.key ?? key)
    self.upstream = Array(upstream.utf8)
  }

  /// A backend's number in this upstream's cookies.
  func number(ofBackend name: ByteView) -> UInt64 {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 512) { room in
      guard let base = room.baseAddress else { return 1 }
      var sink = ByteSink(base: base, capacity: room.count)
      sink.append("backend ")
      sink.append(upstream)
      sink.append(" ")
      sink.append(name)
      // 0 stands for none.
      return max(1, seal.code(sink.view).0)
    }
  }

  func isSealed(_ cookie: StickyCookie) -> Bool {
    withClaim(of: cookie) { seal.accepts(cookie.seal, for: $0) }
  }

  func sealed(_ backend: UInt64, now: Int64) -> StickyCookie {
    var cookie = StickyCookie(
      backend: backend, expires: now + options.lifetime.milliseconds / 1000)
    cookie.seal = withClaim(of: cookie) { seal.code($0) }
    return cookie
  }

  private func withClaim<Result>(of cookie: StickyCookie, _ body: (ByteView) -> Result) -> Result {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { room in
      guard let base = room.baseAddress else { return body(.empty) }
      var sink = ByteSink(base: base, capacity: room.count)
      sink.append("cookie ")
      cookie.appendClaim(to: &sink)
      return body(sink.view)
    }
  }
}

/// Requests that go where their client's earlier ones went (semantics.md 5).
extension Worker {
  /// Reads the cookie in `requestHead`. What is no valid cookie of ours counts as none.
  func readSticky(_ exchange: UnsafeMutablePointer<Exchange>, _ plan: StickyPlan) {
    exchange.pointee.setsSticky = true
    var line = requestHead.fields.firstIndex(of: .cookie)
    while let index = line {
      var found: StickyCookie?
      CookiePairs.each(requestHead.value(index)) { name, value in
        if plan.name.withByteView({ name.equals($0) }), let cookie = StickyCookie(value) {
          found = found ?? cookie
        }
      }
      if let found, found.isValid(at: wallSeconds), plan.isSealed(found) {
        exchange.pointee.sticky = found.backend
        exchange.pointee.setsSticky = found.isWorn(at: wallSeconds, plan.options)
        return
      }
      line = requestHead.fields.firstIndex(of: .cookie, from: index + 1)
    }
  }

  /// What became of the client's wish, for its next request and for the counters.
  func noteSticky(_ exchange: UnsafeMutablePointer<Exchange>, _ reserved: ReservedBackend) {
    switch reserved.stickiness {
    case .none: break
    case .kept: metrics.add(.stickyKept)
    case .elsewhere:
      // Its own backend comes back: the cookie must not follow this one request.
      exchange.pointee.setsSticky = false
      metrics.add(.stickyElsewhere)
    case .broken:
      exchange.pointee.setsSticky = true
      metrics.add(.stickyBroken)
    }
  }

  /// A finished Set-Cookie line where the client needs one; it lies near the end of the scratch.
  func stickyLine(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) -> ByteView {
    guard let upstream = route(exchange).pointee.upstream, let plan = upstream.pointee.sticky else {
      return .empty
    }
    let room = 512
    var sink = ByteSink(base: scratch + Worker.scratchBytes - 256 - room, capacity: room)
    let name = backends[Int(exchange.pointee.backend)].state.nameOctets.view
    sink.append("Set-Cookie: ")
    sink.append(plan.name)
    sink.append("=")
    plan.sealed(plan.number(ofBackend: name), now: wallSeconds).append(to: &sink)
    sink.append("; Path=/; Max-Age=")
    sink.append(decimal: Int(plan.options.lifetime.milliseconds / 1000))
    sink.append("; HttpOnly; SameSite=Lax")
    if isSecure(client) || isTrustedSecure(exchange, client) { sink.append("; Secure") }
    sink.append("\r\n")
    return sink.overflowed ? .empty : sink.view
  }

  /// A trusted proxy in front has said that its client came over TLS.
  private func isTrustedSecure(
    _ exchange: UnsafeMutablePointer<Exchange>,
    _ client: UnsafeMutablePointer<DownstreamConnection>
  ) -> Bool {
    guard snapshot(exchange).isTrusted(client.pointee.address) else { return false }
    let handle = client.pointee.exchange
    restoreHead(handle, exchange, client)
    return requestHead.first(.xForwardedProto)?.equals("https") ?? false
  }
}

/// The pairs of a Cookie field (RFC 6265 §4.2.1).
enum CookiePairs {
  static func each(_ text: ByteView, _ body: (ByteView, ByteView) -> Void) {
    var start = 0
    while start < text.count {
      let end = text.firstIndex(of: UInt8(ascii: ";"), from: start) ?? text.count
      let pair = text.slice(start, end).trimmed()
      start = end + 1
      guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { continue }
      body(pair.slice(0, equals), pair.slice(from: equals + 1))
    }
  }
}
