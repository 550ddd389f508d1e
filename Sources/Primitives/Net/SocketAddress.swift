/// Where a socket is bound or connects to.
public enum SocketAddress: Sendable, Hashable {
  case ip(IPAddress, port: UInt16)
  /// A filesystem path of at most 107 bytes.
  case unix(path: String)

  /// `address:port`, `[v6]:port`, `:port` (every IPv4 and IPv6 address) or `unix:/path`.
  public init?(_ text: String) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      guard path.hasPrefix("/"), path.utf8.count <= 107 else { return nil }
      self = .unix(path: path)
      return
    }
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    guard digits.utf8.allSatisfy(ASCII.isDigit), let port = UInt16(digits), port > 0 else {
      return nil
    }
    var host = text[..<colon]
    if host.isEmpty {
      self = .ip(IPAddress(high: 0, low: 0), port: port)
      return
    }
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
      guard host.contains(":") else { return nil }
    } else if host.contains(":") {
      return nil
    }
    guard let address = IPAddress(host) else { return nil }
    self = .ip(address, port: port)
  }
}

extension SocketAddress {
  /// As a Host field names it (RFC 9110 §7.2); a socket file has no name of its own.
  public var authority: String {
    if case .unix = self { return "localhost" }
    return description
  }
}

extension SocketAddress: CustomStringConvertible {
  public var description: String {
    switch self {
    case .ip(let address, let port):
      address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }
}
