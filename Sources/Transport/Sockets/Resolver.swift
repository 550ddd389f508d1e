import CAres
import CLinux
import Glibc
import Primitives

/// How questions get to DNS (`resolver`).
public struct ResolverOptions: Sendable, Equatable {
  /// Asked in this order; empty: those of /etc/resolv.conf.
  public var servers: [SocketAddress] = []
  /// For a server's answer; the second round of tries waits twice as long.
  public var timeout = TimeAmount.seconds(2)
  /// Questions to each server.
  public var tries = 2

  public init() {}
}

/// Asks DNS, and /etc/hosts before it, without ever waiting: c-ares on an epoll of its own, which
/// another loop polls by its descriptor.
///
///     ask ──► (c-ares sends, hears, repeats, changes to TCP, follows CNAMEs) ──► take
///
/// Owned by one thread. What c-ares calls back only notes what happened; nothing is called from
/// there, and answers are fetched with `take`.
public final class Resolver {
  /// One question of those under way, by the number that its asker gave it.
  public struct Finished: Sendable, Equatable {
    public let number: Int
    public let answer: NameAnswer

    public init(number: Int, answer: NameAnswer) {
      self.number = number
      self.answer = answer
    }
  }

  /// What callbacks may touch: it lives as long as any of them may come.
  final class Notes {
    let poller: Poller
    var finished: [Finished] = []
    /// Callbacks come because the channel is given up.
    var isClosing = false

    init(_ poller: consuming Poller) { self.poller = poller }
  }

  /// What c-ares carries for a question.
  private final class Question {
    let number: Int
    let notes: Notes
    init(_ number: Int, _ notes: Notes) {
      self.number = number
      self.notes = notes
    }
  }

  /// Octets of an answer over UDP; a longer one comes over TCP (RFC 9715 §3.2).
  private static let datagramBytes: Int32 = 1232
  /// Once for the process.
  private static let isReady = ares_library_init(ARES_LIB_INIT_ALL) == 0

  private let notes: Notes
  private var channel: OpaquePointer?

  /// Readable when `advance` has something to do.
  public var descriptor: Int32 { notes.poller.descriptor }

  /// `nil` where the process has no descriptor left.
  public init?() {
    guard Resolver.isReady, let poller = Poller() else { return nil }
    notes = Notes(poller)
  }

  deinit { close() }

  /// Takes over other servers, and reads /etc/resolv.conf again. Questions under way are dropped
  /// without an answer. False without memory: every question fails at once then.
  public func configure(_ options: ResolverOptions) -> Bool {
    close()
    var wanted = ares_options()
    wanted.flags = ARES_FLAG_EDNS
    wanted.ednspsz = Resolver.datagramBytes
    wanted.timeout = Int32(clamping: options.timeout.milliseconds)
    wanted.tries = Int32(clamping: options.tries)
    wanted.sock_state_cb = socketChanged
    wanted.sock_state_cb_data = Unmanaged.passUnretained(notes).toOpaque()
    let mask =
      ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES
      | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS
    // The hosts file first, then DNS.
    let result = "fb".withCString { lookups in
      wanted.lookups = UnsafeMutablePointer(mutating: lookups)
      return ares_init_options(&channel, &wanted, mask)
    }
    guard result == ARES_SUCCESS, let channel else {
      self.channel = nil
      return false
    }
    guard !options.servers.isEmpty else { return true }
    let list = options.servers.map(\.description).joined(separator: ",")
    guard ares_set_servers_ports_csv(channel, list) == ARES_SUCCESS else {
      // It would ask the servers of /etc/resolv.conf.
      close()
      return false
    }
    return true
  }

  private func close() {
    guard let channel else { return }
    notes.isClosing = true
    ares_destroy(channel)
    notes.isClosing = false
    notes.finished = []
    self.channel = nil
  }

  /// Asks. The answer may be there at once (`take`).
  public func ask(_ number: Int, _ question: NameQuestion) {
    guard let channel else {
      notes.finished.append(Finished(number: number, answer: .failed(.exhausted)))
      return
    }
    switch question {
    case .v4(let host): ask(channel, number, host, AF_INET)
    case .v6(let host): ask(channel, number, host, AF_INET6)
    case .service(let name):
      // Internet, SRV; as it stands, without search domains.
      ares_query(
        channel, name, 1, 33, servicesCame,
        Unmanaged.passRetained(Question(number, notes)).toOpaque())
    }
  }

  private func ask(_ channel: OpaquePointer, _ number: Int, _ host: String, _ family: Int32) {
    var hints = ares_addrinfo_hints()
    hints.ai_family = family
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    // Sorting would open a socket for each address, and weir balances.
    hints.ai_flags = ARES_AI_NOSORT
    let question = Unmanaged.passRetained(Question(number, notes))
    ares_getaddrinfo(channel, host, nil, &hints, addressesCame, question.toOpaque())
  }

  // MARK: Turns

  /// When `advance` has something to do without an event; `never` while nothing is asked.
  public func nextDue(now: MonotonicTime) -> MonotonicTime {
    var time = timeval()
    guard let channel, ares_timeout(channel, nil, &time) != nil else { return .never }
    let wait = TimeAmount.seconds(Int64(time.tv_sec)).nanoseconds + Int64(time.tv_usec) * 1000
    return now + TimeAmount(nanoseconds: wait)
  }

