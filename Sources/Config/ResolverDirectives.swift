import Primitives
import Proxy
import Resilience
import Transport

/// How the host names of backends are resolved.
extension Directive {
  private static let second = TimeAmount.seconds(1)
  private static let shortest = TimeAmount.milliseconds(100)
  private static let day = TimeAmount.seconds(86_400)
  private static let policy = NamePolicy()
  private static let options = ResolverOptions()

  static let resolver = Directive(
    name: "resolver", context: .top,
    arguments: [
      Argument(
        label: "SERVER|system", kind: .either("system", .nameServer), presence: .oneOrMore)
    ],
    options: [
      OptionRow(
        key: "timeout", kind: .duration(shortest...TimeAmount.seconds(30)),
        fallback: written(options.timeout),
        summary: "For the answer of one server; in the second round of tries twice as long."),
      OptionRow(
        key: "tries", kind: .integer(1...8), fallback: String(options.tries),
        summary: "Questions to each server, before the name counts as not resolved."),
      OptionRow(
        key: "min-ttl", kind: .duration(shortest...day), fallback: written(policy.minTTL),
        summary: "A name is asked no sooner again, whatever its records say."),
      OptionRow(
        key: "max-ttl", kind: .duration(shortest...day), fallback: written(policy.maxTTL),
        summary: "A name is asked no later again, whatever its records say."),
      OptionRow(
        key: "max-addresses", kind: .integer(1...4096), fallback: String(policy.maxAddresses),
        summary: "Backends that one name may become; what is more is left out, and said in the "
          + "event log."),
      OptionRow(
        key: "keep-absent", kind: .duration(.zero...day), fallback: written(policy.keepAbsent),
        summary: "How long the last addresses are kept where DNS says that there are none any "
          + "more. Where DNS fails they are kept for as long as that lasts."),
    ],
    fallback: "system",
    summary: "Who is asked for the addresses of host names: name servers, in this order, or those "
      + "of /etc/resolv.conf, which is read at the start and at each reload. /etc/hosts goes "
      + "before them."
  ) { draft, reading in draft.setResolver(reading) }
}

extension Draft {
  /// Name servers of one line.
  private static let serverLimit = 8

  fileprivate mutating func setResolver(_ reading: Reading) {
    var servers: [SocketAddress] = []
    for case .address(let address) in reading.values { servers.append(address) }
    if !servers.isEmpty, servers.count < reading.values.count {
      report.error(
        "'system' stands alone", at: reading.name.location,
        notes: ["expected name servers, or 'system'"])
    }
    if servers.count > Draft.serverLimit {
      report.error(
        "more than \(Draft.serverLimit) name servers",
        at: reading.tokens[Draft.serverLimit].location)
    }
    proxy.resolver.servers = servers
    proxy.resolver.timeout = reading.optionDuration("timeout") ?? proxy.resolver.timeout
    proxy.resolver.tries = reading.optionInteger("tries") ?? proxy.resolver.tries
    var policy = proxy.namePolicy
    policy.minTTL = reading.optionDuration("min-ttl") ?? policy.minTTL
    policy.maxTTL = reading.optionDuration("max-ttl") ?? policy.maxTTL
    policy.maxAddresses = reading.optionInteger("max-addresses") ?? policy.maxAddresses
    policy.keepAbsent = reading.optionDuration("keep-absent") ?? policy.keepAbsent
    if policy.minTTL > policy.maxTTL {
      report.error(
        "'min-ttl=' is more than 'max-ttl='",
        at: (reading.options["min-ttl"] ?? reading.options["max-ttl"])?.token.location
          ?? reading.name.location)
    }
    proxy.namePolicy = policy
  }
}
