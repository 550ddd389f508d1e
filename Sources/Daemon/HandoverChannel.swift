import Admin
import CLinux
import Glibc
import Primitives
import Proxy
import Resilience
import Transport

/// What one weir tells the next beside its sockets.
struct HandoverLetter: Codable, Sendable {
  /// The name in `Via`, where it was random.
  var instance: String
  /// What people have set: upstream, backend, mode.
  var modes: [[String]]
  /// What DNS had said; absent from those who could not resolve names.
  var names: [Name]?

  struct Name: Codable {
    /// Of one or the other.
    var host: String?
    var service: String?
    var addresses: [Address]
  }

  struct Address: Codable {
    var address: String
    /// Of a service.
    var port: UInt16?
    var weight: Int?
    var backup: Bool?
    var host: String?
  }

  /// Names of so many addresses in all fit beside the rest.
  private static let addressLimit = 1024

  init(instance: String, modes: [[String]], addresses: [NameQuery: [ResolvedAddress]]) {
    self.instance = instance
    self.modes = modes
    var room = HandoverLetter.addressLimit
    names = []
    for (query, found) in addresses where !found.isEmpty && found.count <= room {
      room -= found.count
      var name = Name(addresses: found.map { Address($0) })
      switch query {
      case .host(let host): name.host = host
      case .service(let service): name.service = service
      }
      names?.append(name)
    }
  }

  var addresses: [NameQuery: [ResolvedAddress]] {
    var known: [NameQuery: [ResolvedAddress]] = [:]
    for name in names ?? [] {
      let query = name.host.map { NameQuery.host($0) } ?? name.service.map { .service($0) }
      if let query { known[query] = name.addresses.compactMap(\.resolved) }
    }
    return known
  }
}

extension HandoverLetter.Address {
  fileprivate init(_ found: ResolvedAddress) {
    address = "\(found.address)"
    port = found.service?.port
    weight = found.service?.weight
    backup = found.service?.isBackup
    host = found.service?.host
  }

  fileprivate var resolved: ResolvedAddress? {
    guard let ip = IPAddress(address) else { return nil }
    guard let port, let weight, let backup, let host else { return ResolvedAddress(address: ip) }
    return ResolvedAddress(
      .init(
        address: ip, port: port, weight: min(max(weight, 1), 256), isBackup: backup, host: host))
  }
}

/// The way between two processes of one service, a pair of connected sockets: the old one gives its
/// listening sockets, the new one says when it can serve, and is told that it is the service now.
struct HandoverChannel {
  enum Message: String {
    /// Descriptors come with it.
    case sockets
    /// All has been given.
    case end
    /// The new one has checked its backends and would serve.
    case ready
    /// The old one serves no more.
    case go
  }

  /// Names the descriptor of the channel in the new process's environment.
  static let variable = "WEIR_HANDOVER"
  static let descriptorInChild: Int32 = 3
  private static let letterBytes = 256 << 10
  /// For what is sent at once; a peer that is slower than this is stuck.
  private static let patience = timeval(tv_sec: 5, tv_usec: 0)

  let descriptor: Int32

  private init(descriptor: Int32) { self.descriptor = descriptor }

  static func pair() -> (HandoverChannel, Int32)? {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { return nil }
    let channel = HandoverChannel(descriptor: ends[0])
    channel.limitWaiting()
    return (channel, ends[1])
  }

  /// The new process's end, if it is one.
  init?(_ environment: [String: String]) {
    guard let text = environment[HandoverChannel.variable], let number = Int32(text) else {
      return nil
    }
    descriptor = number
    _ = weir_fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    limitWaiting()
  }

  private func limitWaiting() {
    var patience = HandoverChannel.patience
    let length = socklen_t(MemoryLayout<timeval>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, length)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, length)
    var room = Int32(HandoverChannel.letterBytes * 2)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
  }

  func close() { SocketCalls.close(descriptor) }

  func send(_ message: Message) -> Bool { send(Array(message.rawValue.utf8), []) }

  private func send(_ octets: [UInt8], _ descriptors: [Int32]) -> Bool {
    weir_send_descriptors(
      descriptor, octets, octets.count, descriptors, descriptors.count, nil, 0) == octets.count
  }

  /// The next message; `nil` where the other side is gone or silent.
  func receive() -> Message? { receiveAll().flatMap { Message(rawValue: $0.text) } }

  private func receiveAll() -> (text: String, descriptors: [Int32])? {
    var octets = [UInt8](repeating: 0, count: HandoverChannel.letterBytes)
    var descriptors = [Int32](repeating: -1, count: Int(WEIR_DESCRIPTORS_PER_MESSAGE))
    var count = descriptors.count
    let received = weir_receive_descriptors(
      descriptor, &octets, octets.count, &descriptors, &count)
    guard received > 0 else { return nil }
    return (String(decoding: octets[..<received], as: UTF8.self), Array(descriptors[..<count]))
  }

  // MARK: What is handed over

  func give(_ letter: HandoverLetter, _ sockets: [Listener]) -> Bool {
    let text = AdminJSON.encode(letter)
    guard text.count < HandoverChannel.letterBytes, send(text, []) else { return false }
    let most = Int(WEIR_DESCRIPTORS_PER_MESSAGE)
    for start in stride(from: 0, to: sockets.count, by: most) {
      let part = sockets[start..<min(sockets.count, start + most)].map(\.descriptor)
      guard send(Array(Message.sockets.rawValue.utf8), part) else { return false }
    }
    return send(.end)
  }

  func take() -> (letter: HandoverLetter, sockets: [Listener])? {
    guard let first = receiveAll(),
      let letter = AdminJSON.decode(HandoverLetter.self, Array(first.text.utf8))
    else { return nil }
    var sockets: [Listener] = []
    while let next = receiveAll() {
      switch Message(rawValue: next.text) {
      case .sockets: sockets += next.descriptors.compactMap { Listener(inherited: $0) }
      case .end: return (letter, sockets)
      default: return nil
      }
    }
    return nil
  }
}