  /// Reads, writes and repeats what is to be by now.
  public func advance() {
    guard let channel else { return }
    let none = ares_socket_t(-1)
    let count = notes.poller.wait(timeoutMs: 0)
    for index in 0..<count {
      let (handle, readiness) = notes.poller.event(index)
      let descriptor = ares_socket_t(bitPattern: handle.index)
      let mayRead = !readiness.isDisjoint(with: [.readable, .failed, .hungUp])
      ares_process_fd(
        channel, mayRead ? descriptor : none, readiness.contains(.writable) ? descriptor : none)
    }
    ares_process_fd(channel, none, none)
  }

  /// What has been answered since the last call.
  public func take() -> [Finished] {
    defer { notes.finished = [] }
    return notes.finished
  }

  // MARK: Answers

  fileprivate static func finish(
    _ context: UnsafeMutableRawPointer?, _ answer: @autoclosure () -> NameAnswer
  ) {
    guard let context else { return }
    let question = Unmanaged<Question>.fromOpaque(context).takeRetainedValue()
    guard !question.notes.isClosing else { return }
    question.notes.finished.append(Finished(number: question.number, answer: answer()))
  }

  fileprivate static func answer(
    _ status: Int32, _ result: UnsafeMutablePointer<ares_addrinfo>?
  ) -> NameAnswer {
    guard status == ARES_SUCCESS, let result else { return failure(status) }
    var addresses: [IPAddress] = []
    var ttl = Int32.max
    var node = result.pointee.nodes
    while let current = node?.pointee {
      node = current.ai_next
      guard let address = address(current) else { continue }
      addresses.append(address)
      ttl = min(ttl, current.ai_ttl)
    }
    var alias = result.pointee.cnames
    while let current = alias?.pointee {
      alias = current.next
      ttl = min(ttl, current.ttl)
    }
    // RFC 2181 §8: one with the highest bit set counts as 0.
    return addresses.isEmpty
      ? .failed(.badAnswer) : .addresses(addresses, ttl: .seconds(Int64(max(0, ttl))))
  }

  private static func address(_ node: ares_addrinfo_node) -> IPAddress? {
    guard let name = node.ai_addr else { return nil }
    let room = Int(node.ai_addrlen)
    switch node.ai_family {
    case AF_INET where room >= MemoryLayout<sockaddr_in>.size:
      let native = UnsafeRawPointer(name).loadUnaligned(as: sockaddr_in.self)
      return IPAddress(v4: UInt32(bigEndian: native.sin_addr.s_addr))
    case AF_INET6 where room >= MemoryLayout<sockaddr_in6>.size:
      let native = UnsafeRawPointer(name).loadUnaligned(as: sockaddr_in6.self)
      return withUnsafeBytes(of: native.sin6_addr) { octets in
        IPAddress(
          high: UInt64(bigEndian: octets.loadUnaligned(as: UInt64.self)),
          low: UInt64(bigEndian: octets.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
      }
    default: return nil
    }
  }

  fileprivate static func failure(_ status: Int32) -> NameAnswer {
    switch status {
    case ARES_ENOTFOUND: .absent(.noSuchName)
    case ARES_ENODATA: .absent(.noRecord)
    case ARES_ETIMEOUT: .failed(.timedOut)
    case ARES_EBADRESP, ARES_EBADNAME, ARES_EBADSTR: .failed(.badAnswer)
    case ARES_ENOMEM: .failed(.exhausted)
    default: .failed(.serverFailed)
    }
  }
}

/// Records of type SRV in an answer.
private enum ServiceAnswer {
  static func read(_ status: Int32, _ message: UnsafeBufferPointer<UInt8>) -> NameAnswer {
    guard status == ARES_SUCCESS else { return Resolver.failure(status) }
    var first: UnsafeMutablePointer<ares_srv_reply>?
    let result = ares_parse_srv_reply(message.baseAddress, Int32(message.count), &first)
    defer { if let first { ares_free_data(first) } }
    guard result == ARES_SUCCESS else { return Resolver.failure(result) }
    var records: [ServiceRecord] = []
    var next = first
    while let record = next?.pointee {
      next = record.next
      guard let name = record.host else { continue }
      let host = String(
        decoding: UnsafeBufferPointer(start: name, count: strlen(name)).map {
          UInt8(bitPattern: $0)
        }, as: UTF8.self
      ).lowercased()
      records.append(
        ServiceRecord(
          host: host.hasSuffix(".") ? host : host + ".", port: record.port,
          priority: record.priority, weight: record.weight))
    }
    guard !records.isEmpty else { return .absent(.noRecord) }
    return .services(records, ttl: DNSMessage.shortestTTL(message))
  }
}

// What c-ares calls. Free functions: a closure formed elsewhere may carry an actor's isolation.

private func socketChanged(
  _ context: UnsafeMutableRawPointer?, _ descriptor: ares_socket_t, _ readable: Int32,
  _ writable: Int32
) {
  guard let context else { return }
  let notes = Unmanaged<Resolver.Notes>.fromOpaque(context).takeUnretainedValue()
  notes.poller.watch(
    descriptor, readable: readable != 0, writable: writable != 0,
    Handle(kind: 1, generation: 0, index: UInt32(bitPattern: descriptor)))
}

private func addressesCame(
  _ context: UnsafeMutableRawPointer?, _ status: Int32, _ timeouts: Int32,
  _ result: UnsafeMutablePointer<ares_addrinfo>?
) {
  Resolver.finish(context, Resolver.answer(status, result))
  if let result { ares_freeaddrinfo(result) }
}

private func servicesCame(
  _ context: UnsafeMutableRawPointer?, _ status: Int32, _ timeouts: Int32,
  _ message: UnsafeMutablePointer<UInt8>?, _ count: Int32
) {
  let octets = UnsafeBufferPointer(start: message, count: message == nil ? 0 : Int(count))
  Resolver.finish(context, ServiceAnswer.read(status, octets))
}
