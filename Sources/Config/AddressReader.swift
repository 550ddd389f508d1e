import Primitives

/// Readers of addresses, networks and host names.
enum AddressReader {
  static func bind(_ word: String) throws(ValueFault) -> Value {
    try requireSocketPath(word)
    return .address(try address(word, example: ":8080"))
  }

  static func admin(_ word: String) throws(ValueFault) -> Value {
    try requireSocketPath(word)
    return .address(try address(word, example: "127.0.0.1:9901"))
  }

  private static func requireSocketPath(_ word: String) throws(ValueFault) {
    guard word.hasPrefix("unix:"), SocketAddress(word) == nil else { return }
    throw ValueFault(
      message: "'\(word)' is not a socket path",
      notes: ["expected 'unix:' and an absolute path of at most 107 octets"])
  }

  static func backend(_ word: String) throws(ValueFault) -> Value {
    try requireSocketPath(word)
    if word.hasPrefix("srv:") { return try service(String(word.dropFirst(4))) }
    if !word.hasPrefix("unix:"), let name = try hostWithPort(word) { return name }
    let address = try address(word, example: "10.0.0.11:8080")
    if case .ip(let host, _) = address, isUnspecified(host) {
      throw ValueFault(
        message: "'\(word)' is no address to connect to",
        notes: ["expected one such as '127.0.0.1:8080'"])
    }
    return .address(address)
  }

  /// `0.0.0.0` or `::`: every address of the machine.
  static func isUnspecified(_ address: IPAddress) -> Bool {
    address.isV4 ? address.v4 == 0 : address.high == 0 && address.low == 0
  }

  private static func address(
    _ word: String, example: String
  ) throws(ValueFault) -> SocketAddress {
    if let address = SocketAddress(word) { return address }
    if IPAddress(word) != nil {
      let shown = word.contains(":") ? "[\(word)]" : word
      throw ValueFault(
        message: "'\(word)' has no port", notes: ["expected '\(shown):PORT'"])
    }
    if word.utf8.allSatisfy(ASCII.isDigit), !word.isEmpty {
      throw ValueFault(message: "'\(word)' is not an address", notes: ["expected ':\(word)'"])
    }
    throw ValueFault(
      message: "'\(word)' is not an address with a port of 1 to 65535",
      notes: ["expected one such as '\(example)'"])
  }

  private static func service(_ word: String) throws(ValueFault) -> Value {
    let complete = word.hasSuffix(".") ? String(word.dropLast()) : word
    guard HostName.isValid(complete), complete.contains(".") else {
      throw ValueFault(
        message: "'\(word)' is not the name of a service",
        notes: ["expected one such as 'srv:_http._tcp.app.internal', without a port"])
    }
    return .service(word.lowercased())
  }

  /// `nil` where the word is no name at all. A dot at its end says that it is complete: no search
  /// domain is tried with it.
  private static func hostWithPort(_ word: String) throws(ValueFault) -> Value? {
    let parts = word.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2, let first = parts.first, !first.isEmpty else { return nil }
    let complete = first.hasSuffix(".") ? first.dropLast() : first
    // One whose last label has no letter is a mistyped address.
    guard HostName.isValid(String(complete)),
      complete.split(separator: ".").last?.utf8.contains(where: ASCII.isLetter) == true
    else { return nil }
    guard parts.count == 2 else {
      throw ValueFault(message: "'\(word)' has no port", notes: ["expected '\(word):PORT'"])
    }
    guard parts[1].utf8.allSatisfy(ASCII.isDigit), let port = UInt16(parts[1]), port > 0 else {
      throw ValueFault(message: "'\(parts[1])' is not a port", notes: ["expected 1 to 65535"])
    }
    return .host(first.lowercased(), port: port)
  }

  static func nameServer(_ word: String) throws(ValueFault) -> Value {
    if let address = IPAddress(word), !isUnspecified(address) {
      return .address(.ip(address, port: 53))
    }
    if let address = SocketAddress(word), case .ip(let host, _) = address, !isUnspecified(host) {
      return .address(address)
    }
    throw ValueFault(
      message: "'\(word)' is not the address of a name server",
      notes: ["expected one such as '10.0.0.2' or '10.0.0.2:5353'"])
  }

  static func network(_ word: String) throws(ValueFault) -> Value {
    guard let network = IPNetwork(word) else {
      throw ValueFault(
        message: "'\(word)' is not a network",
        notes: ["expected one such as '10.0.0.0/8', '2001:db8::/32' or '192.0.2.1'"])
    }
    return .network(network)
  }

  static func host(_ word: String, allowsPort: Bool) throws(ValueFault) -> Value {
    var name = word.lowercased()
    if allowsPort, let colon = name.lastIndex(of: ":"), !name.hasSuffix("]") {
      let port = name[name.index(after: colon)...]
      guard port.utf8.allSatisfy(ASCII.isDigit), let number = UInt16(port), number > 0 else {
        throw ValueFault(message: "'\(port)' is not a port", notes: ["expected 1 to 65535"])
      }
      name = String(name[..<colon])
    }
    guard isHost(name) else {
      let form = allowsPort ? "'www.example.com' or 'www.example.com:8080'" : "'www.example.com'"
      throw ValueFault(message: "'\(word)' is not a host name", notes: ["expected \(form)"])
    }
    return .text(word.lowercased())
  }

  /// Name or bracketed IPv6 address, in lower case.
  static func isHost(_ name: String) -> Bool {
    if name.hasPrefix("["), name.hasSuffix("]") {
      return name.contains(":") && IPAddress(name.dropFirst().dropLast()) != nil
    }
    return HostName.isValid(name)
  }
}
