import Primitives
import Routing
import Transport

extension Snapshot {
  /// What the addresses of backends have no part in.
  struct Costly: Sendable {
    let table: RouteTable
    /// The TLS side of each listener and of each upstream, where it has one.
    let servers: [TLSServerContext?]
    let clients: [(context: TLSClientContext, number: Int32)?]

    init(
      _ options: ProxyOptions, _ shared: SharedState, _ before: Snapshot?
    ) throws(SnapshotFault) {
      if let before {
        self = before.costly
        return
      }
      do throws(RouteTableError) {
        table = try RouteTable(options.routes.map(\.pattern))
      } catch {
        throw .routes(error)
      }
      do throws(TLSFault) {
        servers = try Snapshot.servers(options, shared)
        clients = try Snapshot.clients(options, shared)
      } catch {
        throw .tls(error)
      }
    }
  }

  private static func servers(
    _ options: ProxyOptions, _ shared: SharedState
  ) throws(TLSFault) -> [TLSServerContext?] {
    var made: [TLSServerContext?] = []
    for listener in options.listeners {
      guard let tls = listener.tls else {
        made.append(nil)
        continue
      }
      var offered = tls
      offered.parameters.protocols = listener.http2 ? [.http2, .http11] : [.http11]
      made.append(try TLSServerContext(offered, name: listener.name, tickets: shared.tickets))
    }
    return made
  }

  private static func clients(
    _ options: ProxyOptions, _ shared: SharedState
  ) throws(TLSFault) -> [(context: TLSClientContext, number: Int32)?] {
    var made: [(context: TLSClientContext, number: Int32)?] = []
    for upstream in options.upstreams {
      guard let tls = upstream.tls else {
        made.append(nil)
        continue
      }
      var offered = tls
      if upstream.http2 { offered.parameters.protocols = [.http2] }
      made.append(try shared.clientContext(offered))
    }
    return made
  }
}
